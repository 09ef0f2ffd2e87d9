"""Reads the command line of a recipe: its file, SpeechBrain's run options, and `--key value` for keys of train.yaml."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqstride._compat import require_torchaudio
from seqstride.errors import InputError
from seqstride.experiments.merging import overrides_as_yaml
from seqstride.experiments.recipe import method_file
from seqstride.experiments.values import check_number
from seqstride.experiments.yaml_trees import BASE, base_of
from seqstride.layers import DOWNSAMPLERS
from seqstride.nearest import did_you_mean, near_matches

HELP = """\
Trains a method of a recipe, for example

  seqstride train recipes/JapaneseVowels/speaker_id --downsampler adastride

Without --downsampler the recipe trains strided convolutions. `seqstride recipes` lists recipes and methods. Some
recipes have variants, such as recipes/SpokenDigits/VQVAE/hparams/waveform.yaml: give that file instead of the recipe.
A path that does not exist is looked up among the recipes that come with the package.

`--key value` overrides any key of the recipe's train.yaml. Paths and words are taken literally. Numbers, lists and
mappings are read as YAML and need quotes if they have spaces: --strides "[2, 2, 2]". SpeechBrain's run options
(--device cpu, --precision bf16, --test_only, …) work as usual, except --debug: --debug_batches 2 or --debug_epochs 1
makes a short run, whose results go to debug/ in the output folder.

To resume an interrupted run, run the same command again. A finished run is left alone; a larger --number_of_epochs
trains it further. An output folder is refused if its run has other settings, classes or data. Choose another
--output_folder then, or --overwrite, which deletes the results of the other run once everything about the new one has
been checked. --test_only writes to test_only/ in the output folder.

A recipe is code: its YAML may run any program (!apply:, !new:). Read recipes of strangers before you run them. So is
the hyperparams.yaml of a run, for SpeechBrain's EncoderClassifier.from_hparams; model.json is not."""

_DEBUG_RUN = ("debug_batches", "debug_epochs", "debug_persistently")
"""SpeechBrain's options for a debug run."""


def read_command_line(argv: Sequence[str]) -> tuple[str, Any, str]:
    """Reads a command line as SpeechBrain's `parse_arguments` does, but checks values against those in `train.yaml`.

    Args:
        argv: the words after the program's name.

    Returns:
        The recipe's file, SpeechBrain's run options, and the overrides as YAML text.

    Raises:
        InputError: an option is unknown, or its value is missing or of another kind.
    """
    from speechbrain.utils.run_opts import RunOptions

    kinds = _run_options()
    words = joined(argv)
    if any(word in ("-h", "--help") for word in words):
        print(HELP)
        raise SystemExit(0)
    files = [word for word in words if not word.startswith("--")]
    if not files:
        raise InputError("a recipe must be given: its folder, or a YAML file of its hparams/")
    if len(files) > 1:
        raise InputError(
            f"the command line: {files[1]!r} does not follow an option; put quotes around a value with spaces, such as "
            '--strides "[2, 2]"'
        )
    chosen_method = [word.removeprefix("--downsampler=") for word in words if word.startswith("--downsampler=")]
    file = method_file(files[0], *chosen_method[:1])
    base = base_of(file)
    keys = [key for key in base if key[:2] != "__"]
    chosen: dict[str, Any] = {}
    changes: dict[str, str] = {}
    for word in words:
        if word == files[0]:
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        if key in kinds:
            chosen[key] = _converted(key, value if equals else None, kinds[key])
            continue
        if key not in keys:
            near = near_matches(key, [*keys, *kinds, *_OWN_FLAGS[-1:]])
            raise InputError(f"the command line: `{key}` is not a key of {BASE}{near}")
        if not equals:
            raise InputError(f"the command line: `--{key}` must have a value: --{key} VALUE")
        if key in changes:
            raise InputError(f"the command line: `--{key}` must be given once")
        if key == "downsampler":
            _check_method(value, file)
        changes[key] = value
    if any(option in chosen for option in _DEBUG_RUN):
        chosen["debug"] = True
    _check_together(chosen)
    run_opts = RunOptions(**chosen, param_file=str(file), overridden_args=set(chosen))
    return str(file), run_opts, overrides_as_yaml(base, changes)


def joined(argv: Sequence[str]) -> list[str]:
    """Joins `--key value` into `--key=value`, because a value may look like an option."""
    kinds = _run_options()
    words, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        key = word.removeprefix("--")
        if word.startswith("--") and "=" not in word and kinds.get(key) is not bool and key not in _OWN_FLAGS:
            values: list[str] = []
            while rest and not rest[0].startswith("--") and (not values or kinds.get(key) is list):
                values.append(rest.pop(0))
            if values:
                word = f"{word}={' '.join(values)}"
        words.append(word)
    return words


_OWN_FLAGS = ("", "help", "resume", "overwrite")
"""Flags of `seqstride train` and `seqstride compare` that SpeechBrain does not know."""


def separated(words: Sequence[str]) -> list[str]:
    """Separates `--key=value` into two words if `joined` would join them again."""
    kinds = _run_options()
    parted = []
    for word in words:
        key, equals, value = word.partition("=")
        joins = kinds.get(key.removeprefix("--")) is not bool and not value.startswith("--")
        if word.startswith("--") and equals and joins:
            parted += [key, value]
        else:
            parted.append(word)
    return parted


def _run_options() -> dict[str, Any]:
    """Returns SpeechBrain's run options: name → bool (a flag), int, float, str, list, or the allowed values."""
    require_torchaudio()
    from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

    names = {*HELP_TEXTS, "jit_module_keys", "compile_module_keys"} - {"debug"}
    return {name: _kind(hint) for name, hint in typing.get_type_hints(RunOptions).items() if name in names}


def _kind(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return typing.get_origin(hint) or hint


def _converted(key: str, value: str | None, kind: Any) -> Any:
    """Converts the value of a run option.

    Raises:
        InputError: the value is missing or of another kind.
    """
    if kind is bool:
        if value is not None:
            raise InputError(f"`--{key}` (={value!r}) must have no value")
        return True
    if not value:
        raise InputError(f"the command line: `--{key}` must have a value: --{key} VALUE")
    if kind is list:
        return value.replace(",", " ").split()
    if isinstance(kind, tuple):
        if value not in kind:
            raise InputError(f"`--{key}` (={value!r}) must be one of {', '.join(kind)}")
        return value
    if kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            raise InputError(f"`--{key}` (={value!r}) must be a {'whole ' if kind is int else ''}number") from None
        check_number(key, number)
        return number
    return value


def _check_method(value: str, file: Path) -> None:
    """Checks the value of `--downsampler`.

    Args:
        value: as it was typed.
        file: the file that the run starts from; it may stand for a method that is not in the registry.

    Raises:
        InputError: there is no such method.
    """
    if value not in DOWNSAMPLERS and value != file.stem:
        raise InputError(
            f"the command line: `downsampler` (={value!r}) must be one of {', '.join(DOWNSAMPLERS)}"
            f"{did_you_mean(value, DOWNSAMPLERS)}"
        )


def _check_together(chosen: dict[str, Any]) -> None:
    """Checks run options that depend on other options or on files.

    Raises:
        InputError: two options exclude each other, or a file is missing.
    """
    if chosen.get("ckpt_interval_minutes", 0) > 0 and chosen.get("ckpt_interval_steps", 0) > 0:
        raise InputError("`--ckpt_interval_minutes` and `--ckpt_interval_steps` must not be given together")
    if chosen.get("log_config") is not None and not Path(chosen["log_config"]).is_file():
        raise InputError(f"`--log_config` (={chosen['log_config']!r}) must be a file")
