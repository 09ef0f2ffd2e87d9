"""Command lines of recipes."""

from __future__ import annotations

from pathlib import Path

from seqstride.experiments.recipe import recipes_folder
from seqstride.layers import DOWNSAMPLERS


def words_for(recipe: str | Path, method: str) -> list[str]:
    """The words after `seqstride train` for a method: a key of `DOWNSAMPLERS`, or the name of a file in `hparams/`.

    Args:
        recipe: `<set>/<task>`, or the path of a copy.
        method: without an ending.
    """
    folder = recipes_folder() / recipe
    keys = [str(folder), "--downsampler", method]
    return keys if method in DOWNSAMPLERS else [str(folder / "hparams" / f"{method}.yaml")]
