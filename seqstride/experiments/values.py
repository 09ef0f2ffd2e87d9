"""Checks of a recipe's values: each has the kind of the value in `train.yaml`, and lies within bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from seqstride.errors import InputError


class Bounds(NamedTuple):
    """The bounds of a number."""

    low: float
    high: float = math.inf
    whole: bool = False
    low_belongs: bool = True
    high_belongs: bool = True
    nullable: bool = False

    def hold(self, value: float) -> bool:
        """Whether a finite number lies within the bounds."""
        above = value >= self.low if self.low_belongs else value > self.low
        below = value <= self.high if self.high_belongs else value < self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"of at least {self.low:g}" if self.low_belongs else f"above {self.low:g}"
        high = f" and {'at most' if self.high_belongs else 'below'} {self.high:.10g}" if self.high < math.inf else ""
        return f"{kind} {low}{high}{', or null' if self.nullable else ''}"


COUNT = Bounds(1, whole=True)
WHOLE = Bounds(0, whole=True)
POSITIVE = Bounds(0, low_belongs=False)
NOT_NEGATIVE = Bounds(0)
SHARE = Bounds(0, 1, high_belongs=False)
SEED = Bounds(0, 2**32 - 1, whole=True)  # what numpy takes

#: bounds of keys that recipes share: of `key` anywhere, or of `mapping.key`
BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(("number_of_epochs", "n_epochs", "batch_size", "threads", "average", "patience"), COUNT),
    **dict.fromkeys(("features", "width", "layers", "feed_forward", "kernel_size", "input_kernel_size"), COUNT),
    **dict.fromkeys(("codebook", "quantizers", "factor", "valid_per_speaker", "valid_speakers"), COUNT),
    **dict.fromkeys(("debug_batches", "grad_accumulation_factor", "optimizer_step_limit"), COUNT),
    "complexity.length": COUNT,
    **dict.fromkeys(("num_workers", "warmup_steps", "harmonics", "nonfinite_patience"), WHOLE),
    **dict.fromkeys(("seed", "split_seed"), SEED),
    **dict.fromkeys(("lr", "high_hz"), POSITIVE),
    **dict.fromkeys(("stride_lr", "weight_decay", "mixup_alpha", "low_hz"), NOT_NEGATIVE),
    **dict.fromkeys(("penalty_weight", "commitment_weight", "complexity_weight", "complexity.weight"), NOT_NEGATIVE),
    **dict.fromkeys(("dropout", "intermediate", "validation_fraction"), SHARE),
    **dict.fromkeys(("valid_share", "test_share"), Bounds(0, 1, low_belongs=False, high_belongs=False)),
    "crop": Bounds(0, 1, low_belongs=False),
    "window": Bounds(0, low_belongs=False, nullable=True),
    "sample_rate": Bounds(1, whole=True, nullable=True),
}
#: words that may replace a list
WORDS = {"strides": ("random",)}
#: the allowed values of a key
CHOICES = {"complexity.kind": ("frames", "memory", "macs")}

#: names of keys whose values are always paths
_PATH = re.compile(r"(^|_)(folder|file|path|root|dir|csv|manifest)$")
_REFERENCE = re.compile(r"<([^<>\[.]*)[^<>]*>")


def is_text(key: str, base: Mapping[str, Any], among: Mapping[str, Any] | None = None) -> bool:
    """Whether the values of a key are texts, such as paths, names and words, which are taken literally.

    They are texts if `train.yaml` has a text there, a `!PLACEHOLDER`, or a `!ref` that gives a text, or if the name of
    the key is that of a path.

    Args:
        key: a key of `base`.
        base: the tree of `train.yaml`.
        among: the mapping in `base` that has the key; None: `base` itself.
    """
    return _is_text(key, base if among is None else among, base, frozenset())


def _is_text(key: str, among: Mapping[str, Any], base: Mapping[str, Any], seen: frozenset[str]) -> bool:
    node = among.get(key)
    tag = tag_of(node)
    if isinstance(node, dict | list) or tag not in (None, "!PLACEHOLDER", "!ref", "!copy"):
        return False
    if tag == "!PLACEHOLDER" or _PATH.search(key):
        return True
    if tag is None:
        return isinstance(node, str) and not re.fullmatch(r"\(.*\)", node)  # HyperPyYAML's tuples
    around = _REFERENCE.sub("", node.value)  # type: ignore[union-attr]
    names = set(_REFERENCE.findall(node.value)) - seen  # type: ignore[union-attr]
    return any(map(str.isalpha, around)) or any(_is_text(name, base, base, seen | names) for name in names)


def tag_of(node: Any) -> str | None:
    """Returns the tag of a node, such as `!ref`; None without one."""
    tag: str | None = getattr(getattr(node, "tag", None), "value", None)
    return tag


def check_values(base: Mapping[str, Any], values: Mapping[str, Any], origin: str) -> None:
    """Checks values of a recipe against those of its `train.yaml`. Values with a tag are left to HyperPyYAML.

    Args:
        base: the tree of `train.yaml`.
        values: the values of some of its keys.
        origin: where the values come from, for errors.

    Raises:
        InputError: a value is of another kind, or out of its bounds.
    """
    for name, value, model in _scalars(values, base):
        rule = _broken_rule(name, value, model)
        if rule is not None:
            raise InputError(f"{origin}: `{name}` (={_shown(value)}) must be {rule}")


def check_number(name: str, value: float) -> None:
    """Checks the value of an option that has bounds.

    Raises:
        InputError: the value is out of its bounds.
    """
    if name in BOUNDS and not _within(value, BOUNDS[name]):
        raise InputError(f"`--{name}` (={value}) must be {BOUNDS[name]}")


def _scalars(values: Mapping[str, Any], base: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields name, value and the base's value of each scalar without a tag; names in mappings are `mapping.key`."""
    for key, value in values.items():
        model = base.get(key)
        if isinstance(value, dict) and tag_of(value) is None:
            yield from _scalars(value, model if isinstance(model, dict) else {}, f"{path}{key}.")
        elif tag_of(value) is None and tag_of(model) is None:
            yield f"{path}{key}", value, model


def _broken_rule(name: str, value: Any, model: Any) -> str | None:
    """Returns the rule that a value breaks, as text; None if it breaks none."""
    _, inside, key = name.rpartition(".")
    bounds = BOUNDS.get(name, BOUNDS.get(key))
    if bounds is not None and not isinstance(model, str | list | dict):
        return None if _within(value, bounds) else str(bounds)
    if name in CHOICES:
        return None if value in CHOICES[name] else f"one of {', '.join(CHOICES[name])}"
    if value is None or model is None:
        return None
    if isinstance(model, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(model, int | float):
        whole = isinstance(model, int) and not inside  # in mappings stand arguments of others
        fits = _is_number(value) and not math.isnan(value) and (isinstance(value, int) or not whole)
        return None if fits else f"a {'whole ' if whole else ''}number"
    if isinstance(model, list):
        words = WORDS.get(key, ())
        fits = isinstance(value, list) or value in words
        return None if fits else f"a list, such as {_shown(model)}{''.join(f', or {word}' for word in words)}"
    return None if isinstance(value, str) or not isinstance(model, str) else "a text"


def _within(value: Any, bounds: Bounds) -> bool:
    if value is None:
        return bounds.nullable
    return _is_number(value) and (isinstance(value, int) or not bounds.whole) and bounds.hold(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """Returns a value nearly as YAML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(item if isinstance(item, str) else _shown(item) for item in value)}]"
    if tag_of(value) is not None:
        return f"{tag_of(value)} {getattr(value, 'value', '')}".strip()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(str(value)) if isinstance(value, str) else str(value)
