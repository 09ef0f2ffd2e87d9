"""Complexity: against closed forms, and against what a forward pass really costs; optimiser groups."""

import math
from types import SimpleNamespace

import oracles
import pytest
import torch
from helpers import COUNTED, KEYS, LEARNT, TIGHT, build
from torch import nn
from torch.testing import assert_close

import seqstride as ss

STRIDES = [1.7, 2.3, 3.1]


def learnt_layers(kind=ss.DiffStride1d, **options):
    layers = [kind(1.5, **options).double() for _ in STRIDES]
    with torch.no_grad():
        for layer, stride in zip(layers, STRIDES, strict=True):
            layer.stride_parameter.fill_(stride)
    return layers


@pytest.mark.parametrize("kind", [ss.DiffStride1d, ss.DCTDiffStride1d])
def test_frames_and_its_gradient_are_equation_6(kind):
    layers = learnt_layers(kind)
    value = ss.complexity(layers)  # kind="frames" is the default
    assert_close(value.item(), oracles.frames_complexity(STRIDES), **TIGHT)
    value.backward()
    for j, layer in enumerate(layers):
        assert layer.stride_parameter.grad.item() == pytest.approx(oracles.frames_gradient(STRIDES, j), rel=1e-9)


def test_frames_of_mixed_layers():
    layers = [ss.AvgPool1d(2), ss.AdaStride1d(3, 1.5), ss.DiffStride1d(2.5), ss.SpectralPool1d(4)]
    value = ss.complexity(layers, kind="frames")
    assert value.shape == ()
    assert value.item() == pytest.approx(oracles.frames_complexity([2, 1.5, 2.5, 4]), rel=1e-6)
    # At all-ones strides it is the number of layers.
    assert ss.complexity([ss.MaxPool1d(1) for _ in range(3)], kind="frames").item() == pytest.approx(3)


def test_frames_of_an_encoder_are_those_of_its_layers():
    layers = learnt_layers()
    stages = [ss.Stage(None, 4, 10), *(ss.Stage(layer, 8, 20) for layer in layers), ss.Stage(None, 4, 10)]
    encoder = SimpleNamespace(stages=stages)
    assert_close(ss.complexity(encoder, kind="frames"), ss.complexity(layers, kind="frames"), **TIGHT)


SIDES = {"diffstride": 2, "dct_diffstride": 1}  # of the soft edge, each of R = 4


def stages_of(key, strides):
    return [(1.0, 0, 4.0), *((stride, SIDES.get(ss.DOWNSAMPLERS[key].oracle, 0), 4.0) for stride in strides)]


def dummy(key, strides):
    """Stages of unequal widths and costs, the first of them without downsampling."""
    layers = [build(key, stride=stride) for stride in strides]
    encoder = SimpleNamespace(stages=[ss.Stage(None, 3, 50), *map(ss.Stage, layers, [5, 7, 9], [40, 300, 2])])
    return encoder, layers, stages_of(key, strides)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("length", [1000, 50])  # with 50 frames the soft edges undo some of the strides
def test_memory_and_macs(key, length):
    encoder, _, stages = dummy(key, [2, 3, 2])
    memory = oracles.memory_complexity(length, stages, [3, 5, 7, 9])
    macs = oracles.macs_complexity(length, stages, [50, 40, 300, 2])
    assert ss.complexity(encoder, kind="memory", length=length).item() == pytest.approx(memory, rel=1e-6)
    assert ss.complexity(encoder, kind="macs", length=length).item() == pytest.approx(macs, rel=1e-6)
    assert 0 < macs < 1
    ones, _, _ = dummy(key, [1, 1, 1])
    for kind in ("memory", "macs"):  # relative to the net without downsampling
        assert ss.complexity(ones, kind=kind, length=length).item() == pytest.approx(1.0)


def test_the_default_length_is_1000():
    encoder, _, _ = dummy("diffstride", STRIDES)
    for kind in ("memory", "macs"):
        assert_close(ss.complexity(encoder, kind=kind), ss.complexity(encoder, kind=kind, length=1000))


@pytest.mark.parametrize("key", LEARNT)
@pytest.mark.parametrize("kind", ["memory", "macs"])
def test_memory_and_macs_gradients_are_finite_differences(key, kind):
    encoder, layers, _ = dummy(key, STRIDES)
    ss.complexity(encoder, kind=kind, length=700).backward()
    for j, layer in enumerate(layers):
        values = []
        for step in (1e-5, -1e-5):
            stages = stages_of(key, [s + step * (i == j) for i, s in enumerate(STRIDES)])
            if kind == "memory":
                values.append(oracles.memory_complexity(700, stages, [3, 5, 7, 9]))
            else:
                values.append(oracles.macs_complexity(700, stages, [50, 40, 300, 2]))
        slope = (values[0] - values[1]) / 2e-5
        gradient = layer.stride_parameter.grad
        if kind == "macs" and j == 2:  # nothing comes after the last stage
            assert gradient is None or gradient == 0
            assert slope == 0
        else:
            assert gradient.item() == pytest.approx(slope, rel=1e-6)
            assert slope < 0


@pytest.mark.parametrize("key", COUNTED)
@pytest.mark.parametrize("stride", [2, 3])
def test_the_continuous_length_is_the_real_one_but_for_rounding(key, stride):
    layer = build(key, stride=stride)
    encoder = SimpleNamespace(stages=[ss.Stage(layer, 1, 1)])
    # DFT lengths are even, and one more where an odd item keeps every bin.
    rounding = 3 if ss.DOWNSAMPLERS[key].oracle == "diffstride" else 1
    for length in (4, 7, 12, 15, 16, 17, 33, 64, 500):
        claimed = ss.complexity(encoder, kind="memory", length=length).item() * length
        assert abs(claimed - layer.output_lengths(torch.tensor([length])).item()) < rounding + 1e-4


def test_relative_smoothness_costs_frames_that_scale_with_the_length():
    layer = ss.DiffStride1d(2.0, relative_smoothness=0.1).double()
    encoder = SimpleNamespace(stages=[ss.Stage(layer, 4, 1), ss.Stage(None, 4, 1)])
    for length in (400, 4000):  # L = T/S + 2R with R = 0.1 T/S
        value = ss.complexity(encoder, kind="memory", length=length).item()
        assert value == pytest.approx(0.5 * 1.2)
        real = layer(torch.zeros(1, 1, length, dtype=torch.float64)).shape[2]
        assert abs(value * length - real) <= 2
    # No gradient through R, as in the mask: the slope is that of 1 / S alone.
    ss.complexity(encoder, kind="memory", length=400).backward()
    assert layer.stride_parameter.grad.item() == pytest.approx(-1 / 4)


def counted_macs(model, x):
    """Multiply-accumulates of every 1D convolution in a forward pass, counted where they happen."""
    counts = []

    def hook(module, inputs, output):
        per_frame = module.kernel_size[0] * module.in_channels * module.out_channels // module.groups
        frames = (output[0] if isinstance(output, tuple) else output).shape[-1]  # a score comes with its signal
        counts.append(frames * per_frame)

    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Conv1d)]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    assert len(counts) == len(handles)  # every convolution once
    return sum(counts)


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride", "average", "spectral", "adastride", "adastride_f"])
@pytest.mark.parametrize("stride", [2, 4])
def test_macs_are_those_of_a_real_forward_pass(key, stride):
    encoder = ss.ResNet1d(3, channels=(8, 12, 6), strides=(stride, 2, 2), downsampler=key)
    length = 1000
    full = length * sum(stage.macs for stage in encoder.stages)
    claimed = ss.complexity(encoder, kind="macs", length=length).item() * full
    counted = counted_macs(encoder, torch.randn(1, 3, length))
    # Rounding adds less than two frames per block, halved by the next: at most four at any stage.
    assert abs(claimed - counted) <= 4 * sum(stage.macs for stage in encoder.stages)
    assert counted < 0.7 * full


@pytest.mark.parametrize("groups", [3, (1, 2)])
def test_the_stages_of_an_encoder_count_a_net_without_downsampling(groups):
    # Strides of one: no rounding, so the counts are equal to the last multiplication.
    encoder = ss.ResNet1d(groups, channels=(8, 12), strides=(1, 1), downsampler="average")
    assert counted_macs(encoder, torch.randn(1, 3, 50)) == 50 * sum(stage.macs for stage in encoder.stages)


# --- optimiser groups


def model_with_strides():
    return nn.Sequential(nn.Conv1d(2, 2, 3), ss.DiffStride1d(2.0), ss.AdaStride1d(2, 2), ss.DCTDiffStride1d(3.0))


@pytest.mark.parametrize(("stride_lr", "expected"), [(0.5, 0.5), (None, 0.01)])
def test_parameter_groups_hold_every_parameter_once(stride_lr, expected):
    model = model_with_strides()
    groups = ss.parameter_groups(model, lr=0.01, weight_decay=0.1, stride_lr=stride_lr)
    members = [id(p) for group in groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters())
    strides = {id(model[1].stride_parameter), id(model[3].stride_parameter)}
    for group in groups:
        mine = {id(p) for p in group["params"]}
        if mine & strides:
            assert mine <= strides
            assert group["weight_decay"] == 0
            assert group["lr"] == expected
        else:
            assert group["lr"] == 0.01
    weight = [group for group in groups if any(p is model[0].weight for p in group["params"])]
    assert weight[0]["weight_decay"] == 0.1


def test_weight_decay_does_not_touch_strides():
    model = model_with_strides()
    optimiser = torch.optim.AdamW(ss.parameter_groups(model, lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = model[0].weight.detach().clone()
    optimiser.step()
    assert (model[1].stride.item(), model[3].stride.item()) == (2.0, 3.0)
    assert_close(model[0].weight.detach(), before * 0.95)


def test_a_shared_layer_is_in_one_group_once():
    layer = ss.DiffStride1d(2.0)
    groups = ss.parameter_groups(nn.ModuleList([layer, layer]), lr=0.1, weight_decay=0.1)
    assert sum(len(group["params"]) for group in groups) == 1
    assert math.isclose(sum(group["lr"] for group in groups if group["params"]), 0.1)
