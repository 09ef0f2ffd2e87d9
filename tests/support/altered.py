"""Files of users with values that nobody expects, drawn at random."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 1.7e308, 5e-324, 2**63, 10**400, float("nan"), float("inf")),
    *("", " 7 ", "9" * 5000, "x" * 5000, "a => b", "\x1b[31m\nforged", "\udc80", "a\0b.wav", "!apply:os.system"),
    *("{", "{x}", "{{}}", "{data_root}", "{data_root!r}", "{data_root:>2000000000}", "{data_root.__class__}"),
    *([], {}, [[]], [None], [[0.2, 0.1]], [[0, 1e308]], {"a": 1}),
)
KEYS = ("id", "signal", "target_label", "event_times", "frame_targets", "events", "wav", "features", "start", "{x}", "")
TEXTS = (
    *(b"", b"{", b"null", b"1" * 5000, b"[]", b"{}", b'{"a": {}}', b'{"a": 3}', b"\xff\xfe", b'{"\xe4": {}}', b"\0"),
    *(b"[" * 100_000, b'{"a":' * 100_000),
    *(b'{"a": {"wav": "a.wav", "duration": 1, "x": %b}}' % (b"[" * depth + b"]" * depth) for depth in (100, 900, 5000)),
)


def altered(good: dict[str, dict[str, Any]], draw: random.Random) -> bytes:
    """Returns the text of a manifest with some values, keys or bytes that are wrong."""
    if draw.random() < 0.1:
        return draw.choice(TEXTS)
    items: Any = copy.deepcopy(good)
    for _ in range(draw.choice((1, 1, 2, 3))):
        *path, last = draw.choice([place for place in _places(items) if place] or [(draw.choice(KEYS),)])
        node = items
        for key in path:
            node = node[key]
        kind = draw.random()
        if kind < 0.7:
            node[last] = copy.deepcopy(draw.choice(VALUES))
        elif kind < 0.85:
            del node[last]
        elif isinstance(node, dict):
            node[draw.choice(KEYS)] = node.pop(last)
    text = bytearray(json.dumps(items).encode())
    if draw.random() < 0.1:
        text[draw.randrange(len(text))] = draw.randrange(256)
    if draw.random() < 0.05:
        del text[draw.randrange(len(text)) :]
    return bytes(text)


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield from _places(node[key], (*path, key))
