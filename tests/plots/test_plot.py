"""Pictures: that they show what the plans say. How they look was judged by eye."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch

import seqstride as ss
from seqstride.encoders.frontend import LogMel
from seqstride.files.whole_files import save_figure
from seqstride.plots.canvas import marks_hz
from seqstride.plots.codes import Reconstruction, plot_codes
from seqstride.plots.runs import plot_training
from seqstride.plots.strides import plot_input, plot_series, plot_strides


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


@pytest.mark.parametrize(("channels", "bands"), [(1, False), (8, False), (9, False), (3, True)])
def test_few_channels_of_a_sensor_are_lines(channels: int, bands: bool) -> None:
    _, encoded = encode()
    x = torch.randn(3, channels, 40)
    bands_hz = np.linspace(100.0, 2000.0, channels) if bands else None
    figure = plot_input(x, encoded, titles=["a", "b", "c"], feature_name="axis", frame_rate=32.0, bands_hz=bands_hz)
    assert bool(figure.axes[0].images) == (bands or channels > 8)
    assert figure.axes[0].get_ylabel() == {1: "axis", 8: "", 9: "axis", 3: "frequency (Hz)"}[channels]
    if channels == 1:
        np.testing.assert_allclose(figure.axes[2].lines[-1].get_ydata(), x[2, 0, :7])  # without its padding
    if channels == 8:
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"axis {n}" for n in range(1, 9)]


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


def test_a_single_epoch_has_points_that_show() -> None:
    figure = plot_training(epochs(1), chosen=1)
    figure.canvas.draw()
    for axis in figure.axes:
        *points, mark = axis.lines
        assert min(line.get_zorder() for line in points) > mark.get_zorder(), "hidden behind the scored epoch"
        assert [tick for tick in axis.get_xticks() if 0.5 <= tick <= 1.5] == [1]
        bottom, top = axis.get_ylim()
        assert all(bottom < y < top for line in points for y in line.get_ydata())


def test_epochs_of_a_reconstruction_have_no_nats() -> None:
    parts = {"train": {"loss": 1.0, "L1": 4.0}, "valid": {"loss": 1.2, "L1": 5.0}}
    loss, error, _ = plot_training([{**epoch, **parts} for epoch in epochs(2)]).axes
    assert (loss.get_ylabel(), error.get_ylabel()) == ("loss", "log-mel L1 (dB)")


# Many frames, long texts


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Titles that lie on one another or reach out of the figure."""
    figure.canvas.draw()
    boxes = {axis.title: axis.title.get_window_extent() for axis in figure.axes if axis.get_title()}
    pairs = [(a.get_text(), b.get_text()) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]
    outside = [a.get_text() for a, box in boxes.items() if box.x0 < 0 or box.x1 > figure.bbox.x1]
    return pairs + [(text, "") for text in outside]


def sentences(frames: list[int], strides: tuple[int, ...] = (2, 2)) -> Any:
    """Items of so many frames, encoded."""
    encoder = ss.ResNet1d(4, channels=(4,) * len(strides), strides=strides, downsampler="average").eval()
    x = torch.randn(len(frames), 4, max(frames))
    with torch.no_grad():
        return x, encoder(x, torch.tensor(frames))


def test_sentences_are_seen_between_their_bounds_and_below_what_was_said() -> None:
    x, encoded = sentences([530, 590, 301])
    text = "BEDEUTSAM IST DAS VORKOMMEN DES SELTENEN SUMPF JOHANNISKRAUTS " * 4
    titles = [f"said: {text}\nwritten: {text[:60]}", "said: a\nwritten:", "c"]
    bands = np.array([120.0, 900.0, 2100.0, 6500.0])
    marks = [[("A", 10.0), ("B", 200.0)], [], [("▁the", 5.0)]]
    figure = plot_strides(x, encoded, titles=titles, frame_rate=100.0, bands_hz=bands, marks=marks)
    assert not overlaps(figure)
    pictures = [axis for axis in figure.axes if axis.images]
    assert len(pictures) == 3
    for picture, frames in zip(pictures, (530, 590, 301), strict=True):
        (lines,) = picture.collections
        pixels = picture.get_window_extent().width
        drawn = sum(lines.get_linewidths()) / 72 * figure.dpi
        assert len(lines.get_segments()) == -(-frames // 4) - 1
        assert drawn < 0.25 * pixels, "the lines hide the picture"
        assert picture.get_title().endswith(f"\n{frames} → {-(-frames // 4)} frames")
        assert picture.get_ylabel() == "frequency (Hz)"
    assert pictures[0].get_title().startswith("said: BEDEUTSAM IST")
    assert " …" in pictures[0].get_title()
    assert pictures[1].get_title().startswith("said: a\nwritten:\n")
    names = [tick.get_text() for tick in pictures[0].get_yticklabels()]
    assert len(names) > 3
    places, marked = marks_hz(bands)
    expected = [places[marked.index(name)] + 1 for name in names]
    np.testing.assert_allclose(pictures[0].get_yticks(), expected)
    written = [[(text.get_text(), text.get_position()[0]) for text in picture.texts] for picture in pictures]
    assert written == [[("A", 0.1), ("B", 2.0)], [], [("▁the", 0.05)]]


def test_of_a_very_long_item_the_beginning_is_shown() -> None:
    x, encoded = sentences([4000])
    figure = plot_strides(x, encoded, titles=["long"], frame_rate=100.0)
    picture, strides = figure.axes[:2]
    assert picture.get_title() == "long\n4000 → 1000 frames; the first 5.99 of 40 s are shown"
    assert picture.get_xlim() == strides.get_xlim() == pytest.approx((-0.005, 5.995))


def test_series_of_many_classes_go_into_rows() -> None:
    _, encoded = sentences([40] * 6)
    names = [f"class {index}, with a long name" for index in range(6)]
    figure = plot_series([np.ones((1, 40))] * 6, encoded, titles=names, channel_names=["value"])
    assert not overlaps(figure)
    titled = [axis.get_title().partition("\n")[0] for axis in figure.axes if axis.get_title()]
    assert titled == names
    assert len({round(axis.get_position().y0, 3) for axis in figure.axes}) == 4


@pytest.mark.parametrize(("counts", "columns"), [([8, 14], 2), ([90, 130], 1)])
def test_every_unit_has_its_code(counts: list[int], columns: int) -> None:
    items = []
    for index, count in enumerate(counts):
        spectrogram = np.random.default_rng(index).normal(-40, 10, (3, 4 * count))
        codes, edges = np.arange(2 * count).reshape(count, 2), np.arange(count + 1) * 0.04
        items.append(Reconstruction(f"item {index}", spectrogram, spectrogram + 1, codes, edges.tolist()))
    figure = plot_codes(items, frame_rate=100.0, bands_hz=np.array([90.0, 1100.0, 4200.0]))
    assert not overlaps(figure)
    panels = [axis for axis in figure.axes if axis.images and axis.texts]
    assert len({round(axis.get_position().x0, 3) for axis in panels}) == columns
    for axis, count in zip(panels, counts, strict=True):
        assert axis.get_title().partition("\n")[2].startswith(f"{4 * count} → {count} frames, {count} different codes")
        limit = axis.get_xlim()[1]
        inside = [text for text in axis.texts if text.get_position()[0] < limit]
        assert [text.get_text() for text in inside] == [f"{2 * n} {2 * n + 1}" for n in range(min(count, 110))]
        (lines,) = axis.collections
        assert sum(lines.get_linewidths()) / 72 * figure.dpi < 0.3 * axis.get_window_extent().width
    assert figure.axes[0].get_ylabel() == "frequency (Hz)"
    with pytest.raises(ValueError, match="`items`"):
        plot_codes([], frame_rate=100.0)


def test_marks_in_hz_do_not_crowd() -> None:
    bands = np.geomspace(60, 7800, 80)
    places, names = marks_hz(bands, apart=8)
    assert set(names) < set(marks_hz(bands)[1])
    assert min(np.diff(places)) >= 8
    for place, name in zip(places, names, strict=True):
        assert bands[int(place)] <= float(name) <= bands[int(place) + 1]


def test_marks_in_hz_stand_between_the_bands_of_a_front_end() -> None:
    """librosa's mel scale is the one of the front end, whose bands are even in mel."""
    frontend = LogMel(16000, bands=80)
    bands = frontend.centres_hz().numpy()
    mel = librosa.mel_frequencies(82, fmin=frontend.low_hz, fmax=frontend.high_hz, htk=True)
    np.testing.assert_allclose(bands, mel[1:-1], rtol=1e-5)
    places, names = marks_hz(bands)
    edges = librosa.hz_to_mel(np.array([frontend.low_hz, frontend.high_hz]), htk=True)
    step = (edges[1] - edges[0]) / 81
    at = librosa.mel_to_hz(edges[0] + (np.array(places) + 1) * step, htk=True)
    np.testing.assert_allclose(at, [float(name) for name in names], rtol=1e-5)


def test_wrong_arguments_are_named() -> None:
    x, encoded = encode()
    with pytest.raises(ValueError, match=r"`titles` \(=\['a'\]\) must have 3 entries"):
        plot_strides(x, encoded, titles=["a"])
    with pytest.raises(ValueError, match="`epochs`"):
        plot_training([])


def test_letters_that_a_font_lacks_are_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x, encoded = encode()
    for title, lines in (("नमस्ते दुनिया", 1), ("Weißenburg", 0)):
        caplog.clear()
        save_figure(plot_strides(x, encoded, titles=[title] * 3), tmp_path / "strides.png")
        found = [record.getMessage() for record in caplog.records if record.name.startswith("seqstride")]
        assert len(found) == lines
        assert all(
            text.endswith("the font of the pictures lacks some letters and shows boxes instead") for text in found
        )


def test_no_global_state_is_touched() -> None:
    code = "import seqstride.plots.runs as p; p.plot_training; import sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
