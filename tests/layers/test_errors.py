"""Bad input: a ValueError that names the argument, shows the value, and says the rule."""

import re

import pytest
import torch
from helpers import ADAPTIVE, INTEGER, KEYS, LEARNT, REAL, build

import seqstride as ss
import seqstride.functional as F
from seqstride.encoders.heads import PooledClassifier

every_key = pytest.mark.parametrize("key", KEYS)
RULE = r"must|expected|only|needs|one of|not "


def refused(argument, value=""):
    """Expect a ValueError whose message holds the argument as a word, the value, and a rule."""
    message = rf"(?s)(?=.*\b{re.escape(argument)}\b)(?=.*{re.escape(str(value))})(?=.*({RULE}))"
    return pytest.raises(ValueError, match=message)


def x_of(*shape):
    return torch.zeros(*shape)


def float32_layer(key, stride=2):
    return build(key, stride=stride, dtype=torch.float32)


# --- lengths


@every_key
@pytest.mark.parametrize("bad", [0, -3, 11])
def test_lengths_out_of_range(key, bad):
    layer = float32_layer(key)
    lengths = torch.tensor([7, bad])
    with refused("lengths", bad):
        layer(x_of(2, 2, 10), lengths)
    with refused("lengths", bad):
        layer.plan(x_of(2, 2, 10), lengths)


@every_key
@pytest.mark.parametrize("bad", [0, -3])
def test_output_lengths_of_nothing(key, bad):
    with refused("lengths", bad):
        float32_layer(key).output_lengths(torch.tensor([7, bad]))


@every_key
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), ()])
def test_lengths_of_the_wrong_shape(key, shape):
    with refused("lengths", tuple(shape)):
        float32_layer(key)(x_of(2, 2, 10), torch.full(shape, 5))


@every_key
def test_relative_lengths_are_sent_to_the_edge(key):
    with refused("lengths", "seqstride.lobes"):
        float32_layer(key)(x_of(2, 2, 10), torch.tensor([1.0, 0.5]))
    with refused("lengths", "seqstride.lobes"):
        float32_layer(key).output_lengths(torch.tensor([1.0, 0.5]))


# --- x


@every_key
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_x_of_the_wrong_dtype(key, dtype):
    with refused("x", str(dtype).removeprefix("torch.")):
        float32_layer(key)(torch.zeros(2, 2, 10, dtype=dtype))


@every_key
@pytest.mark.parametrize("shape", [(10,), (2, 10), (2, 2, 10, 1)])
def test_x_of_the_wrong_rank(key, shape):
    with refused("x", shape):
        float32_layer(key)(x_of(*shape))


@every_key
def test_x_without_frames(key):
    with refused("x", (2, 2, 0)):
        float32_layer(key)(x_of(2, 2, 0))


@pytest.mark.parametrize("key", [*ADAPTIVE, "strided"])
def test_x_with_the_wrong_channels(key):
    with refused("x", 3):
        float32_layer(key)(x_of(2, 3, 10))


@every_key
def test_a_plan_fits_its_own_batch_only(key):
    plan = float32_layer(key).plan(x_of(2, 2, 10))
    for shape in ((3, 2, 10), (2, 2, 11)):
        with refused("x", shape):
            plan(x_of(*shape))
    width = int(plan.lengths.max())
    with refused("z", (2, 2, width + 1)):
        plan.expand(x_of(2, 2, width + 1))
    with refused("z", (1, 2, width)):
        plan.expand(x_of(1, 2, width))


# --- constructors


@every_key
@pytest.mark.parametrize("stride", [0, 0.5, -2, float("nan"), float("inf")])
def test_strides_that_are_none(key, stride):
    with refused("stride", stride):
        ss.make_downsampler(key, channels=2, stride=stride)


@pytest.mark.parametrize("key", INTEGER)
def test_windows_take_whole_strides(key):
    with refused("stride", 2.5):
        ss.make_downsampler(key, channels=2, stride=2.5)
    # 2.0 is a whole number, however it is written.
    assert ss.make_downsampler(key, channels=2, stride=2.0).stride == 2


@pytest.mark.parametrize("key", REAL)
def test_the_others_take_real_strides(key):
    layer = ss.make_downsampler(key, channels=2, stride=2.5)
    assert torch.as_tensor(layer.stride).item() == 2.5


@pytest.mark.parametrize("key", LEARNT)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_stride_that_training_destroyed(key, bad):
    layer = float32_layer(key)
    with torch.no_grad():
        layer.stride_parameter.fill_(bad)
    with refused("stride", bad):
        layer(x_of(1, 2, 10))


@pytest.mark.parametrize("channels", [0, -1])
def test_channels_that_are_none(channels):
    for kind in (ss.AdaStride1d, ss.StridedConv1d):
        with refused("channels", channels):
            kind(channels, 2)


@pytest.mark.parametrize("kind", [ss.DiffStride1d, ss.DCTDiffStride1d])
@pytest.mark.parametrize("name", ["smoothness", "relative_smoothness"])
@pytest.mark.parametrize("bad", [0, -1.5, float("nan")])
def test_smoothness_is_positive(kind, name, bad):
    with refused(name, bad):
        kind(2.0, **{name: bad})


@pytest.mark.parametrize("bad", [0, -5.0, float("nan")])
def test_sigma_square_is_positive(bad):
    with refused("sigma_square", bad):
        ss.AdaStride1d(2, 2, sigma_square=bad)
    p, outputs = torch.zeros(1, 4), torch.tensor([1])
    for function in (F.align, F.scatter_align):
        with refused("sigma_square", bad):
            function(x_of(1, 2, 4), p, outputs, sigma_square=bad)


@pytest.mark.parametrize(
    ("make", "argument", "choices"),
    [
        (lambda: ss.AdaStride1d(2, 2, method="dense"), "method", ["dense", "matrix", "scatter"]),
        (lambda: ss.AdaStride1d(2, 2, method="scatter", empty="mean"), "empty", ["mean", "nearest", "zero"]),
        (lambda: ss.DiffStride1d(2.0, gain="energy"), "gain", ["energy", "unit", "official"]),
        (lambda: F.spectral_mask(2.0, 10, transform="fft"), "transform", ["fft", "dft", "dct"]),
        (lambda: F.spectral_resample(x_of(1, 9), 3, gain="energy"), "gain", ["energy", "unit", "official"]),
        (lambda: ss.complexity([ss.AvgPool1d(2)], kind="time"), "kind", ["time", "frames", "memory", "macs"]),
    ],
)
def test_an_unknown_choice_shows_the_choices(make, argument, choices):
    with refused(argument) as caught:
        make()
    assert all(choice in str(caught.value) for choice in choices)


def test_an_unknown_key_lists_the_keys():
    with pytest.raises(ValueError, match="maximal") as caught:
        ss.make_downsampler("maximal", channels=2, stride=2)
    assert all(key in str(caught.value) for key in KEYS)


@pytest.mark.parametrize("kind", [ss.DiffStride1d, ss.DCTDiffStride1d])
def test_the_learnt_layers_take_no_channels(kind):
    with pytest.raises(TypeError):
        kind(64, 2)


@pytest.mark.parametrize("arguments", [(2, 2, "scatter"), (2,)])
def test_adastride_takes_channels_and_stride_in_place(arguments):
    with pytest.raises(TypeError):
        ss.AdaStride1d(*arguments)


# --- functions and plans


def test_a_maximum_has_no_matrix():
    with pytest.raises((ValueError, NotImplementedError), match="linear"):
        ss.MaxPool1d(2).plan(x_of(1, 2, 10)).matrix()


@pytest.mark.parametrize("bad", [0, -1])
def test_an_output_of_no_frames(bad):
    for function in (F.spectral_resample, F.cosine_resample):
        with refused("output_length", bad):
            function(x_of(1, 2, 10), bad)
    with refused("output_lengths", bad):
        F.positions(torch.zeros(1, 10), torch.tensor([bad]))


def test_resampling_does_not_lengthen():
    for function in (F.spectral_resample, F.cosine_resample):
        with refused("output_length", 11):
            function(x_of(1, 2, 10), 11)


@pytest.mark.parametrize("kind", ["memory", "macs"])
def test_costs_need_an_encoder(kind):
    with pytest.raises(ValueError, match=rf"(?s){kind}.*stages|stages.*{kind}"):
        ss.complexity([ss.AvgPool1d(2)], kind=kind)


@pytest.mark.parametrize("bad", [0, -10])
def test_complexity_at_no_length(bad):
    encoder = ss.ResNet1d(2, channels=(2,), strides=(2,), downsampler="average")
    with refused("length", bad):
        ss.complexity(encoder, kind="macs", length=bad)


def test_encoders_check_their_widths():
    with refused("strides", "2"):
        ss.ResNet1d(2, channels=(4, 4), strides=(2,), downsampler="average")
    with refused("channels", "5"):
        ss.ResNet1d((1, 1), channels=(4, 5), strides=(2, 2), downsampler="average")
    with refused("in_channels", "0"):
        ss.ResNet1d((), channels=(4,), strides=(2,), downsampler="average")
    with refused("x", 3):
        ss.ResNet1d(2, channels=(4,), strides=(2,), downsampler="average")(x_of(1, 3, 10))


def test_a_spectrogram_encoder_checks_its_arguments():
    for bands in (0, 2.5, True):
        with refused("bands", bands):
            ss.Spectrogram2d(bands, (2,), (2,))
    with refused("strides", "(2, 2)"):
        ss.Spectrogram2d(8, (2,), (2, 2))
    with refused("channels", "()"):
        ss.Spectrogram2d(8, (), ())
    with refused("channels", 0):
        ss.Spectrogram2d(8, (2, 0), (2, 2))
    with refused("strides", "(2, 2, 2)"):
        ss.Spectrogram2d(8, (2,), ((2, 2, 2),))
    with refused("strides", "(2, 3)"):
        ss.Spectrogram2d(8, (2,), ((2, 3),), shared=True)
    with refused("key", "pooling"):
        ss.Spectrogram2d(8, (2,), (2,), "pooling")
    encoder = ss.Spectrogram2d(8, (2,), (2,))
    with refused("x", 7):
        encoder(x_of(1, 7, 10))
    with refused("x", (1, 1, 10, 8)):
        encoder(x_of(1, 1, 10, 8))
    with refused("lengths", "float32"):
        encoder(x_of(1, 8, 10), torch.ones(1))
    with refused("lengths", 11):
        encoder(x_of(1, 8, 10), torch.tensor([11]))


@pytest.mark.parametrize("key", ADAPTIVE)
def test_adastride_does_not_work_along_frequency(key):
    with refused("frequency", "AdaStride1d"):
        ss.Separable2d(ss.AvgPool1d(2), ss.make_downsampler(key, 4, 2))
    with refused("stride", 1.5):  # it is an average there
        ss.Spectrogram2d(8, (2,), ((1.5, 1.5),), key)


def test_heads_know_three_ways_to_pool():
    with refused("pool", "median"):
        PooledClassifier(4, 2, pool="median")


@pytest.mark.parametrize(
    ("arguments", "name", "value"), [((6, 8, 3), "in_channels", 6), ((8, 6, 3), "out_channels", 6)]
)
def test_hypercomplex_channels_are_multiples(arguments, name, value):
    with refused(name, value):
        ss.PHConv1d(*arguments, n=4)


def test_two_axes_check_their_input():
    layer = ss.DiffStride2d((2.0, 2.0))
    with refused("x", (2, 3, 10)):
        layer(x_of(2, 3, 10))
    with refused("lengths", 11):
        layer(x_of(2, 3, 10, 8), torch.tensor([5, 11]))
    with refused("stride", 0.5):
        ss.DiffStride2d((2.0, 0.5))
    with refused("strides", "2.0"):
        ss.DiffStride2d((2.0,))
