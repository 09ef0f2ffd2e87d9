"""The contract: what every method of the registry promises, whatever it does inside."""

import contextlib
import copy
import math
import pickle

import numpy as np
import pytest
import torch
from helpers import (
    ADAPTIVE,
    CONTENT,
    INTEGER,
    KEYS,
    LEARNT,
    PLANNED,
    REAL,
    STRAIGHT,
    STREAMING,
    TIGHT,
    Batch,
    batches,
    build,
    oracle,
    oracle_penalty,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

import seqstride as ss

every_key = pytest.mark.parametrize("key", KEYS)
HALVES = [torch.float16, torch.bfloat16]


def test_the_registry_holds_the_methods():
    expected = "strided average max blur spectral dct diffstride dct_diffstride adastride adastride_f"
    expected += " phase cif hnet merge"
    assert set(expected.split()) <= set(ss.DOWNSAMPLERS)
    assert set(INTEGER) | set(REAL) == set(KEYS)


# --- 9 and 3: the oracle, and nothing behind an item's last output frame


@every_key
@given(data=st.data())
def test_the_oracle_agrees(key, data):
    batch = data.draw(batches(key))
    layer, (x, lengths) = batch.layer(key), batch.tensors()
    plan = layer.plan(x, lengths)
    y = layer(x, lengths)
    items = [oracle(key, layer, x[b, :, :length]) for b, length in enumerate(batch.lengths)]
    widths = [item.output.shape[1] for item in items]
    assert plan.lengths.tolist() == widths
    assert plan.input_lengths.tolist() == batch.lengths
    if key not in CONTENT:
        assert layer.output_lengths(lengths).tolist() == widths
    assert y.shape == (len(items), batch.channels, max(widths))
    for b, item in enumerate(items):
        np.testing.assert_allclose(y[b, :, : widths[b]].detach().numpy(), item.output, **TIGHT)
        assert not y[b, :, widths[b] :].any()
        positions = plan.positions[b].detach().numpy()
        np.testing.assert_allclose(positions[: batch.lengths[b]], item.positions, **TIGHT)
        assert not positions[batch.lengths[b] :].any()
    np.testing.assert_allclose(plan.penalty.item(), oracle_penalty(key, layer, items), **TIGHT)


# --- 1 and 2: an item alone, in a batch, beside anything


def outputs_and_gradients(layer, x, lengths, weights, items):
    """Output, and gradients of a weighted sum of it plus every item's penalty, where that is one of the item."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    plan = layer.plan(x, lengths)
    y = layer.pool(x, plan)
    penalty = 0.0 if layer.content_lengths else items * plan.penalty
    ((y * weights).sum() + penalty).backward()
    parameters = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in layer.parameters()]
    return y.detach(), x.grad, parameters


def unblocked_gradient(layer, item, weights):
    """Of a learnt stride: beside an item so long that S is in reach, and that the loss does not read."""
    x = torch.nn.functional.pad(item, (0, math.ceil(2 * layer.stride.item()))).repeat(2, 1, 1)
    lengths = torch.tensor([item.shape[2], x.shape[2]])
    plan = layer.plan(x, lengths)
    loss = (plan(x)[:1, :, : weights.shape[2]] * weights).sum()
    if layer.adaptive:
        loss = loss + ss.functional.gap_penalty(plan.positions[:1], lengths[:1])
    (gradient,) = torch.autograd.grad(loss, layer.stride_parameter)
    return gradient


def blocked(layer, longest, gradients):
    """Sums over items as the batch has them: what moves a learnt stride outwards is blocked on the sum."""
    bound = longest if layer.adaptive else longest / 2
    return [
        gradient.clamp(min=0) if parameter is layer.stride_parameter and parameter > bound else gradient
        for parameter, gradient in zip(layer.parameters(), gradients, strict=True)
    ]


@every_key
@given(data=st.data(), padding=st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30]))
def test_an_item_alone_is_the_item_in_a_padded_batch(key, data, padding):
    batch = data.draw(batches(key))
    layer, (x, lengths) = batch.layer(key), batch.tensors(padding=padding)
    widths = layer.plan(x, lengths).lengths.tolist()
    shape = (len(widths), batch.channels, max(widths))
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, x_gradient, gradients = outputs_and_gradients(layer, x, lengths, weights, len(widths))
    totals = [torch.zeros_like(p) for p in layer.parameters()]
    for b, length in enumerate(batch.lengths):
        alone = x[b : b + 1, :, :length]
        w = weights[b : b + 1, :, : widths[b]]
        y_alone, x_alone, parameters = outputs_and_gradients(layer, alone, None, w, 1)
        if key in LEARNT:
            own = layer.stride_parameter
            parameters = [
                unblocked_gradient(layer, alone, w) if parameter is own else gradient
                for parameter, gradient in zip(layer.parameters(), parameters, strict=True)
            ]
        assert_close(y[b : b + 1, :, : widths[b]], y_alone, **TIGHT)
        assert_close(x_gradient[b : b + 1, :, :length], x_alone, rtol=1e-8, atol=1e-8)
        assert (x_gradient[b, :, length:] == 0).all()
        totals = [total + gradient for total, gradient in zip(totals, parameters, strict=True)]
    if key in LEARNT:
        totals = blocked(layer, max(batch.lengths), totals)
    for gradient, total in zip(gradients, totals, strict=True):
        assert gradient.isfinite().all()
        assert_close(gradient, total, rtol=1e-8, atol=1e-8)


@every_key
def test_no_lengths_means_that_every_frame_is_real(key):
    x, lengths = Batch(2, [17, 17], 0, 2, 1.0, 3).tensors()
    layer = build(key)
    assert_close(layer(x), layer(x, lengths), rtol=0, atol=0)


@every_key
def test_a_layer_is_its_plan_applied(key):
    x, lengths = Batch(2, [17, 9], 2, 2, 1.0, 3).tensors()
    layer = build(key)
    plan = layer.plan(x, lengths)
    assert_close(layer(x, lengths), layer.pool(x, plan), rtol=0, atol=0)
    if key in PLANNED:
        assert_close(layer.pool(x, plan), plan(x), rtol=0, atol=0)
    assert_close(torch.nn.Sequential(layer)(x[:, :, :9]), layer(x[:, :, :9]), rtol=0, atol=0)


# --- 4: constants and ramps


@pytest.mark.parametrize("key", PLANNED)
@given(data=st.data())
def test_constants_come_out_as_they_are(key, data):
    batch = data.draw(batches(key))
    layer, (x, lengths) = batch.layer(key), batch.tensors()
    levels = torch.arange(1.0, batch.channels + 1, dtype=torch.float64)[:, None] * 3.5
    constant = torch.where(x.isnan(), x, levels)
    plan = layer.plan(constant, lengths)
    y = layer.pool(constant, plan)
    for b, width in enumerate(plan.lengths.tolist()):
        assert_close(y[b, :, :width], levels.expand(-1, width), **TIGHT)


@pytest.mark.parametrize("key", [key for key in STREAMING if key in PLANNED])  # no output frame reads the whole signal
@given(data=st.data())
def test_a_ramp_does_not_fall(key, data):
    batch = data.draw(batches(key))
    layer, (x, lengths) = batch.layer(key), batch.tensors()
    plan = layer.plan(x, lengths)  # scores of the random signal, so that positions are not uniform
    y = plan(torch.arange(x.shape[2], dtype=torch.float64).expand(x.shape))
    for b, width in enumerate(plan.lengths.tolist()):
        assert (y[b, :, :width].diff() >= -1e-9).all()


# --- 5: derivatives


@pytest.mark.parametrize("key", [key for key in KEYS if key not in STRAIGHT])
@pytest.mark.parametrize("frames", [19, 20])
def test_derivatives(key, frames):
    # At these lengths and S = 3.3 no bin sits on a kink of either mask, and both transforms crop.
    channels = 1 if build(key).channels is None else 2
    layer = build(key, channels, stride=3 if key in INTEGER else 3.3)
    x, lengths = Batch(channels, [frames, 9], 0, 3, 1.0, frames).tensors(padding=0.0)

    def function(x, *_):  # gradcheck moves the parameters in place
        return layer(x, lengths), layer.plan(x, lengths).penalty

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), *layer.parameters()))


# --- 6: half precision at length


def long_batch(dtype):
    x, lengths = Batch(2, [8192, 5001], 0, 2, 1.0, 5).tensors(torch.float32, padding=0.0)
    return x.to(dtype), lengths


@every_key
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_as_near_as_its_digits(key, dtype):
    layer = build(key, stride=2 if key in INTEGER else 2.3, dtype=dtype)
    x, lengths = long_batch(dtype)
    expected = copy.deepcopy(layer).float()(x.float(), lengths)
    y = layer(x, lengths)
    assert y.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps * x.abs().max().item()
    assert_close(y.float(), expected, rtol=0, atol=tolerance)


@every_key
def test_autocast_is_as_near_as_its_digits(key):
    layer = build(key, stride=2 if key in INTEGER else 2.3, dtype=torch.float32)
    x, lengths = long_batch(torch.float32)
    x = x.bfloat16().float()  # the same rounded input on both sides
    expected = layer(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x, lengths)
    tolerance = 4 * torch.finfo(torch.bfloat16).eps * x.abs().max().item()
    assert_close(y.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("key", ADAPTIVE)
@pytest.mark.parametrize("dtype", [*HALVES, "autocast", torch.float32])
def test_huge_scores_stay_finite(key, dtype):
    cast, dtype = dtype == "autocast", torch.float32 if dtype == "autocast" else dtype
    layer = build(key, peak=1e4, dtype=dtype)
    x, lengths = long_batch(dtype)
    x = x.clamp(-1, 1).requires_grad_()
    scores = layer.score(x.detach(), lengths)[0]
    assert scores.min() < -1e4
    assert scores.max() > 1e4
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
        plan = layer.plan(x, lengths)
        y = plan(x)
        y.float().mean().backward()
    assert y.isfinite().all()
    assert plan.penalty.isfinite()
    assert plan.positions.isfinite().all()
    assert x.grad.isfinite().all()
    # An average of frames between -1 and 1 stays there.
    assert y.abs().max() <= 1 + 2 * torch.finfo(torch.bfloat16).eps


# --- 7: the smallest items and the largest strides


@every_key
@pytest.mark.parametrize("stride", [1, 3, 1000])
def test_single_frames_and_strides_of_any_size(key, stride):
    layer = build(key, stride=stride)
    x, lengths = Batch(2, [1, 6, 2], 1, stride, 1.0, 2).tensors()
    x.requires_grad_()
    y = layer(x, lengths)
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())
    for b, length in enumerate(lengths.tolist()):
        expected = oracle(key, layer, x[b, :, :length]).output
        np.testing.assert_allclose(y[b, :, : expected.shape[1]].detach().numpy(), expected, **TIGHT)
    if key in PLANNED:  # one frame can only come out as itself
        assert_close(y[0, :, 0], x[0, :, 0], **TIGHT)
        assert_close(layer(x[:1, :, :1]), x[:1, :, :1], **TIGHT)


@pytest.mark.parametrize("key", ["max", "spectral", "dct", "adastride", "adastride_f"])
@pytest.mark.parametrize("stride", [2**63 - 1, 2**63, 10**30])
def test_a_stride_beyond_all_integers_keeps_one_frame(key, stride):
    layer = build(key, stride=stride)
    x, lengths = torch.randn(2, 2, 9, dtype=torch.float64), torch.tensor([9, 4])
    assert layer(x, lengths).shape == layer(x).shape == (2, 2, 1)
    assert layer.output_lengths(lengths).tolist() == [1, 1]


@pytest.mark.parametrize("key", [key for key in PLANNED if key not in (*LEARNT, *ADAPTIVE, "adastride_content")])
def test_a_fixed_stride_of_one_changes_nothing(key):
    x, lengths = Batch(2, [11, 6], 0, 1, 1.0, 2).tensors(padding=0.0)
    assert_close(build(key, stride=1)(x, lengths), x, **TIGHT)


# --- 8: life outside the forward pass


def snapshot(layer):
    """Every parameter and buffer, kept or not, as bytes."""
    tensors = [*layer.named_parameters(), *layer.named_buffers()]
    return {name: (tuple(t.shape), t.dtype, t.detach().numpy().tobytes()) for name, t in tensors}


@every_key
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 500])  # 1 and 500 are beyond the bounds of a learnt stride
def test_a_forward_pass_writes_nothing(key, training, stride):
    layer = build(key, stride=stride).train(training)
    before, keys = snapshot(layer), list(layer.state_dict())
    for frames in (5, 300):
        layer(torch.randn(2, 2, frames, dtype=torch.float64)).sum()
    assert snapshot(layer) == before  # shapes too: no buffer that follows the length
    assert list(layer.state_dict()) == keys


@every_key
def test_copies_and_checkpoints_give_the_same_output(key):
    stride = 2 if key in INTEGER else 2.3
    layer = build(key, stride=stride, seed=1)
    x, lengths = Batch(2, [40, 31], 1, stride, 1.0, 2).tensors()
    y = layer(x, lengths)
    plan = layer.plan(x, lengths)
    fresh = build(key, stride=stride, seed=2)
    if key in LEARNT:
        fresh = build(key, stride=3.1)
    assert fresh.load_state_dict(layer.state_dict()) == ([], [])
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        assert_close(other(x, lengths), y, rtol=0, atol=0)
        assert_close(other.plan(x, lengths).positions, plan.positions, rtol=0, atol=0)


@every_key
@pytest.mark.parametrize("lengths", [None, torch.tensor([40, 31])], ids=["equal", "padded"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))])
def test_a_plan_with_a_graph_can_be_copied(key, lengths, duplicate):
    layer, x = build(key), torch.randn(2, 2, 40, dtype=torch.float64)
    plan = layer.plan(x.requires_grad_(), lengths)
    twin = duplicate(plan)
    assert type(twin) is type(plan)
    assert_close(twin(x), plan(x), rtol=0, atol=0)
    assert_close(twin.times(), plan.times(), rtol=0, atol=0)
    if duplicate is copy.deepcopy:  # the gradients of the decision stay with the original
        assert not twin.positions.requires_grad
        assert not twin(x.detach()).requires_grad
    (plan(x).square().sum() + plan.penalty).backward()
    assert x.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")
@every_key
@pytest.mark.parametrize("run", ["layer", "encoder"])
def test_tracing_is_refused(key, run):
    """A trace kept the number of frames of its example; `blur` and `average` were wrong in silence."""
    module = build(key, dtype=torch.float32) if run == "layer" else ss.ResNet1d(2, (4,), (2,), key)
    with pytest.raises(RuntimeError, match=r"cannot be traced by torch\.jit\.trace"):
        torch.jit.trace(module, torch.randn(2, 2, 20))


@every_key
def test_lengths_may_be_filled_anew_before_the_gradient(key):
    layer = build(key)
    x, lengths = Batch(2, [40, 31], 1, 2, 1.0, 2).tensors()
    given = lengths.clone()
    plan = layer.plan(x.requires_grad_(), given)
    y = layer.pool(x, plan)
    given.fill_(1)
    gradients = []
    for output in (y, layer(x, lengths)):
        gradients.append(torch.autograd.grad(output.square().sum(), x)[0])
    assert_close(*gradients)
    assert plan.input_lengths.tolist() == [40, 31]


@pytest.mark.parametrize("key", LEARNT)
def test_a_trace_leaves_nothing_behind(key):
    layer = build(key, stride=2.3).freeze()
    x = torch.randn(2, 2, 47, dtype=torch.float64)
    with contextlib.suppress(AssertionError):  # this kind of trace does not take the parameters along
        make_fx(layer, tracing_mode="fake")(x)
    assert_close(layer(x)[:1], layer(x[:1]))


@pytest.mark.parametrize("key", PLANNED)
def test_no_length_is_too_long(key):
    # A prime: transforms have no factor to lean on. The short item brings padding.
    layer = build(key, channels=1, stride=4, dtype=torch.float32)
    x = torch.ones(2, 1, 100_003)
    x[0, :, ::2] = 1.5  # uneven positions for the adaptive methods
    plan = layer.plan(x, torch.tensor([100_003, 1000]))
    y = plan(torch.full_like(x, 2.5))
    for b, width in enumerate(plan.lengths.tolist()):
        assert_close(y[b, 0, :width], torch.full((width,), 2.5), rtol=1e-4, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_key
def test_a_layer_moves_to_a_device(key):
    layer = build(key)
    x, lengths = Batch(2, [40, 31], 1, 2, 1.0, 2).tensors()
    expected = layer(x, lengths)
    y = copy.deepcopy(layer).cuda()(x.cuda(), lengths.cuda())
    assert_close(y.cpu(), expected, rtol=1e-9, atol=1e-9)


# --- encoders: the same promise, with batch norm in between


@pytest.mark.parametrize("groups", [3, (1, 2)])
@every_key
def test_an_encoder_does_not_see_the_padding(key, groups):
    encoder = ss.ResNet1d(groups, channels=(4, 6), strides=(2, 2), downsampler=key).double()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "score" in name:
                parameter.normal_(0, 0.5)
    lengths = torch.tensor([50, 33])
    wide = torch.randn(2, 3, 57, dtype=torch.float64)
    wide[0, :, 50:] = float("nan")
    wide[1, :, 33:] = float("inf")
    narrow = wide[:, :, :50].clone()
    narrow[1, :, 33:] = 0.0
    twin = copy.deepcopy(encoder)
    a, b = encoder(wide, lengths), twin(narrow, lengths)  # training: statistics of the batch
    assert_close(a.features, b.features, **TIGHT)
    assert_close(a.penalty, b.penalty, **TIGHT)
    for (name, left), right in zip(encoder.state_dict().items(), twin.state_dict().values(), strict=True):
        assert_close(left, right, **TIGHT, msg=name)
    a.features.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    encoder.eval()
    together = encoder(wide, lengths)
    penalties = []
    for item, length in enumerate(lengths.tolist()):
        alone = encoder(wide[item : item + 1, :, :length])
        width = alone.lengths.item()
        assert together.lengths[item] == width
        assert_close(together.features[item : item + 1, :, :width], alone.features, **TIGHT)
        assert not together.features[item, :, width:].any()
        penalties.append(alone.penalty)
    if key not in CONTENT:  # there it is one of the batch
        assert_close(together.penalty, torch.stack(penalties).mean(), **TIGHT)


def test_groups_of_channels_meet_in_the_plan_alone():
    encoder = ss.ResNet1d((1, 2), channels=(4, 6), strides=(2, 2), downsampler="adastride").double().eval()
    x = torch.randn(2, 3, 50, dtype=torch.float64)
    other = x.clone()
    other[:, 1:] = torch.randn(2, 2, 50, dtype=torch.float64)
    uniform, moved = encoder(x), encoder(other)  # scores start at zero, whatever they read
    assert_close(uniform.features[:, :3], moved.features[:, :3], rtol=0, atol=0)
    assert (uniform.features[:, 3:] - moved.features[:, 3:]).abs().max() > 1e-3
    with torch.no_grad():
        for layer in encoder.downsamplers:
            layer.score.weight.fill_(0.5)
    apart = (encoder(x).positions - encoder(other).positions).abs().max()
    assert apart > 1e-3
