"""Classification of single frames behind a downsampling encoder."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from brain import LENGTHS, Batch, signal
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedData

import seqstride as ss
from seqstride.brains.frames import FrameClassificationBrain, class_weights
from seqstride.encoders.heads import FeatureNorm, FrameClassifier
from seqstride.errors import InputError

BEATS = [[3, 20, 29], [], [8], [0, 23]]


def make_brain(downsampler: str = "adastride") -> FrameClassificationBrain:
    hparams = {
        "seed": 1,
        "classes": ["a", "b"],
        "class_weights": [1.0, 1.0],
        "labelled_frames": "beats",
        "signal_rate": 10.0,
        "wav_augment": None,
        "fea_augment": None,
        "lr": 0.01,
        "stride_lr": 0.1,
        "weight_decay": 0.01,
        "penalty_weight": 1.0,
        "complexity": {"kind": "frames", "length": 16, "weight": 0.0},
        "train_logger": SimpleNamespace(log_stats=lambda *args, **kwargs: None),
    }
    modules = {
        "normalize": FeatureNorm(5),
        "encoder": ss.ResNet1d(5, channels=(8, 8), strides=(4, 1), downsampler=downsampler),
        "classifier": FrameClassifier(8, 2),
    }
    return FrameClassificationBrain(modules, torch.optim.AdamW, hparams, {"device": "cpu", "noprogressbar": True})


def batch(x: torch.Tensor, items: list[int], width: int) -> Batch:
    return Batch(
        id=[str(item) for item in items],
        signal=PaddedData(x[items, :, :width].transpose(1, 2), LENGTHS[items] / width),
        beats=[BEATS[item] for item in items],
        frame_targets=[[index % 2 for index in range(len(BEATS[item]))] for item in items],
    )


@pytest.mark.parametrize("method", ["average", "adastride", "cif", "merge"])
def test_a_frame_reads_the_same_whatever_is_beside_its_item(method: str) -> None:
    brain, x = make_brain(method), signal()
    brain.modules.eval()
    together = brain.compute_forward(batch(x, [0, 1, 2, 3], 30), Stage.TEST)
    assert together.logits.shape == (6, 2)
    assert together.owners.tolist() == [0, 0, 0, 2, 3, 3]
    assert together.targets.tolist() == [0, 1, 0, 0, 0, 1]
    alone = brain.compute_forward(batch(x, [3], 24), Stage.TEST)
    assert torch.allclose(together.logits[4:], alone.logits, atol=1e-5)


def test_frames_read_their_own_place() -> None:
    """Times of output frames, expanded, are the numbers of the input frames: but for the ends, which have no more."""
    encoded = ss.ResNet1d(5, (4, 4, 4), (2, 1, 2), "average").eval()(signal(), LENGTHS)
    frames = encoded.expand(encoded.times()[:, None].float())[:, 0]
    for item, length in enumerate(LENGTHS.tolist()):
        assert torch.allclose(frames[item, 2 : length - 3], torch.arange(2.0, length - 3), atol=0.6)


def test_items_without_labels_and_the_counts_of_classes() -> None:
    brain, x = make_brain("average"), signal()
    brain.on_stage_start(Stage.TEST)
    data = batch(x, [1], 17)
    assert brain.compute_objectives(brain.compute_forward(data, Stage.TEST), data, Stage.TEST) == 0
    assert brain.item_results == {}

    data = batch(x, [0, 2], 30)
    prediction = brain.compute_forward(data, Stage.TEST)
    loss = brain.compute_objectives(prediction, data, Stage.TEST)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(prediction.logits, prediction.targets))
    assert {name: (result.total, result.group) for name, result in brain.item_results.items()} == {
        "0 a": (2, 0),
        "0 b": (1, 1),
        "2 a": (1, 0),
    }
    found = sum(result.counted for result in brain.item_results.values())
    assert brain.scores(Stage.TEST)["accuracy"] == pytest.approx(found / 4)


@pytest.mark.parametrize(("balance", "totals"), [(0.0, [90, 10]), (0.5, [75, 25]), (1.0, [50, 50])])
def test_rare_classes_get_weight(balance: float, totals: list[float]) -> None:
    weights = class_weights([90, 10], balance)
    assert [90 * weights[0], 10 * weights[1]] == pytest.approx(totals)
    with pytest.raises(InputError, match=r"`balance` \(=2\) must be from 0 to 1"):
        class_weights([1], 2)


def load(folder: Path, train: dict[str, Any], valid: dict[str, Any] | None = None) -> dict[str, Any]:
    np.save(folder / "a.npy", np.zeros((20, 5), dtype=np.float32))
    item = {"features": "{data_root}/a.npy", "length": 20, "frame_rate": 10.0}
    for split, own in (("train", train), ("valid", train if valid is None else valid)):
        (folder / f"{split}.json").write_text(json.dumps({"x": {**item, **own}}))
    manifests = {split: str(folder / f"{split}.json") for split in ("train", "valid")}
    hparams: dict[str, Any] = {"manifests": manifests, "data_root": None, "frame_labels": "kinds", "balance": 0.0}
    hparams |= {"labelled_frames": "beats", "modules": {}, "classifier": lambda classes: classes}
    hparams |= {"checkpointer": SimpleNamespace(add_recoverable=lambda name, module: None)}
    FrameClassificationBrain.load_data(hparams)
    return hparams


def test_classes_come_from_the_training_part(tmp_path: Path) -> None:
    hparams = load(tmp_path, {"kinds": "bab", "beats": [0, 7, 19]}, {"kinds": ["a"], "beats": [1]})
    assert hparams["classes"] == ["a", "b"]
    assert hparams["modules"]["classifier"] == 2
    with pytest.raises(InputError, match="has labels that train lacks: c"):
        load(tmp_path, {"kinds": "ab", "beats": [0, 1]}, {"kinds": "c", "beats": [0]})
    with pytest.raises(InputError, match=r"`frame_labels` \(='kinds'\) must label some frames"):
        load(tmp_path, {"kinds": "", "beats": []})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"kinds": "ab", "beats": [1]}, "must have as many texts in 'kinds' as frames in 'beats'"),
        ({"kinds": "ab"}, "must have as many texts in 'kinds' as frames in 'beats'"),
        ({"kinds": [1], "beats": [1]}, "must have as many texts in 'kinds' as frames in 'beats'"),
        ({"kinds": "a", "beats": [20]}, "'beats' must be frames from 0 to 19"),
        ({"kinds": "a", "beats": [1.5]}, "'beats' must be frames from 0 to 19"),
    ],
)
def test_wrong_labels_are_named(item: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"item 'x'.*{message}"):
        load(tmp_path, item)
