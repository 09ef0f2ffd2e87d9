"""AdaStride with a learnt ratio: one per layer, and one per item that follows from the content."""

import math

import pytest
import torch
from helpers import TIGHT
from torch.testing import assert_close

import seqstride as ss


def ratio_layer(stride, channels=2, spread=0.5):
    layer = ss.AdaStrideRatio1d(channels, stride).double()
    with torch.no_grad():
        layer.score.weight.normal_(0, spread)
        layer.stride_parameter.fill_(stride)
    return layer


# --- one ratio per layer


@pytest.mark.parametrize("stride", [1, 2, 4, 5])
def test_a_whole_number_of_output_frames_is_that_of_a_fixed_ratio(stride):
    layer, fixed = ratio_layer(stride), ss.AdaStride1d(2, stride).double()
    fixed.score.load_state_dict(layer.score.state_dict())
    x, lengths = torch.randn(2, 2, 40, dtype=torch.float64), torch.tensor([40, 20])
    assert_close(layer.plan(x, lengths).positions, fixed.plan(x, lengths).positions, **TIGHT)
    assert_close(layer(x, lengths), fixed(x, lengths), **TIGHT)


def test_the_way_is_a_real_number():
    plan = ss.AdaStrideRatio1d(1, 2.5).double().plan(torch.randn(1, 1, 41, dtype=torch.float64))
    assert plan.lengths.tolist() == [17]
    assert_close(plan.positions[0, [0, 20, 40]], torch.tensor([0, 7.7, 15.4], dtype=torch.float64), **TIGHT)


def test_the_stride_has_a_gradient_at_every_stride():
    for frames in (2, 3, 5, 16, 40):
        for stride in (1.0, 1.5, 2.0, 7.9, frames / 2, float(frames)):
            if stride > frames:
                continue
            layer, x = ratio_layer(stride), torch.randn(2, 2, frames, dtype=torch.float64)
            y = layer(x)
            gradients = [
                torch.autograd.grad((sign * torch.randn_like(y) * y).sum(), layer.stride_parameter, retain_graph=True)[
                    0
                ]
                for sign in (1, -1, 1, -1)
            ]
            # at a bound that of some losses is blocked; one output frame has no place to go
            assert y.shape[2] == 1 or any(gradient != 0 for gradient in gradients), (frames, stride)


@pytest.mark.parametrize(("stride", "sign"), [(0.5, 1), (50.0, -1)])
def test_what_moves_the_stride_outwards_is_blocked(stride, sign):
    layer, x = ratio_layer(2.0), torch.randn(3, 2, 20, dtype=torch.float64)
    with torch.no_grad():
        layer.stride_parameter.fill_(stride)
    moved = []
    for direction in (1, -1):
        layer.zero_grad()
        (direction * layer.plan(x).positions.sum()).backward()  # falls where S grows
        moved.append(layer.stride_parameter.grad.item())
    outwards, inwards = sorted(moved, key=lambda gradient: sign * gradient, reverse=True)
    assert outwards == 0
    assert sign * inwards < 0


def test_the_price_lengthens_the_stride_and_the_loss_shortens_it():
    torch.manual_seed(0)
    layer = ss.AdaStrideRatio1d(1, 4.0)
    price = ss.complexity([layer])
    assert price.item() == 0.25
    x = torch.randn(8, 1, 60)
    ends = []
    for weight in (0.0, 3.0):
        layer = ss.AdaStrideRatio1d(1, 4.0)
        optimiser = torch.optim.Adam([layer.stride_parameter], lr=0.05)
        for _ in range(60):
            plan = layer.plan(x)
            loss = (plan.expand(plan(x)) - x).square().mean() + weight * ss.complexity([layer])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        ends.append(layer.stride.item())
    assert ends[0] < 4 < ends[1]


# --- a ratio that follows from the content


@pytest.mark.parametrize("stride", [1, 2, 4.0, 7])
def test_the_start_is_uniform(stride):
    layer = ss.AdaStrideContent1d(2, stride).double()
    x, lengths = torch.randn(3, 2, 57, dtype=torch.float64), torch.tensor([57, 20, 1])
    plan = layer.plan(x, lengths)
    assert plan.lengths.tolist() == [math.ceil(length / stride) for length in (57, 20, 1)]
    assert_close(plan.positions[0], torch.arange(57, dtype=torch.float64) / stride, **TIGHT)
    assert plan.penalty < 1e-12


def test_the_penalty_is_steep_far_from_the_ratio_and_flat_at_it():
    layer, x = ss.AdaStrideContent1d(1, 4).double(), torch.randn(2, 1, 100, dtype=torch.float64)
    slopes = []
    for mean in (0.25, 0.26, 0.5):
        with torch.no_grad():
            layer.bias.fill_(math.log(mean / (1 - mean)) + math.log(3))
        (slope,) = torch.autograd.grad(layer.plan(x).penalty, layer.bias)
        slopes.append(slope.item() / (4 * mean * (1 - mean)))  # per relative change of the mean
    assert slopes == pytest.approx([0, 0.04 / math.hypot(0.04, 0.2), 1 / math.hypot(1, 0.2)])


@pytest.mark.parametrize("options", [{}, {"scorer": "context", "pooling": "softmax"}, {"scorer": "change"}])
def test_the_stream_is_the_whole_signal(options):
    torch.manual_seed(1)
    layer = ss.AdaStrideContent1d(2, 3.0, **options).double()
    with torch.no_grad():
        layer.score.weight.normal_(0, 0.5)
    x = torch.randn(2, 2, 90, dtype=torch.float64)
    plan = layer.plan(x)
    stream = layer.stream()
    parts = [stream.push(chunk) for chunk in x.split([1, 30, 7, 40, 12], 2)]
    y = torch.cat([*parts, stream.finish()], 2)
    assert stream.lengths.tolist() == plan.lengths.tolist()
    assert_close(y, layer.pool(x, plan), rtol=1e-9, atol=1e-9)


def test_one_sentence_says_that_lengths_need_the_signal():
    with pytest.raises(ValueError, match="need the signal"):
        ss.AdaStrideContent1d(1, 4).output_lengths(torch.tensor([9]))


@pytest.mark.parametrize("kind", [ss.AdaStrideRatio1d, ss.AdaStrideContent1d])
def test_wrong_arguments_are_named(kind):
    with pytest.raises(ValueError, match=r"`scorer` \(='none'\) must be"):
        kind(1, 2, scorer="none")
    with pytest.raises(ValueError, match=r"`pooling` \(='median'\) must be 'mean' or 'softmax'"):
        kind(1, 2, pooling="median")
    with pytest.raises(ValueError, match=r"`sigma_square` \(=0\)"):
        kind(1, 2, sigma_square=0)
    with pytest.raises(ValueError, match=r"`stride` \(=0.5\)"):
        kind(1, 0.5)
