"""Reads the true length of MP3, Ogg and WAV files from their bytes, because headers may be estimates or wrong.

Sources: ISO/IEC 11172-3 and 13818-3 (frames of MPEG audio), RFC 3533 (pages of Ogg), EBU Tech 3306 (WAV and RF64). Info
frames of the Xing and LAME encoders are read as in mpg123.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from io import RawIOBase
from mmap import mmap
from typing import Any, NamedTuple

from seqstride.errors import InputError

Content = bytes | mmap

# MPEG


class MpegFrames(NamedTuple):
    """The frames of an MPEG audio file."""

    first: int
    """Byte at which the first frame starts, after tags and an Info frame."""
    number: int
    """Number of frames, including a truncated last frame."""
    samples: int
    """Samples per frame and channel."""
    layer: int
    told: int | None
    """Number of frames according to an Info frame; None without an Info frame."""
    damage: int | None
    """Byte at which the frames stop if they continue later; else None."""


class _Frame(NamedTuple):
    size: int  # bytes
    samples: int
    kind: tuple[int, int, int]  # version, layer and sample rate, equal in all frames of a file


_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version bits
_FIRST = 3  # version bits of MPEG-1
_LATER_BITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KILOBITS = {  # by whether the file is MPEG-1, and its layer
    (True, 1): tuple(range(0, 449, 32)),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _LATER_BITS,
    (False, 3): _LATER_BITS,
}


def mpeg_frames(content: Content) -> MpegFrames | None:
    """Counts the frames of an MPEG audio file; returns None if no frame is at its start, or after a tag."""
    place = _tag(content, 0)
    frame = _frame(content[place : place + 3])
    if frame is None:
        return None
    kind, samples, told = frame.kind, frame.samples, None
    mark = place + 4 + _side_information(content[place : place + 4])
    if content[mark : mark + 4] in (b"Xing", b"Info"):
        flags, told = struct.unpack(">II", content[mark + 4 : mark + 12].ljust(8, b"\0"))
        told = told if flags & 1 else None
        place += frame.size
    elif content[place + 36 : place + 40] == b"VBRI":
        place += frame.size
    first, number = place, 0
    while True:
        frame = _frame(content[place : place + 3])
        if frame is not None and frame.kind == kind:
            place += frame.size
            number += 1
        elif tag := _tag(content, place):
            place += tag
        else:
            break
    return MpegFrames(first, number, samples, kind[1], told, place if _goes_on(content, place) else None)


def info_frame(content: Content, frames: MpegFrames) -> bytes:
    """Returns a silent frame that states the number of frames. It goes before the first frame of a layer III file."""
    head = bytearray(content[frames.first : frames.first + 4])
    head[1] |= 0x01  # no checksum
    head[2] = head[2] & 0x0C | 0xE0  # the highest bit rate, which gives enough room
    frame = _frame(bytes(head[:3]))
    assert frame is not None
    told = b"Xing" + struct.pack(">II", 1, frames.number)
    return (bytes(head) + bytes(_side_information(bytes(head))) + told).ljust(frame.size, b"\0")


@lru_cache(maxsize=1024)
def _frame(head: bytes) -> _Frame | None:
    """Reads the first three bytes of a frame; returns None for other bytes, and for a frame of free bit rate."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, bits, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    bits_per_second = 1000 * _KILOBITS[version == _FIRST, layer][bits]
    hertz, padding = _RATES[version][rate], head[2] >> 1 & 1
    if layer == 1:
        return _Frame(4 * (12 * bits_per_second // hertz + padding), 384, (version, layer, hertz))
    samples = 1152 if layer == 2 or version == _FIRST else 576
    return _Frame(samples // 8 * bits_per_second // hertz + padding, samples, (version, layer, hertz))


def _side_information(head: bytes) -> int:
    """Returns the number of bytes between the header and the sound of a layer III frame."""
    mono = head[3:] >= b"\xc0"
    return (17 if mono else 32) if head[1] >> 3 & 3 == _FIRST else (9 if mono else 17)


def _tag(content: Content, place: int) -> int:
    """Returns the number of bytes of the ID3 tag at this place; 0 without a tag."""
    head = content[place : place + 10]
    if head[:3] == b"TAG":
        return 128
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _goes_on(content: Content, place: int) -> bool:
    """Returns whether two adjacent frames of the same kind follow later."""
    while (place := content.find(b"\xff", place)) >= 0:
        frame = _frame(content[place : place + 3])
        following = frame and _frame(content[place + frame.size : place + frame.size + 3])
        if frame and following and frame.kind == following.kind:
            return True
        place += 1
    return False


# Ogg


def ogg_is_ended(content: Content) -> bool:
    """Returns whether the stream of an Ogg file has an end mark.

    Raises:
        ValueError: the file ends within a page, is damaged, or has a second stream after the first.
    """
    place, begun, ended = 0, False, False
    while content[place : place + 4] == b"OggS":
        head = content[place : place + 27]
        segments = content[place + 27 : place + 27 + head[26]] if len(head) == 27 else b""
        place += 27 + len(segments) + sum(segments)
        if len(head) < 27 or len(segments) < head[26] or place > len(content):
            raise InputError("cut short: it ends within a page")
        first, last = head[5] & 2, head[5] & 4
        if first and begun:
            raise InputError("it holds several streams, one after the other; `ffmpeg -i old.ogg new.ogg` joins them")
        begun, ended = begun or not first, ended or bool(last)
    if content.find(b"OggS", place) >= 0:
        raise InputError(f"damaged: at byte {place} its pages stop and continue later")
    return ended


# WAV


class WavSamples(NamedTuple):
    """The end of the samples of a WAV or RF64 file."""

    behind: int
    """Number of bytes after the samples that are not chunks."""
    header: bytes | None
    """A corrected header if the header says 0 samples but the file has some; else None."""


def wav_samples(content: Content) -> WavSamples | None:
    """Compares the size in the header with the file; returns None if the file has no samples."""
    wide = 0  # place of the 64-bit size of an RF64 file
    start = None
    for name, place, length in _chunks(content, 12):
        if name == b"ds64":
            wide = place + 8
        if name == b"data":
            start, size = place, length
            break
    if start is None:
        return None
    header = bytearray(content[:start])
    header[start - 4 :] = b"\xff" * 4
    if header[:4] == b"RF64" and wide:
        [size] = struct.unpack_from("<Q", header, wide)
        struct.pack_into("<Q", header, wide, len(content) - start)
    end = start + size + size % 2
    for name, chunk, length in _chunks(content, end):
        if not all(0x20 <= letter < 0x7F for letter in name) or name == b"RIFF" or chunk + length > len(content):
            break
        end = chunk + length + length % 2
    behind = max(0, len(content) - end)
    return WavSamples(behind, bytes(header) if size == 0 and behind else None)


def _chunks(content: Content, place: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, place of the content, and size of each chunk from a place on."""
    while place + 8 <= len(content):
        [size] = struct.unpack("<I", content[place + 4 : place + 8])
        yield content[place : place + 4], place + 8, size
        place += 8 + size + size % 2


# Files with another header


class Headed(RawIOBase):
    """A readable file made of a new header and the rest of another file.

    Args:
        head: the header.
        content: the other file.
        start: first byte of the other file that follows the header.
    """

    def __init__(self, head: bytes, content: Content, start: int) -> None:
        self._head, self._content, self._start, self._place = head, content, start, 0

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as possible; returns the number of bytes."""
        wanted, behind = len(buffer), self._start + max(0, self._place - len(self._head))
        found = self._head[self._place : self._place + wanted]
        found += self._content[behind : behind + wanted - len(found)]
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a byte; returns the place."""
        end = len(self._head) + len(self._content) - self._start
        self._place = max(0, offset + (0, self._place, end)[whence])
        return self._place

    def tell(self) -> int:
        """Returns the place."""
        return self._place
