"""AdaStride by kernels keeps the contract: on a GPU where there is one, elsewhere in Triton's interpreter."""

import copy

import pytest
import torch
from helpers import ADAPTIVE, batches, build, oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import DEVICE, Batch, error, interpreter, layers_use_kernels  # noqa: F401
from torch.testing import assert_close

import seqstride as ss

# torch.func loads parts of torch that still use this themselves
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")

every_key = pytest.mark.parametrize("key", ADAPTIVE)
on_a_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")


def _layers(key, channels=5, stride=2.3, dtype=torch.float32):
    """A layer in float64 on the CPU, whose weights `dtype` has exactly, and the same with kernels."""
    exact = build(key, channels, stride, dtype=dtype).double()
    return exact, copy.deepcopy(exact).to(DEVICE, dtype)


def _lengths(batch):
    return torch.tensor(batch.lengths)


def _run(layer, x, lengths, dz):
    layer.zero_grad()
    x = x.clone().requires_grad_()
    plan = layer.plan(x, lengths)
    z = plan(x)
    ((z * dz[..., : z.shape[2]]).sum() + 0.7 * plan.penalty + plan.positions.square().mean()).backward()
    return z, plan, x.grad, layer.score.weight.grad


@every_key
def test_a_step_agrees_with_double_precision(key):
    batch = Batch([60, 1, 41], stride=2.3, std=1.0, extra=2)
    exact, layer = _layers(key)
    dz = batch.dz.nan_to_num(0.0)
    wanted = _run(exact, batch.x.double(), _lengths(batch), dz.double())
    found = _run(layer, batch.x.to(DEVICE), _lengths(batch).to(DEVICE), dz.to(DEVICE))
    assert found[0].dtype == torch.float32
    assert found[1].positions.dtype == torch.float64
    for a, b in ((found[i], wanted[i]) for i in (0, 2, 3)):
        assert error(a, b) < 1e-5
    assert found[1].lengths.tolist() == wanted[1].lengths.tolist()
    assert error(found[1].positions, wanted[1].positions) < 1e-12
    assert found[1].penalty.item() == pytest.approx(wanted[1].penalty.item(), rel=1e-5)
    for name in ("strides", "durations", "times"):
        assert_close(getattr(found[1], name)().cpu(), getattr(wanted[1], name)(), rtol=1e-6, atol=1e-6)
    assert_close(found[1].expand(found[0]).cpu().double(), wanted[1].expand(wanted[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", [pytest.param("adastride_ratio", marks=pytest.mark.long), "adastride_content"])
def test_a_learnt_ratio_agrees_with_double_precision(key):
    batch = Batch([60, 1, 41], stride=2.3, std=1.0, extra=2)
    exact, layer = _layers(key)
    dz = torch.randn(3, 5, 62).masked_fill(batch.x.isnan(), 0.0)
    wanted = _run(exact, batch.x.double(), _lengths(batch), dz.double())
    found = _run(layer, batch.x.to(DEVICE), _lengths(batch).to(DEVICE), dz.to(DEVICE))
    for a, b in ((found[i], wanted[i]) for i in (0, 2, 3)):
        assert error(a, b) < 1e-5
    assert found[1].lengths.tolist() == wanted[1].lengths.tolist()
    assert error(found[1].positions, wanted[1].positions) < 1e-6  # the stride is a number in single precision there
    for a, b in zip(layer.parameters(), exact.parameters(), strict=True):
        assert error(a.grad, b.grad) < 1e-5


@every_key
def test_a_plan_resamples_the_signal_and_any_other(key):
    batch = Batch([40, 31], std=1.0)
    exact, layer = _layers(key)
    x = batch.x.to(DEVICE).requires_grad_()
    plan = layer.plan(x, _lengths(batch).to(DEVICE))
    reference = exact.plan(batch.x.double(), _lengths(batch))
    other = torch.randn(2, 7, 40)
    assert error(plan(other.to(DEVICE)), reference(other.double())) < 1e-6
    first, second = plan(x), plan(x)
    assert second is not first  # who writes to one of them leaves the other alone
    assert torch.equal(first, second)
    learnt = [x, layer.score.weight]
    gradients = [torch.autograd.grad(z.square().sum(), learnt, retain_graph=True) for z in (first, second)]
    for a, b in zip(*gradients, strict=True):
        assert error(a.nan_to_num(0.0), b.nan_to_num(0.0)) < 1e-5
    assert error(plan.matrix(), reference.matrix()) < 1e-9


@every_key
def test_a_signal_that_was_changed_is_resampled_anew(key):
    x = Batch([40, 40]).x.to(DEVICE)
    _, layer = _layers(key)
    plan = layer.plan(x)
    x.zero_()
    assert not plan(x).any()


@every_key
def test_a_plan_may_be_made_and_used_with_and_without_gradients(key):
    x = Batch([40, 40]).x.to(DEVICE).requires_grad_()
    _, layer = _layers(key)
    plan = layer.plan(x)
    with torch.no_grad():
        assert not plan(x).requires_grad
        silent = layer.plan(x)
    assert plan(x).requires_grad
    z = silent(x)
    assert z.requires_grad  # for the signal alone
    assert torch.autograd.grad(z.sum(), [x, layer.score.weight], allow_unused=True)[1] is None
    with torch.inference_mode():
        assert torch.equal(layer(x.clone()), layer.pool(x, plan))


@every_key
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(key, dtype):
    batch = Batch([40, 31], std=0.5, dtype=dtype)
    exact, layer = _layers(key, dtype=dtype)
    wanted = exact(batch.x.double(), _lengths(batch))
    lengths, eps = _lengths(batch).to(DEVICE), torch.finfo(dtype).eps
    z = layer(batch.x.to(DEVICE), lengths)
    assert z.dtype == dtype
    assert error(z, wanted) < eps
    with torch.autocast(DEVICE, dtype=dtype):
        x = batch.x.float().to(DEVICE).requires_grad_()
        plan = layer.float().plan(x, lengths)
        assert layer.pool(x, plan).dtype == layer.pool(x, plan).dtype == dtype
        assert error(layer.pool(x, plan), wanted) < 4 * eps
        plan = layer.plan(x, lengths)
    assert layer.pool(x, plan).dtype == torch.float32  # made with autocast, used without
    assert error(layer.pool(x, plan), wanted) < 1e-6


def test_the_functions_agree_with_double_precision():
    batch = Batch([40, 31], std=1.0, extra=2)
    lengths, rows = _lengths(batch), torch.tensor(batch.rows)
    scores = batch.x[:, 0].nan_to_num(0.0)
    p = ss.functional.positions(scores.double(), rows, lengths)
    found = ss.functional.positions(scores.to(DEVICE), rows.to(DEVICE), lengths.to(DEVICE))
    assert error(found, p) < 1e-13
    for function in (ss.functional.align, ss.functional.scatter_align):
        z = function(batch.x.to(DEVICE), p.to(DEVICE), rows.to(DEVICE), lengths.to(DEVICE))
        assert error(z, function(batch.x.double(), p, rows, lengths)) < 1e-6


@every_key
def test_both_axes(key):
    torch.manual_seed(0)
    exact = ss.make_downsampler2d(key, 2, (2.5, 2)).double()
    torch.nn.init.normal_(exact.time.score.weight)
    layer = copy.deepcopy(exact).to(DEVICE, torch.float32)
    exact.load_state_dict(layer.state_dict())
    x, lengths = torch.randn(2, 2, 30, 4), torch.tensor([30, 17])
    assert error(layer(x.to(DEVICE), lengths.to(DEVICE)), exact(x.double(), lengths)) < 1e-5


@every_key
def test_transforms_of_functions_take_the_plain_path(key):
    _, layer = _layers(key, channels=2)
    x = torch.randn(3, 2, 2, 20, device=DEVICE)
    batched = torch.func.vmap(layer)(x)
    assert_close(batched[1], layer(x[1]), rtol=1e-4, atol=1e-4)


@on_a_gpu
@every_key
@settings(max_examples=100)
@given(data=st.data(), padding=st.sampled_from([float("nan"), float("inf"), 1e30]))
def test_the_oracle_agrees(key, data, padding):
    batch = data.draw(batches(key))
    x, lengths = batch.tensors(torch.float32, padding)
    exact, layer = _layers(key, batch.channels, batch.stride)
    plan = layer.plan(x.to(DEVICE), lengths.to(DEVICE))
    z = plan(x.to(DEVICE))
    alone = layer(x[:1, :, : batch.lengths[0]].to(DEVICE))
    for b, length in enumerate(batch.lengths):
        item = oracle(key, exact, x[b, :, :length].double())
        width = item.output.shape[1]
        assert error(z[b, :, :width], item.output) < 1e-5
        assert not z[b, :, width:].any()
        assert error(plan.positions[b, :length], item.positions) < 1e-12
    # lengths on a device are not read: the output is as wide as the padded width asks for
    assert z.shape[2] == layer.output_lengths(torch.tensor([x.shape[2]])).item()
    assert error(z[:1, :, : alone.shape[2]], alone) < 1e-6


@on_a_gpu
@every_key
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_long_signals_and_huge_scores(key, dtype):
    exact, layer = _layers(key, dtype=dtype)
    x, lengths = torch.randn(2, 5, 8192).to(dtype), torch.tensor([8192, 5001])
    z = layer(x.to(DEVICE), lengths.to(DEVICE))
    assert error(z, exact(x.double(), lengths)) < max(1e-6, torch.finfo(dtype).eps)
    with torch.no_grad():
        torch.nn.init.normal_(layer.score.weight, std=1e4)
    x = x.clamp(-1, 1).to(DEVICE).requires_grad_()
    plan = layer.plan(x, lengths.to(DEVICE))
    z = plan(x)
    (z.float().mean() + plan.penalty).backward()
    assert all(value.isfinite().all() for value in (z, plan.penalty, plan.positions, x.grad, layer.score.weight.grad))


@on_a_gpu
@every_key
def test_an_encoder_agrees_with_double_precision(key):
    exact = ss.ResNet1d(3, channels=(4, 6), strides=(2, 2), downsampler=key).double()
    for layer in exact.downsamplers:
        torch.nn.init.normal_(layer.score.weight, std=0.5)
    encoder = copy.deepcopy(exact).to(DEVICE, torch.float32)
    exact.load_state_dict(encoder.state_dict())
    x, lengths = torch.randn(2, 3, 57), torch.tensor([57, 33])
    found, wanted = encoder(x.to(DEVICE), lengths.to(DEVICE)), exact(x.double(), lengths)
    assert error(found.features, wanted.features) < 1e-2  # cuDNN's convolutions go through TF32
    (found.features.sum() + found.penalty).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@on_a_gpu
@every_key
def test_compiled_code_takes_the_plain_path(key):
    _, layer = _layers(key)
    x = torch.randn(2, 5, 200, device=DEVICE)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert error(compiled(x), layer(x)) < 1e-5


@every_key
def test_forward_mode_takes_the_plain_path(key):
    """Kernels would drop the derivative in silence where no gradients are recorded."""
    _, layer = _layers(key)
    x, way = (torch.randn(2, 5, 30, device=DEVICE) for _ in range(2))
    wanted = torch.func.jvp(layer, (x,), (way,))[1]
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = layer(torch.autograd.forward_ad.make_dual(x, way))
        assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, wanted)
