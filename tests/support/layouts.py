"""The official layouts of the public sets in miniature, filled with noise."""

from pathlib import Path

import numpy as np
import soundfile
from seqstride.data_prep.speech_commands import COMMANDS, WORDS


def write(path: Path, samples: int = 80, rate: int = 8000, channels: int = 1, **kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)
    soundfile.write(path, noise, rate, **kind)
    return path


def spoken_digits_layout(folder: Path) -> Path:
    """Two digits, three speakers, twelve recordings each."""
    for speaker in ("theo", "anna", "lucas"):
        for digit in "07":
            for index in range(12):
                write(folder / "recordings" / f"{digit}_{speaker}_{index}.wav", 80 + index)
    return folder


def speech_commands_layout(folder: Path) -> Path:
    """Of every word, one recording for validation, one for the test, and the rest (3, of a command 6) for training."""
    for word in WORDS:
        for index in range(8 if word in COMMANDS else 5):
            write(folder / word / f"{index:08x}_nohash_0.wav", 160, 16000)
    (folder / "validation_list.txt").write_text("".join(f"{word}/00000001_nohash_0.wav\n" for word in WORDS))
    (folder / "testing_list.txt").write_text("".join(f"{word}/00000002_nohash_0.wav\n" for word in WORDS))
    for name, seconds in (("hum", 12), ("tap", 24)):
        write(folder / "_background_noise_" / f"{name}.wav", seconds * 16000, 16000)
    (folder / "_background_noise_" / "README.md").touch()
    return folder


def esc_layout(folder: Path, samples: int = 50) -> Path:
    """One recording of each of 50 classes in every fold; every fifth class is of ESC-10."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target in range(50):
            name = f"{fold}-{100000 + target}-A-{target}.wav"
            write(folder / "audio" / name, samples, 44100)
            lines.append(f"{name},{fold},{target},sound_{target},{target % 5 == 0},{100000 + target},A")
    (folder / "meta").mkdir()
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder
