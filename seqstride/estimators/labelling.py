"""Fits a classifier to series in files and labels others: `seqstride fit-series` and `seqstride classify-series`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import FileError, InputError, require
from seqstride.estimators.classifier import SeqStrideClassifier
from seqstride.estimators.saved import DESCRIPTION, FORMAT, WEIGHTS, load_classifier, save_classifier
from seqstride.estimators.series_files import FRAMES, ROWS, TS, Columns, Layout, SeriesFile, read_series
from seqstride.experiments.records import write_record
from seqstride.files.folder_lock import locked
from seqstride.files.outputs import check_output
from seqstride.files.room import room_kept
from seqstride.files.spreadsheets import plain_cells
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.models.folder import weights_file

SHOWN = 8
"""Largest number of series in a picture."""


class Labelled(NamedTuple):
    """The predictions of a classifier for the series of a file."""

    found: SeriesFile
    classes: list[str]
    probabilities: np.ndarray
    """(N, K)."""
    predictions: np.ndarray
    """(N,) texts."""


def fit_series(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    output: str | os.PathLike[str],
    classifier: SeqStrideClassifier,
    columns: Columns | None = None,
) -> str:
    """Fits a classifier to the series of one file and labels those of another.

    The output folder gets

    - `predictions.csv`: the label of every series, and the probabilities of all labels;
    - `report.md`;
    - `strides.png`: a series of every class of the second file, 8 at most;
    - `series.json` and `series.safetensors`: the fitted classifier, with layout and column names of the first file;
      reading them runs no code.

    Args:
        train: a file with labels.
        test: a file with or without labels.
        output: the folder for the results; made if missing.
        classifier: the classifier to fit.
        columns: names of the special columns of tables; None: the defaults.

    Returns:
        The report, in Markdown.

    Raises:
        InputError: a file is missing or cannot be read as series, the second file does not match the first, or another
            process works in the output folder.
        FileError: the output folder cannot be written, or has no room, before the fit; or some of the files could not
            be written after it. The text names those that are there.
    """
    require("matplotlib", "plots")  # the picture comes last
    columns = columns or Columns()
    fitted = read_series(train, columns, labelled=True)
    if fitted.labels is None or len(set(fitted.labels)) < 2:
        raise InputError(f"`train` (={os.fspath(train)!r}) must have at least two different labels")
    scored = read_series(test, columns, like=fitted.layout)
    output = Path(output)
    for name in ("predictions.csv", "report.md", "strides.png", *(file.name for file in fitted_files(output))):
        check_output("output", output / name, [train, test])
    with locked(output):
        with room_kept(output):
            classifier.fit(fitted.series, fitted.labels)
        files = _Files()
        with files.writing(DESCRIPTION):  # first, so that it is there whatever comes after
            save_fitted(output, classifier, columns, fitted.layout)
        labelled = _labelled(classifier, scored)
        with files.writing("predictions.csv"):
            _write_predictions(output / "predictions.csv", labelled)
        text = _report(Path(train), Path(test), fitted, labelled, classifier)
        with files.writing("report.md"), whole_file(output / "report.md") as part:
            part.write_text(text + "\n", encoding="utf-8")
        with files.writing("strides.png"):
            save_figure(_picture(classifier, labelled), output / "strides.png")
        files.check()
    return text


class _Files:
    """Files of which one that cannot be written does not keep the others from being written."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.failed: dict[str, FileError] = {}

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        try:
            yield
            self.written.append(name)
        except FileError as error:
            self.failed[name] = error

    def check(self) -> None:
        """Raises the error of the first file that failed, with the names of all that failed and of all others.

        Raises:
            FileError: as said.
        """
        if self.failed:
            error = next(iter(self.failed.values()))
            written = ", ".join(self.written) or "nothing"
            raise FileError(f"{error}. Not written: {', '.join(self.failed)}; written: {written}") from error


def classify_series(
    file: str | os.PathLike[str],
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    device: str = "auto",
    *,
    spreadsheet: bool = False,
) -> str:
    """Labels the series of a file with a fitted classifier.

    Args:
        file: series, with or without labels. The special columns of a table have the names given to `fit_series`.
        model: the output folder of `fit_series`, or of a run on series.
        output: the table to write; it has the columns of `predictions.csv`.
        device: a device of torch; "auto": a GPU if there is one.
        spreadsheet: whether an apostrophe stands before texts that a spreadsheet would take for formulas.

    Returns:
        A line with the number of series per label.

    Raises:
        InputError: a file is missing or cannot be read as series, or its channels are not those of the fitted file.
    """
    classifier, columns, layout = _load(Path(model))
    classifier.device = device
    labelled = _labelled(classifier, read_series(file, columns, like=layout))
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    _write_predictions(output, labelled, spreadsheet=spreadsheet)
    counts = ", ".join(f"{name}: {int((labelled.predictions == name).sum())}" for name in labelled.classes)
    return " ".join(
        [f"{os.fspath(output)}: {len(labelled.predictions)} series labelled ({counts}).", *_score(labelled)]
    )


def _labelled(classifier: SeqStrideClassifier, found: SeriesFile) -> Labelled:
    probabilities = classifier.predict_proba(found.series)
    return Labelled(
        found, [*map(str, classifier.classes_)], probabilities, classifier.classes_[probabilities.argmax(1)]
    )


def _write_predictions(path: Path, labelled: Labelled, *, spreadsheet: bool = False) -> None:
    labels = labelled.found.labels
    cells = plain_cells if spreadsheet else list
    with whole_file(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        known = [] if labels is None else ["label"]
        rows.writerow(cells(["series", *known, "predicted", *(f"probability_{name}" for name in labelled.classes)]))
        for index, (name, predicted) in enumerate(zip(labelled.found.names, labelled.predictions, strict=True)):
            label = [] if labels is None else [labels[index]]
            rows.writerow(cells([name, *label, predicted, *labelled.probabilities[index].round(6)]))


def one_of_every(labels: np.ndarray) -> list[int]:
    """Returns the index of the first item of every class, or of `SHOWN` evenly spaced classes if there are more."""
    classes = np.unique(labels)
    if len(classes) > SHOWN:
        classes = classes[np.linspace(0, len(classes) - 1, SHOWN).round().astype(int)]
    return [int(np.flatnonzero(labels == name)[0]) for name in classes]


def _picture(classifier: SeqStrideClassifier, labelled: Labelled) -> Any:
    """Draws one series of every class, or of every predicted class if labels are unknown."""
    found, predictions = labelled.found, labelled.predictions
    shown = one_of_every(predictions if found.labels is None else found.labels)
    titles = []
    for index in shown:
        truth = "" if found.labels is None else f"class {_short(found.labels[index])}, "
        titles.append(f"{truth}series {_short(found.names[index])}\npredicted {_short(predictions[index])}")
    return classifier.plot_strides([found.series[index] for index in shown], titles=titles)


def _short(name: str, letters: int = 14) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def save_fitted(folder: Path, classifier: SeqStrideClassifier, columns: Columns, layout: Layout) -> None:
    """Writes a fitted classifier for `load_fitted`: the weights, then the description.

    Args:
        folder: gets `series.safetensors` and `series.json`.
        classifier: its labels are texts.
        columns, layout: how series were read; `classify_series` reads other files the same way.
    """
    described = save_classifier(folder, classifier)
    read = {"format": FORMAT, "columns": columns._asdict(), "layout": layout._asdict()}
    write_record(folder / DESCRIPTION, {**read, "classifier": described})


def fitted_files(folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Returns the files of a fitted classifier in a folder, which need not exist."""
    return Path(folder, DESCRIPTION), weights_file(Path(folder), WEIGHTS)


def load_fitted(folder: str | os.PathLike[str]) -> SeqStrideClassifier:
    """Returns the fitted classifier in the output folder of `fit_series`, or of a run on series.

    Raises:
        InputError: the folder has none, or files of it are damaged.
    """
    return _load(Path(folder))[0]


def _load(folder: Path) -> tuple[SeqStrideClassifier, Columns, Layout]:
    for file in fitted_files(folder):
        if not file.is_file():
            other = "; its model.json is for `seqstride classify`, `transcribe` or `units`"
            old = "; its model.zip is of an older version: fit it again"
            why = other if (folder / "model.json").is_file() else old if (folder / "model.zip").is_file() else ""
            raise InputError(
                f"`model` (={os.fspath(folder)!r}) must be the output folder of `seqstride fit-series`, or of a run "
                f"on series; {file.name} is missing{why}"
            )
    where = os.fspath(folder / DESCRIPTION)
    try:
        content = read_json(folder / DESCRIPTION)
        if content["format"] != FORMAT:
            raise InputError(f"its format (={content['format']!r}) must be {FORMAT}: fit it again")
        if "regressor" in content:
            raise InputError("it is that of a regressor, for `seqstride.estimators.saved_regressor.load_regressor`")
        columns, layout = Columns(**content["columns"]), Layout(**content["layout"])
        if not isinstance(layout.channels, list) or not isinstance(layout.frames, list):
            raise InputError("`channels` and `frames` must be lists")
        if not all(isinstance(name, str) for name in (*columns, *layout.channels, *layout.frames)):
            raise InputError("the names of columns must be texts")
        if layout.kind not in (ROWS, FRAMES, TS):
            raise InputError(f"`kind` (={layout.kind!r}) must be one of {', '.join((ROWS, FRAMES, TS))}")
        described = content["classifier"]
        if described["channel_names_"] != layout.channels:
            raise InputError("its classifier has other channels than its series")
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"{where!r} does not describe how series were read: {error}") from error
    return load_classifier(folder, described), columns, layout


def _score(labelled: Labelled) -> list[str]:
    """Returns sentences: the accuracy on known labels, and the labels that the classifier has not seen."""
    labels = labelled.found.labels
    if labels is None:
        return []
    right = int((labelled.predictions == labels).sum())
    lines = [f"{100 * right / len(labels):.1f} % of {len(labels)} series are labelled correctly."]
    foreign = [name for name in np.unique(labels) if name not in labelled.classes]
    if foreign:
        count = int(np.isin(labels, foreign).sum())
        known = ", ".join(labelled.classes)
        lines.append(f"{count} series have labels that are not among the fitted ones ({known}): {', '.join(foreign)}.")
    return lines


def _report(train: Path, test: Path, fitted: SeriesFile, labelled: Labelled, classifier: SeqStrideClassifier) -> str:
    lines = [f"# {test.name}, labelled by a network that was fitted to {train.name}", ""]
    predictions, labels = labelled.predictions, labelled.found.labels
    if labels is not None:
        share, *foreign = _score(labelled)
        lines += [f"**{share}**", *foreign, ""]
        names = sorted({*labels, *labelled.classes})
        lines += [f"| label | series | {' | '.join(f'as {name}' for name in names)} |", "|---" * (2 + len(names)) + "|"]
        for name in names:
            mine = predictions[labels == name]
            lines.append(f"| {name} | {len(mine)} | {' | '.join(str(int((mine == other).sum())) for other in names)} |")
    else:
        lines += ["| label | series |", "|---|---|"]
        lines += [f"| {name} | {int((predictions == name).sum())} |" for name in labelled.classes]
    lengths = [len(frame) for frame in fitted.series]
    last = classifier.history_[-1]
    lines += [
        "",
        f"Fitted to {len(lengths)} series of {len(classifier.channel_names_)} channels and {min(lengths)} to "
        f"{max(lengths)} frames, in {sum(epoch['seconds'] for epoch in classifier.history_):.0f} s and "
        f"{last['epoch']} epochs; accuracy in the last one {100 * last['train']['accuracy']:.1f} % (of mixtures of "
        "series, unless mixup is off).",
        "",
        f"Method `{classifier.downsampler}`, strides {', '.join(f'{stride:.3g}' for stride in classifier.strides_)} "
        f"input frames per output frame, seed {classifier.random_state}.",
    ]
    return "\n".join(lines)
