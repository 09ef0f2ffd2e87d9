"""Small data with the names that the READMEs' commands use, and what makes a command small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from an4_release import Spoken, write_release
from corpus_layouts import kathleen_layout, mboshi_layout, philharmonia_layout, speech_to_intent_layout, wuw_layout
from layouts import esc_layout, speech_commands_layout
from sensor_layouts import mitbih_layout, wharf_layout
from series import wide
from speech_layouts import librispeech, sentences
from tiny_models import tones

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def sound(path: Path, seconds: float, rate: int = 8000, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tones(seconds, rate, seed).numpy(), rate)


def recordings(folder: Path) -> None:
    """A folder for each of two classes."""
    for index in range(20):
        sound(folder / "recordings" / ("low", "high")[index % 2] / f"{index}.wav", 0.3 + 0.01 * index, 16000, index)
    sound(folder / "new.wav", 0.5, 16000)


def digits(folder: Path) -> None:
    for speaker in SPEAKERS:
        for index in range(14):
            sound(folder / "fsdd" / "recordings" / f"{7 * (index % 2)}_{speaker}_{index // 2}.wav", 0.2 + 0.01 * index)


def spoken_sentences(folder: Path) -> None:
    sentences(folder / "my_recordings")
    sound(folder / "new.flac", 1.5, 16000)
    sound(folder / "new.wav", 1.5, 16000)


def an4(folder: Path) -> None:
    """Noise of nine speakers for training and validation, and of one for the test."""

    def said(speaker: str) -> list[Spoken]:
        noise = np.random.default_rng(len(speaker))
        return [Spoken(f"{i}-{speaker}", speaker, "YES NO", noise.normal(size=(90 + i, 13))) for i in range(2)]

    write_release(folder / "an4", [spoken for speaker in "abcdefghi" for spoken in said(speaker)], said("z"))


def series(folder: Path) -> None:
    wide(0).to_csv(folder / "train.csv", index=False)
    wide(1).to_csv(folder / "test.csv", index=False)
    wide(2).drop(columns="label").to_csv(folder / "new.csv", index=False)


def rows(folder: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(60, 5))
    table = pd.DataFrame(numbers, columns=list("abcde")).assign(kind=np.where(numbers[:, 0] > 0, "yes", "no"))
    table.to_csv(folder / "mine.csv", index=False)


def corpora(folder: Path) -> None:
    """Recordings of every kind, and lists of them."""
    recordings(folder)
    digits(folder)
    spoken_sentences(folder)
    files = sorted(str(file) for file in (folder / "recordings").rglob("*.wav"))
    (folder / "files.txt").write_text("".join(f"{file}\n" for file in files))
    items = ", ".join(f'"{n}": {{"wav": "{file}", "duration": 0.3}}' for n, file in enumerate(files))
    (folder / "corpus.json").write_text(f"{{{items}}}")


DATA: dict[str, Callable[[Path], object]] = {
    "recipes/README.md": corpora,
    "recipes/AN4/ASR/README.md": an4,
    "recipes/AudioFolder/classification/README.md": recordings,
    "recipes/ESC/classification/README.md": lambda folder: esc_layout(folder / "ESC-50"),
    "recipes/Kathleen/ASR/README.md": lambda folder: kathleen_layout(folder / "kathleen"),
    "recipes/Kathleen/VQVAE/README.md": lambda folder: kathleen_layout(folder / "kathleen"),
    "recipes/LJSpeechFormat/ASR/README.md": spoken_sentences,
    "recipes/LJSpeechFormat/VQVAE/README.md": spoken_sentences,
    "recipes/LibriSpeech/ASR/README.md": lambda folder: librispeech(folder / "LibriSpeech"),
    "recipes/MITBIH/beats/README.md": lambda folder: mitbih_layout(folder / "mitdb"),
    "recipes/MITBIH/framewise/README.md": lambda folder: mitbih_layout(folder / "mitdb"),
    "recipes/SpeechCommands/classification/README.md": lambda folder: speech_commands_layout(
        folder / "speech_commands"
    ),
    "recipes/SpokenDigits/VQVAE/README.md": digits,
    "recipes/SpokenDigits/classification/README.md": digits,
    "recipes/Mboshi/ASR/README.md": lambda folder: mboshi_layout(folder / "mboshi"),
    "recipes/Philharmonia/notes/README.md": lambda folder: philharmonia_layout(folder / "philharmonia"),
    "recipes/SpeechToIntent/commands/README.md": lambda folder: speech_to_intent_layout(
        folder / "speech-to-intent", speakers=52, each=4
    ),
    "recipes/Tabular/classification/README.md": rows,
    "recipes/WHARF/activities/README.md": lambda folder: wharf_layout(folder / "WHARF"),
    "recipes/WUW/keywords/README.md": lambda folder: wuw_layout(folder / "wuw-corpus-ii"),
    "seqstride/estimators/README.md": series,
    "seqstride/export/README.md": recordings,
}
"""README → the function that puts its data into a folder; the others need none."""

TRAINED_CLASSIFIER = (
    "seqstride train recipes/AudioFolder/classification --data_folder recordings --output_folder my_model"
)
TRAINED_RECOGNISER = (
    "seqstride train recipes/LJSpeechFormat/ASR --data_folder my_recordings --output_folder my_recogniser"
)
NEEDS = {"seqstride/export/README.md": [TRAINED_CLASSIFIER]}
"""README → commands that its reader has run before."""
SLOW_NEEDS = {"recipes/README.md": [TRAINED_CLASSIFIER, TRAINED_RECOGNISER]}
"""README → commands that have to be run before its slow ones."""

CONFORMER = {"width": "16", "layers": "1", "feed_forward": "16", "average": "1", "threads": "1"}
CONFORMER |= {"dynamic_batching": "{max_batch_length: 6}"}
SMALL: dict[str, dict[str, str]] = {
    "AN4/ASR": CONFORMER,
    "LJSpeechFormat/ASR": CONFORMER,
    "LibriSpeech/ASR": {**CONFORMER, "pieces": "{vocab_size: 26}"},
    "Mboshi/ASR": {**CONFORMER, "pieces": "{vocab_size: 40}"},
    "Kathleen/ASR": {**CONFORMER, "pieces": "{vocab_size: 40}"},
    "Kathleen/VQVAE": {"width": "8", "codebook": "12"},
    "LJSpeechFormat/VQVAE": {"width": "8", "codebook": "12"},
    "SpokenDigits/VQVAE": {"width": "8", "codebook": "12"},
    "AudioFolder/classification": {"width": "8", "channels": "[8]", "strides": "[2]"},
    "ESC/classification": {"width": "4"},
    "SpeechCommands/classification": {"width": "4"},
    "SpokenDigits/classification": {"width": "4"},
    "UCR/classification": {"channels": "8"},
    "Synthetic/bursts": {"items": "{train: 96, valid: 32, test: 32}", "width": "4"},
    "Synthetic/tones": {"items": "{train: 96, valid: 32, test: 32}", "width": "4"},
    "MITBIH/beats": {"width": "4"},
    "MITBIH/framewise": {"width": "4"},
    "Seglearn/watch": {"width": "4"},
    "WHARF/activities": {"width": "4"},
    "Philharmonia/notes": {"width": "4"},
    "SpeechToIntent/commands": {"width": "4"},
    "WUW/keywords": {"width": "4"},
}
"""Recipe → what makes its network small, besides a single epoch."""
