"""The commands that work through recordings: classify, transcribe, units and resynth."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqstride.cli.parser import Command, add_model
from seqstride.errors import InputError, require
from seqstride.files.remarks import remarks
from seqstride.files.whole_files import whole_file
from seqstride.models.folder import check_model_folder

if TYPE_CHECKING:
    from seqstride.files.audio_files import Recording
    from seqstride.models.classifier import Decision
    from seqstride.models.recogniser import Transcript
    from seqstride.models.vqvae import Coded

WORD_COLUMNS = ["start", "end", "word"]
"""Of the table of `seqstride transcribe --timestamps`, between `file` and `error`; times in s."""
UNIT_COLUMNS = ["start", "end", "codes"]
"""Of the table of `seqstride units`, between `file` and `error`; times in s."""

CLASSIFY_HELP = """\
Prints the label of every recording with its probability. Folders are searched for audio files. Recordings that
cannot be read are named, the others are done, and the exit code is 2.

A long list can be divided among processes. With --csv, whoever is stopped goes on with the same command:

  torchrun --nproc_per_node=8 -m seqstride classify --list corpus.json --model my_model --csv labels.csv"""

TRANSCRIBE_HELP = """\
Writes down what is said in recordings, by greedy decoding. With --timestamps every word gets a line: start and end in
seconds, and the word; they are those of the encoder's output frames, put back on the clock.

  seqstride transcribe sentence.flac --model results/an4_adastride/1986 --timestamps

A model that was trained on features reads .npy files (frames, channels). Files that cannot be read are named, the
others are done, and the exit code is 2. With --csv it resumes, and divides its work among processes, as classify."""

UNITS_HELP = """\
Writes recordings down as discrete units, with a trained VQ-VAE: for each a line with start and end in seconds, and its
code (or codes, where the quantiser is residual). With --json also all that `seqstride resynth` needs:

  seqstride units five.wav --model results/spoken_digit_units_adastride/theo/1986 --json > five.json

Files that cannot be read are named, the others are done, and the exit code is 2. With --csv it resumes, and divides its
work among processes, as classify."""

RESYNTH_HELP = """\
Makes sound of the units of a recording: what the model's decoder reconstructs, and for models of spectrograms a
waveform that has it. FILE is a recording, or what `seqstride units --json` wrote:

  seqstride resynth five.json --model results/spoken_digit_units_adastride/theo/1986 -o five_again.wav"""


def _add_recordings(command: argparse.ArgumentParser, files: str, table: str) -> None:
    """The arguments of the commands that work through recordings."""
    command.add_argument("files", nargs="*", metavar="FILE", help=files)
    add_model(command)
    command.add_argument("--list", metavar="LIST", help="a manifest (.json), or a text with a path on each line")
    command.add_argument("--data_root", metavar="FOLDER", help="{data_root} in a manifest; default: its own folder")
    command.add_argument("--csv", metavar="FILE", help=table)
    command.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")


def _recordings(arguments: argparse.Namespace) -> list[Recording]:
    """What is to be classified, transcribed or coded."""
    from seqstride.distributed import world_size
    from seqstride.files.audio_files import Recording, find_recordings, read_list

    found = [Recording(str(file), str(file)) for file in find_recordings(arguments.files)]
    if arguments.list is not None:
        found += read_list(arguments.list, arguments.data_root)
    if not found:
        raise InputError("`FILE` or `--list` must say which recordings")
    if world_size() > 1 and arguments.csv is None:
        raise InputError("`--csv` must be given with several processes: what they say goes there, in one order")
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
    from seqstride.files.audio_files import shown

    alone = world_size() == 1

    def tables(recordings: Sequence[Recording]) -> Iterator[list[list[object]]]:
        for recording, answer in answers(recordings):
            failed = isinstance(answer, ValueError)
            if alone and failed:
                tqdm.write(f"seqstride: {answer}", file=sys.stderr)
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

    def text(rows: Iterable[Iterable[object]]) -> str:
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(rows)
        return lines.getvalue()

    model, titles = Path(arguments.model), ["file", *columns, "error"]
    write_in_shards(
        recordings,
        lambda chunk: map(text, tables(chunk)),
        arguments.csv,
        header=text([titles]),
        job={
            "command": arguments.command,
            "model": digest_of_files(model / "model.json", model / "model.ckpt"),
            "columns": ",".join(titles),
        },
    )
    if rank() > 0:
        return 0
    with open(arguments.csv, encoding="utf-8", errors="surrogateescape", newline="") as file:
        failed = sum(bool(row[-1]) for row in csv.reader(file)) - 1  # the title of the column
    if failed and world_size() > 1:  # a single process has printed the errors
        print(f"seqstride: {failed} of {len(recordings)} cannot be read, see {arguments.csv}", file=sys.stderr)
    return 2 if failed else 0


def _add_classify(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them", "write labels and probabilities there")


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

    return _work_through(arguments, _recordings(arguments), partial(classify_files, model), in_words, columns, rows)


def _add_transcribe(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them; features (.npy)", "write a table there")
    command.add_argument("--timestamps", action="store_true", help="a line for every word, with its start and end")


@remarks()
def _transcribe(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.models.recogniser import load_transcriber, transcribe_files

    check_model_folder(arguments.model, "--model")
    model = load_transcriber(arguments.model, device_of_rank(arguments.device))

    def text(transcript: Transcript) -> str:
        words = transcript.words if arguments.timestamps else []
        return "\n".join([transcript.text, *(f"{word.start:8.2f} {word.stop:8.2f} {word.text}" for word in words)])

    def rows(transcript: Transcript) -> list[list[object]]:
        if not arguments.timestamps:
            return [[transcript.text]]
        # a recording without any word has a row, too
        return [[f"{word.start:.2f}", f"{word.stop:.2f}", word.text] for word in transcript.words] or [["", "", ""]]

    columns = WORD_COLUMNS if arguments.timestamps else ["text"]
    return _work_through(arguments, _recordings(arguments), partial(transcribe_files, model), text, columns, rows)


def _add_units(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them", "write a table there")
    command.add_argument("--json", action="store_true", help="one recording as JSON, which `seqstride resynth` reads")


@remarks()
def _units(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.models.vqvae import code_files, load_coder, to_json

    check_model_folder(arguments.model, "--model")
    model, recordings = load_coder(arguments.model, device_of_rank(arguments.device)), _recordings(arguments)
    if arguments.json:
        if len(recordings) > 1 or arguments.csv is not None:
            raise InputError("`--json` must be of one recording; `--csv` takes many")
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
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the sound (WAV, FLAC, …)")


@remarks()
def _resynth(arguments: argparse.Namespace) -> None:
    soundfile = require("soundfile", "speech")

    from seqstride.files.loading import load_audio
    from seqstride.files.text_files import read_text
    from seqstride.models.vqvae import from_json, load_coder

    check_model_folder(arguments.model, "--model")
    model = load_coder(arguments.model)
    file = Path(arguments.file)
    if file.suffix == ".json":
        coded = from_json(model, read_text(file))
    else:
        coded = model.encode(load_audio(model.sample_rate, file))
    # samples beyond full scale would wrap around in a file of whole numbers
    waveform = model.synthesise(coded).clamp(-1.0, 1.0).numpy()
    content = io.BytesIO()
    try:
        soundfile.write(content, waveform, model.sample_rate, format=Path(arguments.output).suffix[1:])
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # an ending that is none of a sound
        raise InputError(f"`--output` (={arguments.output!r}) cannot be written: {error}") from error
    with whole_file(arguments.output) as part:
        part.write_bytes(content.getbuffer())


COMMANDS = (
    Command("classify", "say what a trained model hears in recordings", _classify, _add_classify, CLASSIFY_HELP),
    Command(
        "transcribe",
        "write down what is said in recordings, with a trained recogniser",
        _transcribe,
        _add_transcribe,
        TRANSCRIBE_HELP,
    ),
    Command("units", "write recordings down as discrete units, with a trained VQ-VAE", _units, _add_units, UNITS_HELP),
    Command("resynth", "make sound of the units of a recording", _resynth, _add_resynth, RESYNTH_HELP),
)
