"""Audio files, each decoded from its first to its last frame before anything is trained on it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .manifest import write_json

logger = logging.getLogger(__name__)

BadFiles = Literal["error", "skip"]

_BLOCK = 1 << 16  # frames decoded at a time
_LISTED = 20  # bad files that an error names
# libsndfile cuts a WAV, AIFF or AU header's length to the file's and tells both in its log
_CUT = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFFF000  # header lengths from here on are what writers put that did not know the length


def check_audio(
    files: Iterable[Path],
    root: Path,
    save_folder: Path,
    *,
    bad_files: BadFiles = "error",
    sample_rate: int | None = None,
) -> dict[Path, dict[str, Any]]:
    """Decodes every file whole, in blocks, and returns what a manifest says of it.

    Bad are files that are missing, empty, cut short, not decodable, not finite, or at another rate. An Ogg file that is
    cut short is found only where the cut damages it, for its header has no length.

    Args:
        files: audio files below `root`, in any format that soundfile reads.
        root: the folder that `{data_root}` stands for.
        save_folder: where `skipped.json` (path → reason) goes if files are left out.
        bad_files: "error" refuses them all at once; "skip" leaves them out, with a warning for each.
        sample_rate: the rate that every file must have, in Hz; None allows any.

    Returns:
        file → `{"wav": "{data_root}/<relative path>", "duration": seconds, "samples": at the file's own rate,
        "sample_rate": Hz, "channels": count}`, in the order of `files`, without the bad ones.

    Raises:
        ValueError: there are bad files and `bad_files` is "error", or it is neither "error" nor "skip".
    """
    from tqdm import tqdm

    if bad_files not in ("error", "skip"):
        raise ValueError(f"`bad_files` (={bad_files!r}) must be 'error' or 'skip'")
    good: dict[Path, dict[str, Any]] = {}
    bad: dict[str, str] = {}
    for file in tqdm(list(files), desc="Checking audio", unit="file", leave=False, disable=None):
        path = file.relative_to(root).as_posix()
        try:
            samples, rate, channels = _decode(file, sample_rate)
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
        raise ValueError(
            f"every audio file below {os.fspath(root)!r} must be sound, {len(bad)} of {len(bad) + len(good)} "
            f"are not (`bad_files`='skip' leaves them out):{listed}{more}"
        )
    (save_folder / "skipped.json").unlink(missing_ok=True)
    if bad:
        for path, reason in bad.items():
            logger.warning("left out %s: %s", path, reason)
        write_json(save_folder / "skipped.json", bad)
    return good


def _decode(file: Path, required_rate: int | None) -> tuple[int, int, int]:
    """Samples per channel, rate and channels of a file that is sound; a ValueError gives the reason if it is not."""
    import soundfile

    if not file.is_file():
        raise ValueError("missing")
    samples, promised = 0, None
    try:
        with soundfile.SoundFile(file) as audio:
            rate, channels, promised = audio.samplerate, audio.channels, audio.frames
            if required_rate is not None and rate != required_rate:
                raise ValueError(f"its rate is {rate} Hz and must be {required_rate} Hz")
            for length, held in _CUT.findall(audio.extra_info):
                if int(held) < int(length) < _STREAMED:
                    raise ValueError(f"cut short: it holds {held} of {length} bytes of samples")
            while len(block := audio.read(_BLOCK, dtype="float32", always_2d=True)):
                if not np.isfinite(block).all():
                    raise ValueError(f"not finite within samples {samples} to {samples + len(block)}")
                samples += len(block)
    # libsndfile's own errors; TypeError: a file without a header, whose rate nobody told
    except (soundfile.SoundFileError, TypeError) as error:
        where = "opened" if promised is None else f"decoded after {samples} of {promised} samples"
        raise ValueError(f"cannot be {where}: {getattr(error, 'error_string', error)}") from error
    if samples < promised:
        raise ValueError(f"cut short: {samples} of {promised} samples can be decoded")
    if samples == 0:
        raise ValueError("empty: no samples")
    return samples, rate, channels
