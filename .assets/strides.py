"""Draws `strides.png`, the picture of the README: three spoken digits of a speaker whom the model never heard.

Train the model first, for five minutes on one core, then draw:

    seqstride train recipes/SpokenDigits/classification --downsampler adastride --data_folder fsdd --fold george \
        --number_of_epochs 15 --output_folder digits
    python .assets/strides.py fsdd digits .assets/strides.png
"""

import sys
from pathlib import Path

import torch

from seqstride.files.loading import load_audio
from seqstride.models.classifier import load_model
from seqstride.plots.recording import plot_view
from seqstride.plots.view import view_recording

RATE = 8000  # Hz
DIGITS = {"seven": "7_george_1.wav", "three": "3_george_3.wav", "five": "5_george_2.wav"}


def main(data: str, model: str, picture: str) -> None:
    """Joins the recordings with pauses of quiet noise, and draws what the encoder does with them."""
    torch.manual_seed(0)
    pieces = [8e-4 * torch.randn(2400)]
    for file in DIGITS.values():
        pieces += [load_audio(RATE, Path(data) / "recordings" / file), 8e-4 * torch.randn(2800)]
    view = view_recording(load_model(model), torch.cat(pieces), "digits")
    figure = plot_view(view)
    figure.suptitle(f"“{', '.join(DIGITS)}”: {view.frames.replace(' frames', '')} frames, most of them where speech is")
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
