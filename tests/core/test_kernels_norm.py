"""Kernels: batch normalisation over real frames, against plain torch in double precision."""

import copy

import pytest
import torch
from interpreted import DEVICE, error, interpreter, layers_use_kernels  # noqa: F401

from seqstride.core.kernels import dispatch
from seqstride.encoders.masked import MaskedBatchNorm1d

norm = pytest.importorskip("seqstride.core.kernels.norm")


class Case:
    """A layer in double precision with statistics of its own, and a batch with NaN in its padding.

    The items' frames are `mean` on average; `exact` and `layer` are the same layer without and with kernels.
    """

    def __init__(self, lengths, channels=5, extra=0, dtype=torch.float32, mean=0.5, training=True):
        generator = torch.Generator().manual_seed(0)
        self.lengths = torch.tensor(lengths)
        frames = max(lengths) + extra
        self.x = (torch.randn(len(lengths), channels, frames, generator=generator) + mean).to(dtype)
        self.dy = torch.randn(self.x.shape, generator=generator).to(dtype)
        self.real = (torch.arange(frames) < self.lengths[:, None])[:, None].expand(self.x.shape)
        self.x[~self.real] = self.dy[~self.real] = torch.nan
        self.exact = MaskedBatchNorm1d(channels, momentum=0.3)
        for name, tensor in self.exact.state_dict().items():
            if name != "num_batches_tracked":
                tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
        self.layer = copy.deepcopy(self.exact).to(DEVICE).train(training)
        self.exact.double().train(training)

    def found(self, relu=False):
        """Output and gradients by kernels."""
        x = self.x.to(DEVICE, copy=True).requires_grad_()
        y = self.layer(x, self.lengths.to(DEVICE), relu)
        return y, *torch.autograd.grad(y, [x, self.layer.weight, self.layer.bias], self.dy.to(DEVICE))

    def wanted(self, relu=False):
        """The same in plain torch and double precision."""
        x = self.x.double().requires_grad_()
        y = self.exact(x, self.lengths, relu)
        dy = torch.where(self.real, self.dy.double(), 0.0)
        return y, *torch.autograd.grad(y, [x, self.exact.weight, self.exact.bias], dy)


CASES = {
    "even": lambda **o: Case([90, 1, 41], channels=17, extra=6, **o),  # T a multiple of 8
    "odd": lambda **o: Case([300, 1, 257, 256], channels=3, extra=1, **o),  # more than one tile
    "one frame": lambda **o: Case([1, 1, 1, 1], channels=20, **o),
    "one item": lambda **o: Case([33], channels=1, extra=7, **o),
    "far from 0": lambda **o: Case([64, 50], mean=300.0, **o),
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_output_gradients_and_running_statistics_agree_with_double_precision(name, training, relu):
    case = CASES[name](training=training)
    found, wanted = case.found(relu), case.wanted(relu)
    # x − mean keeps the digits of x that the mean leaves
    bound = 1e-4 if name == "far from 0" else 2e-6
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        assert error(a, b) < bound
    assert not found[0][~case.real].any()
    assert not found[1][~case.real].any()
    for (key, a), b in zip(case.layer.state_dict().items(), case.exact.state_dict().values(), strict=True):
        assert error(a, b) < 1e-6, key
    assert case.layer.num_batches_tracked.item() == int(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 8e-3), (torch.float16, 1e-3)])
def test_half_precision_is_as_good_as_its_rounding(dtype, bound, training):
    """The interpreter cuts off what does not fit into bfloat16, where a GPU rounds."""
    case = Case([90, 1, 41], channels=17, extra=6, dtype=dtype, training=training)
    found = case.found(relu=True)
    assert found[0].dtype == found[1].dtype == dtype
    for a, b in zip(found, case.wanted(relu=True), strict=True):
        assert error(a, b) < bound


def test_a_layer_in_half_precision():
    case = Case([40, 31], dtype=torch.float16)
    case.layer.half()
    case.exact = copy.deepcopy(case.layer).cpu().double()
    found = case.found()
    assert all(tensor.dtype == torch.float16 for tensor in found)
    for a, b in zip(found, case.wanted(), strict=True):
        assert error(a, b) < 1e-3
    for a, b in zip(case.layer.state_dict().values(), case.exact.state_dict().values(), strict=True):
        assert error(a, b) < 1e-3


def test_same_bits_twice_and_more_padding():
    case = Case([70, 41, 3])
    first, second = case.found(relu=True), case.found(relu=True)
    case.x, case.dy = (torch.nn.functional.pad(t, (0, 30), value=torch.nan) for t in (case.x, case.dy))
    wider = case.found(relu=True)
    for a, b, c in zip(first, second, wider, strict=True):
        assert torch.equal(a, b)
        assert error(c[..., :70], a) < 1e-6 if a.dim() == 3 else error(c, a) < 1e-6


def test_a_frame_that_is_not_a_number_stays_in_its_channel():
    case = Case([40, 40])
    case.x[0, 1, 7] = torch.nan
    y = case.found(relu=True)[0]
    assert y[:, [0, 2, 3, 4]].isfinite().all()
    assert y[:, 1].isnan().all()


@pytest.mark.parametrize("learns", [(True, False), (False, True)])
def test_only_wanted_gradients(learns):
    case = Case([40, 30])
    x = case.x.to(DEVICE).requires_grad_(learns[0])
    case.layer.requires_grad_(learns[1])
    case.layer(x, case.lengths.to(DEVICE)).sum().backward()
    assert (x.grad is not None, case.layer.weight.grad is not None) == learns
    if learns[1]:
        assert error(case.layer.bias.grad, torch.full((5,), 70.0)) < 1e-6


def test_without_gradients_and_in_inference_mode():
    case = Case([40, 30], training=False)
    x, lengths = case.x.to(DEVICE), case.lengths.to(DEVICE)
    y = case.layer(x, lengths)
    assert y.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(case.layer(x, lengths), y)
    with torch.inference_mode():
        case.layer.train()(x, lengths)
    assert case.layer.num_batches_tracked == 1
    case.layer(x, lengths).sum().backward()


def test_statistics_that_move_before_the_backward():
    case = Case([40, 30], training=False)
    x, lengths = case.x.to(DEVICE).requires_grad_(), case.lengths.to(DEVICE)
    dy = torch.where(case.real, case.dy, 0.0).to(DEVICE)
    (wanted,) = torch.autograd.grad(case.layer(x, lengths), x, dy)
    y = case.layer(x, lengths)
    case.layer.train()(x, lengths)
    assert torch.equal(torch.autograd.grad(y, x, dy)[0], wanted)


def test_a_running_statistic_that_was_saved_is_known_to_have_changed():
    case = Case([40, 30])
    x, lengths = case.x.to(DEVICE), case.lengths.to(DEVICE)
    loss = (torch.ones(5, device=DEVICE, requires_grad=True) * case.layer.running_mean).sum()
    case.layer(x, lengths)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives_are_those_of_plain_torch(training):
    case = Case([20, 11], training=training)

    def second(layer, x, dy):
        y = layer(x, case.lengths.to(x.device), True)
        gradients = torch.autograd.grad(y, [x, layer.weight], dy, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), [x, layer.weight, dy])

    x, dy = torch.where(case.real, case.x, 0.0), torch.where(case.real, case.dy, 0.0)
    found = second(case.layer, x.to(DEVICE).requires_grad_(), dy.to(DEVICE).requires_grad_())
    wanted = second(case.exact, x.double().requires_grad_(), dy.double().requires_grad_())
    for a, b in zip(found, wanted, strict=True):
        assert error(a, b) < 1e-5


def test_transforms_of_functions_take_the_plain_path():
    case = Case([20, 11], training=False)
    lengths = case.lengths.to(DEVICE)
    x = torch.randn(3, 2, 5, 20, device=DEVICE)
    batched = torch.func.vmap(lambda signal: case.layer(signal, lengths))(x)
    torch.testing.assert_close(batched[1], case.layer(x[1], lengths), rtol=1e-5, atol=1e-5)


def test_the_plain_path_has_the_dtype_of_the_signal(monkeypatch):
    monkeypatch.setattr(dispatch, "DEVICES", ())
    case = Case([20, 11], dtype=torch.bfloat16)
    assert case.layer(case.x.to(DEVICE), case.lengths.to(DEVICE), True).dtype == torch.bfloat16
    assert case.layer.bfloat16()(case.x.to(DEVICE), case.lengths.to(DEVICE)).dtype == torch.bfloat16
