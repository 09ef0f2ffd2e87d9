"""Gradients by hand under everything that torch does with gradients: sharing, second derivatives, torch.func, hooks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from helpers import ADAPTIVE, CONTENT, COUNTED, FRAMEWISE, KEYS, LEARNT, STRAIGHT, build
from torch.testing import assert_close

import seqstride as ss
from seqstride.lobes import _penalised

# torch.func loads parts of torch that still use this themselves
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")

LENGTHS = [None, torch.tensor([30, 17])]


def every_batch(test: Callable[..., None], keys: Sequence[str] = KEYS) -> Callable[..., None]:
    """Every method with a batch of 12 frames, whole and padded."""
    of_lengths = pytest.mark.parametrize("lengths", [None, torch.tensor([12, 7])], ids=["equal", "padded"])
    marked: Callable[..., None] = of_lengths(pytest.mark.parametrize("key", keys)(test))
    return marked


def every_counted_batch(test: Callable[..., None]) -> Callable[..., None]:
    """The same without the methods whose output lengths are read, which vmap cannot batch."""
    return every_batch(test, COUNTED)


def batch(seed: int = 0, frames: int = 30) -> torch.Tensor:
    return torch.randn(2, 2, frames, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lengths", LENGTHS, ids=["equal", "padded"])
@pytest.mark.parametrize("key", KEYS)
def test_a_gradient_that_a_node_receives_stays_as_it_is(key: str, lengths: torch.Tensor | None) -> None:
    layer, x = build(key), batch().requires_grad_()
    with warnings.catch_warnings():  # of retained gradients that nobody reads
        warnings.simplefilter("ignore")
        received: list[tuple[torch.autograd.graph.Node, list[torch.Tensor], list[torch.Tensor]]] = []

        def watch(node: torch.autograd.graph.Node) -> None:
            def note(gradients: tuple[torch.Tensor | None, ...]) -> None:
                given = [gradient for gradient in gradients if gradient is not None]
                received.append((node, given, [gradient.clone() for gradient in given]))

            node.register_prehook(note)

        y = layer(x, lengths)
        nodes, seen = [y.grad_fn], set()
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            watch(node)
            nodes += [next_node for next_node, _ in node.next_functions]
        dy = torch.randn_like(y)
        before = dy.clone()
        y.backward(dy)
    assert torch.equal(dy, before)
    assert len(received) >= 2
    for node, given, copies in received:
        for gradient, copy in zip(given, copies, strict=True):
            assert torch.equal(gradient, copy), node


@pytest.mark.parametrize("key", FRAMEWISE)
def test_a_gradient_shared_by_two_branches_is_right(key: str) -> None:
    """What the scores' node receives is kept by a hook, and added up once more by another user of the gradient."""
    layer, x, kept = build(key), batch().requires_grad_(), []
    plan = layer.plan(x)
    source = plan._source[1]
    source.register_hook(kept.append)
    weights = torch.randn_like(plan(x))
    (plan(x) * weights).sum().backward()
    detached = plan.positions.detach()
    fixed = layer.plan_at(detached, plan.frames, plan.penalty, (x, x))
    (alone,) = torch.autograd.grad((fixed(x) * weights).sum(), x)
    assert_close(kept[0], alone, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(x.grad, alone)


@pytest.mark.parametrize("lengths", LENGTHS, ids=["equal", "padded"])
@pytest.mark.parametrize("key", KEYS)
def test_torch_func_gives_the_same_gradients(key: str, lengths: torch.Tensor | None) -> None:
    layer, x = build(key), batch()
    weights = torch.randn_like(layer(x, lengths))
    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return (torch.func.functional_call(layer, parameters, (x, lengths)) * weights).square().sum()

    leaf = x.clone().requires_grad_()
    value = (layer(leaf, lengths) * weights).square().sum()
    expected = torch.autograd.grad(value, [leaf, *layer.parameters()])
    found, of_parameters = torch.func.grad(lambda x, parameters: loss(parameters, x), argnums=(0, 1))(x, parameters)
    for gradient, wanted in zip([found, *of_parameters.values()], expected, strict=True):
        assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


@every_counted_batch
def test_vmap_and_jacobians_are_those_item_by_item(key: str, lengths: torch.Tensor | None) -> None:
    layer, x = build(key).requires_grad_(False), torch.stack([batch(0, 12), batch(1, 12), batch(2, 12)])

    def run(x: torch.Tensor) -> torch.Tensor:
        return layer(x, lengths)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return run(x).square().sum()

    assert_close(torch.func.vmap(run)(x), torch.stack([run(item) for item in x]), rtol=1e-12, atol=1e-12)
    per_item = torch.func.vmap(torch.func.grad(loss))(x)
    assert_close(per_item, torch.stack([torch.func.grad(loss)(item) for item in x]), rtol=1e-10, atol=1e-12)
    expected = torch.autograd.functional.jacobian(run, x[0])
    assert_close(torch.func.jacrev(run)(x[0]), expected, rtol=1e-10, atol=1e-12)
    assert_close(torch.func.jacfwd(run)(x[0]), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("key", ADAPTIVE)
def test_jacobians_in_the_parameters_of_a_single_item(key: str) -> None:
    # vmap repeats what it does not batch: one item without a copy
    layer, x = build(key), batch(0, 12)[:1]
    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}

    def run(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(layer, parameters, (x,))

    assert_close(torch.func.jacrev(run)(parameters), torch.func.jacfwd(run)(parameters), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("key", KEYS)
def test_lengths_that_vmap_batches_are_refused(key: str) -> None:
    layer, x, lengths = build(key), torch.stack([batch(0, 12), batch(1, 12)]), torch.tensor([[12, 7], [5, 12]])
    with pytest.raises(RuntimeError, match="`lengths` and learnt strides cannot be batched by vmap"):
        torch.func.vmap(layer)(x, lengths)


@pytest.mark.parametrize("key", CONTENT)
def test_output_lengths_that_are_read_are_not_batched(key: str) -> None:
    layer, x = build(key).requires_grad_(False), batch(0, 12)
    with pytest.raises(RuntimeError, match="lengths that follow from the signal cannot be batched by vmap"):
        torch.func.vmap(layer)(torch.stack([x, x]))
    expected = torch.autograd.functional.jacobian(layer, x)
    assert_close(torch.func.jacrev(layer)(x), expected, rtol=1e-10, atol=1e-12)


@every_batch
def test_first_and_second_derivatives_are_those_of_finite_differences(key: str, lengths: torch.Tensor | None) -> None:
    """For the signal and the parameters: scores, weights of a convolution, a stride."""
    layer, x = build(key, stride=2.3 if key in LEARNT else 2).double(), batch(frames=8).requires_grad_()
    lengths = None if lengths is None else torch.tensor([8, 6])  # at a bound, the gradient of S passes straight through
    if key in STRAIGHT:
        pytest.skip("its decisions have gradients straight through")
    names = [name for name, _ in layer.named_parameters()]
    parameters = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, lengths)).square()

    assert torch.autograd.gradcheck(run, (x, *parameters), check_forward_ad=True)
    if key in LEARNT and not layer.adaptive:
        with pytest.raises(RuntimeError, match=r"not supported through a stride that learns.*freeze"):
            torch.autograd.gradgradcheck(run, (x, *parameters))
        layer.freeze()
        assert torch.autograd.gradgradcheck(lambda x: layer(x, lengths).square(), (x,))
    else:
        assert torch.autograd.gradgradcheck(run, (x, *parameters))


@every_batch
def test_hessians_are_right(key: str, lengths: torch.Tensor | None) -> None:
    """Forward mode over a gradient; for a stride that learns, too."""
    if key in STRAIGHT:
        pytest.skip("its decisions have gradients straight through")
    layer, x = build(key, stride=2.3 if key in LEARNT else 2), batch(frames=12)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return layer(x, lengths).pow(3).sum()

    hessian = torch.func.hessian(loss)(x)
    gradient, step = torch.func.grad(loss), 1e-5
    for place in ((0, 0, 0), (1, 1, 4), (0, 1, 11)):
        move = torch.zeros_like(x)
        move[place] = step
        expected = (gradient(x + move) - gradient(x - move)) / (2 * step)
        assert_close(hessian[(..., *place)], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", ADAPTIVE)
def test_alignments_can_be_differentiated_any_number_of_times(key: str) -> None:
    layer, x = build(key), batch(frames=10)

    def slope(x: torch.Tensor, order: int) -> torch.Tensor:
        value = layer(x, torch.tensor([10, 7])).pow(2).sum()
        for _ in range(order):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = (gradient * direction).sum()
        return value

    direction, step = torch.randn_like(x), 1e-4
    for order in (2, 3):
        ends = [slope((x + way * step * direction).requires_grad_(), order - 1) for way in (1, -1)]
        found = slope(x.clone().requires_grad_(), order)
        assert_close(found, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)


@every_counted_batch
@pytest.mark.parametrize("gradients", [True, False], ids=["recorded", "no_grad"])
def test_forward_mode_is_right_in_every_nesting(key: str, lengths: torch.Tensor | None, gradients: bool) -> None:
    """Without gradients it was 0 in silence."""
    layer, x = build(key), torch.stack([batch(0, 12), batch(1, 12)])
    ways = torch.stack([batch(2, 12), batch(3, 12)])

    def run(x: torch.Tensor) -> torch.Tensor:
        return layer(x, lengths)

    def pushed(x: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
        slope: torch.Tensor = torch.func.jvp(run, (x,), (way,))[1]
        return slope

    jacobians = [torch.autograd.functional.jacobian(run, item) for item in x]
    expected = torch.stack([torch.einsum("abcijk,ijk->abc", *pair) for pair in zip(jacobians, ways, strict=True)])
    with torch.set_grad_enabled(gradients):
        assert_close(pushed(x[0], ways[0]), expected[0])
        assert_close(torch.func.vmap(pushed)(x, ways), expected)
        assert_close(torch.func.jvp(torch.func.vmap(run), (x,), (ways,))[1], expected)
        with forward_ad.dual_level():
            dual = run(forward_ad.make_dual(x[0], ways[0]))
            assert_close(forward_ad.unpack_dual(dual).tangent, expected[0])


def test_the_transforms_themselves() -> None:
    x = batch()
    for function in (ss.functional.dct, ss.functional.idct):
        assert_close(torch.func.vmap(function)(x), function(x))
        expected = torch.autograd.functional.jacobian(function, x[0, 0])
        assert_close(torch.func.jacrev(function)(x[0, 0]), expected)
        assert_close(torch.func.jacfwd(function)(x[0, 0]), expected)
        assert torch.autograd.gradgradcheck(lambda x: function(x).square(), (x[:, :, :7].clone().requires_grad_(),))  # noqa: B023
    gradient = torch.func.grad(lambda penalty: _penalised(x, 3 * penalty).sum())(torch.tensor(1.0))
    assert gradient == 3
    with pytest.raises(NotImplementedError, match=r"forward mode .* not supported through a gradient"):
        torch.func.jvp(lambda penalty: _penalised(x, penalty), (torch.tensor(1.0),), (torch.tensor(1.0),))


def test_the_package_uses_public_names_of_torch_only() -> None:
    private = re.compile(
        r"\btorch(\.\w+)*\._\w|\bfrom torch[\w.]*\._|\bfrom torch[\w.]* import [^\n]*\b_\w|torch\.fx\.experimental"
    )
    package = Path(ss.__file__).parent
    folders = [package, *(Path(path) / name for path in ss.__path__ for name in ("data_prep", "recipes"))]
    files = {file for folder in folders for file in folder.rglob("*.py")}
    assert len(files) > 80
    # both are in torch's documentation, under these names
    public = ("torch.__version__", "torch._check(")
    found = [
        f"{file.name}:{number}: {line.strip()}"
        for file in sorted(files)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if private.search(line) and not any(name in line for name in public)
    ]
    assert found == []
