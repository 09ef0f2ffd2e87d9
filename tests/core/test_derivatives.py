"""Gradients by hand under everything that torch does with gradients: sharing, second derivatives, torch.func, hooks."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch
from helpers import ADAPTIVE, KEYS, LEARNT, build
from torch.testing import assert_close

import seqstride as ss
from seqstride.lobes import _penalised

# torch.func loads parts of torch that still use this themselves
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")

TWICE = [key for key in KEYS if key not in (*ADAPTIVE, *LEARNT)]
LENGTHS = [None, torch.tensor([30, 17])]


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


@pytest.mark.parametrize("key", ADAPTIVE)
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


@pytest.mark.parametrize("key", KEYS)
def test_vmap_and_jacobians_are_those_item_by_item(key: str) -> None:
    layer, x = build(key).requires_grad_(False), torch.stack([batch(0, 12), batch(1, 12), batch(2, 12)])
    assert_close(torch.func.vmap(layer)(x), torch.stack([layer(item) for item in x]), rtol=1e-12, atol=1e-12)

    def loss(item: torch.Tensor) -> torch.Tensor:
        return layer(item).square().sum()

    per_item = torch.func.vmap(torch.func.grad(loss))(x)
    assert_close(per_item, torch.stack([torch.func.grad(loss)(item) for item in x]), rtol=1e-10, atol=1e-12)
    jacobian = torch.func.jacrev(layer)(x[0])
    expected = torch.autograd.functional.jacobian(layer, x[0])
    assert_close(jacobian, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("key", TWICE)
def test_second_derivatives_are_right(key: str) -> None:
    layer, x = build(key).requires_grad_(False), batch(frames=9).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x, torch.tensor([9, 6])).square(), (x,))


@pytest.mark.parametrize("key", LEARNT)
def test_second_derivatives_for_the_signal_are_there_once_a_stride_is_frozen(key: str) -> None:
    layer, x = build(key, stride=2.3), batch(frames=20).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"not supported through a stride that learns.*freeze"):
        gradient.square().sum().backward()
    layer.freeze()
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), (x,))


@pytest.mark.parametrize("key", ADAPTIVE)
@pytest.mark.parametrize("wanted", ["signal", "scores"])
def test_second_derivatives_of_an_alignment_are_refused(key: str, wanted: str) -> None:
    """They were 0 in silence: a gradient was taken for independent of the signal."""
    layer, x = build(key), batch().requires_grad_()
    target = x if wanted == "signal" else layer.score.weight
    for loss in (layer(x).sum(), layer(x).square().sum()):
        (gradient,) = torch.autograd.grad(loss, target, create_graph=True)
        with pytest.raises(RuntimeError, match="second derivatives are not supported through an alignment"):
            gradient.square().sum().backward()


@pytest.mark.parametrize("key", ["dct", "spectral", *LEARNT, *ADAPTIVE])
def test_forward_mode_is_refused(key: str) -> None:
    """It was 0 in silence."""
    x = batch()
    with pytest.raises(NotImplementedError, match="forward mode"):
        torch.func.jvp(build(key), (x,), (x,))


def test_the_transforms_themselves() -> None:
    x = batch()
    for function in (ss.functional.dct, ss.functional.idct):
        assert_close(torch.func.vmap(function)(x), function(x))
        expected = torch.autograd.functional.jacobian(function, x[0, 0])
        assert_close(torch.func.jacrev(function)(x[0, 0]), expected)
        assert torch.autograd.gradgradcheck(lambda x: function(x).square(), (x[:, :, :7].clone().requires_grad_(),))  # noqa: B023
    gradient = torch.func.grad(lambda penalty: _penalised(x, 3 * penalty).sum())(torch.tensor(1.0))
    assert gradient == 3


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
