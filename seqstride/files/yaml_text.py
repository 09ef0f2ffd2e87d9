"""Recipes in HyperPyYAML whose quoted texts stay as they are.

HyperPyYAML resolves `<…>` inside the text that a `!ref` names, computes arithmetic in the result, and writes the tree
again without quotes before it reads the values. This would change the name of a folder such as `run <1>` or `(a)`.
So quoted scalars are encoded in letters that HyperPyYAML does not touch, and decoded when the values are built.
"""

from __future__ import annotations

import io
import re
from functools import cache
from typing import Any

from seqstride.errors import require

# private-use letters around the bytes in hexadecimal: neither a reference, a number, arithmetic nor a tag
_OPEN, _CLOSE = "\ue000", "\ue001"
_CODED = re.compile(f"{_OPEN}([0-9a-f]*){_CLOSE}")


def quoted(text: str) -> str:
    """Returns a quoted scalar, which stays as it is."""
    scalar: str = require("ruamel.yaml.scalarstring", "speech").SingleQuotedScalarString(text)
    return scalar


def round_trip_yaml() -> Any:
    """Returns a reader and writer that keeps `!new:`, `!ref`, quotes and the order of the keys."""
    yaml = require("ruamel.yaml", "speech").YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # never break lines, because a path may contain spaces
    return yaml


def load_recipe(text: str) -> dict[str, Any]:
    """Builds the values of a HyperPyYAML text, including the objects that it names."""
    load_hyperpyyaml = require("hyperpyyaml", "speech").load_hyperpyyaml
    hparams: dict[str, Any] = load_hyperpyyaml(_protected(text), loader=_loader())
    return hparams


def resolved(text: str) -> Any:
    """Returns the YAML tree of a HyperPyYAML text with resolved references; tags stay."""
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
    """Changes the members of a mapping or list in place."""
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
