"""The output folder of a run: whether it holds a run, whether that run may be continued, and how it is deleted.

    made_from.json              settings, output names and data items of the run; written when training begins
    save/checkpoints/           written from the first epoch on
    results.json, model, …      written at the end

If the folder holds the same run, a command resumes it, or says that it is finished. If the folder holds another run,
the command is refused and every file stays unchanged.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.distributed import rank
from seqstride.errors import FileError, InputError
from seqstride.experiments.building import check_given
from seqstride.experiments.provenance import (
    EPOCHS,
    FILE,
    SCORING,
    MadeFrom,
    changed_settings,
    item_differences,
    name_differences,
    read_made_from,
    setting_differences,
    write_made_from,
)
from seqstride.experiments.settings import flat_settings, resolved_values
from seqstride.experiments.yaml_trees import BASE
from seqstride.files import audio_cache
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import whole_file

logger = logging.getLogger(__name__)

OVERWRITE = "--overwrite"
RECORD = "results.json"
MODELS = (
    *("model.safetensors", "series.safetensors", "rows.safetensors"),
    *("model.ckpt", "model.joblib"),  # of older versions
)
LEFT = (
    *(
        RECORD,
        BASE,
        "model.json",
        "series.json",
        "rows.json",
        *MODELS,
        "hyperparams.yaml",
        "label_encoder.ckpt",
        "predictions.csv",
    ),
    *("training.png", "strides.png", "units.png", "wer.txt", "cer.txt", "train_log.txt"),
    *("model.onnx", "model.pt2"),
)
"""Files that a run, or the export of its model, writes into the folder."""
SCORED, TRIED = "test_only", "debug"
"""Folders inside a run's folder for the results of --test_only and of debug runs."""
CHECKPOINTS = "checkpoints"
LEARNT_UNITS = "pieces.model"
"""The file in `save` with the units that a recipe learns from the texts before training."""
_BEFORE = ".before"


class RunFolder(NamedTuple):
    """The folders of a run."""

    output: Path
    save: Path
    """The folder of checkpoints and prepared data."""

    @classmethod
    def of(cls, recipe: str, file: str) -> RunFolder:
        """Reads the folders from the text `recipe` of a merged recipe; `file` is its name in errors.

        Raises:
            InputError: a key has no value, or a folder is not a text.
        """
        check_given(recipe, file)
        places = resolved_values(recipe, ("output_folder", "save_folder"), file)
        if "output_folder" not in places:
            raise InputError(f"the recipe {file!r} must have the key `output_folder`")
        for key, place in places.items():
            if place is None:
                raise InputError(f"`{key}` must be given in {BASE} and must not be null")
            if not isinstance(place, str):
                raise InputError(
                    f"`{key}` (={place!r}) must be the path of a folder; put quotes around a number in YAML"
                )
        output = Path(places["output_folder"])
        return cls(output, Path(places.get("save_folder", output / "save")))

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is a complete checkpoint."""
        return any((self.save / CHECKPOINTS).glob("CKPT*/CKPT.yaml"))

    @property
    def has_run(self) -> bool:
        """Whether there are weights, or results."""
        return self.has_checkpoints or any((self.output / name).is_file() for name in (RECORD, *MODELS))


def take_flag(argv: Sequence[str], flag: str) -> tuple[bool, list[str]]:
    """Returns whether the command line `argv` has the flag, and its other words."""
    return flag in argv, [word for word in argv if word != flag]


# Checks


def begun_from(folder: RunFolder) -> MadeFrom | None:
    """Returns the origin of the run in a folder; None without a run.

    Older runs have no `made_from.json`. Their settings are read from `train.yaml`; names and items stay unknown.

    Raises:
        InputError: the folder holds a run, but neither of these files.
    """
    if not folder.has_run:
        return None
    made = read_made_from(folder.output)
    if made is not None:
        return made
    recipe = folder.output / BASE
    if not recipe.is_file():
        raise InputError(
            f"`output_folder` (={str(folder.output)!r}) holds a run, but neither {FILE} nor {BASE}, which "
            f"say how it was made. {what_to_do()}"
        )
    if rank() == 0:
        logger.warning(
            "The run in %s comes from an older version without %s. It is compared by its %s and its manifests instead.",
            *(folder.output, FILE, BASE),
        )
    return MadeFrom(flat_settings(recipe.read_text(encoding="utf-8"), str(recipe)), {}, {})


def check_settings(folder: RunFolder, before: MadeFrom, settings: Mapping[str, Any], free: Collection[str]) -> None:
    """Refuses settings with which the run in a folder cannot be continued.

    Raises:
        InputError: a setting differs. The message shows its old and new value.
    """
    changed = changed_settings(before.settings, settings, free)
    if not changed:
        return
    scoring = all(key.split(".")[0] in SCORING for key in changed)
    raise InputError(
        _refusal(folder, setting_differences(before.settings, settings, changed))
        + f". Use --test_only to score its model with the new settings; the results go to {SCORED}/" * scoring
    )


def check_data(folder: RunFolder, before: MadeFrom, now: MadeFrom, splits: Collection[str] | None = None) -> None:
    """Refuses data with which the run in a folder cannot be continued.

    Args:
        folder: the folder of the run.
        before, now: origin of the run in the folder, and of this command. Unknown names or items are not compared.
        splits: the splits whose items must be equal; None: all.

    Raises:
        InputError: they differ. The message lists output names and items that were added, removed or changed.
    """
    old, new = (
        {split: items for split, items in made.items.items() if splits is None or split in splits}
        for made in (before, now)
    )
    differences = name_differences(before.names, now.names) if before.names else []
    differences += item_differences(old, new) if before.items else []
    if differences:
        raise InputError(_refusal(folder, differences))


def _refusal(folder: RunFolder, differences: Sequence[str]) -> str:
    return f"`output_folder` (={str(folder.output)!r}) holds another run: {'; '.join(differences)}. {what_to_do()}"


def what_to_do() -> str:
    """Returns the advice for an output folder that holds another run."""
    return (
        "Choose another --output_folder to keep that run. "
        f"{OVERWRITE} deletes the results and model here and starts again"
    )


def finished(folder: RunFolder, settings: Mapping[str, Any]) -> str:
    """Returns a message if the run is finished with these settings, else an empty text.

    Raises:
        InputError: the run is finished with fewer epochs, and there is no checkpoint to resume from.
    """
    try:
        record = read_json(folder.output / RECORD)
        epochs = record.get(EPOCHS, record["epochs"])
    except (OSError, ValueError, KeyError, AttributeError):  # missing or damaged
        return ""
    if settings.get(EPOCHS, epochs) == epochs:
        more = f"a larger --{EPOCHS} trains it further, " if EPOCHS in settings and folder.has_checkpoints else ""
        return (
            f"{folder.output} holds this run, and it is finished: its results are in {folder.output / RECORD}. "
            f"Nothing was done; {more}{OVERWRITE} deletes the run and starts again"
        )
    if not folder.has_checkpoints:
        raise InputError(
            f"`output_folder` (={str(folder.output)!r}) holds a finished run of {epochs} epochs, but no checkpoint "
            f"to resume from. {what_to_do()}"
        )
    return ""


# Starting a run


def begin(folder: RunFolder, before: MadeFrom | None, now: MadeFrom, recipe: str, overwrite: bool) -> MadeFrom:
    """Writes the origin of the run, just before training starts or is resumed.

    `train.yaml` is written only if there is no record yet: an existing record belongs to the `train.yaml` beside it.

    Args:
        folder: the folder of the run.
        before: the origin of the run in the folder; None without a run.
        now: the origin of this run.
        recipe: the merged HyperPyYAML text.
        overwrite: whether to delete the run in the folder.

    Returns:
        `now` with the extensions of the run.
    """
    if overwrite and folder.has_run:
        _take_away(folder)
    elif before is not None:
        now = now._replace(extensions=_extensions(folder, before, now))
    folder.output.mkdir(parents=True, exist_ok=True)
    if before != now or not (folder.output / FILE).is_file():
        write_made_from(folder.output, now)
    if not (folder.output / RECORD).is_file():
        write_recipe(folder.output, recipe)
    return now


def write_recipe(folder: Path, recipe: str) -> None:
    """Writes the merged recipe as `train.yaml`, completely or not at all."""
    with whole_file(folder / BASE) as part:
        part.write_text(recipe, encoding="utf-8")


def _extensions(folder: RunFolder, before: MadeFrom, now: MadeFrom) -> list[Mapping[str, int]]:
    earlier, wanted = before.settings.get(EPOCHS), now.settings.get(EPOCHS)
    if earlier == wanted:
        return list(before.extensions)
    histories = (folder.save / CHECKPOINTS).glob("CKPT*/history.ckpt")
    trained = max((len(json.loads(path.read_text(encoding="utf-8"))) for path in histories), default=0)
    return [*before.extensions, {"from": int(earlier or 0), "trained": trained}]


def _take_away(folder: RunFolder) -> None:
    """Deletes the run in a folder. `made_from.json` goes last, so that an interruption is harmless."""
    for place in (folder.output, folder.output / SCORED):
        for name in LEFT:
            (place / name).unlink(missing_ok=True)
    with suppress(OSError):  # it has other files, or does not exist
        (folder.output / SCORED).rmdir()
    for checkpoint in (folder.save / CHECKPOINTS).glob("CKPT*"):
        shutil.rmtree(checkpoint)
    (folder.output / FILE).unlink(missing_ok=True)


class Kept:
    """A backup of files. The files are restored unless `let_go` is called."""

    def __init__(self, copy: Path | None = None) -> None:
        self.copy = copy

    def let_go(self) -> None:
        """Deletes the backup, so that the files stay as they are now."""
        if self.copy is not None:
            part = _unfinished(self.copy)
            os.replace(self.copy, part)  # renamed first: half a backup must not be restored
            shutil.rmtree(part)
            self.copy = None


@contextmanager
def kept_files(folder: Path, wanted: bool) -> Iterator[Kept]:
    """A context that restores all files of a folder at its end, except checkpoints and decoded recordings.

    `Kept.let_go` prevents that.

    It is needed because the preparation of the data writes new manifests before they can be compared with those of the
    run. If a process is killed inside the context, the next one restores the files.

    Args:
        folder: the folder to back up, such as `save`.
        wanted: False: the context does nothing.
    """
    copy = folder / _BEFORE
    if copy.is_dir():
        _put_back(copy, folder)
    if not wanted or not folder.is_dir():
        yield Kept()
        return
    names = _names(folder)
    try:
        part = _unfinished(copy)
        _remove(part)
        part.mkdir()
        for name in names:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, part / name, copy_function=_second)
            else:
                _second(folder / name, part / name)
        os.replace(part, copy)
    except OSError as error:
        raise FileError(f"the files in {str(folder)!r} could not be backed up: {error}") from error
    kept = Kept(copy)
    try:
        yield kept
    finally:
        if kept.copy is not None:
            for name in _names(folder) - names:
                _remove(folder / name)
            _put_back(copy, folder)


def _unfinished(copy: Path) -> Path:
    return copy.with_name(f"{_BEFORE}.part")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {CHECKPOINTS, audio_cache.FOLDER, _BEFORE, f"{_BEFORE}.part"}


def _put_back(copy: Path, folder: Path) -> None:
    """Restores files one by one, so that an interrupted restore can be resumed."""
    for path in copy.iterdir():
        _remove(folder / path.name)
        os.replace(path, folder / path.name)
    copy.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _second(source: str | Path, target: str | Path) -> None:
    """Makes a hard link or a copy. Manifests are copied if possible, because a preparation may write into them."""
    ways: tuple[Callable[[Any, Any], Any], ...] = (os.link, shutil.copy2)
    first, second = reversed(ways) if Path(source).suffix == ".json" else ways
    try:
        first(source, target)
    except OSError:
        Path(target).unlink(missing_ok=True)
        second(source, target)
