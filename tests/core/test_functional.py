"""The functions below the layers, one at a time."""

import math

import numpy as np
import oracles
import pytest
import scipy.fft
import scipy.signal
import torch
from helpers import TIGHT
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import seqstride as ss
import seqstride.functional as F

SIZES = [1, 2, 3, 4, 7, 16, 31, 100, 997]


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


# --- cosine transform


@pytest.mark.parametrize("frames", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_dct_is_scipys(frames, dtype, tolerance):
    x = randn(2, 3, frames, dtype=dtype)
    forward, backward = F.dct(x), F.idct(x)
    assert forward.dtype == backward.dtype == dtype
    exact = x.double().numpy()
    np.testing.assert_allclose(forward, scipy.fft.dct(exact, type=2, norm="ortho"), rtol=0, atol=tolerance)
    np.testing.assert_allclose(backward, scipy.fft.dct(exact, type=3, norm="ortho"), rtol=0, atol=tolerance)
    np.testing.assert_allclose(F.idct(forward), exact, rtol=0, atol=tolerance)


def test_dct_of_a_long_signal_does_not_build_a_matrix():
    x = randn(2**17)  # a dense float64 matrix would take 128 GiB
    np.testing.assert_allclose(F.dct(x), scipy.fft.dct(x.numpy(), norm="ortho"), atol=1e-9)


@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_dct_derivatives(frames):
    x = randn(2, frames).requires_grad_()
    assert torch.autograd.gradcheck(F.dct, (x,))
    assert torch.autograd.gradcheck(F.idct, (x,))
    assert torch.autograd.gradgradcheck(F.dct, (x,))


# --- masks and resampling


@pytest.mark.parametrize("transform", ["dft", "dct"])
@pytest.mark.parametrize("options", [{}, {"smoothness": 1.5}, {"relative_smoothness": 0.3}])
@given(frames=st.integers(1, 200), hundredths=st.integers(100, 800))
def test_spectral_mask(transform, options, frames, hundredths):
    stride = hundredths / 100
    expected = oracles.spectral_mask(frames, stride, transform=transform, **options)
    for given_stride, tolerance in ((stride, 1e-4), (torch.tensor(stride, dtype=torch.float64), 1e-12)):
        mask = F.spectral_mask(given_stride, frames, transform=transform, **options)
        assert mask.shape == expected.shape  # a number is taken in double precision too
        np.testing.assert_allclose(mask.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("transform", "frames", "stride", "kept"),
    [("dft", 113, 1.13, 55), ("dft", 253, 1.15, 115), ("dct", 57, 1.14, 54), ("dct", 138, 1.15, 124)],
)
def test_kept_bins_do_not_suffer_from_binary_fractions(transform, frames, stride, kept):
    # T / S is whole in decimals and a little more in binary: that little must not keep a bin more.
    for value in (stride, torch.tensor(stride, dtype=torch.float64)):
        assert len(F.spectral_mask(value, frames, transform=transform)) == kept


@pytest.mark.parametrize(("transform", "edge"), [("dft", 63 / (2 * 2.3) + 1), ("dct", 63 / 2.3)])
@pytest.mark.parametrize("options", [{"smoothness": 3.5}, {"relative_smoothness": 0.1}])
def test_the_slope_of_the_mask(transform, edge, options):
    stride = torch.tensor(2.3, dtype=torch.float64, requires_grad=True)
    width = options.get("smoothness", 0.1 * 63 / 2.3)
    mask = F.spectral_mask(stride, 63, transform=transform, **options)
    # No gradient through R, so each bin of the ramp moves with the edge alone.
    slope = -63 / ((2 if transform == "dft" else 1) * 2.3**2 * width)
    for n, value in enumerate(mask):
        (gradient,) = torch.autograd.grad(value, stride, retain_graph=True)
        inside = edge < n < edge + width
        assert gradient.item() == pytest.approx(slope if inside else 0.0, rel=1e-6)
    assert edge < len(mask) - 1 < edge + width  # the last kept bin is on the ramp


@pytest.mark.parametrize(
    ("frames", "length"),
    [(frames, length) for frames in (1, 2, 3, 8, 13, 30) for length in (1, 2, 5, 6, 8, 13, 30) if length <= frames],
)
def test_spectral_resample_is_scipys(frames, length):
    x = randn(2, 3, frames)
    expected = scipy.signal.resample(x.numpy(), length, axis=-1)
    np.testing.assert_allclose(F.spectral_resample(x, length), expected, atol=1e-12)
    official = F.spectral_resample(x, length, gain="official")
    np.testing.assert_allclose(official, expected * frames / length, atol=1e-12)


@pytest.mark.parametrize("frames", [20, 21])
def test_masked_resampling(frames):
    x = randn(2, 3, frames)
    mask = torch.tensor(oracles.spectral_mask(frames, 2.3))
    length = oracles.diffstride_length(frames, len(mask))
    expected = [oracles.diffstride(item.numpy(), 2.3).output for item in x]
    np.testing.assert_allclose(F.spectral_resample(x, length, mask), expected, atol=1e-12)
    mask = torch.tensor(oracles.spectral_mask(frames, 2.3, transform="dct"))
    expected = [oracles.dct_diffstride(item.numpy(), 2.3).output for item in x]
    np.testing.assert_allclose(F.cosine_resample(x, len(mask), mask), expected, atol=1e-12)
    expected = [oracles.dct_pool(item.numpy(), 2.3).output for item in x]
    np.testing.assert_allclose(F.cosine_resample(x, math.floor(frames / 2.3)), expected, atol=1e-12)


@pytest.mark.parametrize("function", [F.spectral_resample, F.cosine_resample])
def test_resampling_derivatives(function):
    mask = torch.tensor([1.0, 0.9, 0.5, 0.2], dtype=torch.float64, requires_grad=True)
    x = randn(2, 9, seed=1).requires_grad_()
    length = 6 if function is F.spectral_resample else 4
    assert torch.autograd.gradcheck(lambda x, mask: function(x, length, mask), (x, mask))


@pytest.mark.parametrize(
    ("kind", "reference", "options"),
    [
        (ss.DiffStride1d, oracles.diffstride, {"smoothness": 1.5}),
        (ss.DiffStride1d, oracles.diffstride, {"relative_smoothness": 0.2}),
        (ss.DiffStride1d, oracles.diffstride, {"gain": "official"}),
        (ss.DCTDiffStride1d, oracles.dct_diffstride, {"smoothness": 1.5}),
        (ss.DCTDiffStride1d, oracles.dct_diffstride, {"relative_smoothness": 0.2}),
    ],
)
@pytest.mark.parametrize("frames", [10, 47, 64])
def test_options_of_the_learnt_layers(kind, reference, options, frames):
    layer = kind(2.0, **options).double()
    x = randn(1, 2, frames)
    item = reference(x[0].numpy(), 2.0, **options)
    np.testing.assert_allclose(layer(x)[0].detach(), item.output, **TIGHT)
    assert layer.output_lengths(torch.tensor([frames])).tolist() == [item.output.shape[1]]


@pytest.mark.parametrize("options", [{"gain": "unit"}, {"gain": "official"}])
def test_a_fixed_stride_of_one_is_the_identity(options):
    x = randn(2, 3, 30)
    layer = ss.DiffStride1d(1.0, learnable=False, **options).double()
    assert_close(layer(x), x, **TIGHT)
    assert layer.output_lengths(torch.tensor([30])).tolist() == [30]
    assert not any(p.requires_grad for p in layer.parameters())
    # A learnt stride of one sits at its bound, where the mask has a slope: not the identity.
    assert (ss.DiffStride1d(1.0).double()(x) - x).abs().max() > 1e-3


# --- positions


@given(data=st.data())
def test_positions_and_their_penalty(data):
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    outputs = [data.draw(st.integers(1, length)) for length in lengths]
    spread = data.draw(st.sampled_from([0.0, 1.0, 30.0, 1e4]))
    scores = randn(len(lengths), max(lengths), seed=data.draw(st.integers(0, 100))) * spread
    for b, length in enumerate(lengths):
        scores[b, length:] = float("nan")
    p = F.positions(scores, torch.tensor(outputs), torch.tensor(lengths))
    penalties = []
    for b, (length, out) in enumerate(zip(lengths, outputs, strict=True)):
        expected = oracles.adaptive_positions(scores[b, :length].numpy(), out)
        np.testing.assert_allclose(p[b, :length], expected, **TIGHT)
        assert not p[b, length:].any()
        penalties.append(oracles.gap_penalty(expected))
    penalty = F.gap_penalty(p, torch.tensor(lengths))
    np.testing.assert_allclose(penalty.item(), np.mean(penalties), **TIGHT)


def test_positions_derivatives():
    scores = randn(2, 7).requires_grad_()
    outputs, lengths = torch.tensor([4, 3]), torch.tensor([7, 5])
    assert torch.autograd.gradcheck(lambda s: F.positions(s, outputs, lengths), (scores,))
    # Far apart, so that every gap is on one side of the kink.
    p = torch.tensor([[0.0, 0.3, 3.5, 4.0], [0.0, 1.9, 4.0, 0.0]], dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 3])
    assert torch.autograd.gradcheck(lambda p: F.gap_penalty(p, lengths), (p,))


def test_positions_are_better_than_float32():
    # Uniform steps: float32 sums are off by 6e-3 frames here.
    p = F.positions(torch.zeros(1, 100_000), torch.tensor([50_000]))
    exact = torch.arange(100_000, dtype=torch.float64) * (49_999 / 99_999)
    assert_close(p[0], exact, rtol=0, atol=1e-8)


# --- alignment


def clustered(seed, frames, length):
    """Sorted positions with clusters, gaps of several output frames, and frames on whole numbers."""
    random = np.random.default_rng(seed)
    p = np.concatenate([random.uniform(0, length - 1, frames // 2), random.normal(length / 3, 0.1, frames)])
    p = np.sort(np.clip(p, 0, length - 1))[:: max(1, len(p) // frames)][:frames]
    p[0], p[-1] = 0, length - 1
    return p


@pytest.mark.parametrize("sigma_square", [0.05, 5.0, 100.0])
@pytest.mark.parametrize("method", ["align", "zero", "nearest"])
@pytest.mark.parametrize("seed", range(5))
def test_alignment_at_given_positions(method, sigma_square, seed):
    lengths, outputs = [60, 17, 5, 1], [25, 30, 5, 1]
    x, p = randn(4, 3, 63, seed=seed), torch.zeros(4, 63, dtype=torch.float64)
    for b, (length, out) in enumerate(zip(lengths, outputs, strict=True)):
        p[b, :length] = torch.tensor(clustered(seed, length, out))
        x[b, :, length:] = float("nan")
    arguments = (x, p, torch.tensor(outputs), torch.tensor(lengths))
    if method == "align":
        z = F.align(*arguments, sigma_square=sigma_square)
    else:
        z = F.scatter_align(*arguments, sigma_square=sigma_square, empty=method)
    assert z.shape == (4, 3, 30)
    for b, (length, out) in enumerate(zip(lengths, outputs, strict=True)):
        item, positions = x[b, :, :length].numpy(), p[b, :length].numpy()
        if method == "align":
            expected = oracles.align(item, positions, out, sigma_square)
        else:
            expected = oracles.scatter_align(item, positions, out, sigma_square, method)
        np.testing.assert_allclose(z[b, :, :out], expected, **TIGHT)
        assert not z[b, :, out:].any()
    if method != "align":
        empty = oracles.durations(p[1, :17].numpy(), 30) == 0
        assert empty.any()  # 17 frames cannot fill 30
        assert (z[1, :, torch.from_numpy(empty)] == 0).all() == (method == "zero")


def test_a_tie_between_neighbours_goes_to_the_left():
    p = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    z = F.scatter_align(torch.tensor([[[3.0, 7.0]]], dtype=torch.float64), p, torch.tensor([3]))
    assert z.tolist() == [[[3.0, 3.0, 7.0]]]


@pytest.mark.parametrize("peak", [0.0, 1.0, 3.0, 30.0])
def test_the_banded_product_is_the_dense_one(peak):
    # One score of +30 in a flat signal is the worst case: one gap over everything, two clusters around it.
    frames, length = 3000, 1500
    scores = randn(1, frames) if peak < 30 else torch.zeros(1, frames, dtype=torch.float64)
    scores = scores * peak
    if peak == 30:
        scores[0, 1234] = 30.0
    p = F.positions(scores, torch.tensor([length]))
    x = randn(1, 2, frames, seed=1)
    exact = oracles.align(x[0].numpy(), p[0].numpy(), length)
    np.testing.assert_allclose(F.align(x, p, torch.tensor([length]))[0], exact, **TIGHT)
    z = F.align(x.float(), p, torch.tensor([length]))[0]
    assert z.dtype == torch.float32
    np.testing.assert_allclose(z, exact, rtol=0, atol=1e-5)


def saved_numbers(frames, score=0.0):
    """How many numbers the alignment of a flat signal with one other score keeps for the backward pass."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        kept.append(tensor)
        return tensor

    kept = []  # keeps addresses from being used twice
    scores = torch.zeros(1, frames)
    scores[0, frames // 2] = score
    scores.requires_grad_()
    x = randn(1, 1, frames, dtype=torch.float32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        p = F.positions(scores, torch.tensor([frames // 2]))
        F.align(x, p, torch.tensor([frames // 2])).sum().backward()
    return sum(storages.values())


def test_the_memory_of_an_even_alignment_grows_with_the_length_only():
    small, large = saved_numbers(2048), saved_numbers(8192)
    assert large < 5 * small  # a dense matrix grows 16 times
    assert large < 8192 * 4096 / 20


def test_the_memory_of_the_worst_alignment_is_that_of_the_dense_matrix():
    assert saved_numbers(1024, score=30.0) < 1.1 * 1024 * 512


@pytest.mark.parametrize("empty", ["align", "zero", "nearest"])
def test_alignment_derivatives(empty):
    x = randn(2, 2, 8).requires_grad_()
    # Away from the rounding boundaries of the scatter.
    p = torch.tensor([[0, 0.1, 0.3, 1.2, 3.7, 3.9, 4.8, 5.0], [0, 0.4, 1.1, 1.9, 2.0, 0, 0, 0]])
    p = p.double().requires_grad_()
    outputs, lengths = torch.tensor([6, 3]), torch.tensor([8, 5])

    def function(x, p):
        if empty == "align":
            return F.align(x, p, outputs, lengths)
        return F.scatter_align(x, p, outputs, lengths, empty=empty)

    assert torch.autograd.gradcheck(function, (x, p))


def test_expand():
    z, p = randn(2, 3, 6), torch.zeros(2, 10, dtype=torch.float64)
    p[0] = torch.linspace(-0.25, 5.4, 10)  # uniform methods go beyond both ends
    p[1, :4] = torch.tensor([0.0, 1.0, 1.5, 2.0])
    wide = F.expand(z, p, torch.tensor([6, 3]), torch.tensor([10, 4]))
    np.testing.assert_allclose(wide[0], oracles.expand(z[0].numpy(), p[0].numpy()), **TIGHT)
    np.testing.assert_allclose(wide[1, :, :4], oracles.expand(z[1, :, :3].numpy(), p[1, :4].numpy()), **TIGHT)
    assert not wide[1, :, 4:].any()


@pytest.mark.parametrize("sigma_square", [1.0, 20.0])
@pytest.mark.parametrize("method", ["matrix", "scatter"])
def test_the_layer_hands_its_options_on(method, sigma_square):
    layer = ss.AdaStride1d(2, 1.5, method=method, sigma_square=sigma_square, empty="zero").double()
    with torch.no_grad():
        layer.score.weight.fill_(1.5)
    x = randn(1, 2, 24)
    scores = 1.5 * x[0].sum(0).numpy()
    if method == "matrix":
        item = oracles.adastride(x[0].numpy(), 1.5, scores, sigma_square)
    else:
        item = oracles.adastride_f(x[0].numpy(), 1.5, scores, sigma_square, "zero")
        assert (item.output == 0).any()
    np.testing.assert_allclose(layer(x)[0].detach(), item.output, **TIGHT)


# --- beside the registry: two axes, and hypercomplex convolution


@pytest.mark.parametrize(
    ("kind", "reference"),
    [(ss.DiffStride2d, oracles.diffstride), (ss.DCTDiffStride2d, oracles.dct_diffstride)],
)
def test_two_axes_are_two_passes(kind, reference):
    layer = kind((2.0, 1.5)).double()
    x, lengths = randn(2, 3, 34, 21), [34, 23]
    x[1, :, 23:] = float("nan")
    x.requires_grad_()
    y = layer(x, torch.tensor(lengths))
    assert layer.output_lengths(torch.tensor(lengths)).tolist() == [
        reference(np.zeros((1, length)), 2.0).output.shape[1] for length in lengths
    ]
    for b, length in enumerate(lengths):
        for c in range(3):
            image = x[b, c, :length].detach().numpy()  # (T, F)
            expected = reference(reference(image.T, 2.0).output.T, 1.5).output
            np.testing.assert_allclose(y[b, c, : len(expected)].detach(), expected, **TIGHT)
            assert not y[b, c, len(expected) :].any()
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    assert not x.grad[1, :, 23:].any()
    assert all(p.grad.abs() > 1e-4 for p in layer.parameters())


def test_a_shared_stride_is_one_parameter():
    layer = ss.DiffStride2d((2.0, 2.0), shared=True).double()
    apart = ss.DiffStride2d((2.0, 2.0)).double()
    x = randn(1, 2, 30, 25)
    assert_close(layer(x), apart(x), **TIGHT)
    layer(x).square().sum().backward()
    apart(x).square().sum().backward()
    (shared,) = layer.parameters()
    assert_close(shared.grad, sum(p.grad for p in apart.parameters()), rtol=1e-9, atol=0)
    assert layer.strides.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_hypercomplex_convolution_is_a_sum_of_kronecker_products(n):
    layer = ss.PHConv1d(8, 12, 3, n=n, stride=2, padding=1).double()
    x = randn(2, 8, 17)
    rules, filters = layer.rules.detach().numpy(), layer.filters.detach().numpy()
    weight = np.stack([sum(np.kron(rules[i], filters[i, :, :, tap]) for i in range(n)) for tap in range(3)], axis=2)
    expected = torch.nn.functional.conv1d(x, torch.from_numpy(weight), layer.bias, stride=2, padding=1)
    assert_close(layer(x), expected, **TIGHT)
    assert rules.size + filters.size == n**3 + 8 * 12 * 3 // n
