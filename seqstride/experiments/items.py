"""The result of every scored item, packed into the record of a run.

With counts a_i and totals b_i of the items i, a metric is

    s · mean over the classes c of  Σ_{i in c} a_i / Σ_{i in c} b_i,        s = 100 for per cent, else 1:

accuracy has a_i = 1 if item i is right, b_i = 1 and one class of all items; balanced accuracy has the classes of the
items; a word error rate has the errors and words of an utterance. The items stand in the order of their sorted names.

A record holds the counts, and the part of the data with its totals and classes. The file of a comparison keeps each
part once, since all methods score the same items.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.experiments.provenance import digest


class ItemResult(NamedTuple):
    """The result of one item."""

    counted: float
    total: float = 1
    group: int | None = None
    """The index of its class, where every class counts alike."""


class Items(NamedTuple):
    """The results of all items of a part."""

    counts: np.ndarray
    """(N,)"""
    totals: np.ndarray
    """(N,)"""
    groups: np.ndarray
    """(N,), all 0 where there are no classes."""


def pack_items(results: Mapping[str, ItemResult]) -> dict[str, Any]:
    """Returns name → result as plain JSON values, for the key `items` of a record."""
    names = sorted(results)
    counts, totals, groups = zip(*(results[name] for name in names), strict=True)
    part = {
        "totals": None if set(totals) == {1} else _text(totals),
        "groups": None if None in groups else _text(groups),
    }
    return {"counts": _text(counts), "part": {"digest": digest([names, part]), **part}}


def unpack_items(packed: Mapping[str, Any]) -> Items:
    """Reads what `pack_items` returned."""
    counts, part = _array(packed["counts"]), packed["part"]
    totals = np.ones(len(counts)) if part["totals"] is None else _array(part["totals"])
    groups = np.zeros(len(counts)) if part["groups"] is None else _array(part["groups"])
    return Items(counts, totals, groups.astype(int))


def part_of(record: Mapping[str, Any]) -> str | None:
    """Returns the digest of the items that a run scored; None if its record has no items."""
    return record["items"]["part"]["digest"] if "items" in record else None


def parts_apart(records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the records with digests in place of the parts of their items, and digest → part."""
    parts: dict[str, Any] = {}
    apart = []
    for record in records:
        record = dict(record)
        if "items" in record:
            part = dict(record["items"]["part"])
            name = part.pop("digest")
            parts[name] = part
            record["items"] = {**record["items"], "part": name}
        apart.append(record)
    return apart, parts


def parts_inside(records: Sequence[Mapping[str, Any]], parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the records that `parts_apart` made its results from."""
    inside = []
    for record in records:
        record = dict(record)
        if "items" in record:
            name = record["items"]["part"]
            record["items"] = {**record["items"], "part": {"digest": name, **parts[name]}}
        inside.append(record)
    return inside


def _text(values: Sequence[Any]) -> str:
    """Returns numbers as `<type>:<count>:<base64 of compressed bytes>`, in the smallest type; bits are packed."""
    array = np.array(values)
    if array.dtype.kind in "iub":
        kinds: tuple[Any, ...] = (np.bool_, np.uint8, np.uint16, np.uint32)
        kind = next(kind for kind in kinds if np.array_equal(array.astype(kind).astype(np.int64), array))
    else:
        kind = np.float32
    array = array.astype(kind)
    data = np.packbits(array) if kind is np.bool_ else array.astype(array.dtype.newbyteorder("<"))
    packed = base64.b64encode(zlib.compress(data.tobytes(), 9)).decode("ascii")
    return f"{np.dtype(kind).name}:{len(array)}:{packed}"


def _array(text: str) -> np.ndarray:
    """Returns the numbers of `_text` as float64."""
    kind, count, packed = text.split(":")
    try:
        data = zlib.decompress(base64.b64decode(packed))
    except zlib.error as error:  # it is no ValueError, as the errors of other damages are
        raise InputError(f"the results of items in a record are damaged: {error}") from error
    if kind == "bool":
        return np.unpackbits(np.frombuffer(data, np.uint8), count=int(count)).astype(np.float64)
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<")).astype(np.float64)
