"""Time and frequency: downsampling of both axes by every method, the 2D encoder, its price, and the maximum head."""

import copy
import pickle

import oracles
import pytest
import torch
from helpers import ADAPTIVE, CONTENT, INTEGER, KEYS, LEARNT, SEEING, STRAIGHT, TIGHT
from torch import nn
from torch.testing import assert_close

import seqstride as ss
from seqstride.encoders.heads import PooledClassifier
from seqstride.encoders.masked import MaskedBatchNorm1d

BOTH = [key for key in LEARNT if ss.DOWNSAMPLERS[key].layer.along_frequency is None]  # learnt along both axes
every_key = pytest.mark.parametrize("key", KEYS)
CLOSE = {"rtol": 1e-8, "atol": 1e-8}
LENGTHS = torch.tensor([40, 23, 31])
SIDES = {"diffstride": 2, "dct_diffstride": 1}  # of the soft edge, each of R = 4


def randomised(module, seed=0):
    """`module` in float64, with scores that are not uniform and norms that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if "score" in name or name.endswith(("queries", "keys")):
                tensor.normal_(0, 0.7, generator=generator)
            elif name.endswith(("running_mean", "norm.bias")):
                tensor.normal_(0, 0.3, generator=generator)
            elif name.endswith(("running_var", "norm.weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return module


def encoder_of(key, channels=(3, 5, 4), strides=((2, 2), 1, (2, 3)), bands=20, **options):
    torch.manual_seed(1)
    return randomised(ss.Spectrogram2d(bands, channels, strides, key, **options))


def padded(bands=20, padding=float("nan"), lengths=LENGTHS, extra=2):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(len(lengths), bands, int(lengths.max()) + extra, generator=generator, dtype=torch.float64)
    for item, length in enumerate(lengths.tolist()):
        x[item, :, length:] = padding
    return x


# --- one layer for both axes


@every_key
def test_two_axes_are_a_layer_on_every_bin_and_then_on_every_frame(key):
    torch.manual_seed(0)
    strides = (2, 3) if key in (*INTEGER, *SEEING) else (2.3, 1.6)
    layer = randomised(ss.make_downsampler2d(key, 2, strides))
    x = padded().view(3, 2, 10, -1).transpose(2, 3)  # (B, C, T, F)
    y = layer(x, LENGTHS)
    plan = layer.time.plan(x.mean(3), LENGTHS)
    frames = torch.stack([layer.time.pool(band, plan) for band in x.unbind(3)], 3)
    cells = torch.stack([layer.frequency(frame) for frame in frames.unbind(2)], 2)
    if key not in CONTENT:
        assert layer.output_lengths(LENGTHS).tolist() == plan.lengths.tolist()
    assert y.shape == cells.shape
    for item, length in enumerate(plan.lengths.tolist()):
        assert_close(y[item, :, :length], cells[item, :, :length], **TIGHT)
        assert not y[item, :, length:].any()


@pytest.mark.parametrize("key", ADAPTIVE)
def test_adastride_averages_frequency(key):
    layer = ss.make_downsampler2d(key, 2, (1.5, 3), sigma_square=2.0).double()
    assert isinstance(layer.time, ss.AdaStride1d)
    assert (layer.time.stride, layer.time.sigma_square) == (1.5, 2.0)
    x = torch.randn(1, 2, 12, 8, dtype=torch.float64)
    plan = layer.time.plan(x.mean(3))
    y = torch.stack([layer.time.pool(band, plan) for band in x.unbind(3)], 3)
    averaged = torch.stack([y[..., :3].mean(3), y[..., 3:6].mean(3), y[..., 6:].mean(3)], dim=3)
    assert_close(layer(x), averaged, **TIGHT)


@pytest.mark.parametrize("key", BOTH)
def test_freezing_fixes_both_strides(key):
    layer = ss.make_downsampler2d(key, 1, (2.5, 1.5))
    assert layer.strides.tolist() == [2.5, 1.5]
    layer.freeze()
    assert not any(p.requires_grad for p in layer.parameters())
    layer.unfreeze()
    layer(torch.randn(1, 1, 40, 33)).square().sum().backward()
    assert all(p.grad.abs() > 0 for p in layer.parameters())
    layer.strides.sum().backward()


@pytest.mark.parametrize("key", [key for key in KEYS if key not in LEARNT])
def test_strides_that_are_not_learnt_are_listed(key):
    assert ss.make_downsampler2d(key, 1, (2, 3)).strides.tolist() == [2, 3]


# --- the encoder does not see padding or batch mates


def encoded_with_gradients(encoder, x, lengths, weights, items):
    """What an encoder returns, and the gradients of a weighted sum of its features and of every item's penalty."""
    encoder.zero_grad()
    x = x.clone().requires_grad_()
    encoded = encoder(x, lengths)
    loss = (encoded.features * weights).sum()
    if not any(layer.content_lengths for layer in encoder.downsamplers):  # there the penalty is one of the batch
        loss = loss + items * encoded.penalty
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in encoder.parameters()]
    return encoded, x.grad, gradients


@every_key
@pytest.mark.parametrize("padding", [float("nan"), float("inf")])
def test_an_item_alone_is_the_item_in_a_padded_batch(key, padding):
    encoder = encoder_of(key).eval()  # in training the statistics are those of a batch
    x = padded(padding=padding)
    together = encoder(x, LENGTHS)
    weights = torch.randn_like(together.features)
    together, x_gradient, gradients = encoded_with_gradients(encoder, x, LENGTHS, weights, len(x))
    totals = [torch.zeros_like(p) for p in encoder.parameters()]
    penalties = []
    for item, length in enumerate(LENGTHS.tolist()):
        width = int(together.lengths[item])
        one = slice(item, item + 1)
        alone, x_alone, own = encoded_with_gradients(encoder, x[one, :, :length], None, weights[one, :, :width], 1)
        assert alone.lengths.tolist() == [width]
        assert alone.features.shape == (1, 4, width)
        assert_close(together.features[one, :, :width], alone.features, **CLOSE)
        assert not together.features[item, :, width:].any()
        assert_close(x_gradient[one, :, :length], x_alone, **CLOSE)
        assert not x_gradient[item, :, length:].any()
        for plan, mine in zip(together.plans, alone.plans, strict=True):
            own_frames = mine.positions.shape[1]
            assert_close(plan.positions[one, :own_frames], mine.positions, **CLOSE)
        penalties.append(alone.penalty)
        totals = [total + gradient for total, gradient in zip(totals, own, strict=True)]
    if key not in CONTENT:
        assert_close(together.penalty, torch.stack(penalties).mean(), **CLOSE)
    for (name, _), gradient, total in zip(encoder.named_parameters(), gradients, totals, strict=True):
        assert_close(gradient, total, **CLOSE, msg=name)
        # all do something but the strides at the bound of a short item, and but what finds no boundary between frames
        # behind a ReLU, which are too much alike
        assert gradient.any() or "stride" in name or name.endswith(("queries", "keys")), name


@every_key
def test_in_training_padding_changes_nothing(key):
    encoder = encoder_of(key)
    twin = copy.deepcopy(encoder)
    wide, narrow = padded(extra=9), padded(padding=0.0, extra=9)[:, :, : int(LENGTHS.max())]
    a, b = encoder(wide, LENGTHS), twin(narrow, LENGTHS)
    assert_close(a.features, b.features, **TIGHT)
    assert_close(a.penalty, b.penalty, **TIGHT)
    for (name, left), right in zip(encoder.state_dict().items(), twin.state_dict().values(), strict=True):
        assert_close(left, right, **TIGHT, msg=name)
    a.features.square().sum().backward()
    b.features.square().sum().backward()
    for (name, left), right in zip(encoder.named_parameters(), twin.parameters(), strict=True):
        assert_close(left.grad, right.grad, **CLOSE, msg=name)


def test_in_training_equal_lengths_are_no_lengths():
    encoder = encoder_of("diffstride")
    twin = copy.deepcopy(encoder)
    x = padded(extra=0, lengths=torch.tensor([40, 40]))
    a, b = encoder(x, torch.tensor([40, 40])), twin(x)
    assert_close(a.features, b.features, **CLOSE)
    for left, right in zip(encoder.buffers(), twin.buffers(), strict=True):
        assert_close(left, right, **CLOSE)


# --- what the encoder returns


@every_key
def test_lengths_and_plans_of_both_axes(key):
    encoder = encoder_of(key)
    blocks = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda module, inputs, output: blocks.append(output[0]))
    encoded = encoder(padded(), LENGTHS)
    lengths, bands = LENGTHS, torch.tensor([20, 20, 20])
    assert len(encoder.downsamplers) == len(encoder.frequency_downsamplers) == len(blocks) == 3
    for i, (time, frequency) in enumerate(zip(encoder.downsamplers, encoder.frequency_downsamplers, strict=True)):
        lengths = encoded.plans[i].lengths if key in CONTENT else time.output_lengths(lengths)
        bands = frequency.output_lengths(bands)
        assert encoded.plans[i].lengths.tolist() == lengths.tolist()
        assert encoded.frequency_plans[i].lengths.tolist() == bands.tolist()
        assert blocks[i].shape[2:] == (lengths.max(), bands[0])
    assert encoded.lengths.tolist() == lengths.tolist()
    assert_close(encoded.features, blocks[-1].amax(3), rtol=0, atol=0)
    times = encoded.times()
    assert times.shape == (3, lengths.max())
    for item, (width, length) in enumerate(zip(lengths.tolist(), LENGTHS.tolist(), strict=True)):
        assert (times[item, :width].diff() >= 0).all()
        assert times[item, :width].max() <= length - 1
    assert encoded.durations().sum(1).tolist() == LENGTHS.tolist()


def test_a_stride_that_is_a_number_is_that_of_both_axes():
    number, pair = encoder_of("average", strides=(2, 1, 3)), encoder_of("average", strides=((2, 2), [1, 1], (3, 3)))
    assert_close(number(padded(), LENGTHS).features, pair(padded(), LENGTHS).features, rtol=0, atol=0)


def test_the_paper_s_encoder_is_the_default():
    encoder = ss.Spectrogram2d()
    assert encoder.bands == 64
    assert encoder.out_channels == 512
    assert [layer.stride.item() for layer in encoder.downsamplers] == [2, 2, 1, 2, 1, 2]
    assert [layer.stride.item() for layer in encoder.frequency_downsamplers] == [2, 2, 1, 2, 1, 2]
    assert all(isinstance(layer, ss.DiffStride1d) for layer in encoder.downsamplers)
    # 3 taps over time, 3 over frequency, gain and bias of the norm, two strides
    widths = [(1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    assert sum(p.numel() for p in encoder.parameters()) == sum(3 * a * b + 3 * b * b + 2 * b + 2 for a, b in widths)


def test_frames_and_bins_have_convolutions_of_their_own():
    encoder = encoder_of("average", channels=(1,), strides=(1,)).eval()
    (block,) = encoder.blocks
    with torch.no_grad():
        block.time_conv.weight.copy_(torch.tensor([1.0, 0, 0]).view(1, 1, 3, 1))  # the frame before
        block.frequency_conv.weight.copy_(torch.tensor([0.0, 0, 1]).view(1, 1, 1, 3))  # the bin above
        block.norm.load_state_dict(MaskedBatchNorm1d(1, eps=0.0).double().state_dict())
    block.norm.eps = 0.0
    x = torch.zeros(1, 20, 9, dtype=torch.float64)
    x[0, 7, 4] = 1.0
    seen = []
    block.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    encoder(x)
    assert seen[0].nonzero().tolist() == [[0, 0, 5, 6]]


# --- strides that learn


@pytest.mark.parametrize("key", BOTH)
def test_the_strides_of_both_axes_learn_apart(key):
    encoder = encoder_of(key, strides=((2, 2), (2, 2), (2, 2)))
    optimiser = torch.optim.SGD(ss.parameter_groups(encoder, lr=0.0, weight_decay=0.1, stride_lr=0.1))
    encoder(padded(), LENGTHS).features.square().mean().backward()
    optimiser.step()
    time, frequency = ([layer.stride.item() for layer in layers] for layers in learnt_layers(encoder))
    for a, b in zip(time, frequency, strict=True):
        assert a != 2
        assert b != 2
        assert abs(a - b) > 1e-6


def learnt_layers(encoder):
    return encoder.downsamplers, encoder.frequency_downsamplers


@pytest.mark.parametrize("key", BOTH)
def test_a_shared_stride_is_one_parameter_in_each_block(key):
    shared = encoder_of(key, strides=(2, 1.5, 2), shared=True)
    apart = encoder_of(key, strides=(2, 1.5, 2))
    apart.load_state_dict(shared.state_dict())
    strides = [p for name, p in shared.named_parameters() if "stride" in name]
    assert len(strides) == 3
    for encoder in (shared, apart):
        encoder(padded(), LENGTHS).features.square().sum().backward()
        ss.complexity(encoder).backward()
    for stride, time, frequency in zip(strides, *learnt_layers(apart), strict=True):
        assert time.stride_parameter.grad != frequency.stride_parameter.grad
        assert_close(stride.grad, time.stride_parameter.grad + frequency.stride_parameter.grad, **CLOSE)


def test_a_shared_random_stride_is_one_draw():
    torch.manual_seed(3)
    apart = ss.Spectrogram2d(20, (2, 2, 2, 2), "random")
    torch.manual_seed(3)
    shared = ss.Spectrogram2d(20, (2, 2, 2, 2), "random", shared=True)
    time, frequency = ([layer.stride.item() for layer in layers] for layers in learnt_layers(apart))
    assert time != frequency
    assert [[layer.stride.item() for layer in layers] for layers in learnt_layers(shared)] == [time, time]


def test_a_shared_stride_that_is_not_learnt_is_a_stride():
    shared, apart = (encoder_of("strided", strides=(2, 1, 2), shared=shared) for shared in (True, False))
    assert_close(shared(padded(), LENGTHS).features, apart(padded(), LENGTHS).features, rtol=0, atol=0)


@pytest.mark.parametrize("key", BOTH)
def test_a_frozen_encoder_keeps_its_strides_and_its_answer(key):
    encoder = encoder_of(key).eval()
    learning = encoder(padded(), LENGTHS)
    for layer in [*encoder.downsamplers, *encoder.frequency_downsamplers]:
        layer.freeze()
    frozen = encoder(padded(), LENGTHS)
    assert_close(frozen.features, learning.features, **TIGHT)
    frozen.features.square().sum().backward()
    assert all((p.grad is None) == ("stride" in name) for name, p in encoder.named_parameters())


@every_key
def test_copies_and_checkpoints_give_the_same_answer(key):
    shared = key in BOTH
    strides = (2, 1, 2)
    encoder = encoder_of(key, strides=strides, shared=shared)
    if shared:
        with torch.no_grad():
            encoder.downsamplers[0].stride_parameter.fill_(2.7)
    encoder.eval()
    fresh = randomised(ss.Spectrogram2d(20, (3, 5, 4), strides, key, shared=shared), seed=5).eval()
    assert fresh.load_state_dict(encoder.state_dict()) == ([], [])
    expected = encoder(padded(), LENGTHS).features
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder)), fresh):
        assert_close(other(padded(), LENGTHS).features, expected, rtol=0, atol=0)
        assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in encoder.parameters())


# --- precision


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride", "average", "adastride", "strided"])
@pytest.mark.parametrize("training", [True, False])
def test_autocast_is_as_near_as_its_digits(key, training):
    encoder = encoder_of(key).float().train(training)
    twin = copy.deepcopy(encoder)
    x = padded().float()
    expected = twin(x, LENGTHS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = encoder(x, LENGTHS)
    assert encoded.lengths.tolist() == expected.lengths.tolist()
    scale = expected.features.abs().max().item()
    assert_close(encoded.features.float(), expected.features, rtol=0, atol=0.05 * scale)
    assert (encoded.features.float() - expected.features).square().mean().sqrt() < 0.01 * scale
    encoded.features.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_a_norm_in_half_precision_counts_past_65504():
    x, lengths = 3 + 2 * torch.randn(2, 1, 50_000), torch.tensor([50_000, 49_999])
    norm, exact = MaskedBatchNorm1d(1), MaskedBatchNorm1d(1)
    y, expected = norm(x.half(), lengths), exact(x.half().float(), lengths)
    assert_close(y.float(), expected, rtol=2e-3, atol=2e-3)
    assert_close(norm.running_mean, exact.running_mean, rtol=1e-4, atol=0)
    assert_close(norm.running_var, exact.running_var, rtol=1e-3, atol=0)


# --- the price


STRIDES = [(1.7, 2.3), (3.1, 1.6), (1.4, 2.0)]


def with_strides(encoder, strides):
    with torch.no_grad():
        for pair, *layers in zip(strides, *learnt_layers(encoder), strict=True):
            for layer, stride in zip(layers, pair, strict=True):
                layer.stride_parameter.fill_(stride)
    return encoder


def priced(kind, key, strides, length, bands, channels):
    """The price of an encoder by hand, from the continuous lengths of both axes."""
    if kind == "frames":
        return oracles.frames_complexity([time * frequency for time, frequency in strides])
    n, m = (
        oracles.continuous_lengths(start, [(pair[axis], SIDES[ss.DOWNSAMPLERS[key].oracle], 4.0) for pair in strides])
        for axis, start in enumerate((length, bands))
    )
    cells = [a * b for a, b in zip(n, m, strict=True)]
    if kind == "memory":
        weights, used = list(channels), cells[1:]
    else:
        weights, used = [3 * a * b + 3 * b * b for a, b in zip([1, *channels], channels, strict=False)], cells[:-1]
    return sum(w * c for w, c in zip(weights, used, strict=True)) / (sum(weights) * length * bands)


@pytest.mark.parametrize("key", BOTH)
@pytest.mark.parametrize("kind", ["frames", "memory", "macs"])
def test_complexity_and_its_gradients_in_both_axes(key, kind):
    channels, bands, length = (3, 5, 4), 200, 300
    encoder = with_strides(encoder_of(key, channels, strides=(2, 2, 2), bands=bands), STRIDES)
    value = ss.complexity(encoder, kind=kind, length=length)
    assert value.item() == pytest.approx(priced(kind, key, STRIDES, length, bands, channels), rel=1e-6)
    value.backward()
    for axis, layers in enumerate(learnt_layers(encoder)):
        for j, layer in enumerate(layers):
            slopes = []
            for step in (1e-5, -1e-5):
                moved = [list(pair) for pair in STRIDES]
                moved[j][axis] += step
                slopes.append(priced(kind, key, moved, length, bands, channels))
            slope = (slopes[0] - slopes[1]) / 2e-5
            gradient = 0.0 if layer.stride_parameter.grad is None else layer.stride_parameter.grad.item()
            assert gradient == pytest.approx(slope, rel=1e-6, abs=1e-12)
            assert (slope < 0) == (kind != "macs" or j < 2)  # nothing comes behind the last block


@every_key
def test_complexity_without_downsampling_is_the_largest(key):
    encoder = encoder_of(key, strides=(1, 1, 1))
    assert ss.complexity(encoder, kind="frames").item() == pytest.approx(3)
    for kind in ("memory", "macs"):
        assert ss.complexity(encoder, kind=kind).item() == pytest.approx(1)


def test_macs_by_hand():
    strides, channels = ((2, 2), (3, 1)), (2, 3)
    blocks = 8 * 12 * (3 * 1 * 2 + 3 * 2 * 2) + 4 * 6 * (3 * 2 * 3 + 3 * 3 * 3)
    for key in ("average", "max", "blur", "spectral", "dct", "adastride"):
        assert ss.macs(ss.Spectrogram2d(8, channels, strides, key), 12) == blocks
    # a strided convolution costs at its output: along time all bins are still there, along frequency half of them
    strided = 12 * (6 * 8) + 12 * (6 * 4) + 27 * (2 * 4)  # and none along frequency where the stride is 1
    assert ss.macs(ss.Spectrogram2d(8, channels, strides, "strided"), 12) == blocks + strided


@pytest.mark.parametrize("key", [key for key in KEYS if key not in STRAIGHT])  # those have their ratio yet to learn
def test_macs_are_those_of_a_real_forward_pass(key):
    encoder = ss.Spectrogram2d(64, (4, 6, 5), ((2, 2), (2, 1), (1, 2)), key)
    x = torch.randn(2, 64, 400)
    counts = []

    def count(module, inputs, output):
        cells = output.numel() / output.shape[1] / len(x)  # (B, C, T, F), or items and channels of one axis
        counts.append(cells * module.weight.numel())

    for module in encoder.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d)) and "Score" not in type(module).__name__:
            module.register_forward_hook(count)
    encoder(x)
    assert len(counts) == (10 if key == "strided" else 6)  # a stride of 1 has none
    tolerance = 0.05 if key in (*LEARNT, *CONTENT) else 1e-12  # lengths of learnt strides are rounded
    assert ss.macs(encoder, 400) == pytest.approx(sum(counts), rel=tolerance)


# --- the head's pooling


@pytest.mark.parametrize("pool", ["mean", "max", "softmax"])
def test_pooling_is_over_real_frames_only(pool):
    head = PooledClassifier(3, 2, pool=pool).double()
    features = -torch.rand(2, 3, 6, dtype=torch.float64) - 0.1
    features[1, :, 4:] = float("nan")
    lengths = torch.tensor([6, 4])
    alone = [features[:1], features[1:, :, :4]]
    of_one = {"mean": lambda x: x.mean(2), "max": lambda x: x.amax(2), "softmax": lambda x: (x.softmax(2) * x).sum(2)}
    expected = head.linear(torch.cat([of_one[pool](item) for item in alone]))
    alone_logits = torch.cat([head(item, None) for item in alone])
    assert_close(alone_logits, expected, **TIGHT)
    logits = head(features.requires_grad_(), lengths)
    assert_close(logits, expected, **TIGHT)
    logits.sum().backward()
    assert features.grad.isfinite().all()
    assert not features.grad[1, :, 4:].any()


def test_a_normalised_head_reads_every_pooled_channel_at_the_same_scale():
    head = PooledClassifier(3, 2, normalise=True).double()
    scale = torch.tensor([1.0, 0.1, 10.0], dtype=torch.float64)[:, None]
    features, lengths = torch.randn(8, 3, 6, dtype=torch.float64) * scale + 5 * scale, torch.full((8,), 6)
    pooled = head.embed(features, lengths)
    assert_close(pooled.mean(0), torch.zeros(3).double(), rtol=0, atol=1e-9)
    assert (pooled.std(0, unbiased=False) > 0.8).all()
    head.eval()
    assert_close(head(features[:1], None), head(features, lengths)[:1], **TIGHT)


def test_with_a_maximum_head_the_maximum_is_global():
    encoder, head = encoder_of("diffstride").eval(), PooledClassifier(4, 2, pool="max").double()
    cells = []
    encoder.blocks[-1].register_forward_hook(lambda module, inputs, output: cells.append(output[0]))
    encoded = encoder(padded(), LENGTHS)
    logits = head(encoded.features, encoded.lengths)
    largest = [cells[0][item, :, :length].amax((1, 2)) for item, length in enumerate(encoded.lengths.tolist())]
    assert_close(logits, head.linear(torch.stack(largest)), **TIGHT)
