"""The oracles themselves, against scipy and against values known from the papers' code."""

import math

import numpy as np
import oracles
import pytest
import scipy.fft
import scipy.signal

SIZES = [1, 2, 3, 4, 5, 8, 13, 20, 31, 64]


def signal(frames, channels=2):
    return np.random.default_rng(frames).normal(size=(channels, frames))


@pytest.mark.parametrize("frames", SIZES)
def test_dct_and_its_inverse_are_scipys(frames):
    x = signal(frames)
    expected = scipy.fft.dct(x, type=2, norm="ortho")
    np.testing.assert_allclose(oracles.dct(x), expected, atol=1e-12)
    np.testing.assert_allclose(oracles.idct(expected), x, atol=1e-12)


@pytest.mark.parametrize("frames", SIZES)
def test_dft_and_its_inverse_are_numpys(frames):
    x = signal(frames)
    spectrum = oracles.dft(x, frames // 2 + 1)
    np.testing.assert_allclose(spectrum, np.fft.rfft(x), atol=1e-12)
    np.testing.assert_allclose(oracles.inverse_dft(spectrum, frames) / frames, x, atol=1e-12)


@pytest.mark.parametrize("frames", SIZES)
@pytest.mark.parametrize("length", [1, 2, 3, 6, 7, 31, 70])
def test_fourier_resample_is_scipys(frames, length):
    x = signal(frames)
    expected = scipy.signal.resample(x, length, axis=-1)
    np.testing.assert_allclose(oracles.fourier_resample(x, length), expected, atol=1e-12)


@pytest.mark.parametrize("frames", SIZES)
@pytest.mark.parametrize("stride", [1, 1.3, 2, 3.7, 100])
def test_diffstride_is_a_masked_irfft(frames, stride):
    x = signal(frames)
    mask = oracles.spectral_mask(frames, stride)
    length = oracles.diffstride_length(frames, len(mask))
    spectrum = np.fft.rfft(x, norm="forward")[:, : len(mask)] * mask
    expected = np.fft.irfft(spectrum, n=length, norm="forward")
    np.testing.assert_allclose(oracles.diffstride(x, stride).output, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("frames", "stride", "length"),
    [(64, 2, 40), (64, 4, 24), (19, 2, 19), (20, 2, 18), (64, 1, 64), (1, 3, 1)],
)
def test_diffstride_lengths_known_from_the_official_code(frames, stride, length):
    assert oracles.diffstride(signal(frames), stride).output.shape[1] == length


@pytest.mark.parametrize(("frames", "stride", "length"), [(39, 1.3, 30), (33, 1.1, 30), (57, 1.14, 50), (21, 1.4, 15)])
def test_lengths_do_not_suffer_from_binary_fractions(frames, stride, length):
    assert oracles.ceil_length(frames, stride) == length
    assert oracles.floor_length(frames, stride) == length


def test_mask_by_hand():
    # T = 16, S = 4, R = 4: threshold 3, ramp from bin 3 to bin 7.
    np.testing.assert_allclose(oracles.spectral_mask(16, 4), [1, 1, 1, 1, 0.75, 0.5, 0.25])
    # The cosine ramp goes from T / S = 4 to 8.
    np.testing.assert_allclose(oracles.spectral_mask(16, 4, transform="dct"), [1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    # relative_smoothness: R = 0.5 * 16 / 4 = 2.
    np.testing.assert_allclose(oracles.spectral_mask(16, 4, relative_smoothness=0.5), [1, 1, 1, 1, 0.5])


def test_the_mask_has_a_slope_at_both_bounds():
    for transform in ("dft", "dct"):
        for stride in (1.0, 1000.0):
            mask = oracles.spectral_mask(64, stride, transform=transform)
            assert np.any((mask > 0) & (mask < 1))


@pytest.mark.parametrize("method", [oracles.diffstride, oracles.dct_diffstride, oracles.spectral, oracles.dct_pool])
def test_unit_gain(method):
    output = method(np.full((1, 37), 3.0), 2.3).output
    np.testing.assert_allclose(output, 3.0, atol=1e-12)


def test_blur_of_stride_two_by_hand():
    # [1, 2, 1] inside; the first frame has no left neighbour.
    np.testing.assert_allclose(oracles.blur(np.array([[3.0, 6.0, 9.0, 12.0]]), 2).output, [[4.0, 9.0]])


def test_windows_by_hand():
    x = np.array([[1.0, 5.0, 2.0, 0.0, -3.0]])
    np.testing.assert_allclose(oracles.average(x, 2).output, [[3.0, 1.0, -3.0]])
    np.testing.assert_allclose(oracles.maximum(x, 2).output, [[5.0, 2.0, -3.0]])
    np.testing.assert_allclose(oracles.average(x, 2).positions, [-0.25, 0.25, 0.75, 1.25, 1.75])


def test_strided_convolution_is_scipys_correlation():
    x, weight, bias = signal(11), np.random.default_rng(1).normal(size=(2, 2, 3)), np.array([0.5, -1.0])
    full = [
        sum(scipy.signal.correlate(x[c], weight[out, c], mode="same") for c in range(2)) + bias[out] for out in range(2)
    ]
    np.testing.assert_allclose(oracles.strided(x, 3, weight, bias).output, np.array(full)[:, ::3], atol=1e-12)


def test_equal_scores_give_the_uniform_grid_and_its_bins():
    item = oracles.adastride(np.arange(9.0)[None], 2, np.full(9, 7.0))
    np.testing.assert_allclose(item.positions, np.arange(9) / 2)
    assert item.penalty == 0.0
    np.testing.assert_array_equal(oracles.durations(item.positions, 5), [1, 2, 2, 2, 2])
    np.testing.assert_allclose(item.output[0, 2], 4.0)  # the middle of a symmetric grid


def test_adaptive_positions_by_hand():
    # Shares 1, 2, 1 of the way from 0 to 3; the first score does not count.
    scores = [55.0, 0.0, math.log(2.0), 0.0]
    np.testing.assert_allclose(oracles.adaptive_positions(scores, 4), [0, 0.75, 2.25, 3])
    np.testing.assert_allclose(oracles.gap_penalty(oracles.adaptive_positions(scores, 4)), 0.5 / 3)


def test_scatter_by_hand():
    x, positions = np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([0.0, 0.25, 3.6, 4.0])
    near, far = 1 / (1 + math.exp(-5 / 16)), 1 / (1 + math.exp(-5 * 0.16))
    ends = [near + (1 - near) * 2, far * 8 + (1 - far) * 4]
    zero = oracles.scatter_align(x, positions, 5, empty="zero")
    np.testing.assert_allclose(zero, [[ends[0], 0, 0, 0, ends[1]]])
    # 1 is 0.75 from frame 1; 2 is nearer to 3.6 (1.6) than to 0.25 (1.75).
    nearest = oracles.scatter_align(x, positions, 5, empty="nearest")
    np.testing.assert_allclose(nearest, [[ends[0], 2, 4, 4, ends[1]]])
    assert oracles.nearest_frame(np.array([0.0, 2.0]), 1) == 0  # a tie


def test_time_readings_by_hand():
    positions = np.array([0.0, 0.0, 0.0, 0.5, 1.5, 2.0])
    np.testing.assert_allclose(oracles.local_strides(positions), [6, 6, 2, 1, 2, 2])
    np.testing.assert_array_equal(oracles.durations(positions, 3), [3, 1, 2])
    np.testing.assert_allclose(oracles.times(positions, 3), [1, 3.5, 5])
    np.testing.assert_allclose(oracles.times(np.array([-0.25, 0.25, 0.75]), 2), [0.5, 2])
    np.testing.assert_allclose(oracles.times(np.array([0.5, 1.5]), 3), [0, 0.5, 1])
    z = np.array([[0.0, 10.0, 40.0]])
    np.testing.assert_allclose(oracles.expand(z, positions), [[0, 0, 0, 5, 25, 40]])
    np.testing.assert_allclose(oracles.expand(z, np.array([-0.5, 2.5])), [[0, 40]])


@pytest.mark.parametrize("method", [oracles.average, oracles.blur, oracles.spectral, oracles.diffstride])
def test_matrix_times_signal_is_the_method(method):
    x = signal(21)
    np.testing.assert_allclose(x @ oracles.matrix(method, 21, 3).T, method(x, 3).output, atol=1e-12)


def test_complexities_by_hand():
    assert oracles.frames_complexity([2.0, 4.0]) == 0.5 + 0.125
    assert oracles.frames_gradient([2.0, 4.0], 0) == -(0.5 + 0.125) / 2
    assert oracles.frames_gradient([2.0, 4.0], 1) == -0.125 / 4
    # 100 -> 100/2 + 8 = 58 -> min(58, 58/1 + 8) = 58.
    stages = [(2.0, 2, 4.0), (1.0, 2, 4.0)]
    assert oracles.continuous_lengths(100, stages) == [100.0, 58.0, 58.0]
    assert oracles.continuous_lengths(8, [(4.0, 1, 4.0)]) == [8.0, 4.0]  # R_eff = 2
    assert oracles.memory_complexity(100, stages, [3, 1]) == (3 * 58 + 58) / 400
    assert oracles.macs_complexity(100, stages, [10, 30]) == (10 * 100 + 30 * 58) / 4000


def test_the_closed_form_gradient_is_the_slope():
    strides, step = [1.7, 2.3, 3.1], 1e-6
    for j in range(3):
        up, down = list(strides), list(strides)
        up[j] += step
        down[j] -= step
        slope = (oracles.frames_complexity(up) - oracles.frames_complexity(down)) / (2 * step)
        np.testing.assert_allclose(oracles.frames_gradient(strides, j), slope, rtol=1e-8)
