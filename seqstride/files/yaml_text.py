"""Text that HyperPyYAML leaves as it is: quoted scalars of a recipe.

HyperPyYAML follows `<…>` inside of what a `!ref` leads to, does sums with what comes of it, and writes the tree once
more, without quotes, before it reads the values. A folder that is called `run <1>` or `(a)` would not survive that. So
quoted scalars are written in letters that none of this touches, and read back where the values are made.
"""

from __future__ import annotations

import io
import re
from functools import cache
from typing import Any

from seqstride.errors import require

# letters for private use around the bytes in hexadecimal: no reference, no number, no sum, no tag
_OPEN, _CLOSE = "\ue000", "\ue001"
_CODED = re.compile(f"{_OPEN}([0-9a-f]*){_CLOSE}")


def quoted(text: str) -> str:
    """A scalar that stands for nothing but its letters."""
    scalar: str = require("ruamel.yaml.scalarstring", "speech").SingleQuotedScalarString(text)
    return scalar


def round_trip_yaml() -> Any:
    """A reader and writer that keeps `!new:`, `!ref`, quotes and the order of the keys."""
    yaml = require("ruamel.yaml", "speech").YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # no line is broken: a path is one word, whatever is in it
    return yaml


def load_recipe(text: str) -> dict[str, Any]:
    """The values of a HyperPyYAML text, with the objects that it names."""
    load_hyperpyyaml = require("hyperpyyaml", "speech").load_hyperpyyaml
    hparams: dict[str, Any] = load_hyperpyyaml(_protected(text), loader=_loader())
    return hparams


def resolved(text: str) -> Any:
    """The YAML tree of a HyperPyYAML text with its references resolved, tags kept."""
    resolve_references = require("hyperpyyaml", "speech").resolve_references
    return _restored(round_trip_yaml().load(resolve_references(io.StringIO(_protected(text))).getvalue()))


@cache
def _loader() -> type:
    """ruamel.yaml's loader, which also reads protected scalars as the text that they were."""

    class Loader(require("ruamel.yaml", "speech").Loader):  # type: ignore[misc]
        def construct_scalar(self, node: Any) -> Any:
            value = super().construct_scalar(node)
            return _decoded(value) if isinstance(value, str) else value

    return Loader


def _protected(text: str) -> str:
    yaml, written = round_trip_yaml(), io.StringIO()
    yaml.dump(_encoded(yaml.load(text)), written)
    return written.getvalue()


def _encoded(node: Any) -> Any:
    """Writes quoted scalars in letters that HyperPyYAML leaves alone; mappings and lists are changed in place."""
    scalars = require("ruamel.yaml.scalarstring", "speech")
    if isinstance(node, scalars.DoubleQuotedScalarString | scalars.SingleQuotedScalarString):
        return f"{_OPEN}{node.encode('utf-8', 'surrogateescape').hex()}{_CLOSE}"
    return _in_place(node, _encoded)


def _restored(node: Any) -> Any:
    if isinstance(node, str):
        return _decoded(node) if _CODED.search(node) else node
    return _in_place(node, _restored)


def _in_place(node: Any, change: Any) -> Any:
    """Changes the members of a mapping or list."""
    if isinstance(node, dict):
        for key, value in node.items():
            node[key] = change(value)
    elif isinstance(node, list):
        node[:] = [change(value) for value in node]
    return node


def _decoded(text: str) -> str:
    def bytes_of(match: re.Match[str]) -> str:
        return bytes.fromhex(match[1]).decode("utf-8", "surrogateescape")

    return _CODED.sub(bytes_of, text)
