"""Where a trained model is looked for, and what is there instead."""

from __future__ import annotations

import os
from pathlib import Path

from seqstride.errors import InputError
from seqstride.nearest import near_paths

FILES = ("model.json", "model.ckpt")
_MOST = 3  # folders that are named


def check_model_folder(folder: str | os.PathLike[str], name: str = "folder") -> None:
    """Checks that there is a model.

    Args:
        folder: the output folder of a run.
        name: of the argument.

    Raises:
        InputError: it lacks a file; says what there is, or is called nearly so.
    """
    for file in FILES:
        if not Path(folder, file).is_file():
            instead = _instead(Path(folder))
            raise InputError(
                f"`{name}` (={os.fspath(folder)!r}) must hold a trained model; there is no {file}{instead}"
            )


def _instead(folder: Path) -> str:
    if not folder.exists():
        return f": there is no such folder{near_paths(folder)}"
    if not folder.is_dir():
        return ": it is no folder"
    if (folder / "model.zip").is_file():
        command = f"seqstride predict-series FILE --model {os.fspath(folder)} -o OUT"
        return f": it is of fit-series, and `{command}` labels series with it"
    if (folder / "model.joblib").is_file():
        return ": this one is an estimator, for `joblib.load`"
    below = sorted(path.parent for path in [*folder.glob("*/model.json"), *folder.glob("*/*/model.json")])
    if below:
        shown = ", ".join(repr(os.fspath(path)) for path in below[:_MOST])
        return f", but in {shown}{' and others' if len(below) > _MOST else ''}"
    if any((folder / "save" / "checkpoints").glob("CKPT*")):
        return ": its run is not finished, and the same `seqstride train` resumes it"
    return ""
