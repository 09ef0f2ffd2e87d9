"""Checkpoints that are complete or do not exist."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seqstride._compat import require_torchaudio

require_torchaudio()

from speechbrain.utils import checkpoints as sb  # noqa: E402

from seqstride.brains.process_group import agreed  # noqa: E402
from seqstride.errors import FileError  # noqa: E402
from seqstride.files.room import free_megabytes  # noqa: E402
from seqstride.files.whole_files import is_write_error, sync  # noqa: E402


class Checkpointer(sb.Checkpointer):
    """SpeechBrain's `Checkpointer`, safe against interruption at any moment and a full disk; same arguments.

    SpeechBrain recognises a checkpoint by its file `CKPT.yaml`, and writes that file first. Here it is written last and
    lists the other files, so that incomplete checkpoints are recognised. A new checkpointer deletes them. Checkpoints
    are ordered as they were saved, whatever the clock said.
    """

    def __init__(self, checkpoints_dir: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(checkpoints_dir, *args, **kwargs)
        agreed(self._clear)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Saves as SpeechBrain does; the checkpoint is valid once all its files are written.

        Raises:
            FileError: it cannot be written, such as on a full disk; what was written of it has been deleted, and the
                checkpoints before it are as they were.
        """
        return agreed(partial(self._save, *args, **kwargs))

    def _save(self, *args: Any, **kwargs: Any) -> Any:
        """Saves, on the first rank alone: what SpeechBrain's methods do only there sends nothing to others here."""
        try:
            checkpoint = super().save_checkpoint(*args, **kwargs)
            description = checkpoint.path / sb.METAFNAME
            for file in checkpoint.path.iterdir():
                sync(file)
            os.replace(_part(description), description)
            sync(checkpoint.path)
            sync(checkpoint.path.parent)
        except (OSError, RuntimeError) as error:
            self._clear()
            if not is_write_error(error, Path(self.checkpoints_dir)):
                raise
            raise FileError(
                f"no checkpoint could be written to {os.fspath(self.checkpoints_dir)!r}, where "
                f"{free_megabytes(self.checkpoints_dir)} MB are free ({error}); those before it are as they were, and "
                "the same command resumes from them"
            ) from error
        return checkpoint

    def save_and_keep_only(
        self, *args: Any, importance_keys: Sequence[Callable[[Any], Any]] = (), **kwargs: Any
    ) -> None:
        """Works as in SpeechBrain, whose default list of keys would grow with every call."""
        agreed(partial(super().save_and_keep_only, *args, importance_keys=list(importance_keys), **kwargs))

    def list_checkpoints(self) -> list[Any]:
        """Lists the checkpoints as they were saved, first to last.

        SpeechBrain orders them by their `unixtime`, which is wrong where the clock has gone back, so that here it is
        their place in that order. Checkpoints of older versions have no number.
        """
        ordered = sorted(super().list_checkpoints(), key=lambda found: (_number(found), found.meta["unixtime"]))
        for place, checkpoint in enumerate(ordered):
            checkpoint.meta["unixtime"] = place
        return ordered

    def _save_checkpoint_metafile(
        self, fpath: Path, meta_to_include: Mapping[str, Any] = {}, end_of_epoch: bool = True
    ) -> Any:
        number = 1 + max((_number(checkpoint) for checkpoint in self.list_checkpoints()), default=0)
        listed = {**meta_to_include, "number": number, "saved": sorted(self.recoverables)}
        return super()._save_checkpoint_metafile(_part(fpath), listed, end_of_epoch)

    def _clear(self) -> None:
        folders = [folder for folder in Path(self.checkpoints_dir).glob(f"{sb.CKPT_PREFIX}*") if folder.is_dir()]
        whole = {
            checkpoint.path
            for checkpoint in self.list_checkpoints()
            if set(checkpoint.meta.get("saved", [])) <= set(checkpoint.paramfiles)
        }
        for folder in set(folders) - whole:
            shutil.rmtree(folder)


def _number(checkpoint: Any) -> int:
    number: int = checkpoint.meta.get("number", 0)
    return number


def _part(path: Path) -> Path:
    return path.with_suffix(".part")
