"""Hostile tensors at the public functions and layers: a result as promised, or an error that names the input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers import INTEGER, KEYS, build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import seqstride as ss
import seqstride.functional as F

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.uint8, torch.bool, torch.complex64),
)
VALUES = (0.0, 1.0, -1e30, float("nan"), float("inf"))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any rank, any dtype, empty axes, and values that are not finite."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4) | st.tuples(st.just(2), st.just(2), st.integers(1, 9)))
    x = torch.full(tuple(shape), draw(st.sampled_from(VALUES)), dtype=torch.float64)
    dtype = draw(st.sampled_from(DTYPES))
    return x.to(dtype) if dtype.is_floating_point or dtype.is_complex else x.nan_to_num(1, 1, 1).clamp(-5, 5).to(dtype)


lengths = st.none() | st.builds(
    lambda values, dtype: torch.tensor(values).to(dtype),
    st.lists(st.integers(-2, 12), max_size=3),
    st.sampled_from((torch.int64, torch.int32, torch.uint8, torch.float32, torch.bool)),
)

#: a call of x and lengths, and the arguments that its errors may name
CALLS: dict[str, tuple[Callable[[Tensor, Tensor | None], Tensor], str]] = {
    **{key: (lambda x, n, key=key: build(key, dtype=x.dtype if x.is_floating_point() else torch.float32)(x, n), "x")
       for key in KEYS},
    "encoder": (lambda x, n: ss.ResNet1d(2, (2,), (2,), "adastride")(x.float() if x.is_floating_point() else x, n)
                .features, "x"),
    "positions": (lambda x, n: F.positions(x, torch.tensor([2] * len(x)) if x.ndim else n, n), "scores"),
    "gap_penalty": (F.gap_penalty, "positions"),
    "align": (lambda x, n: F.align(x, torch.zeros(2, 5), torch.tensor([2, 2]), n), "x"),
    "scatter_align": (lambda x, n: F.scatter_align(x, torch.zeros(2, 5), torch.tensor([2, 2]), n), "x"),
    "expand": (lambda x, n: F.expand(x, torch.zeros(2, 5), torch.tensor([2, 2]), n), "z"),
    "spectral_resample": (lambda x, n: F.spectral_resample(x, 2), "x"),
    "cosine_resample": (lambda x, n: F.cosine_resample(x, 2), "x"),
    "dct": (lambda x, n: F.dct(x), "x"),
    "idct": (lambda x, n: F.idct(x), "coefficients"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=25)
@given(x=tensors(), n=lengths)
def test_a_result_or_an_error_that_names_the_input(name: str, x: Tensor, n: Tensor | None) -> None:
    call, argument = CALLS[name]
    try:
        y = call(x, n)
    except ValueError as caught:
        error = str(caught)
    else:
        assert y.is_floating_point()
        if x.ndim == 3 and n is None and name in KEYS:
            assert y.shape[:2] == x.shape[:2]
            assert y.dtype == x.dtype
        return
    words = (argument, "x", "lengths", "positions", "output_lengths", "output_length")
    assert any(f"`{word}`" in error for word in words), error


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("argument", [None, [1.0, 2.0], "x", 3])
def test_what_is_no_tensor_is_named(key: str, argument: object) -> None:
    with pytest.raises(ValueError, match="`x`"):
        build(key)(argument)


@pytest.mark.parametrize("function", [F.spectral_resample, F.cosine_resample])
@pytest.mark.parametrize("length", [2.5, True, "2", None, torch.tensor([2, 3])])
def test_lengths_that_are_no_whole_numbers_are_named(function: Callable[..., Tensor], length: object) -> None:
    with pytest.raises(ValueError, match="`output_length`"):
        function(torch.zeros(1, 2, 9), length)


@pytest.mark.parametrize("key", INTEGER)
def test_meta_tensors_give_shapes(key: str) -> None:
    """Of the windows; the other methods decide by values, which meta tensors do not have."""
    y = build(key, dtype=torch.float32).to("meta")(torch.empty(2, 2, 9, device="meta"))
    assert y.is_meta
    assert y.shape == build(key, dtype=torch.float32)(torch.randn(2, 2, 9)).shape
