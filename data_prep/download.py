"""Downloads that resume after an interruption, and archives that are unpacked completely or not at all."""

from __future__ import annotations

import hashlib
import logging
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from seqstride.errors import DownloadError, InputError, require
from seqstride.files.whole_files import sync

logger = logging.getLogger(__name__)

_GITHUB = "https://github.com"
_BLOCK = 1 << 18  # bytes
_TIMEOUT = 60.0  # seconds without a byte
_MOST = 200  # most that the files may exceed the archive's size; recordings shrink to a half, lists of words to a tenth


def download(url: str, path: str | os.PathLike[str], *, checksum: str | None = None) -> None:
    """Downloads a file to `path`, where it appears only when it is complete and verified.

    An incomplete download is kept in `<path>.part`. The next call asks the server for the rest, or starts over if the
    server only sends whole files. An existing file is left unchanged.

    Args:
        url: an address with http or https.
        path: the file to write; its folder is made.
        checksum: `"sha256:<hex>"` or `"md5:<hex>"` of the whole file; None: no check.

    Raises:
        DownloadError: the server refuses or the connection breaks.
        InputError: the file has another checksum; the download is removed.
    """
    path = Path(path)
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _receive(url, part)
    except (OSError, HTTPException) as error:
        kept = f"; {part.stat().st_size} bytes are kept, the next call goes on from there" if part.is_file() else ""
        raise DownloadError(f"{url} cannot be downloaded: {error}{kept}") from error
    if checksum is not None:
        algorithm, expected = checksum.split(":")
        found = _digest(part, algorithm)
        if found != expected:
            part.unlink()
            raise InputError(
                f"`checksum` (={checksum!r}) must be that of {url}, whose {algorithm} is {found}: the file is damaged "
                "or has changed; the download was removed"
            )
    sync(part)
    os.replace(part, path)
    sync(path.parent)


def download_archive(
    url: str, folder: str | os.PathLike[str], *, inner: str = ".", checksum: str | None = None
) -> None:
    """Downloads a tar or zip archive, unpacks it as `folder`, and removes the archive.

    The folder appears only when it is complete. A folder with files in it is left unchanged.

    Args:
        url, checksum: as in `download`.
        folder: the folder to make.
        inner: the folder inside the archive that becomes `folder`.

    Raises:
        InputError: the archive lacks `inner`, names files outside of itself, or has another checksum.
        DownloadError: the server refuses or the connection breaks.
    """
    folder = Path(folder).absolute()
    if folder.exists() and any(folder.iterdir()):
        return
    archive = folder.with_name(f"{folder.name}-{url.rsplit('/', 1)[-1]}")
    logger.info("downloading %s into %s", url, folder)
    download(url, archive, checksum=checksum)
    unpacked = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was killed
    try:
        _unpack(archive, unpacked)
        if not (unpacked / inner).is_dir():
            raise InputError(f"`inner` (={inner!r}) must be a folder inside the archive of {url}")
        os.replace(unpacked / inner, folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()


def download_github(repository: str, commit: str, folder: str | os.PathLike[str]) -> None:
    """Downloads the files of a GitHub repository at a commit as `folder`; otherwise like `download_archive`.

    There is no checksum: GitHub packs such an archive anew for every request, not always to the same bytes. The commit
    fixes its content.

    Args:
        repository: owner/name.
        commit: 40 hexadecimal digits.
        folder: the folder to make.

    Raises:
        InputError, DownloadError: as `download_archive`.
    """
    name = repository.rsplit("/", 1)[-1]
    download_archive(f"{_GITHUB}/{repository}/archive/{commit}.tar.gz", folder, inner=f"{name}-{commit}")


def _receive(url: str, part: Path) -> None:
    """Appends to `part` until it has the length that the server states."""
    tqdm = require("tqdm", "speech").tqdm

    have = part.stat().st_size if part.is_file() else 0
    try:
        response = urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != 416:  # "range not satisfiable": nothing is left to send, or `part` is of another file
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        part.unlink()
        response = urlopen(url, timeout=_TIMEOUT)
    with response:
        if response.headers.get("Content-Range", "").split("-")[0] != f"bytes {have}":
            have = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(
                total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, leave=False, disable=None
            ) as progress,
        ):
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                progress.update(len(block))
    if total is not None and have != total:
        raise ConnectionError(f"the connection broke after {have} of {total} bytes")


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks every file of an archive below `folder`.

    Raises:
        InputError: the file is no archive or is damaged, one of its files would land outside of `folder`, or the files
            are more than `_MOST` times as large as the archive.
    """
    most = _MOST * archive.stat().st_size
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                for name in content.namelist():
                    if not (folder / name).resolve().is_relative_to(folder.resolve()):
                        raise InputError(f"{archive.name} must keep its files to itself, {name!r} leaves the archive")
                if sum(member.file_size for member in content.infolist()) > most:
                    raise InputError(f"{archive.name} must not unpack to more than {_MOST} times its size")
                content.extractall(folder)
        else:
            size = 0
            with tarfile.open(archive) as content:
                for member in content:
                    size += member.size
                    if size > most:
                        raise InputError(f"{archive.name} must not unpack to more than {_MOST} times its size")
                    content.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise InputError(f"{archive.name} must keep its files to itself: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        archive.unlink()
        raise InputError(f"{archive.name} is no archive, or is damaged, and was removed: {error}") from error
