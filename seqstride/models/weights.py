"""Weights in files: written as safetensors, which are plain numbers behind a header; older files are read, too."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from seqstride.errors import InputError
from seqstride.files.whole_files import whole_file

LARGEST_HEADER = 1 << 21
"""Bytes of names and shapes, enough for 15 000 tensors."""
_ARCHIVE = b"PK\3\4"
"""Begins what `torch.save` writes; as a length of a header it would be far too large."""


def write_weights(file: Path, modules: nn.Module) -> None:
    """Writes the state of modules as safetensors.

    Raises:
        FileError: the file cannot be written.
    """
    # copies: the format takes neither tensors that share their numbers nor such in another order
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in modules.state_dict().items()
    }
    with whole_file(file) as part:
        part.write_bytes(save(state))


def read_weights(file: Path) -> dict[str, Tensor]:
    """Reads the weights in a file of `write_weights`, or of an older version.

    Raises:
        InputError: the file is larger than it looks, it has other things than tensors, tensors share their numbers, or
            a tensor is not finite.
        Exception: of torch or safetensors, for files that they did not write.
    """
    weights = _read_archive(file) if _begins(file) == _ARCHIVE else _read_plain(file)
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise InputError(f"`{name}` must be finite; it has NaN or infinite numbers")
        if "running_var" in name and (tensor < 0).any():
            raise InputError(f"`{name}` must not be negative; it is a variance")
    return weights


def _begins(file: Path, count: int = len(_ARCHIVE)) -> bytes:
    with file.open("rb") as opened:
        return opened.read(count)


def _read_plain(file: Path) -> dict[str, Tensor]:
    """Safetensors itself refuses tensors that lie over each other, and bytes that belong to none."""
    size = int.from_bytes(_begins(file, 8), "little")
    if size > LARGEST_HEADER:
        raise InputError(f"its header (={size} bytes) must have at most {LARGEST_HEADER} bytes")
    return load(file.read_bytes())  # `load_file` takes only names in UTF-8


def _read_archive(file: Path) -> dict[str, Tensor]:
    """Reads a state dict as `torch.save` writes it."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    packed = [entry.filename for entry in entries if entry.file_size != entry.compress_size]
    if packed:
        raise InputError(f"its entry {packed[0]!r} must not be compressed")
    if sum(entry.file_size for entry in entries) > os.path.getsize(file):
        raise InputError("its entries must not lie over each other")
    weights: Any = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(weights, Mapping):
        raise InputError(f"it must map names to tensors; it holds a {type(weights).__name__}")
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"`{name}` must be a tensor; it is a {type(tensor).__name__}")
        if tensor.layout != torch.strided or tensor.untyped_storage().nbytes() < tensor.nbytes:
            raise InputError(f"`{name}` must hold all its numbers")
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in weights.values())}
    if sum(tensor.nbytes for tensor in weights.values()) > sum(storages.values()):
        raise InputError("its tensors must have numbers of their own; some share them")
    return dict(weights)
