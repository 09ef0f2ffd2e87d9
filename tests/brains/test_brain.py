"""The SpeechBrain edge: lobes, normalisation, mixup, and the Brain's objective and optimisation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from brain import LENGTHS, Batch, batch, make_brain, signal
from speechbrain import Stage
from torch import nn

import seqstride as ss
from seqstride.brains import ClassificationBrain
from seqstride.brains.history import History
from seqstride.brains.manifests import labelled_signals
from seqstride.brains.process_group import note_processes
from seqstride.encoders.heads import FeatureNorm, PooledClassifier
from seqstride.encoders.mixup import mixup
from seqstride.experiments.items import ItemResult
from seqstride.lobes import Downsample, Encoder, to_channels_first, to_channels_last

FLOATS = (torch.float32, torch.float64)


# Lobes


def test_layouts_there_and_back() -> None:
    x = torch.randn(4, 30, 5)
    y, lengths = to_channels_first(x, LENGTHS / 30)
    assert y.shape == (4, 5, 30)
    assert torch.equal(lengths, LENGTHS)
    z, relative = to_channels_last(y, lengths)
    assert torch.equal(z, x)
    torch.testing.assert_close(relative, LENGTHS / 30)
    with pytest.raises(ValueError, match=r"`x` \(shape \(4, 30\)\) must have shape \(B, T, C\)"):
        to_channels_first(x[..., 0], LENGTHS / 30)
    with pytest.raises(ValueError, match="`relative`"):
        to_channels_first(x, LENGTHS)


@pytest.mark.parametrize("key", list(ss.DOWNSAMPLERS))
def test_the_downsample_lobe_is_the_layer(key: str) -> None:
    layer = ss.make_downsampler(key, channels=5, stride=2)
    x = signal()
    y, relative, penalty = Downsample(layer)(x.transpose(1, 2), LENGTHS / 30)
    plan = layer.plan(x, LENGTHS)
    torch.testing.assert_close(y, layer.pool(x, plan).transpose(1, 2))
    assert torch.equal((relative * y.shape[1]).round().long(), plan.lengths)
    assert penalty.shape == ()


def test_the_encoder_lobe_is_the_encoder() -> None:
    encoder = ss.ResNet1d(5, channels=(8, 6), strides=(2, 2)).eval()
    x = signal()
    y, relative, penalty = Encoder(encoder)(x.transpose(1, 2), LENGTHS / 30)
    encoded = encoder(x, LENGTHS)
    torch.testing.assert_close(y, encoded.features.transpose(1, 2))
    torch.testing.assert_close(relative * y.shape[1], encoded.lengths.float())
    torch.testing.assert_close(penalty, encoded.penalty)


# Normalisation and head


def test_normalisation_is_that_of_the_real_frames() -> None:
    norm = FeatureNorm(5)
    items = [torch.randn(5, t) * 3 + 7 for t in (30, 11, 4)]
    norm.fit(items)
    frames = torch.cat(items, 1)
    torch.testing.assert_close(norm.mean, frames.mean(1))
    torch.testing.assert_close(norm.std, frames.std(1, correction=0))
    x = signal()
    x[1, :, 17:] = float("nan")
    y = norm(x, LENGTHS)
    torch.testing.assert_close(y[1, :, :17], (x[1, :, :17] - norm.mean[:, None]) / norm.std[:, None])
    assert (y[1, :, 17:] == 0).all()
    assert set(norm.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("value", [0.1, 1e-9, 1e-42, 1e6 / 3])
def test_a_constant_channel_stays_small(value: float, centred: bool) -> None:
    norm = FeatureNorm(2, centred)
    items = [torch.tensor([[value] * 7, [1.0, 2.0, 3.0, 1.0, 0.0, 5.0, 1.0]], dtype=dtype) for dtype in FLOATS]
    norm.fit(items)
    assert norm(items[0].float()[None], torch.tensor([7]))[0, 0].abs().max() < 1e-6 * max(value, 1)


def test_normalisation_of_wrong_items() -> None:
    with pytest.raises(ValueError, match="`items`"):
        FeatureNorm(2).fit([torch.randn(3, 4)])


def test_normalisation_does_not_depend_on_the_unit() -> None:
    x = signal()
    volts, nanovolts = FeatureNorm(x.shape[1]), FeatureNorm(x.shape[1])
    volts.fit([x[0] * 1e-9])
    nanovolts.fit([x[0]])
    torch.testing.assert_close(volts(x * 1e-9, LENGTHS), nanovolts(x, LENGTHS))
    with pytest.raises(ValueError, match="`items` must not have values so large"):
        volts.fit([x[0].double() * 1e200])


def test_the_head_ignores_padding() -> None:
    head = PooledClassifier(5, 3).eval()
    x = signal()
    expected = torch.stack([head.linear(x[i, :, :n].mean(1)) for i, n in enumerate(LENGTHS)])
    x[2, :, 9:] = float("nan")
    torch.testing.assert_close(head(x, LENGTHS), expected)


# Mixup


def test_mixup_mixes_inputs_and_labels_alike() -> None:
    targets = torch.eye(4)
    x = targets[:, :, None].expand(-1, -1, 30) * 1.0  # each item's frames are its label
    x = x.masked_fill(torch.arange(30) >= LENGTHS[:, None, None], 0.0)
    mixed, lengths, mixed_targets = mixup(x, LENGTHS, targets, alpha=1.0)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(4))
    assert (mixed_targets.diag() >= 0.5).all()
    for item in range(4):
        torch.testing.assert_close(mixed[item, :, 0], mixed_targets[item])
        partner = int(mixed_targets[item].masked_fill(torch.eye(4)[item].bool(), -1).argmax())
        if mixed_targets[item, partner] > 0:
            assert lengths[item] == max(LENGTHS[item], LENGTHS[partner])
        assert (mixed[item, :, lengths[item] :] == 0).all()
    with pytest.raises(ValueError, match=r"`alpha` \(=0\) must be positive"):
        mixup(x, LENGTHS, targets, alpha=0)


# The Brain


def loss_of(brain: ClassificationBrain, batch: Batch) -> torch.Tensor:
    from speechbrain import Stage

    brain.modules.eval()
    brain.on_stage_start(Stage.VALID)
    return brain.compute_objectives(brain.compute_forward(batch, Stage.VALID), batch, Stage.VALID)


def test_the_objective_adds_penalty_and_complexity() -> None:
    data = batch()
    brain = make_brain()
    for layer in brain.encoder.downsamplers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=2.0)
    x, lengths = to_channels_first(*data.signal)
    encoded = brain.encoder.eval()(x, lengths)
    logits = brain.modules["classifier"]["kind"].eval()(encoded.features, encoded.lengths)
    entropy = nn.functional.cross_entropy(logits, data.target_kind)
    assert encoded.penalty > 0
    torch.testing.assert_close(loss_of(brain, data), entropy + encoded.penalty)
    brain.hparams.penalty_weight = 0.5
    brain.hparams.complexity = {"kind": "frames", "length": 16, "weight": 3.0}
    price = ss.complexity(brain.encoder, kind="frames", length=16)
    torch.testing.assert_close(loss_of(brain, data), entropy + 0.5 * encoded.penalty + 3 * price)


def test_padding_does_not_reach_the_loss() -> None:
    brain, data = make_brain(), batch()
    before = loss_of(brain, data)
    data.signal.data[1, 17:] = float("nan")
    torch.testing.assert_close(loss_of(brain, data), before)


def test_strides_have_their_own_group_and_all_groups_are_clipped_together() -> None:
    brain = make_brain(downsampler="diffstride")
    brain.init_optimizers()
    *_, strides = brain.optimizer.param_groups
    assert {id(p) for p in strides["params"]} == {id(layer.stride_parameter) for layer in brain.encoder.downsamplers}
    assert (strides["weight_decay"], strides["lr"], strides["initial_lr"]) == (0.0, 0.1, 0.1)

    parameters = [p for group in brain.optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 100.0)
    seen = {}
    brain.optimizer.step = lambda: seen.update(  # type: ignore[method-assign]
        norm=torch.stack([p.grad.norm() for p in parameters]).norm(),
        values=[p.grad.flatten()[0] for p in parameters],
    )
    brain.max_grad_norm = 1.0
    brain.optimizers_step()
    torch.testing.assert_close(seen["norm"], torch.tensor(1.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(torch.stack(seen["values"]), seen["values"][0].expand(len(parameters)))
    assert brain.optimizer_step == 1


def test_it_narrows_the_edges_from_epoch_to_epoch() -> None:
    brain = make_brain(downsampler="diffstride_narrowing", number_of_epochs=4)
    edges = []
    layer = brain.encoder.downsamplers[0]
    brain.encoder.register_forward_hook(lambda *_: edges.append((layer.training, layer.edge)))
    loader = torch.utils.data.DataLoader([batch()], batch_size=None)
    brain.fit(range(1, 5), loader, loader)
    assert [edge for training, edge in edges if training] == [1, 4 / 6, 1 / 6, 0]


def test_it_learns_and_records_every_epoch() -> None:
    brain = make_brain(downsampler="diffstride", complexity={"kind": "frames", "length": 16, "weight": 0.1})
    data = batch()
    # shapes that tell the classes apart
    for item, target in enumerate(data.target_kind):
        data.signal.data[item, :, int(target)] += 4.0
    start = brain.strides()
    loader = torch.utils.data.DataLoader([data] * 5, batch_size=None)
    brain.fit(range(1, 5), loader, loader)
    epochs = brain.history.epochs
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["valid"]["loss"] < epochs[0]["valid"]["loss"]
    assert epochs[-1]["valid"]["accuracy"] == 1.0
    assert epochs[-1]["strides"] == brain.strides() != start
    assert epochs[0]["lr"] == 0.01 > epochs[1]["lr"] > epochs[3]["lr"] > 0
    brain.evaluate(loader)
    assert brain.test["accuracy"] == 1.0
    assert brain.item_results == {name: ItemResult(True) for name in data.id}
    assert brain.input_frames == 5 * int(LENGTHS.sum()) > brain.output_frames > 0
    record = brain.record({})
    assert record["test_error_per_class"] == {"a": 0.0, "b": 0.0, "c": 0.0}
    assert record["test_items_per_class"] == {"a": 5, "b": 10, "c": 5}


def test_the_strides_of_the_content_are_those_of_the_last_items() -> None:
    brain = make_brain(downsampler="hnet", number_of_epochs=1)
    loader = torch.utils.data.DataLoader([batch(), batch()], batch_size=None)
    assert brain.strides() == [2, 2]  # aimed at
    brain.fit(range(1, 2), loader, loader)
    assert brain.history.epochs[0]["strides"] == brain.strides()
    brain.evaluate(loader)
    counts = torch.zeros(3)
    with torch.no_grad():
        for data in loader:
            x = brain.modules["normalize"](data.signal[0].transpose(1, 2), LENGTHS)
            encoded = brain.encoder(x, LENGTHS)
            counts += torch.stack([encoded.input_lengths.sum(), *(plan.lengths.sum() for plan in encoded.plans)])
    assert brain.strides() == pytest.approx((counts[:-1] / counts[1:]).tolist())


def test_the_history_is_saved_and_recovered(tmp_path: Path) -> None:
    from speechbrain.utils.checkpoints import Checkpointer

    history = History()
    history.epochs.append({"epoch": 1, "strides": [2.0]})
    Checkpointer(tmp_path, {"history": history}).save_checkpoint()
    recovered = History()
    Checkpointer(tmp_path, {"history": recovered}).recover_if_possible()
    assert recovered.epochs == history.epochs


# Data sets


def test_another_number_of_processes_is_told_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    brain = make_brain()
    brain.on_fit_start()
    brain.epoch_state.state = {"ranks": [{}, {}, {}]}
    message = "an epoch of 3 processes, and 1 process cannot go on with it: .* `torchrun --nproc_per_node 3`"
    with pytest.raises(ValueError, match=message):
        brain.on_stage_start(Stage.TRAIN, 1)
    for count, warned in ((1, False), (2, True)):
        note_processes(count)
        assert ("2 processes trained so far; now it is 1 process, " in caplog.text) is warned


def write_manifest(folder: Path, name: str, labels: list[str]) -> Path:
    import json

    import numpy as np

    items = {}
    for index, label in enumerate(labels):
        np.save(folder / f"{name}{index}.npy", np.full((index + 2, 5), index, dtype=np.float32))
        items[f"{name}{index}"] = {"features": f"{{data_root}}/{name}{index}.npy", "kind": label}
        items[f"{name}{index}"] |= {"length": index + 2, "frame_rate": 100.0}
    (folder / f"{name}.json").write_text(json.dumps(items))
    return folder / f"{name}.json"


def test_data_sets_have_features_and_class_indices(tmp_path: Path) -> None:
    manifests = {
        "train": write_manifest(tmp_path, "a", ["y", "x", "y"]),
        "test": write_manifest(tmp_path, "b", ["x"]),
    }
    datasets, classes = labelled_signals(manifests, ["kind"])
    assert classes == {"kind": ["x", "y"]}
    assert [item["target_kind"] for item in datasets["train"]] == [1, 0, 1]
    assert datasets["train"][2]["signal"].shape == (4, 5)
    assert datasets["test"][0]["target_kind"] == 0

    manifests["test"] = write_manifest(tmp_path, "c", ["x", "z"])
    with pytest.raises(ValueError, match=r"`manifests` \(test\) has labels that train lacks: z"):
        labelled_signals(manifests, ["kind"])
    with pytest.raises(ValueError, match=r"`labels` \(='sort'\) must be a key of every item, with a text; .*: a0"):
        labelled_signals(manifests, ["sort"])
    with pytest.raises(ValueError, match=r"must be a file; prepare the data first"):
        labelled_signals({"train": tmp_path / "none.json"}, ["kind"])
