"""Numbers: what is not finite, gradients without bounds, half precision, and the same bits every time."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from brain import batch as labelled_batch
from brain import make_brain
from helpers import ADAPTIVE, CONTENT, INTEGER, KEYS, LEARNT, Batch, build
from torch import Tensor, nn

import seqstride as ss
from seqstride.brains import ClassificationBrain
from seqstride.encoders.conformer import ConformerEncoder

every_key = pytest.mark.parametrize("key", KEYS)

# Batches that are not finite


def batches(spoilt: int | None = None, count: int = 3) -> list[Any]:
    """Labelled batches with ids such as 2b; one of them has an item that is not a number."""
    made = []
    for number in range(count):
        batch = labelled_batch()
        batch.id = [f"{number}{name}" for name in batch.id]
        if number == spoilt:
            batch.signal.data[1, 3] = float("nan")
        made.append(batch)
    return made


def fit(brain: ClassificationBrain, train: list[Any], valid: list[Any] | None = None) -> None:
    train_set, valid_set = (torch.utils.data.DataLoader(part, batch_size=None) for part in (train, valid or train[:1]))
    brain.fit(range(1, 2), train_set, valid_set)


def trained(brain: ClassificationBrain) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in brain.modules.state_dict().items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("key", ["adastride", "diffstride"])
def test_a_batch_whose_loss_is_not_finite_is_named_and_leaves_no_trace(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    brain = make_brain(downsampler=key)
    twin = copy.deepcopy(brain)
    good = batches()
    fit(brain, [good[0], batches(spoilt=1)[1], good[2]])
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert messages == ["the loss of a batch must be finite; those of 1a, 1b, 1c, 1d are not: left out"]
    assert brain.history.epochs[0]["train"]["loss"] > 0
    fit(twin, [good[0], good[2]])
    assert_equal(trained(brain), trained(twin))


def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    brain = make_brain()
    brain.nonfinite_patience = 1
    bad = [batches(spoilt=number)[number] for number in range(2)]
    with pytest.raises(ValueError, match=r"1a, 1b, 1c, 1d are not, and `nonfinite_patience` \(=1\) is exhausted"):
        fit(brain, bad)
    assert "those of 0a, 0b, 0c, 0d are not: left out" in caplog.text
    assert all(parameter.isfinite().all() for parameter in brain.modules.parameters())


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_left_out_or_stop_the_run(
    skip: bool, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    brain = make_brain()
    brain.skip_nonfinite_grads, brain.nonfinite_patience, brain.grad_accumulation_factor = skip, 0, 2
    before = {name: parameter.clone() for name, parameter in brain.modules.named_parameters()}
    head: Any = brain.modules["classifier"]
    # one gradient of one weight, in the first of the two batches of a step
    calls = iter([value, 1.0, 1.0])
    spoil = torch.zeros_like(head["kind"].linear.weight)
    spoil[0, 0] = 1.0
    head["kind"].linear.weight.register_hook(lambda gradient: torch.where(spoil > 0, next(calls), gradient))
    train = batches(count=2)
    if skip:
        fit(brain, train)
        assert "the gradients of a batch must be finite; those of 0a, 0b, 0c, 0d, 1a, 1b, 1c, 1d are not" in caplog.text
        assert_equal(dict(brain.modules.named_parameters()), before)
    else:
        with pytest.raises(ValueError, match=r"gradients of a batch must be finite; those of 0a, .* is exhausted"):
            fit(brain, train)


def test_an_epoch_whose_validation_is_not_finite_is_not_the_best(caplog: pytest.LogCaptureFixture) -> None:
    brain = make_brain()
    good = batches()
    fit(brain, good, [good[0], batches(spoilt=2)[2]])
    assert brain.history.epochs[0]["valid"]["loss"] == math.inf
    assert "the loss of a batch should be finite; that of 2a, 2b, 2c, 2d is not" in caplog.text
    fit(brain, good)
    assert brain.history.epochs[1]["valid"]["loss"] < math.inf


@every_key
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("frames", [9, 600])
def test_an_item_that_is_not_finite_spoils_itself_only(key: str, value: float, frames: int) -> None:
    layer = build(key, dtype=torch.float32)
    x, lengths = Batch(2, [frames, frames - 3, frames - 2], 0, 2, 1.0, 3).tensors(torch.float32, padding=0.0)
    expected = layer(x, lengths)
    x[1, 0, frames // 2] = value
    plan = layer.plan(x.requires_grad_(), lengths)
    y = layer.pool(x, plan)
    assert not y[1].isfinite().all()
    width = min(y.shape[2], expected.shape[2])  # a length that follows from the content is another one
    assert torch.equal(y[[0, 2], :, :width], expected[[0, 2], :, :width])
    assert not y[[0, 2], :, width:].any()
    y.sum().backward()
    assert x.grad is not None
    assert x.grad[[0, 2]].isfinite().all()
    plan.times(), plan.strides(), plan.durations()  # wrong, but no error


# Bounds


@pytest.mark.parametrize("key", [*ADAPTIVE, *LEARNT])
@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_gradients_of_strides_and_scores_are_clipped_with_the_others(key: str, scale: float) -> None:
    brain = make_brain(
        downsampler=key, penalty_weight=scale, complexity={"kind": "frames", "length": 16, "weight": scale}
    )
    brain.init_optimizers()
    data = labelled_batch()
    data.signal.data.mul_(scale)
    for layer in brain.encoder.downsamplers:
        for name, parameter in layer.named_parameters():
            if "score" in name:
                nn.init.normal_(parameter, std=scale)
    from speechbrain import Stage

    brain.modules.train()
    brain.on_stage_start(Stage.TRAIN, 1)
    brain.compute_objectives(brain.compute_forward(data, Stage.TRAIN), data, Stage.TRAIN).backward()
    learnt = [p for layer in brain.encoder.downsamplers for p in layer.parameters()]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in learnt)
    seen = []
    brain.optimizer.step = lambda: seen.extend(p.grad.clone() for p in brain.modules.parameters())  # type: ignore[method-assign]
    brain.max_grad_norm = 0.5
    brain.optimizers_step()
    norm = torch.stack([gradient.norm() for gradient in seen]).norm()
    assert 0 < norm <= 0.5 * 1.001


# Half precision

HALVES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
every_half = pytest.mark.parametrize("dtype", list(HALVES), ids=list(HALVES.values()))


def far_from(found: Tensor, expected: Tensor, dtype: torch.dtype) -> float:
    """The relative error in the norm, in units of the dtype's precision."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm()) / torch.finfo(dtype).eps


def weighted(y: Tensor) -> Tensor:
    """A weighted sum, so that gradients differ from place to place."""
    return (y.float() * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))).sum()


@every_key
@every_half
@pytest.mark.parametrize("half_input", [False, True])
def test_autocast_keeps_the_digits_of_outputs_and_gradients(key: str, dtype: torch.dtype, half_input: bool) -> None:
    layer = build(key, 4, 2 if key in INTEGER else 2.3, dtype=torch.float32)
    x, lengths = Batch(4, [300, 171], 0, 2, 1.0, 5).tensors(torch.float32, padding=0.0)
    x = x.to(dtype).requires_grad_() if half_input else x.requires_grad_()

    def run(cast: bool) -> tuple[Any, Tensor, list[Tensor]]:
        with torch.autocast("cpu", dtype=dtype, enabled=cast):
            signal = x if cast else x.float()
            plan = layer.plan(signal, lengths)
            y = layer.pool(signal, plan)
        gradients = torch.autograd.grad(weighted(y) + plan.penalty, [x, *layer.parameters()])
        return plan, y, list(gradients)

    _, expected, exact = run(False)
    plan, y, gradients = run(True)
    assert y.dtype == (dtype if half_input or layer.half_under_autocast else torch.float32)
    assert plan.positions.dtype == plan.strides().dtype == plan.times().dtype == torch.float64
    assert far_from(y, expected, dtype) < 0.5
    for gradient, reference in zip(gradients, exact, strict=True):
        assert gradient.isfinite().all()
        # a weight moves all frames behind it, and what it does to one of them almost cancels what it does to the next
        assert far_from(gradient, reference, dtype) < (4 if key in CONTENT else 1.5)


ENCODERS: dict[str, Callable[[str], nn.Module]] = {
    "resnet": lambda key: ss.ResNet1d(5, channels=(8, 6), strides=(2, 2), downsampler=key),
    "spectrogram": lambda key: ss.Spectrogram2d(bands=5, channels=(4, 6), strides=((2, 1), (2, 2)), downsampler=key),
    "conformer": lambda key: ConformerEncoder(
        5, 16, (3, 2), key, layers=2, heads=4, feed_forward=24, kernel_size=7, dropout=0.0
    ),
}
every_encoder = pytest.mark.parametrize("name", list(ENCODERS))


def encoder_and_batch(name: str, key: str) -> tuple[nn.Module, Tensor, Tensor]:
    encoder = ENCODERS[name](key)
    with torch.no_grad():
        for parameter_name, parameter in encoder.named_parameters():
            if "score" in parameter_name:
                parameter.normal_(0, 0.1)
    x, lengths = Batch(5, [90, 61, 33], 0, 2, 1.0, 5).tensors(torch.float32, padding=0.0)
    return encoder, x, lengths


@every_key
@every_half
@every_encoder
def test_encoders_under_autocast_are_near_those_in_single_precision(name: str, key: str, dtype: torch.dtype) -> None:
    encoder, x, lengths = encoder_and_batch(name, key)
    expected = copy.deepcopy(encoder)(x, lengths)
    with torch.autocast("cpu", dtype=dtype):
        encoded = encoder(x, lengths)
    (weighted(encoded.features) + encoded.penalty).backward()
    assert torch.equal(encoded.lengths, expected.lengths)
    assert all(plan.positions.dtype == torch.float64 for plan in encoded.plans)
    # a position that rounds to another output frame is a jump
    assert far_from(encoded.features, expected.features, dtype) < (16 if key == "adastride_f" else 8)
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("key", [*ADAPTIVE, "dct_diffstride"])
def test_training_in_half_precision_keeps_near_that_in_single(key: str) -> None:
    brain = make_brain(downsampler=key)
    twin = copy.deepcopy(brain)
    twin.training_ctx = twin.evaluation_ctx = torch.autocast("cpu", dtype=torch.bfloat16)
    for trainee in (brain, twin):
        fit(trainee, batches())
    assert all(tensor.dtype != torch.bfloat16 for tensor in trained(twin).values())
    (single,), (half,) = brain.history.epochs, twin.history.epochs
    assert half["valid"]["loss"] != single["valid"]["loss"]
    assert half["valid"]["loss"] == pytest.approx(single["valid"]["loss"], rel=0.05)


# The same bits every time


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Torch raises an error where an operation is not deterministic, and fills empty memory with NaN; two threads."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)


def bits(run: Callable[[], Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Output and gradients."""
    y = run()
    return [y.detach(), *(g for g in torch.autograd.grad(weighted(y), inputs, allow_unused=True) if g is not None)]


@every_key
@pytest.mark.parametrize("lengths", [[40, 40], [40, 31, 1], [2000, 1300]], ids=["equal", "short", "long"])
def test_a_method_gives_the_same_bits_again(key: str, lengths: list[int], deterministic: None) -> None:
    stride = 2 if key in INTEGER else 2.3
    layer = build(key, 8, stride, dtype=torch.float32)
    x, real = Batch(8, lengths, 0, stride, 1.0, 3).tensors(torch.float32, padding=0.0)
    x.requires_grad_()
    first, *others = (bits(lambda: layer(x, real), [x, *layer.parameters()]) for _ in range(4))
    assert all(tensor.isfinite().all() for tensor in first)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@every_key
@every_encoder
def test_an_encoder_gives_the_same_bits_again(name: str, key: str, deterministic: None) -> None:
    encoder, x, lengths = encoder_and_batch(name, key)

    def run() -> list[Tensor]:
        twin = copy.deepcopy(encoder)
        gradients = bits(lambda: twin(x, lengths).features, list(twin.parameters()))
        return [*gradients, *twin.buffers()]

    for a, b in zip(run(), run(), strict=True):
        assert torch.equal(a, b)
