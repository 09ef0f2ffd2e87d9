"""Kernels: the spectral crop of items of different lengths on one grid, and its gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import DEVICE, error, interpreter  # noqa: F401

from seqstride.core.spectral import pooling_windows, spectral_crop
from seqstride.core.spectral_window import Shape, Windows, windows_of

spectral = pytest.importorskip("seqstride.core.kernels.spectral")

TRANSFORMS = ["dft", "dct"]


class Crop:
    """A batch with NaN in its padding, its windows and ramps, and gradients for its output, on the CPU.

    Attributes:
        x, dy: (B, C, T) and (B, C, width) in `dtype`; NaN behind an item's own frames.
        windows, ramp: (B, 4) int64, and (B, W) float64.
    """

    def __init__(self, windows, ramp, transform, channels=3, extra=1, official=False, dtype=torch.float32, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.windows, self.ramp, self.transform, self.official = windows, ramp, transform, official
        self.frames, self.output = windows[:, 0].tolist(), windows[:, 3].tolist()
        sizes = [(len(windows), channels, max(n) + extra) for n in (self.frames, self.output)]
        self.x, self.dy = (torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes)
        for item, (n, rows) in enumerate(zip(self.frames, self.output, strict=True)):
            self.x[item, :, n:] = torch.nan
            self.dy[item, :, rows:] = torch.nan

    @property
    def width(self):
        return self.dy.shape[2]

    def products(self, item):
        """The size of the products that a gradient for the ramp sums, which may cancel."""
        x, dy = self.x[item, :, : self.frames[item]], self.dy[item, :, : self.output[item]]
        return (x.double().norm() * dy.double().norm() / self.frames[item] ** 0.5).item()

    def run(self):
        """y and the gradients for x and the ramp, by the kernels."""
        x, ramp, windows, dy = (tensor.to(DEVICE) for tensor in (self.x, self.ramp, self.windows, self.dy))
        rest = self.transform, self.official
        y, tops = spectral.crop_forward(x, ramp, windows, self.width, *rest, True)
        gradients = spectral.crop_backward(dy, tops, ramp, windows, x.shape[2], *rest)
        return y.cpu(), *(gradient.cpu() for gradient in gradients)

    def reference(self):
        """The same in float64 by the operators of the CPU."""
        x, ramp = self.x.double().requires_grad_(), self.ramp.clone().requires_grad_()
        windows = Windows(self.windows, ramp)
        y = spectral_crop(x, windows, max(self.output), self.transform, official_gain=self.official)
        y.backward(self.dy[:, :, : y.shape[2]].double().nan_to_num())
        return torch.nn.functional.pad(y.detach(), (0, self.width - y.shape[2])), x.grad, ramp.grad


def learnt(lengths, stride, transform, *, relative=None, multiple=1, **options):
    """With the windows of DiffStride."""
    shape = Shape(transform, relative_smoothness=relative, length_multiple=multiple)
    windows = windows_of(torch.tensor(stride, dtype=torch.float64), torch.tensor(lengths), shape, stride, max(lengths))
    return Crop(windows.table, windows.ramp, transform, **options)


def pooled(lengths, rows, transform, **options):
    """With the windows of spectral pooling."""
    windows = pooling_windows(torch.tensor(lengths), torch.tensor(rows), transform)
    return Crop(windows.table, windows.ramp.double(), transform, **options)


CASES = {
    "different lengths": lambda transform: learnt([90, 41, 67], 2.3, transform),
    "one and two frames": lambda transform: learnt([1, 2, 5, 3], 1.7, transform, channels=2),
    "prime and long": lambda transform: learnt([293], 3.1, transform, channels=1),
    "all bins": lambda transform: learnt([24, 23], 1.0, transform, extra=0),
    "multiples": lambda transform: learnt([50, 33], 2.0, transform, multiple=4),
    "wide ramps": lambda transform: learnt([120, 77], 2.0, transform, relative=0.3, channels=2),
    "many channels": lambda transform: learnt([13], 2.0, transform, channels=70),
    "gain of DiffStride": lambda transform: learnt([61, 40], 2.3, transform, official=True),
    "pooled": lambda transform: pooled([80, 41, 80], [40, 20, 27], transform),
    "pooled to little or nothing less": lambda transform: pooled([40, 9, 8, 7], [1, 9, 8, 2], transform, channels=2),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_agree_with_double_precision(name, transform):
    agree(CASES[name](transform))


def agree(crop):
    y, dx, dramp = crop.run()
    wanted_y, wanted_dx, wanted_dramp = crop.reference()
    assert error(y, wanted_y) < 1e-6
    assert error(dx, wanted_dx) < 1e-6
    assert dramp.shape == wanted_dramp.shape
    assert dramp.dtype == torch.float64
    for item, (n, rows) in enumerate(zip(crop.frames, crop.output, strict=True)):
        assert (y[item, :, rows:] == 0).all()
        assert (dx[item, :, n:] == 0).all()
        assert ((dramp - wanted_dramp)[item].abs() < 1e-6 * crop.products(item)).all()


@st.composite
def crops(draw):
    """Windows that no layer makes: any numbers of flat and kept bins, and outputs longer than they need."""
    transform = draw(st.sampled_from(TRANSFORMS))
    rows, width = [], draw(st.integers(1, 10))
    for _ in range(draw(st.integers(1, 2))):
        frames = draw(st.integers(1, 60))
        output = draw(st.integers(1, frames))
        most = output if transform == "dct" else output // 2 + 1
        kept = draw(st.integers(1, most))
        rows.append([frames, draw(st.integers(max(0, kept - width), kept)), kept, output])
    seed = draw(st.integers(0, 99))
    ramp = torch.rand(len(rows), width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2
    official = draw(st.booleans())
    return Crop(torch.tensor(rows), ramp, transform, draw(st.integers(1, 3)), official=official, seed=seed)


@settings(max_examples=8)
@given(crops())
def test_any_window(crop):
    wide = crop.windows[:, 2] - crop.windows[:, 1]
    crop.ramp[torch.arange(crop.ramp.shape[1]) >= wide[:, None]] = 0.0
    agree(crop)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 8e-3), (torch.float16, 5e-4)])
def test_half_precision_is_as_good_as_its_rounding(transform, dtype, bound):
    """The interpreter cuts off what does not fit into bfloat16, where a GPU rounds."""
    crop = learnt([60, 33], 2.3, transform, dtype=dtype, channels=2)
    y, dx, dramp = crop.run()
    wanted_y, wanted_dx, wanted_dramp = crop.reference()
    assert y.dtype == dx.dtype == dtype
    assert error(y, wanted_y) < bound
    assert error(dx, wanted_dx) < bound
    assert error(dramp, wanted_dramp) < 1e-5  # of sums that were not rounded


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_same_batch_gives_the_same_bits(transform):
    crop = learnt([60, 33], 2.3, transform)
    for first, second in zip(crop.run(), crop.run(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_batch_mates_change_nothing_but_the_last_digit(transform):
    """The grid is that of the longest item: other bits, the same number of them right."""
    lengths = [45, 190]
    both = learnt(lengths, 2.3, transform)
    alone = learnt(lengths[:1], 2.3, transform, extra=0)
    alone.x, alone.dy = both.x[:1, :, :45], both.dy[:1, :, : alone.width]
    (y, dx, dramp), (single_y, single_dx, single_dramp) = both.run(), alone.run()
    assert error(y[:1, :, : alone.width], single_y) < 5e-7
    assert error(dx[:1, :, :45], single_dx) < 5e-7
    assert ((dramp[:1] - single_dramp).abs() < 5e-7 * alone.products(0)).all()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_channels_do_not_touch_each_other(transform):
    """A loud or broken channel leaves its neighbours as they are, to the bit."""
    crop = learnt([50], 2.0, transform, channels=4)
    clean = crop.run()
    crop.x[:, 1] *= 1e6
    crop.x[:, 3, 20] = torch.nan
    crop.dy[:, 3, 5] = torch.nan
    for found, wanted, own in zip(crop.run(), clean, (crop.output[0], 50), strict=False):
        assert torch.equal(found[:, [0, 2]], wanted[:, [0, 2]])
        assert not found[:, 3, :own].isfinite().any()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_constant_stays_the_same_constant(transform):
    crop = learnt([77, 40], 2.3, transform, channels=1)
    crop.x[...] = 2.5
    y = crop.run()[0]
    for item, rows in enumerate(crop.output):
        assert (y[item, :, :rows] - 2.5).abs().max() < 2.5e-6


def test_a_ramp_that_does_not_learn_costs_nothing():
    crop = learnt([30], 2.0, "dft")
    x, ramp, windows = crop.x.to(DEVICE), crop.ramp.to(DEVICE), crop.windows.to(DEVICE)
    y, tops = spectral.crop_forward(x, ramp, windows, crop.width, "dft", False, False)
    assert tops.numel() == 0
    assert torch.equal(y.cpu(), crop.run()[0])
    _, dramp = spectral.crop_backward(crop.dy.to(DEVICE), tops, ramp, windows, 31, "dft", False)
    assert torch.equal(dramp.cpu(), torch.zeros_like(crop.ramp))


def test_grids_have_few_sizes():
    regrid = pytest.importorskip("seqstride.core.kernels.regrid")
    for transform, step in (("dft", 2), ("dct", 1)):
        sizes = [regrid.grid_size(bins, transform) for bins in range(1, 3000)]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) < 50
        for bins, size in enumerate(sizes, 1):
            assert size % 16 == 0
            assert size >= regrid.OVERSAMPLING * step * (bins - 1)
            assert size <= max(32, 1.26 * (regrid.OVERSAMPLING * step * (bins - 1) + 2), 16 * (size // 16))
            period = size if transform == "dft" else 2 * size
            assert bins <= int(period / (2 * regrid.OVERSAMPLING)) + 1  # as `grid_tables`
