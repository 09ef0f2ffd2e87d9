"""The folder of a trained model, and hints where a folder has none."""

from __future__ import annotations

import os
from pathlib import Path

from seqstride.errors import InputError
from seqstride.nearest import near_paths

FILES = ("model.json", "model.ckpt")
_MOST = 3  # folders that the hint names


def check_model_folder(folder: str | os.PathLike[str], name: str = "folder") -> None:
    """Checks that a folder has a trained model.

    Args:
        folder: the output folder of a run.
        name: of the argument, for the error.

    Raises:
        InputError: a file is missing. The error says what the folder has instead, or names similar folders.
    """
    for file in FILES:
        if not Path(folder, file).is_file():
            instead = _instead(Path(folder))
            raise InputError(f"`{name}` (={os.fspath(folder)!r}) must hold a trained model; {file} is missing{instead}")


def _instead(folder: Path) -> str:
    if not folder.exists():
        return f": there is no such folder{near_paths(folder)}"
    if not folder.is_dir():
        return ": it is not a folder"
    if (folder / "series.json").is_file():
        command = f"seqstride predict-series FILE --model {os.fspath(folder)} -o OUT"
        return f": this is a model of fit-series, and `{command}` labels series with it"
    if (folder / "model.joblib").is_file():
        return ": it holds an estimator for `joblib.load`"
    below = sorted(path.parent for path in [*folder.glob("*/model.json"), *folder.glob("*/*/model.json")])
    if below:
        shown = ", ".join(repr(os.fspath(path)) for path in below[:_MOST])
        return f", but there is one in {shown}{' and others' if len(below) > _MOST else ''}"
    if any((folder / "save" / "checkpoints").glob("CKPT*")):
        return ": its run is not finished; run the same `seqstride train` again to resume it"
    return ""
