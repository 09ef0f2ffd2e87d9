"""A stride that is fixed: whoever writes to its parameter changes plans and `stride` together, or neither."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from helpers import LEARNT
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close

import seqstride as ss
from seqstride.layers.diffstride import LearntStride

FRAMES = 400


def fill(layer: LearntStride) -> LearntStride:
    with torch.no_grad():
        layer.stride_parameter.fill_(4.0)
    return layer


def through_data(layer: LearntStride) -> LearntStride:
    layer.stride_parameter.data.copy_(torch.tensor(4.0))
    return layer


def other_data(layer: LearntStride) -> LearntStride:
    layer.stride_parameter.data = torch.tensor(4.0)
    return layer


def load(layer: LearntStride) -> LearntStride:
    layer.load_state_dict(layer.state_dict() | {"stride_parameter": torch.tensor(4.0)})
    return layer


def load_by_assigning(layer: LearntStride) -> LearntStride:
    layer.load_state_dict(layer.state_dict() | {"stride_parameter": torch.tensor(4.0)}, assign=True)
    return layer


def averaged(layer: LearntStride) -> LearntStride:
    """The shadow model of an exponential moving average."""
    shadow = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    shadow.module(torch.zeros(1, 1, FRAMES))
    for stride in (2.0, 6.0):  # the first update copies
        with torch.no_grad():
            layer.stride_parameter.fill_(stride)
        shadow.update_parameters(layer)
    return shadow.module


def optimised(layer: LearntStride) -> LearntStride:
    layer.stride_parameter.grad = torch.tensor(-2.0)
    torch.optim.SGD([layer.stride_parameter], lr=1.0).step()
    return layer


def copied_and_filled(layer: LearntStride) -> LearntStride:
    return fill(copy.deepcopy(layer))


def pickled_and_filled(layer: LearntStride) -> LearntStride:
    return fill(pickle.loads(pickle.dumps(layer)))


WRITES = [
    *(fill, through_data, other_data, load, load_by_assigning, averaged, optimised, copied_and_filled),
    pickled_and_filled,
]


def assert_one_stride(layer: LearntStride, stride: float) -> None:
    """Whatever tells of a stride tells of this one."""
    reference = type(layer)(stride=stride, **({} if layer.channels is None else {"channels": 1}))
    x, lengths = torch.randn(2, 1, FRAMES), torch.tensor([FRAMES, 150])
    with torch.no_grad():
        plan, expected = layer.plan(x, lengths), reference.plan(x, lengths)
        assert torch.equal(plan.lengths, expected.lengths)
        assert_close(plan(x), expected(x))
        assert_close(layer(x), reference(x))
        assert_close(plan.strides(), expected.strides())
        assert layer.output_lengths(lengths).tolist() == expected.lengths.tolist()
        assert layer.stride.item() == pytest.approx(stride)
        assert f"stride={stride:g}" in repr(layer)
        assert_close(ss.complexity([layer], length=FRAMES), ss.complexity([reference], length=FRAMES))
        assert layer.state_dict()["stride_parameter"].item() == pytest.approx(stride)


@pytest.mark.parametrize("learnable", [True, False], ids=["frozen", "not learnable"])
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("key", LEARNT)
def test_a_write_to_the_parameter_counts_everywhere(
    key: str, write: Callable[[LearntStride], LearntStride], learnable: bool
) -> None:
    layer = ss.make_downsampler(key, 1, 2.0, learnable=learnable).freeze()
    assert_one_stride(layer, 2.0)
    layer = write(layer)
    assert_one_stride(layer, 4.0)
    assert not layer.stride_parameter.requires_grad
    layer.unfreeze()
    assert_one_stride(layer, 4.0)
    assert layer.stride_parameter.requires_grad == learnable
    assert_one_stride(layer.freeze(), 4.0)


@pytest.mark.parametrize("key", LEARNT)
def test_another_dtype_rounds_plan_and_stride_alike(key: str) -> None:
    layer = ss.make_downsampler(key, 1, 2.3).freeze().bfloat16()
    rounded = torch.tensor(2.3).bfloat16().item()
    assert layer.stride.item() == rounded
    assert_one_stride(layer.float(), rounded)


def test_a_layer_made_for_inference_follows(tmp_path) -> None:
    with torch.inference_mode():
        layer = ss.DiffStride1d(2.0).freeze()
        layer.stride_parameter.fill_(4.0)
        assert_one_stride(layer, 4.0)


def test_both_axes_of_a_layer_follow() -> None:
    layer = ss.DiffStride2d((2.0, 2.0)).freeze()
    x = torch.randn(1, 2, 100, 60)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(4.0)
    assert layer(x).shape == ss.DiffStride2d((4.0, 4.0))(x).shape


def test_a_stride_that_is_not_finite_is_refused() -> None:
    layer = ss.DiffStride1d(2.0).freeze()
    with torch.no_grad():
        layer.stride_parameter.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"`stride` \(=nan\) must be finite"):
        layer(torch.randn(1, 1, 50))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_compiled_code_follows_once_the_stride_was_read_or_loaded() -> None:
    torch.compiler.reset()
    layer = ss.DiffStride1d(2.0).freeze()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = torch.randn(1, 1, FRAMES)
    assert_close(compiled(x), layer(x))
    load(layer)
    assert_close(compiled(x), ss.DiffStride1d(4.0)(x).detach())
    with torch.no_grad():
        layer.stride_parameter.fill_(3.0)
    assert layer.stride == 3
    assert_close(compiled(x), ss.DiffStride1d(3.0)(x).detach())
    torch.compiler.reset()
