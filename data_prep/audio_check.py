"""Decodes every audio file from the first to the last sample before training, to find damaged ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seqstride.errors import InputError, require
from seqstride.files.audio_cache import AudioCache
from seqstride.files.decoding import blocks, open_recording
from seqstride.files.remarks import remarks

from .manifest import write_json

logger = logging.getLogger(__name__)

BadFiles = Literal["error", "skip"]

_LISTED = 20  # bad files that an error names


def check_audio(
    files: Iterable[Path],
    root: Path,
    save_folder: Path,
    *,
    bad_files: BadFiles = "error",
    sample_rate: int | None = None,
    labels: Mapping[Path, str] | None = None,
) -> dict[Path, dict[str, Any]]:
    """Decodes every file completely, in blocks, and returns its entries for a manifest.

    A file is bad if it is missing, empty, cut short, not decodable, not finite, or at another rate. Its length is the
    number of decoded samples, whatever the header says.

    Args:
        files: audio files below `root`, in any format that `seqstride.files.decoding` reads.
        root: the folder that replaces `{data_root}`.
        save_folder: the folder for `skipped.json` (path → reason) if files are left out.
        bad_files: "error" reports all bad files in one error; "skip" leaves them out, with a warning for each.
        sample_rate: the rate that every file must have, in Hz; None: any.
        labels: file → class. A class with only bad files is an error in both cases, because no model could learn it.

    Returns:
        file → `{"wav": "{data_root}/<relative path>", "duration": seconds, "samples": at the file's own rate,
        "sample_rate": Hz, "channels": count}`, in the order of `files`, without the bad ones.

    Raises:
        InputError: there are bad files and `bad_files` is "error", a class has only bad files, or `bad_files` is
            neither "error" nor "skip".
    """
    tqdm = require("tqdm", "speech").tqdm

    if bad_files not in ("error", "skip"):
        raise InputError(f"`bad_files` (={bad_files!r}) must be 'error' or 'skip'")
    good: dict[Path, dict[str, Any]] = {}
    bad: dict[str, str] = {}
    known = AudioCache.of_environment()
    with remarks():
        for file in tqdm(list(files), desc="Checking audio", unit="file", leave=False, disable=None):
            path = file.relative_to(root).as_posix()
            try:
                samples, rate, channels = _checked(file, sample_rate, known)
            except ValueError as error:
                bad[path] = str(error)
            else:
                good[file] = {
                    "wav": f"{{data_root}}/{path}",
                    "duration": samples / rate,
                    "samples": samples,
                    "sample_rate": rate,
                    "channels": channels,
                }

    if bad and bad_files == "error":
        listed = "".join(f"\n  {path}: {reason}" for path, reason in list(bad.items())[:_LISTED])
        more = f"\n  … and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise InputError(
            f"every audio file below {os.fspath(root)!r} must be sound, {len(bad)} of {len(bad) + len(good)} "
            f"are not (`bad_files`='skip' leaves them out):{listed}{more}"
        )
    _check_classes(labels or {}, good, bad, root)
    (save_folder / "skipped.json").unlink(missing_ok=True)
    if bad:
        for path, reason in bad.items():
            logger.warning("left out %s: %s", path, reason)
        write_json(save_folder / "skipped.json", bad)
    return good


def _check_classes(labels: Mapping[Path, str], good: Iterable[Path], bad: Mapping[str, str], root: Path) -> None:
    lost = sorted(set(labels.values()) - {labels.get(file) for file in good})
    if not lost:
        return
    files = [file.relative_to(root).as_posix() for file, label in labels.items() if label == lost[0]]
    others = f", nor of {', '.join(lost[1:])}" if lost[1:] else ""
    raise InputError(
        f"every class must have a recording that can be read: none of the {len(files)} of {lost[0]!r} can{others}; "
        f"{files[0]}: {bad[files[0]]}"
    )


def _checked(file: Path, required_rate: int | None, known: AudioCache) -> tuple[int, int, int]:
    """Returns samples per channel, rate in Hz and channels of a file; raises InputError if it is bad."""
    if not os.path.exists(file):  # False also for a name that is too long
        raise InputError("missing")
    found = known.checked(os.fspath(file), partial(_decode, file, required_rate))
    _check_rate(found[1], required_rate)
    return found


def _check_rate(rate: int, required: int | None) -> None:
    if required is not None and rate != required:
        raise InputError(f"its rate is {rate} Hz and must be {required} Hz")


def _decode(file: Path, required_rate: int | None) -> tuple[int, int, int]:
    """Decodes a file and returns samples per channel, rate in Hz and channels; raises InputError if it is bad."""
    with open_recording(file) as audio:
        rate, channels = audio.samplerate, audio.channels
        _check_rate(rate, required_rate)
        samples = sum(len(block) for block in blocks(audio))
    if samples == 0:
        raise InputError("empty: no samples")
    return samples, rate, channels
