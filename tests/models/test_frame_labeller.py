"""Trained classifiers of single frames: from a folder, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqstride.cli import main
from seqstride.models.description import write_model
from seqstride.models.frames import FrameLabeller, describe_frames, load_frame_labeller

RECIPE = """
modules:
    normalize: !new:seqstride.encoders.heads.FeatureNorm
        channels: 5
    encoder: !new:seqstride.ResNet1d
        in_channels: 5
        channels: [8, 8]
        strides: [4, 1]
        downsampler: adastride
classifier: !name:seqstride.encoders.heads.FrameClassifier
    channels: 8
"""


@pytest.fixture
def model() -> FrameLabeller:
    words = describe_frames(RECIPE, label="beats", classes=["N", "V"], frame_rate=100.0, feature_name="lead")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return FrameLabeller(words)


def saved(model: FrameLabeller, folder: Path, **changed: Any) -> Path:
    folder.mkdir()
    names = ("normalize", "encoder", "classifier")
    modules = nn.ModuleDict({name: getattr(model, name) for name in names})
    write_model(folder, {**model.description, **changed}, modules)
    return folder


def test_a_folder_gives_the_model_and_padding_changes_nothing(model: FrameLabeller, tmp_path: Path) -> None:
    loaded = load_frame_labeller(saved(model, tmp_path / "model"))
    assert (loaded.classes, loaded.frame_rate) == (["N", "V"], 100.0)
    x, lengths = torch.randn(2, 30, 5), torch.tensor([30, 17])
    x[1, 17:] = torch.nan
    frames = [[0, 29, 3], [16]]
    together = loaded.decide(x, lengths, frames)
    assert [len(item) for item in together] == [3, 1]
    assert together == model.decide(x, lengths, frames)
    for item, length in enumerate(lengths.tolist()):
        [alone] = loaded.decide(x[item : item + 1, :length], lengths[item : item + 1], frames[item : item + 1])
        assert [found.name for found in alone] == [found.name for found in together[item]]
        expected = [found.probability for found in together[item]]
        assert [found.probability for found in alone] == pytest.approx(expected, abs=1e-6)


def test_frames_must_be_in_their_items(model: FrameLabeller) -> None:
    x, lengths = torch.zeros(2, 9, 5), torch.tensor([9, 4])
    with pytest.raises(ValueError, match=r"`frames` \(with 1 lists\) must have one for each of 2 items"):
        model.decide(x, lengths, [[0]])
    with pytest.raises(ValueError, match=r"`frames` \(of item 1\) must lie in 0 … 3"):
        model.decide(x, lengths, [[8], [4]])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sample_rate": 8000}, "must be null: it reads features"),
        ({"labels": {"a": ["x", "y"], "b": ["x"]}}, "must be one label"),
        ({"labels": {"a": []}}, "must list the names of the classes"),
        ({"labels": {"a": ["x", "y", "z"]}}, "does not hold the model's weights"),
        ({"task": "coding"}, "is a model for coding, where one for frame classification is needed"),
    ],
)
def test_wrong_descriptions_are_named(
    changed: dict[str, Any], message: str, model: FrameLabeller, tmp_path: Path
) -> None:
    folder = saved(model, tmp_path / "model", **changed)
    with pytest.raises(ValueError, match=message):
        load_frame_labeller(folder)


def test_commands_say_who_reads_it(model: FrameLabeller, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(saved(model, tmp_path / "model"))
    assert main(["classify", "x.wav", "--model", folder]) == 2
    told = "is a model for frame classification, where one for classification is needed; "
    assert f"{told}`seqstride.models.frames.load_frame_labeller` loads it in Python" in capsys.readouterr().err
    assert main(["export", "--model", folder]) == 2
    assert "is a model for frame classification, which cannot be exported" in capsys.readouterr().err
