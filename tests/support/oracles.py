"""Float64 references for one item at a time, written from the definitions with plain loops.

Nothing here is shared with the package: a mistake has to be made twice, in two different ways, to go unseen.
Every method takes an item ``x`` (C, T) and gives an ``Item``: output (C, L), positions (T,), penalty.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np


class Item(NamedTuple):
    """What a method makes of one item."""

    output: np.ndarray
    positions: np.ndarray
    penalty: float
    rates: np.ndarray | None = None
    """(T,) or (2, T): of what the penalty is a mean over all frames of a batch; see `<method>_penalty`."""


# --- output lengths


def ceil_length(frames, stride):
    """Frames that a windowed or adaptive method puts out."""
    return max(1, math.ceil(round(frames / stride, 9)))


def floor_length(frames, stride):
    """Frames that spectral and cosine pooling put out."""
    return max(1, math.floor(round(frames / stride, 9)))


# --- baselines


def strided(x, stride, weight, bias):
    """A convolution of three taps with stride and one zero frame on either side."""
    channels, frames = x.shape
    length = ceil_length(frames, stride)
    output = np.zeros((weight.shape[0], length))
    for out in range(weight.shape[0]):
        for index in range(length):
            value = bias[out]
            for tap in range(3):
                t = index * stride + tap - 1
                if 0 <= t < frames:
                    for c in range(channels):
                        value += weight[out, c, tap] * x[c, t]
            output[out, index] = value
    return Item(output, np.array([t / stride for t in range(frames)]), 0.0)


def subsample(x, stride):
    """Every stride-th frame: the plan of a strided convolution without the convolution."""
    frames = x.shape[1]
    output = np.array([x[:, index * stride] for index in range(ceil_length(frames, stride))]).T
    return Item(output, np.array([t / stride for t in range(frames)]), 0.0)


def _windows(x, stride, reduce):
    frames = x.shape[1]
    columns = []
    for index in range(ceil_length(frames, stride)):
        columns.append(reduce(x[:, index * stride : min((index + 1) * stride, frames)], axis=1))
    positions = np.array([(t + 0.5) / stride - 0.5 for t in range(frames)])
    return Item(np.array(columns).T, positions, 0.0)


def average(x, stride):
    """The mean of each window; the last window holds what is left."""
    return _windows(x, stride, np.mean)


def maximum(x, stride):
    """The maximum of each window; the last window holds what is left."""
    return _windows(x, stride, np.max)


def blur(x, stride):
    """Binomial kernel of 2s - 1 taps around frames 0, s, 2s, renormalised over the frames there are."""
    channels, frames = x.shape
    length = ceil_length(frames, stride)
    output = np.zeros((channels, length))
    for index in range(length):
        total = 0.0
        for tap in range(2 * stride - 1):
            t = index * stride + tap - (stride - 1)
            if 0 <= t < frames:
                weight = math.comb(2 * stride - 2, tap) / 4 ** (stride - 1)  # whole numbers do not overflow
                output[:, index] += weight * x[:, t]
                total += weight
        output[:, index] /= total
    return Item(output, np.array([t / stride for t in range(frames)]), 0.0)


def phase(x, stride, logits=(0.0,)):
    """A mean of each window with one weight per phase; the last frame stands for those that are missing."""
    frames = x.shape[1]
    weights = [math.exp(b) for b in logits]
    weights = [weight / sum(weights) for weight in weights]
    output = np.zeros((x.shape[0], ceil_length(frames, stride)))
    for index in range(output.shape[1]):
        for j, weight in enumerate(weights):
            output[:, index] += weight * x[:, min(index * stride + j, frames - 1)]
    centre = sum(j * weight for j, weight in enumerate(weights))
    return Item(output, np.array([(t - centre) / stride for t in range(frames)]), 0.0)


def softmax_weights(channel, sharpness):
    """What multiplies the weights of a mean: e^(sharpness · x), the exponent between -5 and 5."""
    return [math.exp(min(5.0, max(-5.0, float(sharpness) * value))) for value in channel]


def softpool(x, stride, sharpness=None):
    """A softmax-weighted mean of each window and channel; the last window holds what is left."""
    sharpness = np.zeros(len(x)) if sharpness is None else sharpness

    def reduce(window, axis):
        return np.array(
            [np.average(row, weights=softmax_weights(row, alpha)) for row, alpha in zip(window, sharpness, strict=True)]
        )

    return _windows(x, stride, reduce)


# --- transforms


def dft(x, bins):
    """The first bins of the DFT of a real item (C, T), by the sum that defines it."""
    channels, frames = x.shape
    t = np.arange(frames)
    spectrum = np.zeros((channels, bins), dtype=complex)
    for n in range(bins):
        # n t modulo T, exact in integers, keeps the angle accurate.
        spectrum[:, n] = x @ np.exp(-2j * np.pi * ((n * t) % frames) / frames)
    return spectrum


def inverse_dft(spectrum, length):
    """Real signal of the given length from its bins 0 … floor(length/2), without any factor in front."""
    index = np.arange(length)
    output = np.zeros((spectrum.shape[0], length))
    for n in range(spectrum.shape[1]):
        # A bin strictly between 0 and Nyquist stands for itself and its mirror image.
        copies = 1 if n == 0 or 2 * n == length else 2
        angle = 2 * np.pi * ((n * index) % length) / length
        output += copies * np.outer(spectrum[:, n].real, np.cos(angle))
        output -= copies * np.outer(spectrum[:, n].imag, np.sin(angle))
        if 2 * n == length:  # sin(pi l) is zero
            assert np.all(np.abs(np.sin(angle)) < 1e-12)
    return output


def _cosine_basis(k, frames):
    t = np.arange(frames)
    scale = math.sqrt((1 if k == 0 else 2) / frames)
    # cos has period 4T in k (2t + 1), exact in integers.
    return scale * np.cos(np.pi * ((k * (2 * t + 1)) % (4 * frames)) / (2 * frames))


def dct(x, coefficients=None):
    """The first coefficients of the orthonormal DCT-II along the last axis of (C, T)."""
    frames = x.shape[1]
    count = frames if coefficients is None else coefficients
    return np.array([x @ _cosine_basis(k, frames) for k in range(count)]).T


def idct(coefficients, length=None):
    """The orthonormal DCT-III of (C, K) at the given length."""
    count = coefficients.shape[1]
    length = count if length is None else length
    output = np.zeros((coefficients.shape[0], length))
    for k in range(count):
        output += np.outer(coefficients[:, k], _cosine_basis(k, length))
    return output


def dft_positions(frames, length):
    """The periodic grid: frame 0 stays where it is."""
    return np.array([t * length / frames for t in range(frames)])


def dct_positions(frames, length):
    """The half-sample symmetric grid."""
    return np.array([(t + 0.5) * length / frames - 0.5 for t in range(frames)])


def fourier_resample(x, length):
    """Band-limited resampling to a given length, as scipy.signal.resample defines it."""
    frames = x.shape[1]
    shorter = min(frames, length)
    spectrum = dft(x, shorter // 2 + 1)
    if shorter % 2 == 0 and length < frames:
        spectrum[:, shorter // 2] *= 2.0  # both halves of the folded bin
    if shorter % 2 == 0 and length > frames:
        spectrum[:, shorter // 2] *= 0.5
    return inverse_dft(spectrum, length) / frames


def spectral(x, stride):
    """Spectral pooling."""
    frames = x.shape[1]
    length = floor_length(frames, stride)
    return Item(fourier_resample(x, length), dft_positions(frames, length), 0.0)


def dct_pool(x, stride):
    """The lowest DCT coefficients, put back at the shorter length."""
    frames = x.shape[1]
    length = floor_length(frames, stride)
    output = idct(dct(x, length), length) * math.sqrt(length / frames)
    return Item(output, dct_positions(frames, length), 0.0)


# --- learnable stride


def effective_smoothness(frames, stride, smoothness, relative_smoothness):
    """R_eff: the width of the ramp, a whole bin at least, but never more than a quarter of the item."""
    wanted = smoothness if relative_smoothness is None else relative_smoothness * frames / stride
    quarter = frames / 4
    if wanted >= quarter or quarter < 1:
        return quarter
    return wanted if wanted > 1 else 1.0


def stride_bounds(frames, width):
    """Between these two the mask has a slope; the lower one wins where they cross."""
    return frames / (frames - width), frames / 2


def spectral_mask(frames, stride, smoothness=4.0, relative_smoothness=None, transform="dft"):
    """The kept part of the soft low-pass mask, one value per bin."""
    width = effective_smoothness(frames, stride, smoothness, relative_smoothness)
    lower, upper = stride_bounds(frames, width)
    effective = max(min(stride, upper), lower)
    if transform == "dft":
        edge, bins = frames / (2 * effective) + 1, frames // 2 + 1
    else:
        edge, bins = frames / effective, frames
    kept = min(bins, math.ceil(round(width + edge, 9)))
    mask = [min(max((width + edge - n) / width, 0.0), 1.0) for n in range(kept)]
    return np.array(mask)


def diffstride_length(frames, kept):
    """Output frames that the kept DFT bins ask for."""
    if kept == frames // 2 + 1:
        return frames
    return min(2 * (kept - 1), frames)


def diffstride(x, stride, smoothness=4.0, relative_smoothness=None, gain="unit"):
    """Learnable stride in the Fourier domain."""
    frames = x.shape[1]
    mask = spectral_mask(frames, stride, smoothness, relative_smoothness, "dft")
    length = diffstride_length(frames, len(mask))
    output = inverse_dft(dft(x, len(mask)) * mask, length) / frames
    if gain == "official":
        output = output * frames / length
    return Item(output, dft_positions(frames, length), 0.0)


def dct_diffstride(x, stride, smoothness=4.0, relative_smoothness=None):
    """Learnable stride in the cosine domain."""
    frames = x.shape[1]
    mask = spectral_mask(frames, stride, smoothness, relative_smoothness, "dct")
    length = len(mask)
    output = idct(dct(x, length) * mask, length) * math.sqrt(length / frames)
    return Item(output, dct_positions(frames, length), 0.0)


# --- adaptive positions


def linear_scores(x, weight):
    """One number per frame: (C, T), (1, C, 1) -> (T,)."""
    return weight[0, :, 0] @ x


def context_scores(x, weight, inner, context=7):
    """What is in the frames around, as far as there are any: (C, T), (2, H), (H, C) -> (T,)."""
    frames = x.shape[1]
    scores = np.zeros(frames)
    for t in range(frames):
        around, total = 0.0, 0.0
        for offset in range(-context, context + 1):
            if 0 <= t + offset < frames:
                share = math.cos(math.pi * offset / (2 * context + 2)) ** 2
                for rising, falling, row in zip(weight[0], weight[1], inner, strict=True):
                    value = row @ x[:, t + offset]
                    around += share * (rising * value if value > 0 else -falling * value)
                total += share
        scores[t] = 5.0 * around / total
    return scores


def change_scores(x, weight, query, key):
    """How far a frame points away from the one before: (C, T), (1,) -> (T,)."""
    scores = np.zeros(x.shape[1])
    for t in range(1, x.shape[1]):
        q, k = query @ x[:, t], key @ x[:, t - 1]
        scores[t] = 5.0 * weight[0] * (1.0 - q @ k / math.sqrt((q @ q + 1e-12) * (k @ k + 1e-12)))
    return scores


def bounded(scores, bound):
    """Scores less their mean, within plus and minus half the logarithm of the bound."""
    if bound == math.inf:
        return scores
    level, limit = sum(scores) / len(scores), math.log(bound) / 2
    return np.array([(score - level) / math.hypot(1.0, (score - level) / limit) for score in scores])


def excess_penalty(scores, bound):
    """What scores cost that stand further from their mean than three times half the logarithm of the bound."""
    if bound == math.inf:
        return 0.0
    level = sum(scores) / len(scores)
    return 0.1 * sum(max(0.0, abs(score - level) - 1.5 * math.log(bound)) for score in scores) / len(scores)


def adaptive_positions(scores, length):
    """Scores (T,) to positions (T,): the first at 0, the last at length - 1, never falling."""
    frames = len(scores)
    positions = np.zeros(frames)
    if frames == 1 or length == 1:
        return positions
    largest = max(scores[1:])
    running = [0.0]
    for t in range(1, frames):
        running.append(running[-1] + math.exp(scores[t] - largest))
    for t in range(frames):
        positions[t] = running[t] * (length - 1) / running[-1]
    return positions


def gap_penalty(positions):
    """How far neighbouring frames are apart beyond one output frame, on average."""
    frames = len(positions)
    if frames == 1:
        return 0.0
    return sum(max(0.0, positions[t + 1] - positions[t] - 1.0) for t in range(frames - 1)) / (frames - 1)


def align(x, positions, length, sigma_square=5.0):
    """Each output frame is a softmax average of all frames by their distance on the line."""
    output = np.zeros((x.shape[0], length))
    for index in range(length):
        exponents = -sigma_square * (index - positions) ** 2
        weights = np.exp(exponents - exponents.max())
        output[:, index] = x @ (weights / weights.sum())
    return output


def nearest_frame(positions, index):
    """The frame that lends itself to an output frame which nothing rounds to; the left one wins a tie."""
    left = right = None
    for t in range(len(positions)):
        if positions[t] < index:
            left = t
        if positions[t] > index and right is None:
            right = t
    if left is None:
        return right
    if right is None:
        return left
    return left if index - positions[left] <= positions[right] - index else right


def scatter_align(x, positions, length, sigma_square=5.0, empty="nearest"):
    """Each frame goes into the output frame that it is nearest to."""
    members = [[] for _ in range(length)]
    for t, position in enumerate(positions):
        members[math.floor(round(position + 0.5, 9))].append(t)
    output = np.zeros((x.shape[0], length))
    for index, frames in enumerate(members):
        total = sum(math.exp(-sigma_square * (index - positions[t]) ** 2) for t in frames)
        for t in frames:
            output[:, index] += math.exp(-sigma_square * (index - positions[t]) ** 2) / total * x[:, t]
        if not frames and empty == "nearest":
            output[:, index] = x[:, nearest_frame(positions, index)]
    return output


def adastride(x, stride, scores, sigma_square=5.0):
    """AdaStride with the alignment matrix."""
    length = ceil_length(x.shape[1], stride)
    positions = adaptive_positions(scores, length)
    return Item(align(x, positions, length, sigma_square), positions, gap_penalty(positions))


def adastride_softpool(x, stride, scores, sharpness):
    """AdaStride whose weights of every output frame are multiplied by those of softmax, channel by channel."""
    item = adastride(x, stride, scores)
    length = item.output.shape[1]
    rows = align(np.eye(x.shape[1]), item.positions, length).T
    output = np.empty((len(x), length))
    for c, channel in enumerate(x):
        factors = softmax_weights(channel, sharpness[c])
        for index, row in enumerate(rows):
            output[c, index] = np.average(channel, weights=row * factors)
    return item._replace(output=output)


def adastride_f(x, stride, scores, sigma_square=5.0, empty="nearest"):
    """AdaStride with scattering."""
    length = ceil_length(x.shape[1], stride)
    positions = adaptive_positions(scores, length)
    output = scatter_align(x, positions, length, sigma_square, empty)
    return Item(output, positions, gap_penalty(positions))


def adastride_ratio(x, stride, scores):
    """AdaStride on a way of T / S - 1 output frames, whose end need not be one of them."""
    frames, stride = x.shape[1], max(stride, 1.0)
    length = ceil_length(frames, stride)
    positions = adaptive_positions(scores, 2) * max(frames / stride - 1, 0.0)
    return Item(align(x, positions, length), positions, gap_penalty(positions))


def adastride_ratio_at(x, positions, length):
    """The same at given positions."""
    return align(x, positions, length)


# --- output lengths that follow from the content


def adastride_content(x, stride, scores):
    """AdaStride with steps of at most one output frame, each by the score of its own frame."""
    steps = [1.0 if stride == 1 else 1 / (1 + (stride - 1) * math.exp(-max(score, -700.0))) for score in scores[1:]]
    positions = np.array([sum(steps[:t]) for t in range(len(scores))])
    length = math.floor(round(positions[-1], 9)) + 1
    return Item(align(x, positions, length), positions, 0.0, np.array(steps))


def adastride_content_penalty(items, stride):
    """How far the mean of all steps is from 1 / s, in units of 1 / s; near the target a parabola."""
    rates = np.concatenate([item.rates for item in items])
    excess = rates.mean() * stride - 1 if len(rates) else 0.0
    return math.sqrt(excess**2 + 0.2**2) - 0.2


def adastride_content_at(x, positions, length):
    """The same at given positions."""
    return align(x, positions, length)


def cif(x, stride, scores):
    """Continuous integrate-and-fire, a bucket of one unit that is filled frame by frame."""
    weights = [1.0] * len(scores)
    if stride > 1:
        logits = np.maximum(np.asarray(scores) - math.log(stride - 1), -30.0)
        weights = [1 / (1 + math.exp(-logit)) if logit > -700 else 0.0 for logit in logits]
    output, positions = fire(x, weights)
    return Item(output, positions, 0.0, np.array(weights))


def fire(x, weights):
    """Output and positions for given weights of the frames."""
    fired, bucket, level, total, positions = [], np.zeros(x.shape[0]), 0.0, 0.0, []
    for t, weight in enumerate(weights):
        positions.append(total + weight / 2 - 0.5)
        total += weight
        room = 1.0 - level
        if weight >= room:
            fired.append(bucket + room * x[:, t])
            level = weight - room
            bucket = level * x[:, t]
        else:
            bucket, level = bucket + weight * x[:, t], level + weight
    if level >= 0.5 - 1e-9 or not fired:
        fired.append(bucket / level)
    return np.array(fired).T, np.array(positions)


def cif_penalty(items, stride):
    """How far the mean weight of all frames is from 1 / s, in units of 1 / s."""
    rates = np.concatenate([item.rates for item in items])
    return abs(rates.mean() * stride - 1)


def cif_at(x, positions, length):
    """CIF at given positions, which stand in the middle of what each frame covers."""
    weights, total = [], 0.0
    for position in positions:
        weights.append(2 * (position + 0.5 - total))
        total += weights[-1]
    return fire(x, weights)[0][:, :length]


def segment_positions(starts):
    """The frames of a segment, evenly over one output frame."""
    edges = [t for t, start in enumerate(starts) if start] + [len(starts)]
    positions = []
    for index, (first, behind) in enumerate(itertools.pairwise(edges)):
        positions += [index - 0.5 + (t - first + 0.5) / (behind - first) for t in range(first, behind)]
    return np.array(positions)


def starts_at(positions):
    """Which frames start a segment, from their positions."""
    rows = [math.floor(position + 0.5) for position in positions]
    return [t == 0 or rows[t] != rows[t - 1] for t in range(len(rows))]


def cosine(a, b):
    """Cosine of the angle between two vectors; two of zeros are alike."""
    if not a.any() or not b.any():
        return float(not a.any() and not b.any())
    return a @ b / math.sqrt(a @ a) / math.sqrt(b @ b)


def hnet(x, stride, queries=None, keys=None):
    """Dynamic chunking: the frames that differ from the frame before."""
    frames = x.shape[1]
    if stride == 1:
        return Item(x, np.arange(frames, dtype=float), 0.0, np.ones((2, frames)))
    p = np.ones(frames)
    for t in range(1, frames):
        p[t] = (1 - cosine(queries @ x[:, t], keys @ x[:, t - 1])) / 2
    starts = [probability >= 0.5 - 1e-9 for probability in p]
    return Item(x[:, starts], segment_positions(starts), 0.0, np.array([starts, p], dtype=float))


def hnet_penalty(items, n):
    """The ratio loss over all frames of a batch."""
    if n == 1:
        return 0.0
    f, g = np.concatenate([item.rates for item in items], axis=1).mean(1)
    return n / (n - 1) * ((n - 1) * f * g + (1 - f) * (1 - g))


def hnet_at(x, positions, length):
    """The first frame of every segment."""
    return x[:, starts_at(positions)]


def hnet_expand(z, item):
    """Smoothed output frames (C, L), each repeated over its segment."""
    starts, p = item.rates
    result, smooth, index = np.zeros((z.shape[0], len(starts))), np.zeros(z.shape[0]), 0
    for t, start in enumerate(starts):
        if start:
            smooth = p[t] * z[:, index] + (1 - p[t]) * smooth
            index += 1
        result[:, t] = smooth
    return result


def merge(x, stride):
    """The least similar neighbours are taken apart; on a tie at the edges of even windows, then from the start on."""
    frames = x.shape[1]

    def inside(t):
        return math.floor(round(t / stride, 9)) == math.floor(round((t - 1) / stride, 9))

    similar = {t: round(cosine(x[:, t], x[:, t - 1]), 9) for t in range(1, frames)}
    apart = sorted(similar, key=lambda t: (similar[t], inside(t), t))[: ceil_length(frames, stride) - 1]
    starts = [t == 0 or t in apart for t in range(frames)]
    positions = segment_positions(starts)
    return Item(merge_at(x, positions, 0), positions, 0.0)


def merge_at(x, positions, length):
    """Means of the segments."""
    rows = np.cumsum(starts_at(positions)) - 1
    return np.array([x[:, rows == row].mean(axis=1) for row in range(rows[-1] + 1)]).T


# --- what a plan tells of time


def matrix(method, frames, *args, **options):
    """The (L, T) matrix of a linear method, from its answers to the T unit impulses."""
    return method(np.eye(frames), *args, **options).output.T


def local_strides(positions):
    """Input frames per output frame at each frame, capped at T."""
    frames = len(positions)
    if frames == 1:
        return np.ones(1)
    result = np.zeros(frames)
    for t in range(frames - 1):
        step = positions[t + 1] - positions[t]
        result[t] = min(1.0 / step, frames) if step > 0 else frames
    result[-1] = result[-2]
    return result


def durations(positions, length):
    """How many input frames round to each output frame."""
    counts = np.zeros(length, dtype=int)
    for position in positions:
        counts[min(max(math.floor(round(position + 0.5, 9)), 0), length - 1)] += 1
    return counts


def times(positions, length):
    """The input frame that each output frame stands for: positions, inverted."""
    frames = len(positions)
    result = np.zeros(length)
    for index in range(length):
        run = [t for t in range(frames) if positions[t] == index]
        below = [t for t in range(frames) if positions[t] < index]
        if run:
            result[index] = (run[0] + run[-1]) / 2
        elif not below:
            result[index] = 0.0
        elif below[-1] == frames - 1:
            result[index] = frames - 1
        else:
            t = below[-1]
            result[index] = t + (index - positions[t]) / (positions[t + 1] - positions[t])
    return result


def expand(z, positions):
    """Each input frame reads the output z (C, L) at its position, linearly interpolated."""
    length = z.shape[1]
    result = np.zeros((z.shape[0], len(positions)))
    for t, position in enumerate(positions):
        place = min(max(position, 0.0), length - 1.0)
        low = min(math.floor(place), length - 1)
        high = min(low + 1, length - 1)
        result[:, t] = z[:, low] * (1 - (place - low)) + z[:, high] * (place - low)
    return result


# --- complexity


def frames_complexity(strides):
    """The sum over layers of the product of 1/S over that layer and those before it."""
    total, product = 0.0, 1.0
    for stride in strides:
        product /= stride
        total += product
    return total


def frames_gradient(strides, j):
    """The derivative of frames_complexity by the j-th stride, in closed form."""
    return -sum(1 / math.prod(strides[: l + 1]) for l in range(j, len(strides))) / strides[j]


def continuous_lengths(length, stages):
    """Lengths n_0, n_1, … for stages of (stride, sides of the soft edge, smoothness R), not rounded."""
    lengths = [float(length)]
    for stride, sides, smoothness in stages:
        n = lengths[-1]
        lengths.append(min(n, n / stride + sides * min(smoothness, n / 4)))  # R_eff, as in the mask
    return lengths


def memory_complexity(length, stages, channels):
    """Activations relative to the same net without downsampling."""
    lengths = continuous_lengths(length, stages)
    used = sum(c * n for c, n in zip(channels, lengths[1:], strict=True))
    return used / (sum(channels) * length)


def macs_complexity(length, stages, macs):
    """Multiply-accumulates relative to the same net without downsampling."""
    lengths = continuous_lengths(length, stages)
    used = sum(m * n for m, n in zip(macs, lengths[:-1], strict=True))
    return used / (sum(macs) * length)
