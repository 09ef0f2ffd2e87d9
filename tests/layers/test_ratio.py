"""AdaStride with a learnt ratio: one per layer, and one per item that follows from the content."""

import copy
import math
import runpy
from pathlib import Path

import pytest
import torch
from helpers import TIGHT
from torch.testing import assert_close

import seqstride as ss
from seqstride.layers.scores import ContextScore


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
    layer = ss.AdaStrideContent1d(2, 3.0, **options).double().eval()
    with torch.no_grad():
        layer.score.weight.normal_(0, 0.5)
    x = torch.randn(2, 2, 90, dtype=torch.float64)
    plan = layer.plan(x)
    stream = layer.stream()
    parts = [stream.push(chunk) for chunk in x.split([1, 30, 7, 40, 12], 2)]
    y = torch.cat([*parts, stream.finish()], 2)
    assert stream.lengths.tolist() == plan.lengths.tolist()
    assert_close(y, layer.pool(x, plan), rtol=1e-9, atol=1e-9)


def levelled(**options):
    torch.manual_seed(2)
    layer = ss.AdaStrideContent1d(3, 4.0, scorer="context", **options).double()
    with torch.no_grad():
        layer.score.weight.normal_(0, 0.2)
    return layer


def test_scores_are_counted_from_the_means_of_the_batches_before():
    score = levelled().score
    plain = ContextScore(3).double()
    plain.load_state_dict(score.state_dict(), strict=False)
    x, lengths = torch.randn(2, 3, 40, dtype=torch.float64), torch.tensor([40, 11])
    x[1, :, 11:] = float("nan")
    rows = torch.cat([score.inner.weight @ x[0], score.inner.weight @ x[1, :, :11]], 1)
    means = torch.stack([rows.relu().mean(1), (-rows).relu().mean(1)])
    first, second = score(x, lengths)[0], score(x, lengths)[0]
    assert_close(first, plain(x, lengths)[0], **TIGHT)
    real = torch.arange(40) < lengths[:, None]
    assert_close(second, (first - 5 * (score.weight * means).sum()) * real, **TIGHT)
    assert_close(score.level, means, **TIGHT)  # a mean of equal means


def test_the_means_forget():
    score = levelled().score
    x = torch.randn(1, 3, 30, dtype=torch.float64)
    for _ in range(30):
        score(torch.zeros_like(x))
    score(x)
    rows = (score.inner.weight @ x[0]).relu().mean(1)
    assert_close(score.level[0], 0.05 * rows, **TIGHT)


def test_neither_batch_mates_nor_evaluation_nor_broken_items_move_a_level():
    x = torch.randn(2, 3, 50, dtype=torch.float64)
    alone, together = levelled(), levelled()
    for layer in (alone, together):
        layer(x)
        layer.eval()
        layer(x.flip(2))
        layer.train()
        layer(torch.full_like(x, float("nan")))
    assert_close(alone.plan(x[:1]).positions[0], together.plan(x).positions[0], **TIGHT)


def test_a_stream_moves_no_level():
    layer, x = levelled(), torch.randn(2, 3, 60, dtype=torch.float64)
    layer(x)
    before = copy.deepcopy(layer.state_dict())
    stream = layer.stream()  # though the layer trains
    y = torch.cat([stream.push(x[..., :25]), stream.push(x[..., 25:]), stream.finish()], 2)
    assert_close(layer.state_dict(), before, rtol=0, atol=0)
    assert_close(y, layer(x), **TIGHT)


def test_a_level_travels_with_the_model():
    layer, x = levelled(), torch.randn(2, 3, 50, dtype=torch.float64)
    layer(x)
    other = levelled()
    other.load_state_dict(layer.state_dict())
    assert_close(other.eval()(x), layer.eval()(x))


def test_the_aim_goes_from_the_start_to_the_stride():
    layer = ss.AdaStrideContent1d(2, 48.0, start=12.0)
    x = torch.randn(1, 2, 480)
    found = []
    for progress in (0.0, 0.31, 0.35, 0.5, 0.74, 0.75, 1.0):
        ss.anneal(layer, progress)
        plan = layer.plan(x)
        assert plan.penalty < 1e-6
        found.append(layer.aim())
        assert plan.lengths.item() == math.ceil(480 / layer.aim() - 1e-9)
    assert found == pytest.approx([12, 12, 12 * 4**0.125, 24, 48 / 4**0.125, 48, 48])
    ss.anneal(layer, 0.0)
    assert layer.eval().plan(x).lengths.item() == 10


def test_the_cost_on_the_way_is_counted():
    layer, frames = ss.AdaStrideContent1d(2, 48.0, start=12.0), torch.tensor(480.0)
    lengths = []
    for progress in (0.0, 0.5, 1.0):
        ss.anneal(layer, progress)
        lengths.append(layer.expected_length(frames).item())
    ss.anneal(layer, 0.0)
    lengths.append(layer.eval().expected_length(frames).item())
    assert lengths == pytest.approx([40, 20, 10, 10])


def test_the_bound_of_steps_grows_with_the_aim():
    layer = ss.AdaStrideContent1d(2, 1e6, start=1e5, scorer="context")
    scores, odds = torch.tensor([-1e9, 1e9], dtype=torch.float64), []
    for progress in (0.0, 0.5, 1.0):
        ss.anneal(layer, progress)
        odds.append((layer.steps(scores) * layer.aim()).tolist())
    assert odds == [pytest.approx([1 / most, most], rel=1e-2) for most in (4, 16, 64)]
    ss.anneal(layer, 0.0)
    assert (layer.eval().steps(scores) * 1e6).tolist() == pytest.approx([1 / 64, 64], rel=1e-2)


@pytest.mark.parametrize("start", [1, 0, -3.0, float("inf"), float("nan")])
def test_a_start_is_above_one(start):
    with pytest.raises(ValueError, match=r"`start` \(=.*\) must be a number above 1, or None"):
        ss.AdaStrideContent1d(2, 8, start=start)


@pytest.mark.parametrize("stride", [1, 12, 6.5])
def test_a_stride_up_to_the_start_is_aimed_at_from_the_beginning(stride):
    layer = ss.AdaStrideContent1d(2, stride, start=12)
    ss.anneal(layer, 0.0)
    assert layer.aim() == stride
    assert "start" not in repr(layer)


@pytest.mark.long
def test_bursts_get_more_frames_than_noise():
    script = runpy.run_path(str(Path(__file__).parents[2] / ".assets" / "content_ratio.py"))
    bursts, noise, stride, of_burst, of_noise, throughout = script["row"](
        script["trained"]("adastride_content", 48.0, 1, 3000)
    )
    assert min(bursts, noise) > 75
    assert 35 < stride < 60
    assert of_burst > 1.3 * of_noise
    assert throughout > 3 * of_noise


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
