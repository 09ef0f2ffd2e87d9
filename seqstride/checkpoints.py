"""Checkpoints that are whole or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqstride._compat import require_torchaudio

require_torchaudio()

from speechbrain.utils import checkpoints as sb  # noqa: E402
from speechbrain.utils.distributed import if_main_process, run_on_main  # noqa: E402


class Checkpointer(sb.Checkpointer):
    """SpeechBrain's `Checkpointer`, safe against a stop at any moment; same arguments.

    SpeechBrain takes a folder for a checkpoint if its file `CKPT.yaml` is there, and writes that file first. Here it
    comes last, and lists the others, so that a folder that was stopped half-way through saving or deleting is known.
    Making a checkpointer clears such folders away.
    """

    def __init__(self, checkpoints_dir: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(checkpoints_dir, *args, **kwargs)
        run_on_main(self._clear)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """As in SpeechBrain; the checkpoint counts from the moment that all its files are there."""
        checkpoint = super().save_checkpoint(*args, **kwargs)
        if if_main_process():
            description = checkpoint.path / sb.METAFNAME
            os.replace(_part(description), description)
        return checkpoint

    def _save_checkpoint_metafile(
        self, fpath: Path, meta_to_include: Mapping[str, Any] = {}, end_of_epoch: bool = True
    ) -> Any:
        listed = {**meta_to_include, "saved": sorted(self.recoverables)}
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


def _part(path: Path) -> Path:
    return path.with_suffix(".part")
