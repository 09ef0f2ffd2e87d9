"""The commands for recordings: classify, transcribe, units and resynth."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqstride.cli.parser import Command, add_model, add_spreadsheet
from seqstride.errors import InputError, require, shown
from seqstride.files.remarks import remarks
from seqstride.files.whole_files import whole_file
from seqstride.models.folder import check_model_folder, model_files

if TYPE_CHECKING:
    from seqstride.files.audio_files import Recording
    from seqstride.models.classifier import Decision
    from seqstride.models.recogniser import Transcript
    from seqstride.models.vqvae import Coded

WORD_COLUMNS = ["start", "end", "word"]
"""Columns of the table of `seqstride transcribe --timestamps` between `file` and `error`; times in s."""
UNIT_COLUMNS = ["start", "end", "codes"]
"""Columns of the table of `seqstride units` between `file` and `error`; times in s."""

CLASSIFY_HELP = """\
Prints the label of every recording and its probability. Folders are searched for audio files. The command reports
files that it cannot read, classifies the others, and ends with exit code 2. The memory that long recordings need does
not grow with their duration if the model was trained on windows (--window); any other model needs the features of a
whole recording. M4A, WMA, WebM and others that torchcodec decodes are in memory as a whole, 0.7 GB for an hour of a
channel at 48 kHz: convert long ones to FLAC or WAV.

With --csv, several processes can share a long list. To resume an interrupted job, run the same command again:

  torchrun --nproc_per_node=8 -m seqstride classify --list corpus.json --model my_model --csv labels.csv"""

TRANSCRIBE_HELP = """\
Transcribes recordings by greedy decoding. With --timestamps every word gets a line with its start and end in seconds,
as given by the output frames of the encoder, and the word.

  seqstride transcribe sentence.flac --model results/an4_adastride/1986 --timestamps

A model that was trained on features reads .npy files (frames, channels). The command reports files that it cannot read,
transcribes the others, and ends with exit code 2. Long recordings are read in pieces of 30 s, so memory does not grow
with their duration, unless torchcodec decodes them (see classify). With --csv it can be resumed and shared among
processes, like classify."""

UNITS_HELP = """\
Encodes recordings as discrete units with a trained VQ-VAE. Every unit gets a line with its start and end in seconds
and its code, or its codes if the quantiser is residual. With --json the output is the input of `seqstride resynth`:

  seqstride units five.wav --model results/spoken_digit_units_adastride/theo/1986 --json > five.json

The command reports files that it cannot read, encodes the others, and ends with exit code 2. The model reads a
recording as a whole, so memory grows with its duration. With --csv it can be resumed and shared among processes, like
classify."""

RESYNTH_HELP = """\
Makes a sound file from the units of a recording, with the decoder of the model. If the decoder gives spectrograms,
Griffin-Lim computes the waveform. FILE is a recording, or the output of `seqstride units --json`:

  seqstride resynth five.json --model results/spoken_digit_units_adastride/theo/1986 -o five_again.wav"""


def _add_recordings(command: argparse.ArgumentParser, files: str, table: str) -> None:
    """Adds the arguments that the commands for many recordings share."""
    command.add_argument("files", nargs="*", metavar="FILE", help=files)
    add_model(command)
    command.add_argument("--list", metavar="LIST", help="a manifest (.json), or a text file with a path on each line")
    command.add_argument(
        "--data_root", metavar="FOLDER", help="value of {data_root} in a manifest; default: its folder"
    )
    command.add_argument("--csv", metavar="FILE", help=table)
    add_spreadsheet(command)
    command.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")


def _recordings(arguments: argparse.Namespace) -> list[Recording]:
    """The recordings that the arguments name."""
    from seqstride.distributed import world_size
    from seqstride.files.audio_files import Recording, find_recordings, read_list

    found = [Recording(str(file), str(file)) for file in find_recordings(arguments.files)]
    if arguments.list is not None:
        found += read_list(arguments.list, arguments.data_root)
    if not found:
        raise InputError("`FILE` or `--list` must name at least one recording")
    if world_size() > 1 and arguments.csv is None:
        raise InputError("`--csv` must be given with several processes: they write one table")
    return found


def _work_through(
    arguments: argparse.Namespace,
    recordings: Sequence[Recording],
    answers: Callable[[Sequence[Recording]], Iterable[tuple[Recording, Any]]],
    text: Callable[[Any], str],
    columns: Sequence[str],
    rows: Callable[[Any], list[list[object]]],
) -> int:
    """Prints the answers to all recordings, and with `--csv` writes them as a table.

    Args:
        arguments: of the command.
        recordings: to work through.
        answers: yields recordings with the model's answers, or with a ValueError for those that it cannot read.
        text: the answer for the screen.
        columns: of the table, between `file` and `error`.
        rows: the cells of an answer in these columns, at least one row.

    Returns:
        The exit code: 2 where a recording cannot be read.
    """
    tqdm = require("tqdm", "speech").tqdm

    from seqstride.distributed import world_size
    from seqstride.files.outputs import check_output

    if arguments.csv is not None:
        read = [*model_files(arguments.model), *([] if arguments.list is None else [arguments.list])]
        check_output("--csv", arguments.csv, [*read, *(recording.path for recording in recordings)], table=True)
    alone = arguments.csv is None or world_size() == 1

    def tables(recordings: Sequence[Recording]) -> Iterator[list[list[object]]]:
        for recording, answer in answers(recordings):
            failed = isinstance(answer, ValueError)
            if alone and failed:
                tqdm.write(f"seqstride: {shown(str(answer))}", file=sys.stderr)
            elif alone:
                tqdm.write(f"{shown(recording.name)}: {text(answer)}")
            cells = [[""] * len(columns)] if failed else rows(answer)
            yield [[recording.name, *row, str(answer) if failed else ""] for row in cells]

    if arguments.csv is None:
        bar = tqdm(tables(recordings), total=len(recordings), unit="file", leave=False, disable=None)
        return 2 if sum(bool(table[-1][-1]) for table in bar) else 0
    return _write_table(arguments, recordings, tables, columns)


def _write_table(
    arguments: argparse.Namespace,
    recordings: Sequence[Recording],
    tables: Callable[[Sequence[Recording]], Iterable[list[list[object]]]],
    columns: Sequence[str],
) -> int:
    """Writes the table of `--csv`, alone or together with other processes; arguments as in `_work_through`.

    Args:
        tables: yields the rows of each recording, the error in the last cell.
    """
    import csv

    from seqstride.cli.shards import digest_of_files, write_in_shards
    from seqstride.distributed import rank, world_size
    from seqstride.files.spreadsheets import plain_cells

    def text(rows: Iterable[Iterable[object]]) -> str:
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(map(plain_cells, rows) if arguments.spreadsheet else rows)
        return lines.getvalue()

    failed = 0

    def counted(chunk: Sequence[Recording]) -> Iterator[str]:
        nonlocal failed
        for rows in tables(chunk):
            failed += bool(rows[-1][-1])
            yield text(rows)

    titles = ["file", *columns, "error"]
    write_in_shards(
        recordings,
        counted,
        arguments.csv,
        header=text([titles]),
        job={
            "command": arguments.command,
            "model": digest_of_files(*model_files(arguments.model)),
            "columns": ",".join(titles),
            "spreadsheet": str(arguments.spreadsheet),
        },
    )
    if rank() > 0:
        return 0
    if Path(arguments.csv).is_file():  # with the work of other processes, and of this command before it was resumed
        limit = csv.field_size_limit(2**31 - 1)  # a transcript of hours is one cell
        try:
            with open(arguments.csv, encoding="utf-8", errors="surrogateescape", newline="") as file:
                failed = sum(bool(row[-1]) for row in csv.reader(file)) - 1  # the title of the column
        finally:
            csv.field_size_limit(limit)
    if failed and world_size() > 1:  # a single process has printed the errors
        print(f"seqstride: {failed} of {len(recordings)} cannot be read, see {arguments.csv}", file=sys.stderr)
    return 2 if failed else 0


def _add_classify(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them", "write a table of labels and probabilities")


@remarks()
def _classify(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.models.classifier import classify_files, in_words, load_model, sample_rate_of

    check_model_folder(arguments.model, "--model")
    model = load_model(arguments.model, device_of_rank(arguments.device))
    sample_rate_of(model)  # a model that reads features is refused before any file is written
    columns = [column for label in model.labels for column in (label, f"{label}_probability")]

    def rows(decisions: dict[str, Decision]) -> list[list[object]]:
        return [[cell for name, share in decisions.values() for cell in (name, round(share, 6))]]

    def text(decisions: dict[str, Decision]) -> str:
        return shown(in_words(decisions))  # a model may come from a stranger

    return _work_through(arguments, _recordings(arguments), partial(classify_files, model), text, columns, rows)


def _add_transcribe(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them; features (.npy)", "write a table")
    command.add_argument("--timestamps", action="store_true", help="print every word with its start and end")


@remarks()
def _transcribe(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.models.recogniser import load_transcriber, transcribe_files

    check_model_folder(arguments.model, "--model")
    model = load_transcriber(arguments.model, device_of_rank(arguments.device))

    def text(transcript: Transcript) -> str:
        words = transcript.words if arguments.timestamps else []
        lines = [transcript.text, *(f"{word.start:8.2f} {word.stop:8.2f} {word.text}" for word in words)]
        return "\n".join(map(shown, lines))

    def rows(transcript: Transcript) -> list[list[object]]:
        if not arguments.timestamps:
            return [[transcript.text]]
        # a recording without any word has a row, too
        return [[f"{word.start:.2f}", f"{word.stop:.2f}", word.text] for word in transcript.words] or [["", "", ""]]

    columns = WORD_COLUMNS if arguments.timestamps else ["text"]
    return _work_through(arguments, _recordings(arguments), partial(transcribe_files, model), text, columns, rows)


def _add_units(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them", "write a table")
    command.add_argument("--json", action="store_true", help="print one recording as JSON for `seqstride resynth`")


@remarks()
def _units(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.models.vqvae import code_files, load_coder, to_json

    check_model_folder(arguments.model, "--model")
    model, recordings = load_coder(arguments.model, device_of_rank(arguments.device)), _recordings(arguments)
    if arguments.json:
        if len(recordings) > 1 or arguments.csv is not None:
            raise InputError("`--json` must be used with one recording; `--csv` takes many")
        [(_, coded)] = code_files(model, recordings)
        if isinstance(coded, ValueError):
            raise coded
        print(to_json(model, coded), end="")
        return 0

    def text(coded: Coded) -> str:
        units = model.units(coded)
        lines = [f"{unit.start:8.3f} {unit.end:8.3f} {' '.join(map(str, unit.codes))}" for unit in units]
        return "\n".join([f"{len(units)} units", *lines])

    def rows(coded: Coded) -> list[list[object]]:
        units = model.units(coded)
        return [[f"{unit.start:.3f}", f"{unit.end:.3f}", " ".join(map(str, unit.codes))] for unit in units]

    return _work_through(arguments, recordings, partial(code_files, model), text, UNIT_COLUMNS, rows)


def _add_resynth(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="an audio file, or units as JSON (.json)")
    add_model(command)
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the sound file (WAV, FLAC, …)")


@remarks()
def _resynth(arguments: argparse.Namespace) -> None:
    soundfile = require("soundfile", "speech")

    from seqstride.files.loading import open_audio
    from seqstride.files.outputs import check_output
    from seqstride.files.text_files import read_text
    from seqstride.models.vqvae import from_json, load_coder

    check_model_folder(arguments.model, "--model")
    check_output("--output", arguments.output, [arguments.file, *model_files(arguments.model)])
    model = load_coder(arguments.model)
    file = Path(arguments.file)
    if file.suffix == ".json":
        coded = from_json(model, read_text(file))
    else:
        with open_audio(model.sample_rate, file) as recording:
            coded = model.encode_read(recording)
    # samples beyond full scale would wrap around in a file of integers
    waveform = model.synthesise(coded).clamp(-1.0, 1.0).numpy()
    content = io.BytesIO()
    try:
        soundfile.write(content, waveform, model.sample_rate, format=Path(arguments.output).suffix[1:])
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # the extension is not one of a sound file
        raise InputError(f"`--output` (={arguments.output!r}) cannot be written: {error}") from error
    with whole_file(arguments.output) as part:
        part.write_bytes(content.getbuffer())


COMMANDS = (
    Command("classify", "classify recordings with a trained model", _classify, _add_classify, CLASSIFY_HELP),
    Command(
        "transcribe",
        "transcribe recordings with a trained recogniser",
        _transcribe,
        _add_transcribe,
        TRANSCRIBE_HELP,
    ),
    Command("units", "encode recordings as discrete units with a trained VQ-VAE", _units, _add_units, UNITS_HELP),
    Command("resynth", "make a sound file from the units of a recording", _resynth, _add_resynth, RESYNTH_HELP),
)
