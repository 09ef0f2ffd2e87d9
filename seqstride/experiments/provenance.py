"""The origin of a run: its settings, the names of its outputs, and every item of its data.

A run's folder keeps them in `made_from.json`. A command that resumes the run must have the same settings, names and
items, except for the settings in `FREE`. Manifests are compared by content: data in another folder are the same data.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqstride._moved import current_name
from seqstride.errors import InputError
from seqstride.experiments.settings import resolved_values, with_values
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import whole_file

FILE = "made_from.json"
EPOCHS = "number_of_epochs"
"""The setting that may become larger when a run is continued."""
FREE = frozenset(
    [
        *("output_folder", "save_folder", "data_folder", "data_root", "data_file", "csv"),  # places
        *("manifests", "prepare", "data", "download"),  # their items are compared
        *("folds", "more_folds", "folds_are", "ratios", "methods"),  # for comparisons
        *("threads", "__set_threads", "device", "precision", "eval_precision", "distributed_backend"),
        *("train_logger", "noprogressbar", "ckpt_interval_minutes", "ckpt_interval_steps"),
        *(
            f"{part}_dataloader.{option}"
            for part in ("train", "valid")
            for option in ("num_workers", "pin_memory", "prefetch_factor", "persistent_workers")
        ),
    ]
)
"""Settings that do not change the trained weights. Settings inside them are free, too."""
SCORING = frozenset(["score", "beam_search", "average", "probes", "valid_dataloader"])
"""Settings that only change how a trained model is scored."""
PATHS = ("wav", "features")
"""Keys of manifest items whose values are paths."""
COMPARISON = "SEQSTRIDE_COMPARED_DATA"
"""The environment variable with which `seqstride compare` passes digests of finished runs' data to its runs."""
MOST_SETTINGS, MOST_EXAMPLES, LONGEST = 5, 3, 60
"""The most settings, examples of a kind, and characters of a value in a message."""

Items = Mapping[str, Mapping[str, str]]
"""Split → id → digest of the item's content."""


class MadeFrom(NamedTuple):
    """The settings, output names and items of a run."""

    settings: Mapping[str, Any]
    """The settings of `seqstride.experiments.settings.flat_settings`, and run options that change trained weights."""
    names: Mapping[str, Sequence[str]]
    """Kind → names in the order of the outputs, such as `classes of label` → class names."""
    items: Items
    extensions: Sequence[Mapping[str, int]] = ()
    """One entry per growth of `number_of_epochs`: its old value `from`, and the epochs `trained` until then."""


# Files


def read_made_from(folder: Path) -> MadeFrom | None:
    """Reads the `made_from.json` of a run's folder; returns None if there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return MadeFrom(**{key: content[key] for key in MadeFrom._fields})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{os.fspath(path)!r} must be the origin of a run: {error!r}") from error


def write_made_from(folder: Path, made: MadeFrom) -> None:
    """Writes `made_from.json`, completely or not at all."""
    with whole_file(folder / FILE) as part:
        part.write_text(json.dumps(made._asdict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def manifest_items(manifests: Mapping[str, str | os.PathLike[str]]) -> dict[str, dict[str, str]]:
    """Returns split → id → digest of the item's entry in its manifest.

    Paths that begin with `{data_root}` count as they are written. For other paths, only the file name counts.
    """
    items = {}
    for split, path in manifests.items():
        content = read_json(path)
        items[split] = {
            name: digest(
                {
                    key: _placeless(value) if key in PATHS and isinstance(value, str) else value
                    for key, value in item.items()
                }
            )
            for name, item in content.items()
        }
    return items


def _placeless(path: str) -> str:
    return path if path.startswith("{data_root}") else Path(path).name


def digest(content: Any) -> str:
    """Returns a digest of plain JSON values as a hexadecimal text. The order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


# Differences


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = FREE) -> list[str]:
    """Returns the keys of changed settings, with which a run cannot be continued.

    Args:
        before, now: settings of the run, and of this command.
        free: keys that may differ, and so may all settings inside them.
    """
    before, now = current_settings(before), current_settings(now)
    keys = [key for key in dict.fromkeys([*before, *now]) if not _is_free(key, free)]
    changed = [key for key in keys if (key in before) != (key in now) or before.get(key) != now.get(key)]
    return [key for key in changed if not (key == EPOCHS and _grows(before.get(key), now.get(key)))]


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces old class names in YAML tags by current ones, because files of older runs may have old names."""

    def current(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"^(!(?:new|name|apply):)([\w.]+)", lambda tag: tag[1] + current_name(tag[2]), value)
        if isinstance(value, dict):
            return {key: current(content) for key, content in value.items()}
        return [current(content) for content in value] if isinstance(value, list) else value

    return {key: current(value) for key, value in settings.items()}


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Returns a digest of all settings except those in `FREE`."""
    return digest({key: value for key, value in current_settings(settings).items() if not _is_free(key, FREE)})


def setting_differences(before: Mapping[str, Any], now: Mapping[str, Any], changed: Sequence[str]) -> list[str]:
    """Returns one line for each key in `changed`, with its old and new value."""
    lines = [
        f"`{key}` was {_shown(before, key)}, now {_shown(now, key)}" + " (it may only grow)" * (key == EPOCHS)
        for key in changed[:MOST_SETTINGS]
    ]
    return lines + ([f"and {len(changed) - MOST_SETTINGS} more settings"] if len(changed) > MOST_SETTINGS else [])


def name_differences(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns one line for each kind of output names that differs."""
    lines = []
    for kind in dict.fromkeys([*before, *now]):
        old, new = before.get(kind, ()), now.get(kind, ())
        came = [name for name in new if name not in set(old)]
        went = [name for name in old if name not in set(new)]
        if came or went:
            parts = [f"{_examples(names)} {verb}" for names, verb in ((went, "went"), (came, "came")) if names]
            lines.append(f"{kind}: {', '.join(parts)}")
        elif list(old) != list(new):
            lines.append(f"{kind}: they are in another order")
    return lines


def item_differences(before: Items, now: Items) -> list[str]:
    """Returns one line for each split with differences: the numbers of removed, added and changed items."""
    lines = []
    for split in dict.fromkeys([*before, *now]):
        old, new = before.get(split, {}), now.get(split, {})
        kinds = {
            "went": [name for name in old if name not in new],
            "came": [name for name in new if name not in old],
            "changed": [name for name in old if name in new and old[name] != new[name]],
        }
        parts = [f"{len(names)} {verb} ({_examples(names, 1)})" for verb, names in kinds.items() if names]
        if parts:
            lines.append(f"{split}, of {len(old)} items: {', '.join(parts)}")
    return lines


def _is_free(key: str, free: Collection[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[: count + 1]) in free for count in range(len(parts)))


def _grows(before: Any, now: Any) -> bool:
    return all(isinstance(value, int | float) for value in (before, now)) and now > before


def _shown(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "not there"
    value = settings[key]
    text = value if isinstance(value, str) and value.startswith("!") else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _examples(names: Sequence[str], most: int = MOST_EXAMPLES) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, …" if most == 1 else f"{shown} and {len(names) - most} more"


# Data


def data_settings(settings: Mapping[str, Any]) -> set[str]:
    """Returns the settings that only the data preparation refers to. They determine the manifests."""
    own: set[str] = set()
    others: set[str] = set()
    for key, value in settings.items():
        top = key.split(".")[0]
        if top not in ("output_folder", "save_folder"):
            (own if top in ("prepare", "manifests", "data_root") else others).update(
                re.findall(r"<([^<>\[\]]+)", json.dumps(value))
            )
    return own - others


def data_origin(recipe: str, file: str) -> Any:
    """Returns the settings that determine the data of a merged recipe. Runs with equal ones must have equal data."""
    placeless = with_values(recipe, {"output_folder": "", "save_folder": ""})
    return resolved_values(placeless, ("prepare", "data", "manifests"), file)


def data_record(origin: Any, items: Items) -> dict[str, str]:
    """Returns the entry `data` of a run's record: digests of `origin` and `items`.

    Args:
        origin: the result of `data_origin`.
        items: the items of all splits.
    """
    return {"origin": digest(origin), "items": digest(items)}


# The runs of a comparison


def comparison_data(runs: Iterable[tuple[Mapping[str, Any], Path]]) -> str:
    """Returns the data digests of finished runs as JSON text for `check_comparison`.

    Args:
        runs: record and folder of each finished run.
    """
    known = {
        record["data"]["origin"]: [record["data"]["items"], os.fspath(folder)]
        for record, folder in runs
        if "data" in record
    }
    return json.dumps(known)


def check_comparison(data: Mapping[str, str], items: Items) -> None:
    """Checks that a run of a comparison has the same data as the finished runs.

    Args:
        data: the result of `data_record`.
        items: the items of all splits.

    Raises:
        InputError: the data differ. The message lists the differences if the folder of the finished run still exists.
    """
    expected, folder = json.loads(os.environ.get(COMPARISON, "{}")).get(data["origin"], (None, ""))
    if expected in (None, data["items"]):
        return
    made = read_made_from(Path(folder))
    how = f": {'; '.join(item_differences(made.items, items))}" if made else ""
    raise InputError(
        f"the data have changed since the finished runs of the comparison{how}. Restore them, or choose another -o"
    )
