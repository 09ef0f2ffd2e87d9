"""A layer whose overall stride is one learnt number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqstride.core.checks import FINE, check_stride
from seqstride.core.spectral_window import clamp_inward
from seqstride.layers.base import Downsampler

if TYPE_CHECKING:
    from typing_extensions import Self


class Learnt(Downsampler):
    """Base of layers with a learnt stride, their `stride_parameter`, which is read once for a plan.

    Args:
        stride: at the start, real, ≥ 1.
        learnable: False keeps it.
    """

    learns_stride = True

    def __init__(self, stride: float, *, learnable: bool = True) -> None:
        super().__init__()
        self.learnable = learnable
        self.stride_parameter = nn.Parameter(torch.tensor(check_stride(stride)), requires_grad=learnable)
        # the parameter as a number, where it does not learn, so that a plan does not have to read it from a GPU
        self._fixed_stride: float | None = None
        self._fixed_version = (0, 0)
        if not learnable:
            self._fix()

    @property
    def stride(self) -> Tensor:  # type: ignore[override]
        """The current stride, a 0-d tensor, at least 1; differentiable (the parameter is `stride_parameter`)."""
        self._fixed()  # compiled code follows, too
        one = torch.ones_like(self.stride_parameter)
        return clamp_inward(self.stride_parameter, one, one * torch.inf)

    def freeze(self) -> Self:
        """Fixes the stride, and so the output length: no gradient, and nothing is read from a GPU for a plan.

        The parameter stays the stride: a state dict that is loaded and an update in place (weights averaged over
        training, an optimiser) change plans and `stride` together. Two kinds of writes go unnoticed: through `.data` on
        a GPU, and by code that `torch.compile` has made. Call `freeze` again after them. An exported graph never
        changes.
        """
        self.stride_parameter.requires_grad_(False)
        self._fix()
        return self

    def unfreeze(self) -> Self:
        """Undoes `freeze`: the stride learns again, unless the layer was made with `learnable=False`."""
        if self.learnable:
            self.stride_parameter.requires_grad_(True)
            self._fixed_stride = None
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._fixed()  # compiled code follows, too

    def _fix(self) -> None:
        number = float(self.stride_parameter)
        if not math.isfinite(number):
            raise ValueError(f"`stride` (={number}) must be finite")
        self._fixed_stride, self._fixed_version = number, _version(self.stride_parameter)

    def _fixed(self) -> float | None:
        """The stride as a number where it is fixed, None where it learns."""
        # a graph keeps the number that it was made with
        if self._fixed_stride is not None and not torch.compiler.is_compiling():
            read = self.stride_parameter.device.type == "cpu" or self.stride_parameter.is_inference()
            if read or self._fixed_version != _version(self.stride_parameter):
                self._fix()
        return self._fixed_stride

    def learnt_stride(self) -> Tensor | None:
        if self._fixed() is not None:
            return None
        if torch.compiler.is_exporting():
            raise ValueError("`stride` (it learns) must be fixed for an export: call `freeze()` on the layer first")
        return self.stride_parameter

    def _number(self, read: float) -> float:
        if self._fixed_stride is not None:
            return self._fixed_stride
        return read / FINE if torch.compiler.is_compiling() else read


def _version(parameter: Tensor) -> tuple[int, int]:
    """The address and version of a tensor: they change with every update, and need no read from its device."""
    return parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version
