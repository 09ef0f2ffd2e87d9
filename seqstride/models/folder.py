"""The folder of a trained model, and hints where a folder has none."""

from __future__ import annotations

import os
from pathlib import Path

from seqstride.errors import InputError
from seqstride.nearest import near_paths

MODEL, WEIGHTS = "model.json", "model"
"""The file of the description, and the stem of the file of weights."""
ENDING, OLD_ENDING = ".safetensors", ".ckpt"
"""Of files of weights; older versions wrote the second with `torch.save`."""
_MOST = 3  # folders that the hint names


def check_model_folder(folder: str | os.PathLike[str], name: str = "folder") -> None:
    """Checks that a folder has a trained model.

    Args:
        folder: the output folder of a run.
        name: of the argument, for the error.

    Raises:
        InputError: a file is missing. The error says what the folder has instead, or names similar folders.
    """
    for file in model_files(folder):
        if not file.is_file():
            raise InputError(
                f"`{name}` (={os.fspath(folder)!r}) must hold a trained model; {file.name} is missing"
                f"{_instead(Path(folder))}"
            )


def model_files(folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Returns the files of the description and the weights in a folder, which need not exist."""
    return Path(folder, MODEL), weights_file(folder, WEIGHTS)


def weights_file(folder: str | os.PathLike[str], stem: str) -> Path:
    """Returns the file of weights in a folder, which need not exist: that of an older version only if it is alone."""
    file, old = (Path(folder, stem + ending) for ending in (ENDING, OLD_ENDING))
    return old if old.is_file() and not file.is_file() else file


def _instead(folder: Path) -> str:
    if not folder.exists():
        return f": there is no such folder{near_paths(folder)}"
    if not folder.is_dir():
        return ": it is not a folder"
    if (folder / "series.json").is_file():
        command = f"seqstride classify-series FILE --model {os.fspath(folder)} -o OUT"
        return f": this is a classifier of series, and `{command}` labels series with it"
    if (folder / "rows.json").is_file():
        return (
            ": it holds a classifier of rows, which no command reads, only "
            "`seqstride.estimators.saved_tabular.load_tabular` in Python"
        )
    if (folder / "model.joblib").is_file():
        return ": it holds an estimator of an older version, for `joblib.load`"
    below = sorted(path.parent for path in [*folder.glob("*/model.json"), *folder.glob("*/*/model.json")])
    if below:
        shown = ", ".join(repr(os.fspath(path)) for path in below[:_MOST])
        return f", but there is one in {shown}{' and others' if len(below) > _MOST else ''}"
    if any((folder / "save" / "checkpoints").glob("CKPT*")):
        return ": its run is not finished; run the same `seqstride train` again to resume it"
    return ""
