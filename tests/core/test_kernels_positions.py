"""Kernels: scores of frames, their positions, and the way back."""

import oracles
import pytest
import torch
from interpreted import DEVICE, Batch, error, interpreter  # noqa: F401

from seqstride.core.lengths import Frames
from seqstride.core.positions import gap_penalty_from_positions
from seqstride.core.positions import positions_from_scores as reference

# these import Triton
nodes = pytest.importorskip("seqstride.core.kernels.nodes")
scores_module = pytest.importorskip("seqstride.core.kernels.scores")


def _scored(batch):
    """Scores (B, T) float64 with NaN in the padding."""
    return batch.x[:, 0].double()


@pytest.mark.parametrize("std", [0.1, 3.0, "peak"])
@pytest.mark.parametrize("lengths", [[130, 1, 77], [1100]])  # the second has more than two tiles of positions
def test_positions_and_penalty_agree_with_the_reference(lengths, std):
    batch = Batch(lengths, channels=1, std=std)
    p, penalty = nodes.positions_from_scores(_scored(batch).to(DEVICE), batch.given, batch.output_lengths)
    assert error(p, batch.positions()) < 1e-13
    gaps = [oracles.gap_penalty(batch.positions()[i, :n].numpy()) for i, n in enumerate(lengths)]
    assert penalty.item() == pytest.approx(sum(gaps) / len(gaps), rel=1e-12, abs=1e-12)
    for item, (n, rows) in enumerate(zip(lengths, batch.rows, strict=True)):
        assert (p[item, 1:n] >= p[item, : n - 1]).all()
        assert p[item, n - 1] == (rows - 1 if n > 1 else 0)
        assert (p[item, n:] == 0).all()


@pytest.mark.parametrize("std", [0.1, 3.0])
def test_gradient_of_scores_agrees_with_autograd(std):
    batch = Batch([600, 1, 77], channels=1, std=std)
    lengths, rows = torch.tensor(batch.lengths), torch.tensor(batch.rows)
    frames = Frames(len(rows), 600, max(batch.rows), torch.device("cpu"), lengths, rows)
    given = torch.randn(3, 600, dtype=torch.float64)
    hostile = given.clone()
    for item, n in enumerate(batch.lengths):
        given[item, n:], hostile[item, n:] = 0.0, torch.nan
    scores = _scored(batch).to(DEVICE).requires_grad_()
    p, penalty = nodes.positions_from_scores(scores, batch.given, batch.output_lengths)
    torch.autograd.backward([p, penalty], [hostile.to(DEVICE), torch.tensor(0.7, dtype=torch.float64, device=DEVICE)])
    clean = _scored(batch).nan_to_num(0.0).requires_grad_()
    q = reference(clean, frames)
    ((q * given).sum() + 0.7 * gap_penalty_from_positions(q, frames.input_lengths, frames.real)).backward()
    assert error(scores.grad, clean.grad) < 1e-12


def test_uniform_steps_of_one_frame_have_no_penalty():
    p, penalty = nodes.positions_from_scores(
        torch.full((1, 70), 0.3, device=DEVICE), None, torch.tensor([70], device=DEVICE)
    )
    assert penalty.item() == 0.0
    assert error(p[0], torch.arange(70)) < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stride", [1.0, 1.3, 2.0, 2.5, 7.0, 1000.0])
def test_scores_are_exact_and_output_is_as_long_as_it_must_be(stride, dtype):
    batch = Batch([39, 1, 33], channels=20, stride=stride, dtype=dtype)
    weight = torch.randn(20)
    scores, _, output_lengths = scores_module.score_frames(batch.x.to(DEVICE), weight.to(DEVICE), batch.given, stride)
    assert output_lengths.tolist() == batch.rows
    for item, x, _ in batch.items():
        assert error(scores[item, : x.shape[1]], weight.double().numpy() @ x) < 1e-15 * 20
        assert (scores[item, x.shape[1] :] == 0).all()
