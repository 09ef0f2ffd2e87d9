"""Recordings as mono waveforms at one sample rate, and features, as tensors."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from seqstride.errors import InputError, require
from seqstride.files.audio_files import Recording, shown
from seqstride.files.decoding import read_mono
from seqstride.nearest import near_paths

PIECE = 10_000_000  # samples that are resampled at once
REACH = 8  # periods of context on both sides of a piece; the filters reach 6 zero crossings of the lower rate


def load_recording(recording: Recording, load: Callable[[str, int, int | None], Tensor]) -> Tensor:
    """Loads a recording of a list; errors name its item where it has a name other than its path.

    Args:
        recording: a file, or a part of one.
        load: path, start and stop → the signal, such as `load_audio` with its rate.

    Raises:
        ValueError: the item of the list is wrong, or `load` cannot read the file.
    """
    try:
        if recording.problem is not None:
            raise InputError(recording.problem)
        return load(recording.path, recording.start, recording.stop)
    except InputError as error:
        if recording.name == recording.path and recording.problem is None:
            raise
        raise InputError(f"item {shown(recording.name)!r}: {error}") from error


def load_audio(sample_rate: int, path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Tensor:
    """Reads a recording, or a part of it, as a mono waveform.

    Args:
        sample_rate: of the result, Hz; a file with another rate is resampled.
        path: a file that `seqstride.files.decoding` reads; its channels are averaged.
        start, stop: first sample and the one behind the last, in samples of the file.

    Returns:
        (S,) float32, full scale ±1.

    Raises:
        ValueError: the file cannot be read, is cut short, ends before `stop`, has no samples or samples that are not
            finite, or its rate is too far from `sample_rate`; the error names the file.
    """
    path = os.fspath(path)
    try:
        mono, rate = read_mono(path, start, stop, sample_rate)
        _check_part(start, stop, len(mono) // 4)
    except ValueError as error:
        raise InputError(f"{path!r} cannot be read as audio: {error}") from error
    if not mono:
        raise InputError(f"{path!r} must have at least one sample")
    return _resample(torch.frombuffer(mono, dtype=torch.float32), rate, sample_rate)


def _resample(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """Resamples a waveform; a ratio of rates with large terms is approximated to about a millionth.

    torchaudio makes a table of one filter per term, which takes gigabytes for 44101 to 16000 Hz. It also takes several
    times the memory of its input, so long recordings are resampled in pieces, with context on both sides.
    """
    if rate == wanted:
        return waveform
    resample = require("torchaudio.functional", "speech").resample

    slow, fast = sorted((rate, wanted))
    terms = Fraction(slow, fast).limit_denominator(2000)
    # `before` input samples become `behind` output samples
    before, behind = terms.as_integer_ratio() if rate < wanted else reversed(terms.as_integer_ratio())
    size, reach = max(1, PIECE // before) * before, REACH * before
    pieces = []
    for start in range(0, len(waveform), size):
        first = max(0, start - reach)
        piece = resample(waveform[first : start + size + reach], before, behind)
        pieces.append(piece[(start - first) // before * behind :][: size // before * behind])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def load_features(path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Tensor:
    """Reads the features of a .npy file, or a part of them: (T, C) float32.

    Args:
        path: of the file.
        start, stop: first frame and the one behind the last.

    Raises:
        ValueError: the file cannot be read, has another shape, ends before `stop`, or has values that are not finite;
            the error names the file.
    """
    try:
        if not os.path.isfile(path):
            if os.path.exists(path):
                raise InputError("it is not a regular file")
            raise InputError(f"there is no such file{near_paths(path)}")
        # mapped, so a damaged header cannot ask for more memory than the file has bytes
        features: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        if features.ndim != 2 or features.dtype.kind not in "fiu":
            raise InputError("it must hold real numbers of shape (T, C)")
        _check_part(start, stop, len(features[start:stop]))
        with np.errstate(over="ignore"):
            features = features[start:stop].astype(np.float32)
        if not features.size or not np.isfinite(features).all():
            raise InputError("it must hold at least one frame, and finite values only")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{os.fspath(path)!r} cannot be read as features (.npy): {error}") from error
    return torch.from_numpy(features)


def _check_part(start: int, stop: int | None, found: int) -> None:
    """Checks that a part lies inside its file; `found` is the number of samples or frames that were read."""
    if start and not found:
        raise InputError(f"`start` (={start}) must be before its end")
    if stop is not None and found < stop - start:
        raise InputError(f"`stop` (={stop}) must be at most {start + found}, where it ends")
