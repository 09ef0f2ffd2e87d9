"""Small runs of the recipe of Japanese vowels, and what they end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from recipes import words_for
from seqstride.cli import main
from seqstride.experiments.recipe import recipes_folder

RECIPE = recipes_folder() / "JapaneseVowels" / "speaker_id"


def command(method: str, output: Path, *flags: str, **overrides: object) -> list[str]:
    """The command line of a run of the recipe."""
    options = {"output_folder": output, "device": "cpu", **overrides}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return ["train", *words_for(RECIPE, method), *argv, "--noprogressbar", *flags]


def train(method: str, output: Path, **overrides: object) -> dict:
    """Runs the recipe, and gives its record."""
    assert main(command(method, output, **overrides)) == 0
    return json.loads((output / "results.json").read_text())


def checkpoints(output: Path) -> tuple[dict[Path, dict[str, Any]], list[Path]]:
    """The whole checkpoints of a run, oldest first, with their descriptions; and the folders that are none."""
    whole, others = {}, []
    for folder in (output / "save" / "checkpoints").glob("CKPT*"):
        text = folder / "CKPT.yaml"
        meta = yaml.safe_load(text.read_text()) if text.is_file() else None
        if meta is not None and all((folder / f"{name}.ckpt").is_file() for name in meta["saved"]):
            whole[folder] = meta
        else:
            others.append(folder)
    return dict(sorted(whole.items(), key=lambda pair: pair[1]["unixtime"])), others


def final(output: Path) -> dict[str, Any]:
    """All that a finished run ends with, but what was measured by the clock."""
    newest = list(checkpoints(output)[0])[-1]
    state = {path.stem: torch.load(path) for path in (newest / "encoder.ckpt", newest / "optimizer.ckpt")}
    epochs = json.loads((newest / "history.ckpt").read_text())
    record = json.loads((output / "results.json").read_text())
    for part in (*epochs, record):
        assert part.pop("seconds") > 0
        assert part.pop("cpu_seconds") > 0
    model = load_file(output / "model.safetensors")
    return {**state, "brain": (newest / "brain.ckpt").read_text(), "epochs": epochs, "record": record, "model": model}


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Equal to the last bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}/{key}")
    else:
        assert found == expected, where
