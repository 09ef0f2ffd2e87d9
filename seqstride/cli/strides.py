"""The command that draws strides of recordings: strides."""

from __future__ import annotations

import argparse
import sys

from seqstride.cli.parser import Command, add_model, add_spreadsheet
from seqstride.errors import shown
from seqstride.files.remarks import remarks
from seqstride.models.folder import check_model_folder, model_files

STRIDES_HELP = """\
Draws where a trained model takes long strides in recordings and where short ones. A picture shows the waveform, the
spectrogram with the bounds of the output frames, the local strides of every block and of the whole encoder, and
learnt strides as masks over the modulation frequencies.

  seqstride strides five.wav --model results/spoken_digits_adastride/official/1986 -o five.png

A recording longer than --seconds gets several pictures: five_001.png, five_002.png, … If you give a folder, OUT is a
folder, too, and every recording in it gets a picture with its name. The command reports files that it cannot read,
draws the others, and ends with exit code 2. The model reads a recording as a whole, so memory grows with its
duration."""


def _add_strides(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", metavar="FILE_OR_FOLDER", help="an audio file, or a folder of them")
    add_model(command)
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the picture; for a folder, a folder")
    command.add_argument("--csv", metavar="FILE", help="write strides and positions of every input frame to FILE")
    add_spreadsheet(command)
    command.add_argument("--html", metavar="OUT", help="write an interactive page; for a folder, a folder")
    command.add_argument("--seconds", type=float, default=8.0, help="longest duration of a picture (default 8)")


@remarks()
def _strides(arguments: argparse.Namespace) -> int:
    from seqstride.cli.drawing import draw_strides
    from seqstride.models.classifier import load_model

    failed = False
    check_model_folder(arguments.model, "--model")
    for drawn in draw_strides(
        load_model(arguments.model),
        arguments.source,
        arguments.output,
        table=arguments.csv,
        page=arguments.html,
        spreadsheet=arguments.spreadsheet,
        seconds=arguments.seconds,
        read=model_files(arguments.model),
    ):
        failed |= drawn.error is not None
        for path in drawn.written:
            print(shown(path))
        if drawn.error is not None:
            print(f"seqstride: {shown(drawn.error)}", file=sys.stderr)
    return 2 if failed else 0


COMMANDS = (
    Command(
        "strides",
        "draw where a trained model takes long and short strides in recordings",
        _strides,
        _add_strides,
        STRIDES_HELP,
    ),
)
