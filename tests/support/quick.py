"""What makes small runs quick: no waiting that they do not need, and fewer items."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import speechbrain.utils.logger

PARTS = {"TRAIN": 8, "TEST": 3}
"""Utterances of each speaker in the small set of Japanese vowels; six of those for training are for validation."""


def forget_pip_and_disk(patch: pytest.MonkeyPatch) -> None:
    """A run asks pip for the version of every package, and waits for the disk after every file. Both take longer than
    all the rest of a small run."""
    patch.setattr(speechbrain.utils.logger, "get_environment_description", str)
    patch.setattr(os, "fsync", lambda descriptor: None)


def few_vowels(folder: Path) -> Path:
    """Writes the two files of JapaneseVowels with the first utterances of every speaker, and returns the folder."""
    import sktime.datasets

    folder.mkdir(parents=True, exist_ok=True)
    shipped = Path(sktime.datasets.__file__).parent / "data" / "JapaneseVowels"
    for part, count in PARTS.items():
        name = f"JapaneseVowels_{part}.ts"
        seen: dict[str, int] = {}
        lines = []
        for line in (shipped / name).read_text(encoding="utf-8").splitlines():
            if line and line[0] not in "#@":
                speaker = line.rpartition(":")[2]
                seen[speaker] = seen.get(speaker, 0) + 1
                if seen[speaker] > count:
                    continue
            lines.append(line)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
