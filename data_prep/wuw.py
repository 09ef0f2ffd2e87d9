"""WUW Corpus II: people say one of five keywords within a sentence of their own, over the telephone; 8 kHz.

Wake-up words: Operator, ThinkEngine, Onword, Wildfire, Voyager. In every session a caller says each of them alone and
in a sentence; `data.json` has the transcription and the times of the keyword.

    data.json                               what was said, by whom, and the checksum of every file
    calls/<session>/WUWII<session>_<utterance>.ulaw     µ-law at 8 kHz without a header
        utterance: 000 the caller's name, 001 to 005 the keywords alone, 006 to 010 the same in a sentence

Source: V. Këpuska, "Wake-Up-Word Speech Recognition", in Speech Technologies, IntechOpen 2011, doi:10.5772/16242;
https://github.com/wake-up-word/wuw-corpus-ii; licence CC BY-SA 4.0. The split is ours.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.errors import InputError, require
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import whole_file

from .download import download_github
from .groups import split_groups
from .manifest import SPLITS, file_digest, forget, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 8000
"""Hz, of every recording."""

KEYWORDS = ("operator", "thinkengine", "onword", "wildfire", "voyager")
"""In the order of the utterances 001 to 005 and 006 to 010."""

REPOSITORY = "wake-up-word/wuw-corpus-ii"
COMMIT = "edd16fe0e8c861daef05e6778016764e20b3d628"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_SENTENCES = 1422  # of the whole set that are chosen below
_LISTED = 20  # bad files that an error names
_MARKS = re.compile(r"\[[^\]]*\]|\{[^}]*\}|<[^>]*>")  # noises and ways of speaking


class _Spoken(NamedTuple):
    file: Path
    checksum: str
    session: str
    keyword: str
    event: tuple[float, float]
    """Start and end of the keyword, seconds."""
    words: str
    alone: bool
    """Whether nothing but the keyword was to be said."""


def prepare_wuw(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    wav_folder: str | os.PathLike[str],
    alone: bool = False,
    valid_share: float = 0.15,
    test_share: float = 0.25,
    seed: int = 0,
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the label `keyword`.

    `{data_root}` stands for `wav_folder`. An item is

        {"wav": "{data_root}/<name>.wav", "duration": seconds, "samples", "sample_rate": 8000, "channels": 1,
         "keyword", "events": [[start, end]], "words": the transcription, "session", "caller"}

    `events` has the times of the keyword, for `seqstride.brains.events`. The sentences are those with exactly one of
    the keywords, the one that was asked for, and its times. The parts are drawn at random by caller: one who called
    more than once is in one part. Callers are told apart by the last word of their name in utterance 000, so that some
    share one; without a name the session counts as a caller. The items are in order of length, so that batches of
    validation and test have little padding. A second call with the same arguments and unchanged files
    (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `data.json` and `calls/`.
        save_folder: the folder for the manifests; made if missing.
        wav_folder: the folder for the recordings as WAV files, which several runs may share; made if missing.
        alone: add the keywords that the callers of the training part say alone, to the training part.
        valid_share, test_share: shares of the sentences.
        seed: seed of the random split.
        download: fetch the set if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: `data.json` is missing or has another form, a recording is missing or its checksum is another, or
            the shares leave nothing for a part.
    """
    data_folder, save_folder, wav_folder = Path(data_folder), Path(save_folder), Path(wav_folder).resolve()
    if download:
        download_github(REPOSITORY, COMMIT, data_folder)
    callers, spoken = _read(data_folder)
    spoken = [one for one in spoken if alone or not one.alone]
    fingerprint = {
        "layout": _LAYOUT,
        "set": "WUW",
        "files": file_digest([data_folder / "data.json", *(one.file for one in spoken)], data_folder),
        "wav_folder": os.fspath(wav_folder),
        "alone": alone,
        "valid_share": valid_share,
        "test_share": test_share,
        "seed": seed,
    }
    if is_prepared(save_folder, fingerprint, [wav_folder / f"{one.file.stem}.wav" for one in spoken]):
        return

    sentences = [one for one in spoken if not one.alone]
    warn_if_incomplete(data_folder, len(sentences), _SENTENCES)
    parts = split_groups(
        [callers[one.session] for one in sentences], valid_share=valid_share, test_share=test_share, seed=seed
    )
    forget(save_folder)
    samples = _convert(spoken, data_folder, wav_folder)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for one in sorted(spoken, key=lambda one: samples[one.file]):
        caller = callers[one.session]
        part = parts.get(caller, "train")
        if one.alone and part != "train":
            continue
        items[part][one.file.stem] = {
            "wav": f"{{data_root}}/{one.file.stem}.wav",
            "duration": samples[one.file] / SAMPLE_RATE,
            "samples": samples[one.file],
            "sample_rate": SAMPLE_RATE,
            "channels": 1,
            "keyword": one.keyword,
            "events": [list(one.event)],
            "words": one.words,
            "session": one.session,
            "caller": caller,
        }
    write_manifests(save_folder, items, fingerprint)


def _read(data_folder: Path) -> tuple[dict[str, str], list[_Spoken]]:
    """Returns session → caller, and the keywords that were said as asked for, in the order of `data.json`."""
    table = data_folder / "data.json"
    if not table.is_file():
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold data.json and calls/ "
            "(`download`=True fills an empty folder)"
        )
    callers: dict[str, str] = {}
    spoken: list[_Spoken] = []
    try:
        for entry in read_json(table)["entries"]:
            session, utterance = entry["sessionNumber"], int(entry["utteranceNumber"])
            words = " ".join(entry["transcription"].split())
            if utterance == 0:
                callers[session] = _caller(words, session)
            elif 1 <= utterance <= 2 * len(KEYWORDS):
                spoken += _as_asked(data_folder, entry, utterance, words)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{table} must be that of the corpus, with its entries: {error!r}") from error
    return {one.session: callers.get(one.session, one.session) for one in spoken}, spoken


def _caller(words: str, session: str) -> str:
    """Returns the last word of a caller's name in small letters; without a name the session."""
    names = re.findall(r"[a-z]+", _MARKS.sub(" ", words).lower().replace("'", ""))
    return names[-1] if names else session


def _as_asked(data_folder: Path, entry: dict[str, Any], utterance: int, words: str) -> list[_Spoken]:
    """Returns the utterance, or nothing where another keyword or none was said, or its times are missing."""
    keyword = KEYWORDS[(utterance - 1) % len(KEYWORDS)]
    letters = re.sub(r"[^a-z]", "", words.lower())
    file = data_folder / "calls" / entry["sessionNumber"] / entry["fileName"]
    start, end = float(entry["startTime"]), float(entry["endTime"])
    seconds = file.stat().st_size / SAMPLE_RATE if file.is_file() else float("inf")  # a byte is a sample
    if [word for word in KEYWORDS if word in letters] != [keyword] or not 0 <= start < end <= seconds:
        return []
    alone = utterance <= len(KEYWORDS)
    return [_Spoken(file, entry["checksum"], entry["sessionNumber"], keyword, (start, end), words, alone)]


def _convert(spoken: list[_Spoken], data_folder: Path, wav_folder: Path) -> dict[Path, int]:
    """Writes the WAV files that are missing, in µ-law, too; returns recording → samples."""
    soundfile = require("soundfile", "speech")

    wav_folder.mkdir(parents=True, exist_ok=True)
    samples, bad = {}, {}
    for one in spoken:
        content = one.file.read_bytes() if one.file.is_file() else b""
        if not content or hashlib.md5(content).hexdigest() != one.checksum:
            name = one.file.relative_to(data_folder).as_posix()
            bad[name] = f"its md5 must be {one.checksum}, that of data.json" if content else "missing or empty"
            continue
        samples[one.file] = len(content)
        target = wav_folder / f"{one.file.stem}.wav"
        if not target.is_file():
            raw = {"format": "RAW", "subtype": "ULAW", "channels": 1, "samplerate": SAMPLE_RATE}
            wave, _ = soundfile.read(io.BytesIO(content), dtype="int16", **raw)
            with whole_file(target) as part:
                soundfile.write(part, wave, SAMPLE_RATE, format="WAV", subtype="ULAW")
    if bad:
        listed = "".join(f"\n  {path}: {reason}" for path, reason in list(bad.items())[:_LISTED])
        raise InputError(f"every recording of {os.fspath(data_folder)!r} must be whole; {len(bad)} are not:{listed}")
    return samples
