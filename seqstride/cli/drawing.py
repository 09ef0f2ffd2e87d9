"""The work of `seqstride strides`: pictures, a table and pages of the strides of a trained model."""

from __future__ import annotations

import csv
import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from seqstride.errors import FileError, InputError
from seqstride.files.audio_files import find_recordings
from seqstride.files.loading import load_audio
from seqstride.files.outputs import check_output, check_output_folder
from seqstride.files.spreadsheets import plain_cells
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.models.classifier import SequenceClassifier, sample_rate_of
from seqstride.models.description import NotFiniteError
from seqstride.plots.page import require_plotly, view_page
from seqstride.plots.recording import plot_view
from seqstride.plots.view import View, view_recording

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".eps", ".ps", ".tif", ".tiff", ".webp")
PAGES = (".html", ".htm")


class Drawn(NamedTuple):
    """The result for one recording."""

    file: Path
    written: list[Path]
    error: str | None
    """Why the file could not be read, or its picture not be written under its name; None if all was well."""


def draw_strides(
    model: SequenceClassifier,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    table: str | os.PathLike[str] | None = None,
    page: str | os.PathLike[str] | None = None,
    spreadsheet: bool = False,
    seconds: float = 8.0,
    read: Iterable[Path] = (),
) -> Iterator[Drawn]:
    """Draws one recording, or all recordings below a folder.

    A recording longer than `seconds` gets several pictures of equal duration: `OUT_001.png`, `OUT_002.png`, …

    Args:
        model: a model that reads recordings.
        source: an audio file, or a folder of them.
        output: the picture (PNG, PDF, SVG, …); for a folder, the folder of the pictures, which are PNG.
        table: a CSV file with one row per input frame: `time` in s, then stride and position of every block and of
            the encoder. For a folder the first column is `file`.
        spreadsheet: a name of a file in the table that a spreadsheet would take for a formula gets an apostrophe.
        page: an HTML file; for a folder, the folder of the pages.
        seconds: longest duration of a picture, and the duration that a page shows at first.
        read: files that must not be replaced, besides the recordings.

    Yields:
        The result for each recording, in order; for a file of a folder that cannot be read, or whose name is too long
        for a picture, the error.

    Raises:
        ValueError: the model reads features, `source` has no recordings or is one that cannot be read, `seconds` is not
            positive, `output` is no picture, or an output is an input, is another output or cannot be written.
        ImportError: `page` is given and plotly is not installed.
    """
    source, output = Path(source), Path(output)
    rate = sample_rate_of(model)
    if page is not None:
        require_plotly()
    files = find_recordings([source])
    several = source.is_dir()
    if not several and not output.suffix:
        raise InputError(f"`output` (={os.fspath(output)!r}) must be the name of a picture, such as {output}.png")
    _check_outputs([*files, *read], several, output, table, page)
    names = [file.relative_to(source) if several else Path(file.name) for file in files]
    stems = _stems(names)
    with ExitStack() as stack:
        rows = None
        if table is not None:
            rows = csv.writer(stack.enter_context(_create(Path(table))))
            rows.writerow([*(["file"] if several else []), "time", *_columns(len(model.encoder.downsamplers))])
        for file, name, stem in zip(files, names, stems, strict=True):
            try:
                view = view_recording(model, load_audio(rate, file), name.as_posix())
            except NotFiniteError as error:
                if not several:
                    raise InputError(f"{os.fspath(file)!r}: {error}") from error
                yield Drawn(file, [], f"{os.fspath(file)!r}: {error}")
                continue
            except InputError as error:
                if not several:
                    raise
                yield Drawn(file, [], str(error))
                continue
            if rows is not None:
                cells = ([*([view.name] if several else []), *row] for row in _rows(view))
                rows.writerows(map(plain_cells, cells) if spreadsheet else cells)
            places = [output / f"{stem}.png" if several else output]
            if page is not None:
                places.append(Path(page, f"{stem}.html") if several else Path(page))
            yield _drawn(file, view, places, seconds, several)


def _check_outputs(
    files: Sequence[Path],
    several: bool,
    output: Path,
    table: str | os.PathLike[str] | None,
    page: str | os.PathLike[str] | None,
) -> None:
    for option, path, extensions in (("--output", output, PICTURES), ("--html", page, PAGES)):
        if path is not None and several:
            check_output_folder(option, path, extensions)
        elif path is not None:
            check_output(option, path, files)
    if table is not None:
        check_output("--csv", table, files, table=True)
    outputs = [output, *(path for path in (table, page) if path is not None)]
    if not several and len(set(map(os.path.realpath, outputs))) < len(outputs):
        raise InputError(f"`--output` (={os.fspath(output)!r}), `--csv` and `--html` must be different files")
    for option, path, others in (("--csv", table, PAGES), ("--html", None if several else page, ())):
        endings = {*PICTURES, *others, *([] if several else [output.suffix.lower()])}
        if path is not None and Path(path).suffix.lower() in endings:  # such as one of the numbered pictures
            raise InputError(f"`{option}` (={os.fspath(path)!r}) must not have the extension of another output")


def _stems(names: Sequence[Path]) -> list[Path]:
    """Names of the pictures of recordings, without extension: no two pictures get one name.

    The extension of a recording is left out where that leaves no doubt: no other recording is called the same without
    it, or with it; and it is not the name of a numbered picture of another, as `a_001` is where `a` is long.
    """
    short = Counter(name.with_suffix("") for name in names)

    def clear(name: Path) -> bool:
        stem = name.with_suffix("")
        numbered = re.fullmatch(r"(.+)_[0-9]{3,}", stem.name)
        of_another = numbered is not None and stem.with_name(numbered[1]) in short
        return short[stem] == 1 and stem not in names and not of_another

    return [name.with_suffix("") if clear(name) else name for name in names]


def _drawn(file: Path, view: View, places: Sequence[Path], seconds: float, several: bool) -> Drawn:
    """Writes the picture of a recording, and its page where there is a second place.

    The name of a recording, with another extension, may be too long for the disk; one of several is then reported.
    """
    written: list[Path] = []
    picture, *pages = places
    try:
        written += _draw(view, picture, seconds)
        for page in pages:
            with _create(page) as html:
                html.write(view_page(view, seconds))
            written.append(page)
    except FileError as error:
        if not several or getattr(error.__cause__, "errno", None) != errno.ENAMETOOLONG:
            raise
        return Drawn(file, written, str(error))
    return Drawn(file, written, None)


@contextmanager
def _create(path: Path) -> Iterator[TextIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # surrogateescape keeps the bytes of file names that are not UTF-8
    with whole_file(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield file


def _draw(view: View, picture: Path, seconds: float) -> list[Path]:
    """Draws a recording; returns the files written."""
    parts = view.parts(seconds)
    paths = [picture.with_name(f"{picture.stem}_{number:03d}{picture.suffix}") for number in range(1, len(parts) + 1)]
    paths = paths if len(parts) > 1 else [picture]
    picture.parent.mkdir(parents=True, exist_ok=True)
    for part, path in zip(parts, paths, strict=True):
        save_figure(plot_view(part), path)
    return paths


def _columns(blocks: int) -> list[str]:
    names = [*(f"block{block}" for block in range(1, blocks + 1)), "encoder"]
    return [f"{name}_{what}" for name in names for what in ("stride", "position")]


def _rows(view: View) -> Iterator[list[float]]:
    """Yields the rows of the table, from `time` on."""
    values = [values for _, stride, position in view.curves for values in (stride, position)]
    for row in zip(view.times, *values, strict=True):
        yield [round(float(value), 6) for value in row]
