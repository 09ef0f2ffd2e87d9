"""Recordings as mono waveforms at one sample rate, and features, as tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from seqstride.errors import InputError, require
from seqstride.files.decoding import UNKNOWN, blocks, check_rate, open_recording
from seqstride.files.signal_reader import SignalReader
from seqstride.nearest import near_paths

PIECE = 1_000_000  # samples that are resampled at once; it takes about ten times their memory
FEATURE_VALUES = 1 << 20  # values of features that are read at once
REACH = 8  # periods of context on both sides of a piece; the filters reach 6 zero crossings of the lower rate

FEATURES = "features (.npy)"
_NO_FEATURES = "it must hold at least one frame, and finite values only"


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
    with open_audio(sample_rate, path, start, stop) as waveform:
        return waveform.whole()


@contextmanager
def open_audio(
    sample_rate: int, path: str | os.PathLike[str], start: int = 0, stop: int | None = None
) -> Iterator[SignalReader]:
    """Opens what `load_audio` reads; its samples are read as they are needed. Arguments and errors as there.

    Only a recording whose header does not give its length is decoded twice, and one that torchcodec decodes is in
    memory as a whole.
    """
    path = os.fspath(path)
    with ExitStack() as files:
        with _naming(path, "audio"):
            sound = files.enter_context(open_recording(path))
            check_rate(path, sound.samplerate, sample_rate)
            if sound.frames < UNKNOWN:
                length = max(0, (sound.frames if stop is None else min(stop, sound.frames)) - start)
            else:
                with open_recording(path) as counted:
                    length = sum(map(len, blocks(counted, start, stop)))
            _check_part(start, stop, length)
        if not length:
            raise InputError(f"{path!r} must have at least one sample")

        def mono() -> Iterator[Tensor]:
            with _naming(path, "audio"):
                for block in blocks(sound, start, stop):
                    yield torch.from_numpy(block.mean(1))

        yield _resampled(SignalReader(mono(), length), sound.samplerate, sample_rate)


def _resampled(waveform: SignalReader, rate: int, wanted: int) -> SignalReader:
    """Resamples a waveform; a ratio of rates with large terms is approximated to about a millionth.

    torchaudio makes a table of one filter per term, which takes gigabytes for 44101 to 16000 Hz. It also takes several
    times the memory of its input, so long recordings are resampled in pieces, with context on both sides.
    """
    if rate == wanted:
        return waveform
    slow, fast = sorted((rate, wanted))
    terms = Fraction(slow, fast).limit_denominator(2000)
    # `before` input samples become `behind` output samples
    before, behind = terms.as_integer_ratio() if rate < wanted else terms.as_integer_ratio()[::-1]
    size, reach = max(1, PIECE // before) * before, REACH * before
    last = (len(waveform) - 1) // size * size
    first = max(0, last - reach)
    length = first // before * behind + _resampled_length(len(waveform) - first, before, behind)
    return SignalReader(_resampled_pieces(waveform, before, behind, size, reach), length)


def _resampled_pieces(waveform: SignalReader, before: int, behind: int, size: int, reach: int) -> Iterator[Tensor]:
    resample = require("torchaudio.functional", "speech").resample

    for start in range(0, len(waveform), size):
        first = max(0, start - reach)
        piece = resample(waveform.read(first, min(start + size + reach, len(waveform))), before, behind)
        yield piece[(start - first) // before * behind :][: size // before * behind]


def _resampled_length(length: int, before: int, behind: int) -> int:
    """The length that torchaudio gives: it rounds the quotient to float32, so a sample of a million may be missing."""
    return min(int(torch.tensor(behind * length / before).ceil()), (length // before + 1) * behind)


def load_features(path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Tensor:
    """Reads the features of a .npy file, or a part of them: (T, C) float32.

    Args:
        path: of the file.
        start, stop: first frame and the one behind the last.

    Raises:
        ValueError: the file cannot be read, has another shape, ends before `stop`, or has values that are not finite;
            the error names the file.
    """
    with open_features(path, start, stop) as features:
        return features.whole()


@contextmanager
def open_features(
    path: str | os.PathLike[str], start: int = 0, stop: int | None = None, channels: int | None = None
) -> Iterator[SignalReader]:
    """Opens what `load_features` reads; its frames are read as they are needed. Arguments and errors as there.

    Args:
        channels: C that the features must have; None: any.
    """
    path = os.fspath(path)
    with _naming(path, FEATURES):
        if not os.path.isfile(path):
            if os.path.exists(path):
                raise InputError("it is not a regular file")
            raise InputError(f"there is no such file{near_paths(path)}")
        # mapped, so a damaged header cannot ask for more memory than the file has bytes
        stored: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        if stored.ndim != 2 or stored.dtype.kind not in "fiu":
            raise InputError("it must hold real numbers of shape (T, C)")
        stored = stored[start:stop]
        _check_part(start, stop, len(stored))
        if not stored.size:
            raise InputError(_NO_FEATURES)

    if channels not in (None, stored.shape[1]):
        raise InputError(f"{path!r} (shape {stored.shape}) must have shape (T, {channels})")

    def frames() -> Iterator[Tensor]:
        size = max(1, FEATURE_VALUES // stored.shape[1])
        for first in range(0, len(stored), size):
            with _naming(path, FEATURES), np.errstate(over="ignore"):
                piece = stored[first : first + size].astype(np.float32)
                if not np.isfinite(piece).all():
                    raise InputError(_NO_FEATURES)
            yield torch.from_numpy(piece)

    yield SignalReader(frames(), len(stored))


@contextmanager
def _naming(path: str, kind: str) -> Iterator[None]:
    """Errors inside get the name of the file."""
    try:
        yield
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path!r} cannot be read as {kind}: {error}") from error


def _check_part(start: int, stop: int | None, found: int) -> None:
    """Checks that a part lies inside its file; `found` is the number of samples or frames that were read."""
    if start and not found:
        raise InputError(f"`start` (={start}) must be before its end")
    if stop is not None and found < stop - start:
        raise InputError(f"`stop` (={stop}) must be at most {start + found}, where it ends")
