"""The commands that work through recordings: classify, transcribe, units and resynth."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqstride.cli.parser import Command, add_model
from seqstride.errors import InputError
from seqstride.files.remarks import remarks
from seqstride.files.whole_files import whole_file
from seqstride.models.folder import check_model_folder

if TYPE_CHECKING:
    from seqstride.files.audio_files import Recording

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
    recordings: list[Recording],
    results: Callable[[Sequence[Recording]], Iterable[list[list[object]]]],
    columns: list[str],
) -> int:
    """Shows the results of all recordings, or writes them as a table; the exit code.

    Args:
        arguments: of the command.
        recordings: to be worked through.
        results: shows the results of recordings, and gives each one's rows of the table; an error in the last cell.
        columns: of the table.
    """
    import csv
    from io import StringIO

    from tqdm import tqdm

    from seqstride.cli.shards import digest_of_files, write_in_shards
    from seqstride.distributed import rank, world_size

    if arguments.csv is None:
        bar = tqdm(results(recordings), total=len(recordings), unit="file", leave=False, disable=None)
        return 2 if sum(bool(rows[-1][-1]) for rows in bar) else 0

    def text(rows: Iterable[list[object]]) -> str:
        lines = StringIO(newline="")
        csv.writer(lines).writerows(rows)
        return lines.getvalue()

    model = Path(arguments.model)
    write_in_shards(
        recordings,
        lambda chunk: map(text, results(chunk)),
        arguments.csv,
        header=text([[*columns]]),
        job={
            "command": arguments.command,
            "model": digest_of_files(model / "model.json", model / "model.ckpt"),
            "columns": ",".join(columns),
        },
    )
    if rank() > 0:
        return 0
    with open(arguments.csv, encoding="utf-8", errors="surrogateescape", newline="") as file:
        failed = sum(bool(row[-1]) for row in csv.reader(file)) - 1  # the column's title
    if failed and world_size() > 1:  # one process alone has named them
        print(f"seqstride: {failed} of {len(recordings)} cannot be read, see {arguments.csv}", file=sys.stderr)
    return 2 if failed else 0


def _add_classify(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them", "write labels and probabilities there")


@remarks()
def _classify(arguments: argparse.Namespace) -> int:
    from seqstride.cli.classify import classify_files, table_columns, table_row
    from seqstride.distributed import device_of_rank
    from seqstride.files.audio_files import shown
    from seqstride.models.classifier import in_words, load_model, sample_rate_of

    check_model_folder(arguments.model, "--model")
    model = load_model(arguments.model, device_of_rank(arguments.device))
    sample_rate_of(model)  # of a model that reads features nothing is begun
    labels = list(model.labels)

    def results(recordings: Sequence[Recording]) -> Iterator[list[list[object]]]:
        for result in classify_files(model, recordings):
            _say(f"{shown(result.recording.name)}: {in_words(result.decisions)}", result.error)
            yield [table_row(result, labels)]

    return _work_through(arguments, _recordings(arguments), results, table_columns(labels))


def _add_transcribe(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them; features (.npy)", "write a table there")
    command.add_argument("--timestamps", action="store_true", help="a line for every word, with its start and end")


@remarks()
def _transcribe(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.files.audio_files import shown
    from seqstride.models.recogniser import load_transcriber, table_columns, table_rows, transcribe_files

    check_model_folder(arguments.model, "--model")
    model = load_transcriber(arguments.model, device_of_rank(arguments.device))
    timestamps = arguments.timestamps

    def results(recordings: Sequence[Recording]) -> Iterator[list[list[object]]]:
        for recording, transcript in transcribe_files(model, recordings):
            if isinstance(transcript, ValueError):
                _say("", str(transcript))
            else:
                words = transcript.words if timestamps else []
                lines = [f"{word.start:8.2f} {word.stop:8.2f} {word.text}" for word in words]
                _say("\n".join([f"{shown(recording.name)}: {transcript.text}", *lines]), None)
            yield table_rows(recording.name, transcript, timestamps)

    return _work_through(arguments, _recordings(arguments), results, table_columns(timestamps))


def _say(text: str, error: str | None) -> None:
    """Prints a result, or why there is none; of several processes none speaks."""
    from tqdm import tqdm

    from seqstride.distributed import world_size

    if world_size() > 1:
        return
    if error is None:
        tqdm.write(text)
    else:
        tqdm.write(f"seqstride: {error}", file=sys.stderr)


def _add_units(command: argparse.ArgumentParser) -> None:
    _add_recordings(command, "audio files, or folders of them", "write a table there")
    command.add_argument("--json", action="store_true", help="one recording as JSON, which `seqstride resynth` reads")


@remarks()
def _units(arguments: argparse.Namespace) -> int:
    from seqstride.distributed import device_of_rank
    from seqstride.files.audio_files import shown
    from seqstride.models.vqvae import UNIT_COLUMNS, code_files, load_coder, to_json, unit_rows

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

    def results(recordings: Sequence[Recording]) -> Iterator[list[list[object]]]:
        for recording, coded in code_files(model, recordings):
            if isinstance(coded, ValueError):
                _say("", str(coded))
            else:
                units = model.units(coded)
                lines = [f"{unit.start:8.3f} {unit.end:8.3f} {' '.join(map(str, unit.codes))}" for unit in units]
                _say("\n".join([f"{shown(recording.name)}: {len(units)} units", *lines]), None)
            yield unit_rows(model, recording.name, coded)

    return _work_through(arguments, recordings, results, UNIT_COLUMNS)


def _add_resynth(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="an audio file, or units as JSON (.json)")
    add_model(command)
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the sound (WAV, FLAC, …)")


@remarks()
def _resynth(arguments: argparse.Namespace) -> None:
    import soundfile

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
