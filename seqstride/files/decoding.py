"""Audio files, decoded block by block to their end, with checks.

libsndfile decodes most formats; torchcodec, an extra that needs FFmpeg's libraries, decodes the others (m4a, aac, wma,
webm, …). The length in a header may be wrong. A file that is longer is read to its end, with a remark; a file that is
shorter is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError, require
from seqstride.files.audio_files import CODECS
from seqstride.files.audio_headers import Headed, info_frame, mpeg_frames, ogg_is_ended, wav_samples
from seqstride.files.remarks import remark
from seqstride.nearest import near_paths

FARTHEST_RATE = 100
"""Largest ratio of the rates of a file and of the result, in both directions."""

LOUDEST = 1e9
"""Samples must be below this: no recording in any unit is as far from full scale, and powers stay finite."""
UNKNOWN = 2**63 - 1
"""Number of frames of a recording whose header does not give its length."""

_BLOCK = 1 << 16  # frames decoded at a time
# libsndfile limits the length of the header to that of the file, and logs both
_HELD = re.compile(r"^\s*(?:data|SSND|BODY|riff|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_FRAMES = re.compile(r"^\s*Frames\s*: (\d+)", re.MULTILINE)
_STREAMED = 0x7FFFF000  # writers that do not know the length write values from here on
_TRAILER = 4096  # bytes behind the samples that give no remark
_NO_LENGTH = "its header does not give its length; it was read to the end of the file"
_GUESSED = {"aac", "ac3"}  # streams without a container: FFmpeg estimates their length from the bit rate


class Sound(NamedTuple):
    """An open recording that is read from start to end."""

    samplerate: int
    """Hz"""
    channels: int
    frames: int
    """Samples per channel that the file must have, or `UNKNOWN`."""
    seek: Callable[[int], Any]
    """Moves to a sample; called before the first read."""
    read: Callable[[int], np.ndarray]
    """Returns the next samples (N, channels), float32: as many as asked for, or fewer at the end."""


@contextmanager
def open_recording(path: str | os.PathLike[str]) -> Iterator[Sound]:
    """Opens an audio file.

    Raises:
        ValueError: the file cannot be read; the text has the reason without the name of the file.
    """
    if not os.path.isfile(path):  # opening a pipe would wait for a writer
        if os.path.exists(path):
            raise InputError("it is not a regular file")
        raise InputError(f"there is no such file{near_paths(path)}")
    if not os.access(path, os.R_OK):
        raise InputError("permission denied")
    soundfile = _soundfile()
    with ExitStack() as files:
        try:
            sound = _open(path, files)
        except (soundfile.SoundFileError, OSError) as error:
            raise InputError(f"cannot be opened: {_reason(error)}") from error
        yield sound


def blocks(sound: Sound, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Yields the samples of an open recording in blocks (N, channels), float32, full scale ±1, and checks them.

    Memory depends on the content of the file, not on the length in its header.

    Args:
        sound: from `open_recording`.
        start, stop: first sample and the one behind the last; None: the end.

    Raises:
        ValueError: the samples cannot be decoded; the text has the reason without the name of the file.
    """
    soundfile = _soundfile()
    stop = sound.frames if stop is None else min(stop, sound.frames)
    place = min(start, sound.frames)
    try:
        if place:
            sound.seek(place)
        while place < stop and len(block := sound.read(min(_BLOCK, stop - place))):
            if not (np.abs(block) < LOUDEST).all():
                raise InputError(f"not finite within samples {place} to {place + len(block)}, or {LOUDEST:g} and more")
            yield block
            place += len(block)
    except soundfile.SoundFileError as error:
        known = f" of {sound.frames}" if sound.frames < UNKNOWN else ""
        raise InputError(f"cannot be decoded after {place}{known} samples: {_reason(error)}") from error
    if place < stop and sound.frames < UNKNOWN:
        raise InputError(f"cut short: {place} of {stop} samples can be decoded")


def remark_on_rate(path: str, rate: float, wanted: int | None) -> None:
    """Remarks on a recording whose rate, in Hz, is below the expected rate; None: any rate is fine."""
    if wanted is not None and rate < wanted:
        remark(
            f"sampled at {rate} Hz, where {wanted} Hz are expected: the upper part of the spectrum stays empty "
            f"(a model that is trained with --sample_rate {rate} fits)",
            path,
        )


def check_rate(path: str, rate: int, wanted: int) -> None:
    """Checks the rate of a recording, in Hz, against that of the model that hears it. A lower one gives a remark.

    Raises:
        ValueError: the rates are too far from each other.
    """
    if not 1 / FARTHEST_RATE <= rate / wanted <= FARTHEST_RATE:
        raise InputError(f"its rate (={rate} Hz) must be within a factor of {FARTHEST_RATE} of {wanted} Hz")
    remark_on_rate(path, rate, wanted)


@cache
def _soundfile() -> Any:
    """The library, which an extra installs."""
    return require("soundfile", "speech")


@cache
def _sound_file() -> type:
    """The library's class of an open file, for headers that may lack the length."""

    class SoundFile(_soundfile().SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            """False without a length: soundfile would seek after every block, which fails at the end."""
            return self.frames < UNKNOWN and super().seekable()

    return SoundFile


def _open(path: str | os.PathLike[str], files: ExitStack) -> Sound:
    soundfile = _soundfile()
    try:
        # bytes, because a file name need not be text
        audio = files.enter_context(_sound_file()(os.fsencode(path) if os.name == "posix" else os.fspath(path)))
    # libsndfile's errors, or a TypeError for a file without a header, whose rate is unknown
    except (soundfile.SoundFileError, TypeError) as error:
        if Path(path).suffix[1:].lower() in CODECS:
            return _decoded(Path(path))
        raise InputError(f"cannot be opened: {_reason(error)}") from error
    frames = audio.frames
    if audio.format in ("MP3", "OGG", "WAV", "WAVEX", "RF64", "NIST"):
        with open(path, "rb") as file:
            content = files.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
        audio, frames = _by_its_bytes(path, audio, content, files)
    _check_log(path, audio)
    return Sound(
        audio.samplerate,
        audio.channels,
        frames,
        audio.seek,
        lambda count: audio.read(count, dtype="float32", always_2d=True),
    )


def _by_its_bytes(path: str | os.PathLike[str], audio: Any, content: mmap, files: ExitStack) -> tuple[Any, int]:
    """Checks the length by the bytes of a file; returns the file, perhaps with a corrected header, and its frames."""
    if audio.format == "MP3" and (mpeg := mpeg_frames(content)):
        # an Info frame may count itself; if it counts more frames than there are, the file was cut
        if mpeg.told is not None and mpeg.told >= mpeg.number:
            return audio, audio.frames
        if mpeg.damage is not None:
            raise InputError(f"damaged: at byte {mpeg.damage} its frames stop and continue later")
        if mpeg.layer < 3:  # of constant bit rate, so libsndfile's estimate is close
            return audio, mpeg.number * mpeg.samples
        audio = files.enter_context(_sound_file()(Headed(info_frame(content, mpeg), content, mpeg.first)))
    elif audio.format == "OGG":
        if not ogg_is_ended(content):
            remark("its stream has no end mark, so it may be cut short", path)
    elif audio.format == "NIST":
        told = re.search(rb"^sample_count -i (\d+)", content[:1024], re.MULTILINE)
        if told and int(told[1]) > audio.frames:
            raise InputError(f"cut short: it holds {audio.frames} of {int(told[1])} samples")
    elif samples := wav_samples(content):
        if samples.header:
            audio = files.enter_context(_sound_file()(Headed(samples.header, content, len(samples.header))))
            remark(_NO_LENGTH, path)
        elif audio.frames and samples.behind > _TRAILER:
            remark("it has further bytes behind the samples that its header counts; they are not read", path)
    return audio, audio.frames


def _check_log(path: str | os.PathLike[str], audio: Any) -> None:
    """Checks the lengths in libsndfile's log against each other."""
    log = audio.extra_info
    for length, held in _HELD.findall(log):
        if int(held) < int(length) < _STREAMED:
            raise InputError(f"cut short: it holds {held} of {length} bytes of samples")
    frames = _FRAMES.search(log) if audio.format in ("AVR", "MPC2K", "RF64") else None
    promised = int(frames[1]) if frames else 0
    if audio.frames < promised < _STREAMED:
        raise InputError(f"cut short: it holds {audio.frames} of {promised} samples")
    if "Seems to be a truncated file" in log:
        raise InputError(f"cut short: it holds {audio.frames} samples, and its header promises more")
    streamed = any(int(length) >= _STREAMED or length == "0" for length, _ in _HELD.findall(log))
    if streamed or audio.frames == UNKNOWN or re.search(r"^\s*Data Size\s*: -1$", log, re.MULTILINE):
        remark(_NO_LENGTH, path)


def _decoded(path: Path) -> Sound:
    """Decodes a whole file with torchcodec; parts of a file would not join without gaps."""
    ending = path.suffix[1:].lower()
    advice = f"convert it, such as with `ffmpeg -i old.{ending} new.wav`"
    try:
        from torchcodec.decoders import AudioDecoder

        with path.open("rb") as file:  # not the name, which FFmpeg could take for an address
            decoder = AudioDecoder(file)
            samples = decoder.get_all_samples()
    except ImportError as error:
        raise InputError(
            f"{ending} needs torchcodec, which is not installed (pip install 'seqstride[codecs]', and FFmpeg's "
            f"libraries); or {advice}"
        ) from error
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rpartition(".cpp:")[2].rpartition(", ")[2]
        if "libtorchcodec" in reason:
            raise InputError(
                f"{ending} needs FFmpeg's libraries, which torchcodec does not find; or {advice}"
            ) from error
        raise InputError(f"torchcodec cannot decode it ({reason}); {advice}") from error
    promised = decoder.metadata.duration_seconds
    end = samples.pts_seconds + samples.duration_seconds
    if promised is not None and ending not in _GUESSED and end < promised - 0.5:
        raise InputError(f"cut short: it holds {end:.1f} of {promised:.1f} s")
    waves = samples.data.T.numpy()
    place = 0

    def seek(sample: int) -> None:
        nonlocal place
        place = sample

    def read(count: int) -> np.ndarray:
        nonlocal place
        block = waves[place : place + count]
        place += len(block)
        return block

    return Sound(samples.sample_rate, waves.shape[1], len(waves), seek, read)


def _reason(error: Exception) -> str:
    """libsndfile's error without the name of the file."""
    return str(getattr(error, "error_string", error))
