"""Pictures: that they show what the plans say. How they look was judged by eye."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import seqstride as ss
from seqstride.plot import plot_strides, plot_training


def encode(key: str = "adastride") -> tuple[torch.Tensor, object]:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 40)
    encoder = ss.ResNet1d(4, channels=(8, 8), strides=(2, 2), downsampler=key).eval()
    for name, parameter in encoder.named_parameters():
        if "score" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        return x, encoder(x, torch.tensor([40, 31, 7]))


def epochs(count: int) -> list[dict]:
    return [
        {
            "epoch": n,
            "train": {"loss": 2.0 / n, "accuracy": 0.5},
            "valid": {"loss": 2.2 / n, "accuracy": 0.6},
            "strides": [2.0, 2.0 + 0.1 * n],
            "local_strides": [[1.5, 2.5], [1.9, 3.0]],
        }
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("key", list(ss.DOWNSAMPLERS))
def test_strides_are_those_of_the_plans(key: str) -> None:
    x, encoded = encode(key)
    figure = plot_strides(x, encoded, titles=["a", "b", "c"], frame_rate=100.0, feature_name="mel band")
    images, curves = figure.axes[:3], figure.axes[3:6]
    for item, length in enumerate([40, 31, 7]):
        # a bound stands wherever the next input frame is nearest to another output frame
        positions = encoded.positions[item, :length].clamp(0, int(encoded.lengths[item]) - 1)
        nearest = (positions.round(decimals=6) + 0.5).floor()  # rounded: halves are ties, up to the last bits
        between = nearest.diff().nonzero()[:, 0] + 0.5
        drawn = [segment[0][0] for segment in images[item].collections[0].get_segments()]
        np.testing.assert_allclose(drawn, between * 10.0)
        *blocks, whole = curves[item].lines
        np.testing.assert_allclose(whole.get_ydata(), encoded.strides()[item, :length], rtol=1e-6)
        np.testing.assert_allclose(whole.get_xdata(), np.arange(length) * 10.0)
        # the first block's input is the encoder's
        np.testing.assert_allclose(blocks[0].get_ydata(), encoded.plans[0].strides()[item, :length], rtol=1e-6)
        assert len(blocks) == 2
    assert curves[0].get_xlabel() == "time (ms)"
    assert images[0].get_ylabel() == "mel band"


def test_pictures_are_written_without_a_display(tmp_path: Path) -> None:
    x, encoded = encode()
    plot_strides(x, encoded, titles=["a", "b", "c"]).savefig(tmp_path / "strides.png")
    plot_training(epochs(5), chosen=3).savefig(tmp_path / "training.png")
    plot_training(epochs(1)).savefig(tmp_path / "one.png")
    from matplotlib.image import imread

    for name in ("strides.png", "training.png", "one.png"):
        pixels = imread(tmp_path / name)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.05, name


def test_training_curves_are_those_of_the_history() -> None:
    figure = plot_training(epochs(4), chosen=2)
    loss, accuracy, strides = figure.axes
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2.2, 1.1, 2.2 / 3, 0.55])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), 50.0)
    np.testing.assert_allclose(strides.lines[1].get_ydata(), [2.1, 2.2, 2.3, 2.4])
    assert "%" in accuracy.get_ylabel()
    assert {axis.get_xlabel() for axis in figure.axes} == {"epoch"}


def test_wrong_arguments_are_named() -> None:
    x, encoded = encode()
    with pytest.raises(ValueError, match=r"`titles` \(=\['a'\]\) must have 3 entries"):
        plot_strides(x, encoded, titles=["a"])
    with pytest.raises(ValueError, match="`epochs`"):
        plot_training([])


def test_no_global_state_is_touched() -> None:
    code = "import seqstride.plot as p; p.plot_training; import sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
