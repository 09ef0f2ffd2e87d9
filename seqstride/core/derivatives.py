"""Gradients written by hand: how they are attached to a function, and which derivatives they lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.library import CustomOpDef  # type: ignore[attr-defined]


def differentiable(
    forward: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
    formula: Callable[..., Any] | None = None,
    eager: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """`forward` with the gradient `backward`, also under the transforms of `torch.func`.

    These need a `torch.autograd.Function` with a separate `setup_context`. Such a function takes 50 µs longer to call
    (torch 2.14), as long as a short transform, so it is used only under these transforms. Without gradients, `forward`
    is called directly.

    Args:
        forward: of positional arguments; an operator of `torch.library.custom_op` stays whole in compiled code.
        setup_context: of the context, the arguments and what `forward` gave, as in `torch.autograd.Function`.
        backward: of the context and the gradients of what `forward` gives; it must not write to them, and for second
            derivatives calls what can be differentiated itself.
        formula: the same as `forward` in operations of torch, which takes its place in graphs that are exported, and in
            forward mode (`torch.func.jvp`, `jacfwd`, `hessian`); None: forward mode is refused.
        eager: a faster way to what `forward` gives, for code that is neither compiled nor transformed.

    Returns:
        A function of the same arguments.
    """

    now = forward if eager is None else eager

    class Transformed(torch.autograd.Function):
        generate_vmap_rule = True

    class Plain(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Any:
            output = now(*arguments)
            setup_context(ctx, arguments, output)
            return output

    Transformed.forward = staticmethod(forward)  # type: ignore[method-assign]
    Transformed.setup_context = staticmethod(setup_context)  # type: ignore[method-assign]
    Transformed.backward = Plain.backward = staticmethod(backward)  # type: ignore[method-assign]

    # an operator in a graph has its own gradient, so that sizes in it may be symbolic
    whole = isinstance(forward, CustomOpDef)
    if isinstance(forward, CustomOpDef):
        forward.register_autograd(backward, setup_context=setup_context)

    forwards = formula or _refuse_forward_mode

    def recorded(*arguments: Any) -> Any:
        try:
            return Plain.apply(*arguments)
        except RuntimeError as error:  # torch refuses before it calls anything
            if "functorch transforms" not in str(error):
                raise
        return Transformed.apply(*arguments)

    def apply(*arguments: Any) -> Any:
        if torch.compiler.is_exporting() and formula is not None:
            return formula(*arguments)
        if torch.compiler.is_compiling():
            return forward(*arguments) if whole or not torch.is_grad_enabled() else Plain.apply(*arguments)
        if in_forward_mode(arguments):
            return forwards(*arguments)
        if not torch.is_grad_enabled():
            return now(*arguments)
        try:
            return recorded(*arguments)
        except NotImplementedError:  # by torch, in forward mode around a gradient
            return forwards(*arguments)

    return apply


def in_forward_mode(arguments: tuple[Any, ...]) -> bool:
    """Whether forward mode may be on for one of the arguments. An operator would drop the derivative in silence."""
    try:
        return any(
            torch.autograd.forward_ad.unpack_dual(argument).tangent is not None
            for argument in arguments
            if isinstance(argument, Tensor)
        )
    except RuntimeError:  # a batch of `torch.func.vmap` within forward mode cannot be asked
        return True


def _refuse_forward_mode(*arguments: Any) -> NoReturn:
    raise NotImplementedError(
        "forward mode (torch.func.jvp, jacfwd, hessian) is not supported through a gradient written by hand; "
        "torch.func.grad, vjp and jacrev are"
    )


def differentiable_adjoint(operator: Callable[..., Any], formula: Callable[..., Tensor]) -> Callable[..., Any]:
    """The gradient of a resampler with a gradient of its own: that of a formula, so that it can be had any number of
    times.

    Args:
        operator: (dz, a, b, …, last) → (da, db), the gradient for the first two arguments of `formula`.
        formula: (a, b, …, L, last) → z (B, C, L), in operations of torch.
    """

    def adjoint(dz: Tensor, a: Tensor, b: Tensor, *others: Any) -> Any:
        *tensors, last = others
        return torch.func.vjp(lambda a, b: formula(a, b, *tensors, dz.shape[2], last), a, b)[1](dz)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.last = inputs
        ctx.save_for_backward(*tensors)

    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dz, a, b, *others = ctx.saved_tensors
        with torch.autocast(dz.device.type, enabled=False):
            pull = torch.func.vjp(lambda dz, a, b: adjoint(dz, a, b, *others, ctx.last), dz, a, b)[1]
            return (*pull(gradients), *[None] * (len(others) + 1))

    return differentiable(operator, setup_context, backward, adjoint)


def widen_batches(operator: Any) -> None:
    """Lets `torch.func.vmap` run an operator on a batch of batches, by joining them to one batch.

    Args:
        operator: of `torch.library.custom_op`; all its tensors, also those it gives, have the items on the first axis.
    """

    def widened(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        def wide(argument: Any, dim: int | None) -> Any:
            if not isinstance(argument, Tensor):
                return argument
            batches = argument.expand(info.batch_size, *argument.shape) if dim is None else argument.movedim(dim, 0)
            return batches.flatten(0, 1)

        results = operator(*(wide(*pair) for pair in zip(arguments, in_dims, strict=True)))
        single = isinstance(results, Tensor)
        narrow = [
            result.unflatten(0, (info.batch_size, result.shape[0] // info.batch_size))
            for result in ([results] if single else results)
        ]
        return (narrow[0], 0) if single else (tuple(narrow), (0,) * len(narrow))

    operator.register_vmap(widened)


def straight_through(value: Tensor, source: Tensor) -> Tensor:
    """The value, with the gradient of the source in place of its own."""
    return value.detach() + (source - source.detach())


def refuse_second_derivative(of: str) -> NoReturn:
    """Raises a RuntimeError, as torch does, for a second derivative that is not implemented.

    Without it, torch would treat the inputs of a gradient as constants and return a second derivative of 0.
    """
    raise RuntimeError(f"second derivatives are not supported through {of}")
