"""`seqstride strides`: what it finds out about a recording, and its pictures, tables and pages."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import resnet, saved, spectrogram, tones

from seqstride.cli import main
from seqstride.models.classifier import SequenceClassifier
from seqstride.plots.canvas import marks_hz
from seqstride.plots.page import view_page
from seqstride.plots.recording import plot_view
from seqstride.plots.view import View, view_recording

WORDS = {"digit": ["0", "7"], "speaker": ["anna", "lucas", "<b>theo"]}


def view_of(model: SequenceClassifier, seconds: float = 0.6, name: str = "x.wav") -> tuple[View, Any, torch.Tensor]:
    """A view, what the encoder gave, and the logits of the first label."""
    wave = tones(seconds)
    lengths = torch.tensor([len(wave)])
    with torch.no_grad():
        return view_recording(model, wave, name), model.encode(wave[None], lengths), model(wave[None], lengths)["digit"]


# The view


def test_curves_are_the_plans_on_the_clock() -> None:
    view, encoded, _ = view_of(resnet("adastride"))
    np.testing.assert_allclose(view.times, np.arange(61) / 100)
    first, second = encoded.plans
    p1 = first.positions[0].numpy()
    inner = np.arange(int(first.lengths[0]))
    np.testing.assert_allclose(view.blocks[0].stride, first.strides()[0])
    np.testing.assert_allclose(view.blocks[0].position, p1)
    # what the second block does with its own frames, read where the input frames stand among those
    np.testing.assert_allclose(view.blocks[1].stride, np.interp(p1, inner, second.strides()[0]))
    np.testing.assert_allclose(view.blocks[1].position, np.interp(p1, inner, second.positions[0]), atol=1e-9)
    np.testing.assert_allclose(view.whole.stride, encoded.strides()[0])
    np.testing.assert_array_equal(view.whole.position, view.blocks[1].position)
    assert view.stride_range == (
        min(curve.stride.min() for curve in view.curves),
        max(curve.stride.max() for curve in view.curves),
    )
    assert np.ptp(view.whole.stride) > 1, "the strides must vary"


@pytest.mark.parametrize("model", [resnet("adastride"), resnet("average"), spectrogram("diffstride")])
def test_bounds_stand_between_frames_of_different_outputs(model: SequenceClassifier) -> None:
    view, encoded, _ = view_of(model)
    output = np.floor(view.whole.position.clip(0, int(encoded.lengths[0]) - 1) + 0.5 + 1e-9)
    changes = np.flatnonzero(np.diff(output)) + 0.5
    np.testing.assert_allclose(view.bounds * 100, changes)
    assert len(changes) > 3


def test_the_spectrogram_is_in_decibels_and_hertz() -> None:
    model = resnet("average")
    view, _, _ = view_of(model)
    power, _ = model.frontend(tones(0.6)[None], torch.tensor([4800]))
    np.testing.assert_allclose(10 ** (view.spectrogram / 10), power[0].exp(), rtol=1e-4)
    np.testing.assert_allclose(view.bands_hz, model.frontend.centres_hz())
    assert view.level_range[1] == view.spectrogram.max()
    assert view.level_range[1] - view.level_range[0] <= 80
    places, names = marks_hz(view.bands_hz)
    # the bands are even in mel = 2595 log10(1 + Hz / 700)
    mels = [2595 * np.log10(1 + np.array(hz, dtype=float) / 700) for hz in (view.bands_hz, names)]
    np.testing.assert_allclose(np.interp(places, np.arange(len(mels[0])), mels[0]), mels[1])
    assert names == ["250", "500", "1000", "1500", "2000", "3000"]


def test_scores_over_time_have_the_logits_as_their_mean() -> None:
    view, encoded, logits = view_of(resnet("adastride", labels=WORDS))
    names, scores = view.scores["digit"]
    assert len(scores) == len(view.output_times) == int(encoded.lengths[0])
    order = [WORDS["digit"].index(name) for name in names]
    np.testing.assert_allclose(scores.mean(0), logits[0, order], atol=1e-5)
    assert (np.diff(scores.mean(0)) <= 0).all()
    np.testing.assert_allclose(view.output_times * 100, encoded.times()[0])
    assert set(view.scores["speaker"].names) == set(WORDS["speaker"])
    name, probability = view.decisions["digit"]
    assert name == names[0]
    assert probability == pytest.approx(float(logits.softmax(1).max()), rel=1e-5)
    speaker, share = view.decisions["speaker"]
    assert view.title == f"x.wav: digit {name} ({100 * probability:.1f} %), speaker {speaker} ({100 * share:.1f} %)"


def test_decisions_of_windows_are_those_of_the_classifier() -> None:
    model = resnet("average", window=0.2)
    view, _, logits = view_of(model)
    assert view.decisions["digit"].probability == pytest.approx(float(logits.softmax(1).max()), rel=1e-5)
    assert view.whole.stride.shape == (61,)


def mask_by_hand(key: str, stride: float, frames: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and values, from the definition of the method."""
    smoothness = min(4.0, frames / 4)
    effective = max(min(stride, frames / 2), frames / (frames - smoothness))
    if key == "diffstride":
        bins, threshold = np.arange(frames // 2 + 1), frames / (2 * effective) + 1
        frequencies = bins * rate / frames
    else:
        bins, threshold = np.arange(frames), frames / effective
        frequencies = bins * rate / (2 * frames)
    return frequencies, np.clip((smoothness + threshold - bins) / smoothness, 0, 1)


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_masks_are_those_of_the_layers(key: str) -> None:
    view, encoded, _ = view_of(spectrogram(key))
    assert [(mask.block, mask.axis) for mask in view.masks] == [
        (0, "time"),
        (1, "time"),
        (0, "frequency"),
        (1, "frequency"),
    ]
    assert [round(mask.stride, 5) for mask in view.masks] == [2.0, 1.7, 1.5, 2.0]
    for mask, plan in zip(view.masks, [*encoded.plans, *encoded.frequency_plans], strict=True):
        frames = int(plan.input_lengths[0])
        # the rate at the layer's input: fewer frames, or bins, in the same time, or over the same bands
        rate = 100 * frames / 61 if mask.axis == "time" else frames / 12
        frequencies, values = mask_by_hand(key, mask.stride, frames, rate)
        np.testing.assert_allclose(mask.frequencies, frequencies)
        np.testing.assert_allclose(mask.values, values, atol=1e-6)
        assert mask.cutoff == pytest.approx(rate / (2 * mask.stride))
        assert mask.passed == pytest.approx(frequencies[values > 0].max())
    assert view.masks[0].cutoff == 25.0


@pytest.mark.parametrize("key", ["spectral", "adastride", "average"])
def test_other_methods_have_no_masks(key: str) -> None:
    assert view_of(resnet(key))[0].masks == []


def test_parts_are_the_whole_in_pieces() -> None:
    view, _, _ = view_of(resnet("adastride"), seconds=2.5)
    parts = view.parts(1.0)
    assert len(parts) == 3
    durations = [part.stop - part.start for part in parts]
    assert max(durations) == pytest.approx(min(durations))
    assert max(durations) <= 1.0
    for name in ("samples", "sample_times", "bounds", "output_times"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(view, name))
    for part in parts:
        # every frame that reaches into the part is there
        shown = (view.times > part.start - 0.005 - 1e-9) & (view.times < part.stop + 0.005 + 1e-9)
        np.testing.assert_array_equal(part.times, view.times[shown])
        np.testing.assert_array_equal(part.spectrogram, view.spectrogram[:, shown])
        np.testing.assert_array_equal(part.whole.stride, view.whole.stride[shown])
        np.testing.assert_array_equal(part.blocks[1].position, view.blocks[1].position[shown])
        assert part.level_range == view.level_range
        assert part.stride_range == view.stride_range
        assert len(part.scores["digit"].logits) == len(part.output_times)
    assert parts[1].title == view.title + f", {parts[1].start:.2f} to {parts[1].stop:.2f} of 2.50 s"
    assert view.parts(2.5) == [view]
    for seconds in (0, -1, math.nan):
        with pytest.raises(ValueError, match=r"`seconds` \(=.*\) must be positive"):
            view.parts(seconds)


def test_outlines_keep_the_extremes() -> None:
    view, _, _ = view_of(resnet("average"), seconds=1.0)
    assert view.outline()[1] is view.samples
    times, values = view.outline(points=500)
    assert 400 < len(times) == len(values) <= 502
    assert (np.diff(times) >= 0).all()
    size = 8000 // 250
    for index, start in enumerate(range(0, 8000, size)):
        stretch = view.samples[start : start + size]
        assert values[2 * index : 2 * index + 2].tolist() == [stretch.min(), stretch.max()]
        assert start / 8000 == times[2 * index] <= times[2 * index + 1] < (start + size) / 8000


def test_a_model_of_features_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`model` must read recordings; this one reads features \(mel band\)"):
        view_recording(resnet("average", sample_rate=None), tones(0.1), "x")


# The picture


def test_the_picture_shows_the_view() -> None:
    view, _, _ = view_of(resnet("adastride"))
    figure = plot_view(view)
    wave, picture, strides, _ = figure.axes
    assert figure.get_suptitle() == f"{view.title}\n{len(view.times)} → {len(view.output_times)} frames"
    np.testing.assert_array_equal(wave.lines[0].get_xydata(), np.stack([view.sample_times, view.samples], 1))
    np.testing.assert_array_equal(picture.images[0].get_array(), view.spectrogram)
    np.testing.assert_allclose(picture.images[0].get_extent(), [-0.005, 0.605, -0.5, 11.5])
    bounds = [segment[0][0] for segment in picture.collections[0].get_segments()]
    np.testing.assert_array_equal(bounds, view.bounds)
    for line, curve in zip(strides.lines, [view.whole, *view.blocks], strict=True):
        assert line.get_label() == curve.name
        np.testing.assert_array_equal(line.get_xydata(), np.stack([view.times, curve.stride], 1))
    limits = {axis.get_xlim() for axis in (wave, picture, strides)}
    assert limits == {(view.start, view.stop)}, "one time axis"
    assert (strides.get_xlabel(), picture.get_ylabel()) == ("time (s)", "frequency (Hz)")
    low, high = strides.get_ylim()
    assert low < view.stride_range[0] < view.stride_range[1] < high


def test_dense_bounds_are_thin() -> None:
    model = resnet("average", strides=(1, 1))
    view, _, _ = view_of(model, seconds=8.0)
    assert len(view.bounds) == 800
    figure = plot_view(view)
    figure.draw_without_rendering()
    picture = figure.axes[1]
    points = picture.get_window_extent().width / figure.dpi * 72
    widths = picture.collections[0].get_linewidths()
    assert sum(widths) < 0.25 * points, "three quarters of the picture must show between the lines"
    assert min(widths) > 0.1, "and the lines must show, too"


def test_masks_have_a_row_of_their_own() -> None:
    view, _, _ = view_of(spectrogram("diffstride"))
    time, frequency = plot_view(view).axes[-2:]
    for axis, masks in ((time, view.masks[:2]), (frequency, view.masks[2:])):
        for mask, curve, cutoff in zip(masks, axis.lines[::2], axis.lines[1::2], strict=True):
            np.testing.assert_array_equal(curve.get_xydata(), np.stack([mask.frequencies, mask.values], 1))
            assert cutoff.get_xdata() == [mask.cutoff, mask.cutoff]
            assert mask.cutoff < axis.get_xlim()[1]
    assert time.get_title() == "block 1, 2: learnt stride 2, 1.7\ncut-off (dashed) 25, 19.3 Hz"
    assert "Hz" in time.get_xlabel()
    assert "cycles per band" in frequency.get_xlabel()


@pytest.mark.parametrize(("model", "seconds"), [(resnet("adastride"), 0.01), (spectrogram("dct_diffstride"), 1 / 8000)])
def test_the_shortest_recordings_are_drawn(model: SequenceClassifier, seconds: float, tmp_path: Path) -> None:
    view, _, _ = view_of(model, seconds=seconds)
    assert len(view.times) == 1 + int(seconds * 100)
    plot_view(view).savefig(tmp_path / "short.png")
    assert (tmp_path / "short.png").stat().st_size > 5000
    assert "x.wav" in view_page(view, 8.0)


def test_silence_is_drawn(tmp_path: Path) -> None:
    view = view_recording(resnet("adastride"), torch.zeros(800), "silence")
    plot_view(view).savefig(tmp_path / "silence.png")


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(resnet("adastride", labels=WORDS), tmp_path_factory.mktemp("model"))


def record(path: Path, seconds: float = 0.4, rate: int = 8000, **kind: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tones(seconds, rate).numpy(), rate, **kind)
    return path


def strides(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[list[str], str]:
    """The lines that the command printed, and its errors."""
    assert main(["strides", *map(str, words)]) == code
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_gets_a_picture_a_table_and_a_page(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from matplotlib.image import imread

    file = record(tmp_path / "five.wav", rate=16000)
    picture, table, page = tmp_path / "new" / "five.png", tmp_path / "five.csv", tmp_path / "five.html"
    out, err = strides(capsys, file, "--model", model, "-o", picture, "--csv", table, "--html", page)
    assert (out, err) == ([str(picture), str(page)], "")
    assert imread(picture)[..., :3].std() > 0.1
    assert page.stat().st_size > 1_000_000, "plotly is inside"

    from seqstride.files.loading import load_audio

    view = view_recording(resnet("adastride", labels=WORDS), load_audio(8000, file), "five.wav")
    columns = rows(table)
    assert list(columns[0]) == [
        "time",
        *(f"{name}_{what}" for name in ("block1", "block2", "encoder") for what in ("stride", "position")),
    ]
    assert len(columns) == len(view.times) == 41
    for name, values in {
        "time": view.times,
        "block1_stride": view.blocks[0].stride,
        "block2_position": view.blocks[1].position,
        "encoder_stride": view.whole.stride,
        "encoder_position": view.whole.position,
    }.items():
        np.testing.assert_allclose([float(row[name]) for row in columns], values, atol=1e-6)


def test_long_recordings_get_several_pictures(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = record(tmp_path / "long.flac", seconds=2.0)
    out, _ = strides(capsys, file, "--model", model, "-o", tmp_path / "p.svg", "--seconds", 0.8)
    assert out == [str(tmp_path / f"p_{number:03d}.svg") for number in (1, 2, 3)]
    assert re.search(r"digit \d \(.*\), 0\.6\d to 1\.3\d of 2\.00 s", Path(out[1]).read_text(encoding="utf-8"))
    assert not (tmp_path / "p.svg").exists()


def test_a_folder_gets_a_picture_for_every_file(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    for name in ("a.wav", "sub/a.wav", "sub/b.wav", "sub/b.flac", "sub/.hidden.wav"):
        record(folder / name, seconds=0.2)
    (folder / "notes.txt").write_text("no audio")
    (folder / "bad.wav").write_bytes(b"RIFF but no more")
    wanted = ["-o", tmp_path / "out", "--csv", tmp_path / "t.csv", "--html", tmp_path / "html"]
    out, err = strides(capsys, folder, "--model", model, *wanted, code=2)
    names = ["a", "sub/a", "sub/b.flac", "sub/b.wav"]
    assert {os.path.relpath(line, tmp_path) for line in out} == {
        *(f"out/{name}.png" for name in names),
        *(f"html/{name}.html" for name in names),
    }
    assert all(Path(line).is_file() for line in out)
    assert err.count("\n") == 1
    assert "bad.wav' cannot be read as audio" in err
    table = rows(tmp_path / "t.csv")
    assert list(dict.fromkeys(row["file"] for row in table)) == ["a.wav", "sub/a.wav", "sub/b.flac", "sub/b.wav"]
    assert len(table) == 4 * 21


def test_a_spreadsheet_finds_no_formula(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record(tmp_path / "in" / "=1+1.wav", seconds=0.1)
    wanted = ["-o", tmp_path / "out", "--csv", tmp_path / "t.csv", "--spreadsheet"]
    strides(capsys, tmp_path / "in", "--model", model, *wanted)
    assert {row["file"] for row in rows(tmp_path / "t.csv")} == {"'=1+1.wav"}


def test_what_is_wrong_is_one_line(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = record(tmp_path / "x.wav")
    out = tmp_path / "x.png"
    assert "model.json is missing" in strides(capsys, file, "--model", tmp_path, "-o", out, code=2)[1]
    absent = tmp_path / "absent.wav"
    assert (
        "absent.wav' cannot be read as audio: there is no such file"
        in strides(capsys, absent, "--model", model, "-o", out, code=2)[1]
    )
    (tmp_path / "none").mkdir()
    assert "there are none" in strides(capsys, tmp_path / "none", "--model", model, "-o", out, code=2)[1]
    assert "`seconds` (=0.0)" in strides(capsys, file, "--model", model, "-o", out, "--seconds", 0, code=2)[1]
    assert "must be the name of a picture" in strides(capsys, file, "--model", model, "-o", tmp_path / "x", code=2)[1]
    features = saved(resnet("average", sample_rate=None), tmp_path / "features")
    assert "reads features" in strides(capsys, file, "--model", features, "-o", out, code=2)[1]
    assert not out.exists()


def test_a_missing_plotly_is_explained(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    file = record(tmp_path / "x.wav")
    words = [file, "--model", model, "-o", tmp_path / "x.png"]
    _, err = strides(capsys, *words, "--html", tmp_path / "x.html", code=2)
    assert "pip install 'seqstride[html]'" in err
    strides(capsys, *words)


# The page, in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=20000 --host-resolver-rules=MAP\t*\t~NOTFOUND"
)
PROBE = """<script>window.addEventListener("load", async () => {
  const chart = document.querySelector(".js-plotly-plot");
  await Plotly.redraw(chart);  // the first drawing may not be over
  Plotly.Fx.hover(chart, {xval: 0.3, yval: 4}, ["xy2"]);
  const nodes = (what) => [...document.querySelectorAll(what)];
  const texts = (what) => nodes(what).map((node) => node.textContent);
  setTimeout(() => {
    const seen = {
      title: texts(".gtitle")[0],
      hover: texts(".hoverlayer text"),
      legends: texts(".legend3text, .legend4text, .legend5text"),
      axes: texts(".xtitle, .x4title, .x5title, .x6title"),
      marks: texts(".y2tick"),
      traces: nodes(".scatterlayer .trace").length,
      pictures: nodes(".heatmaplayer image").map((node) => node.getAttribute("width")),
      time: chart._fullData.filter((trace) => trace.xaxis === "x").length,
      range: chart._fullLayout.xaxis.range,
      buttons: nodes(".modebar-btn").map((node) => node.dataset.title),
      requests: performance.getEntriesByType("resource").map((entry) => entry.name),
    };
    const found = document.createElement("pre");
    found.id = "probe";
    found.textContent = JSON.stringify(seen);
    document.body.append(found);
  }, 300);
});</script></body>"""


def seen_in_a_browser(page: str, folder: Path) -> dict[str, Any]:
    """What a reader of the page has before the eyes, pointing at 0.3 s and the fifth band."""
    if CHROMIUM is None:
        pytest.skip("needs chromium or chrome")
    file = folder / "page.html"
    file.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    flags = [flag.replace("\t", " ") for flag in FLAGS.split(" ")]
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    match = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    return json.loads(unescape(match[1]))


def test_the_page_draws_itself_offline(tmp_path: Path) -> None:
    view, encoded, _ = view_of(resnet("adastride", labels=WORDS), name="<i>5 & x</i>.wav")
    seen = seen_in_a_browser(view_page(view, 8.0), tmp_path)
    assert seen["title"] == view.title
    # waveform, bounds, three curves, and two and three classes
    assert seen["traces"] == 1 + 1 + 3 + 2 + 3
    assert seen["time"] == seen["traces"] + 1, "one time axis for all, the spectrogram included"
    assert len(seen["pictures"]) == 1
    assert float(seen["pictures"][0]) > 100
    classes = [name for scores in view.scores.values() for name in scores.names]
    assert seen["legends"] == ["whole encoder", "block 1", "block 2", *classes]
    assert seen["marks"] == ["250", "500", "1000", "1500", "2000", "3000"]
    assert seen["range"] == pytest.approx([view.start, view.stop])
    assert seen["requests"] == []
    assert not [button for button in seen["buttons"] if re.search("share|cloud|send", button, re.IGNORECASE)]

    hover = dict(line.split(" : ") for line in seen["hover"][1:])
    assert seen["hover"][0] == "0.300 s"
    for curve in view.curves:
        assert hover[curve.name] == f"{curve.stride[30]:.2f}"
    nearest = int(np.abs(view.output_times - 0.3).argmin())
    for names, logits in view.scores.values():
        for name, score in zip(names, logits[nearest], strict=True):
            assert hover[name].replace("−", "-") == f"{score:.2f}"
    assert hover["level"].replace("−", "-") == f"{view.spectrogram[4, 30]:.1f} dB at {view.bands_hz[4]:.0f} Hz"
    assert int(encoded.lengths[0]) == len(view.output_times)


def test_the_page_has_masks_and_starts_with_the_first_seconds(tmp_path: Path) -> None:
    view, _, _ = view_of(spectrogram("diffstride"), seconds=2.0)
    seen = seen_in_a_browser(view_page(view, 0.5), tmp_path)
    assert seen["range"] == pytest.approx([view.start, view.start + 0.5])
    assert seen["traces"] == 1 + 1 + 3 + 2 + 4
    assert seen["time"] == 8
    assert {"time", "modulation frequency (Hz)", "cycles per band"} <= set(seen["axes"])


def test_a_page_names_the_ten_best_of_many_classes() -> None:
    labels = {"digit": [f"class-{number:02d}" for number in range(35)]}
    view, _, _ = view_of(resnet("average", labels=labels))
    page = view_page(view, 8.0)
    names = view.scores["digit"].names
    assert len(names) == 35
    assert set(re.findall(r'"name":"(class-\d\d)"', page)) == set(names[:10])
