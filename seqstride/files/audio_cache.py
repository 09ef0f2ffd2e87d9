"""Recordings as waveforms or as features, kept in a folder, so that no epoch decodes or transforms them again.

An entry is one file. Its name is a digest of all that decides its numbers: path, size and times of the recording, the
part that is read, the rate, the front end, and the versions of the decoders. A recording that changes on the disk
therefore gets a new entry. The content is the numbers, float32, behind their CRC-32 of four bytes; an entry that fails
this check is made anew. Entries appear in one step, so any number of processes may share a folder.

The preparation of data decodes every recording to find damaged ones. Runs that share a folder also share what it found.

Features are kept where they are the same in every epoch, see `seqstride.brains.manifests.lasting_front`. A front end
gives other last bits for a batch than for single recordings, of which these are made.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from seqstride.errors import FileError, require
from seqstride.files.loading import load_audio
from seqstride.files.remarks import heard_remarks, remark
from seqstride.files.whole_files import whole_file

ENVIRONMENT = "SEQSTRIDE_AUDIO_CACHE"
"""The environment variable with a folder that runs share, which stays when they end; or `off`."""
FOLDER = "decoded"
"""Name of the folder of a run, or of the runs of a comparison."""
LIMIT = 8 * 2**30
"""Bytes of a set, 37 h of samples at 16 kHz. Larger ones do not stay in the memory of most machines, and reading them
from a disk may take longer than decoding them."""
SPARED = 2**30
"""Bytes of the disk that stay free, for checkpoints."""

_CHECK = 4  # bytes of the CRC-32
_FORMAT = 2  # to be raised when `load_audio` or `LogMel` gives other numbers

logger = logging.getLogger(__name__)


class FrontEnd(Protocol):
    """What makes features of waveforms, such as `seqstride.encoders.frontend.LogMel`, from the view of the files."""

    hop: int
    bands: int

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that decides the features."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S), lengths (B,) in samples → (B, bands, T), lengths (B,) in frames."""


class AudioCache:
    """Loads recordings as `load_audio` does, each only once. Without a folder it keeps nothing.

    Args:
        folder: of the entries; None: every call decodes.
        shared: whether the folder belongs to other runs, too; `clear` then leaves it alone.

    Attributes:
        front: what is kept of a recording are the features that it makes; None: the waveform.
    """

    front: FrontEnd | None = None

    def __init__(self, folder: Path | None, shared: bool = False) -> None:
        self.folder, self.shared = folder, shared
        self._full = False

    @classmethod
    def of_run(cls, save: Path) -> AudioCache:
        """Returns the cache that the environment names for a run, or one in its folder `save`."""
        return cls.of_environment() if os.environ.get(ENVIRONMENT) else cls(save / FOLDER)

    @classmethod
    def of_environment(cls) -> AudioCache:
        """Returns the cache that runs share, or one without a folder."""
        place = os.environ.get(ENVIRONMENT)
        return cls(Path(place), shared=True) if place and place != "off" else cls(None)

    def begin(self, samples: int) -> str:
        """Keeps nothing if all recordings together have too many samples; returns a line about that for the log."""
        if self.folder is None or not samples:
            return ""
        numbers = samples if self.front is None else samples / self.front.hop * self.front.bands
        size = f"{math.ceil(4 * numbers / 2**20)} MiB of {'samples' if self.front is None else 'features'}"
        if 4 * numbers > LIMIT:
            self.folder = None
            return f"decoded in every epoch: {size} are more than the {LIMIT / 2**20:g} MiB that are kept"
        return f"decoded once, {size} at most in {self.folder}" + " until the run ends" * (not self.shared)

    def load(self, sample_rate: int, path: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Returns the waveform (S,) that `load_audio` returns for these arguments, or its features (T, bands).

        The bits are the same in every call. Features are made only where they are kept: without a folder a waveform is
        returned, for a front end that takes batches.

        Raises:
            ValueError: as `load_audio`.
        """
        front = None if self.folder is None else self.front
        arguments = (start, stop, sample_rate, *(() if front is None else front.settings))
        entry = self._entry(path, arguments, ".f32")
        content = _read(entry)
        if content:
            numbers = torch.frombuffer(content, dtype=torch.float32)
            return numbers if front is None else numbers.view(-1, front.bands)
        found = load_audio(sample_rate, path, start, stop)
        if front is not None:
            features, _ = front(found[None], torch.tensor([len(found)]))
            found = features[0].T.contiguous()
        # a recording that changes while it is decoded belongs to no entry
        if entry is not None and self._entry(path, arguments, ".f32") == entry:
            self._write(entry, found.contiguous().numpy().data.cast("B"))
        return found

    def checked(self, path: str, decode: Callable[[], tuple[int, int, int]]) -> tuple[int, int, int]:
        """Returns what `decode` finds in a recording: its samples per channel, rate in Hz and channels.

        Remarks that it made on the recording are made again. Errors pass through, and nothing is kept of them.
        """
        entry = self._entry(path, (), ".json")
        content = _read(entry)
        if content:
            found, texts = json.loads(content)
            for text in texts:
                remark(text, path)
        else:
            with heard_remarks() as texts:
                found = decode()
            if entry is not None and self._entry(path, (), ".json") == entry:
                self._write(entry, json.dumps([found, texts]).encode())
        samples, rate, channels = found
        return samples, rate, channels

    def clear(self) -> None:
        """Deletes the folder, unless other runs share it."""
        if self.folder is not None and not self.shared:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _entry(self, path: str, arguments: tuple[float | None, ...], ending: str) -> Path | None:
        """Returns the path of an entry; None without a folder, or if there is no such recording."""
        if self.folder is None:
            return None
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        # the time of the last change of the inode differs even where a copy keeps size and time of modification
        file = [os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        key = json.dumps([file, *arguments, _decoders()])
        name = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self.folder / f"{name}{ending}"

    def _write(self, entry: Path, content: bytes | memoryview) -> None:
        """Adds an entry. If that fails, it says so once, and later recordings are decoded without being kept."""
        if self._full:
            return
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(entry.parent).free < len(content) + SPARED:
                raise FileError(f"less than {SPARED / 2**30:g} GiB of the disk are free")
            with whole_file(entry, durable=False) as part, part.open("wb") as file:
                file.write(_check(entry, content).to_bytes(_CHECK, "little"))
                file.write(content)
        except (OSError, FileError) as error:
            self._full = True
            logger.warning(
                "Further recordings are decoded in every epoch, because %s cannot keep them: %s", entry.parent, error
            )


def _read(entry: Path | None) -> bytearray | None:
    """Returns the content of an entry; None if there is none that can be read, or if it is damaged."""
    if entry is None:
        return None
    try:
        with entry.open("rb") as file:
            check = int.from_bytes(file.read(_CHECK), "little")
            content = bytearray(max(0, os.fstat(file.fileno()).st_size - _CHECK))
            if file.readinto(content) and check == _check(entry, content):
                return content
    except OSError:  # as a rule there is none
        return None
    logger.warning("%s is damaged. The recording is decoded again", entry)
    return None


def _check(entry: Path, content: bytes | bytearray | memoryview) -> int:
    """Returns the check of an entry: it covers the name, so that an entry under another name fails, too."""
    return zlib.crc32(content, zlib.crc32(entry.name.encode()))


@cache
def _decoders() -> list[str]:
    """Returns what decides the samples besides the recording and the arguments, down to the last bit."""
    found = [str(_FORMAT), sys.byteorder, torch.backends.cpu.get_cpu_capability()]
    found.append(require("soundfile", "speech").__libsndfile_version__)
    for package in ("seqstride", "soundfile", "torch", "torchaudio", "torchcodec"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return found
