"""CMU AN4: 84 people spell names and addresses, say numbers and a few commands; 16 kHz, 948 and 130 utterances.

The official lists split it by speaker: 74 for training, 10 for testing. The set is released as audio, raw big-endian
16-bit samples (`.raw`) or NIST SPHERE (`.sph`), and as features, 13 mel cepstra at 100 frames per second (`.mfc`, the
files of the Sphinx recognisers), with the same names and lists:

    etc/an4_train.fileids       an4_clstk/<speaker>/<id>, a line each; an4_test.fileids likewise
    etc/an4_train.transcription WORDS (<id>), with or without <s> … </s>; an4_test.transcription likewise
    feat/<fileid>.mfc           or wav/<fileid>.raw, wav/<fileid>.sph

Source: A. Acero, "Acoustical and environmental robustness in automatic speech recognition", Carnegie Mellon University,
1990 (the recordings); the `etc` folder of the release (lists); free for any use, its LICENSE.
"""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqstride.errors import InputError, require
from seqstride.files.decoding import blocks, open_recording
from seqstride.files.text_files import read_text
from seqstride.files.whole_files import whole_file

from .manifest import SPLITS, file_digest, forget, is_prepared, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Hz, of the audio."""

FRAME_RATE = 100.0
"""Frames per second of the released features."""

COEFFICIENTS = 13
"""Mel cepstra per frame of the released features."""

_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_UTTERANCES = {"train": 948, "test": 130}
_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()\s]+)\)")
_LISTED = 20  # bad files that an error names


class _Utterance(NamedTuple):
    file: Path
    speaker: str
    words: str


def prepare_an4(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    source: Literal["features", "audio"] = "features",
    valid_speakers: int = 8,
    seed: int = 0,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) and the files they name.

    `{data_root}` stands for `save_folder`. An item is

        {"features": "{data_root}/features/<id>.npy", "length": frames, "frame_rate": 100.0, "words": …, "speaker": …}

    with float32 (T, 13) in its file, or

        {"wav": "{data_root}/wav/<id>.wav", "duration": seconds, "samples", "sample_rate": 16000, "words", "speaker"}

    `words` is the transcription in capitals, without `<s>` and `</s>`. The test part is the official one. Training
    utterances of its speakers are left out, with a warning (the official lists have none). The validation part has all
    utterances of some training speakers, drawn with `seed`. A second call with the same arguments
    and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `etc/`, and `feat/` or `wav/`.
        save_folder: the folder for manifests and files; made if missing.
        source: "features" takes `feat/*.mfc`, "audio" takes `wav/*.raw` or `wav/*.sph` and writes WAV files.
        valid_speakers: number of training speakers that are held out for validation.
        seed: seed of this random choice.

    Raises:
        ValueError: a list or a transcription is missing, files are missing or damaged, or `valid_speakers` leaves no
            speaker for one of the parts.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if source not in ("features", "audio"):
        raise InputError(f"`source` (={source!r}) must be 'features' or 'audio'")
    official = {split: _utterances(data_folder, split, source) for split in ("train", "test")}
    train = _without_test_speakers(official["train"], official["test"])
    lists = [_list(data_folder, split, kind) for split in official for kind in ("fileids", "transcription")]
    files = [utterance.file for part in official.values() for utterance in part.values()]
    fingerprint = {
        "layout": _LAYOUT,
        "set": "AN4",
        "files": file_digest([*lists, *files], data_folder),
        "source": source,
        "valid_speakers": valid_speakers,
        "seed": seed,
    }
    folder, ending = ("features", "npy") if source == "features" else ("wav", "wav")
    names = [*train, *official["test"]]
    if is_prepared(save_folder, fingerprint, [save_folder / folder / f"{name}.{ending}" for name in names]):
        return

    for split, part in official.items():
        if len(part) != _UTTERANCES[split]:
            logger.warning("the %s list has %d utterances, the whole set has %d", split, len(part), _UTTERANCES[split])
    held_out = _hold_out(train, valid_speakers, seed)
    forget(save_folder)
    write = _write_features if source == "features" else _write_audio
    (save_folder / folder).mkdir(parents=True, exist_ok=True)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    bad: dict[str, str] = {}
    for name, utterance in {**train, **official["test"]}.items():
        split = "test" if name in official["test"] else "valid" if utterance.speaker in held_out else "train"
        try:
            content = write(utterance.file, name, save_folder)
        except ValueError as error:
            bad[utterance.file.relative_to(data_folder).as_posix()] = str(error)
        else:
            items[split][name] = {**content, "words": utterance.words, "speaker": utterance.speaker}
    if bad:
        listed = "".join(f"\n  {path}: {reason}" for path, reason in list(bad.items())[:_LISTED])
        raise InputError(f"every file of {os.fspath(data_folder)!r} must be readable; {len(bad)} are not:{listed}")
    write_manifests(save_folder, items, fingerprint)


def _list(data_folder: Path, split: str, kind: str) -> Path:
    path = data_folder / "etc" / f"an4_{split}.{kind}"
    if not path.is_file():
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold etc/{path.name}, of the official lists"
        )
    return path


def _utterances(data_folder: Path, split: str, source: str) -> dict[str, _Utterance]:
    """Returns id → file, speaker and words for an official part, in the order of its list."""
    words = {}
    for line in read_text(_list(data_folder, split, "transcription")).split("\n"):
        match = _LINE.fullmatch(line.strip())
        if match:
            words[match["id"]] = " ".join(re.sub(r"</?s>", " ", match["words"]).upper().split())
    found = {}
    for line in read_text(_list(data_folder, split, "fileids")).split():
        if line.count("/") != 2:
            raise InputError(f"etc/an4_{split}.fileids must have lines <set>/<speaker>/<id>; {line!r} is not")
        _, speaker, name = line.split("/")
        if not words.get(name):
            raise InputError(f"etc/an4_{split}.transcription must have words for every id of the list; {name} has none")
        found[name] = _Utterance(_file(data_folder, line, source), speaker, words[name])
    return found


def _file(data_folder: Path, fileid: str, source: str) -> Path:
    if source == "features":
        return data_folder / "feat" / f"{fileid}.mfc"
    sphere = data_folder / "wav" / f"{fileid}.sph"
    return sphere if sphere.is_file() else sphere.with_suffix(".raw")


def _without_test_speakers(train: dict[str, _Utterance], test: dict[str, _Utterance]) -> dict[str, _Utterance]:
    known = {utterance.speaker for utterance in test.values()}
    kept = {name: utterance for name, utterance in train.items() if utterance.speaker not in known}
    if len(kept) < len(train):
        both = sorted({utterance.speaker for utterance in train.values()} & known)
        left = len(train) - len(kept)
        logger.warning("left out %d training utterances of speakers in the test list: %s", left, ", ".join(both))
    return kept


def _hold_out(train: dict[str, _Utterance], count: int, seed: int) -> set[str]:
    speakers = sorted({utterance.speaker for utterance in train.values()})
    if not 1 <= count < len(speakers):
        raise InputError(
            f"`valid_speakers` (={count}) must be between 1 and {len(speakers) - 1}, "
            "one less than there are speakers for training"
        )
    return set(np.random.default_rng(seed).choice(speakers, count, replace=False).tolist())


def _write_features(file: Path, name: str, save_folder: Path) -> dict[str, Any]:
    """Converts a `.mfc` file to (T, 13) float32 and returns its manifest entries; an InputError says why it is bad."""
    if not file.is_file():
        raise InputError("missing")
    content = file.read_bytes()
    count = int.from_bytes(content[:4], "big")
    if len(content) < 4 or len(content) != 4 + 4 * count:
        raise InputError(f"its header says {count} values, but {max(0, len(content) - 4) / 4:g} follow")
    if count == 0 or count % COEFFICIENTS:
        raise InputError(f"it has {count} values, not a multiple of {COEFFICIENTS} above 0")
    features = np.frombuffer(content, dtype=">f4", offset=4).reshape(-1, COEFFICIENTS).astype(np.float32)
    if not np.isfinite(features).all():
        raise InputError("not finite")
    buffer = io.BytesIO()
    np.save(buffer, features)
    _write_whole(save_folder / "features" / f"{name}.npy", buffer.getvalue())
    return {"features": f"{{data_root}}/features/{name}.npy", "length": len(features), "frame_rate": FRAME_RATE}


def _write_audio(file: Path, name: str, save_folder: Path) -> dict[str, Any]:
    """Converts a `.raw` or `.sph` file to WAV and returns its manifest entries; an InputError says why it is bad."""
    soundfile = require("soundfile", "speech")

    if not file.is_file():
        raise InputError("missing, with the ending .sph, too")
    if file.suffix == ".raw":
        content = file.read_bytes()
        if not content or len(content) % 2:
            raise InputError(f"it has {len(content)} bytes, not an even number above 0")
        samples = np.frombuffer(content, dtype=">i2").astype(np.int16)
    else:
        with open_recording(file) as audio:
            if audio.samplerate != SAMPLE_RATE or audio.channels != 1 or not audio.frames:
                raise InputError(
                    f"it has {audio.frames} samples of {audio.channels} channels at {audio.samplerate} Hz and must be "
                    f"mono at {SAMPLE_RATE} Hz"
                )
            full_scale = 1 << 15
            samples = np.concatenate([np.rint(full_scale * block[:, 0]).astype(np.int16) for block in blocks(audio)])
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    _write_whole(save_folder / "wav" / f"{name}.wav", buffer.getvalue())
    return {
        "wav": f"{{data_root}}/wav/{name}.wav",
        "duration": len(samples) / SAMPLE_RATE,
        "samples": len(samples),
        "sample_rate": SAMPLE_RATE,
    }


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(content)
