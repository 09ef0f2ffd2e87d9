"""The kernels for tests: on a GPU as they are, elsewhere in Triton's interpreter, which runs them on the CPU.

`tests/conftest.py` chooses the interpreter, before anything imports Triton.
"""

from importlib.util import find_spec

import numpy as np
import oracles
import pytest
import torch

from seqstride.core.kernels import dispatch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

if find_spec("triton") is None:
    pytest.skip("Triton is not installed: there are no kernels to test", allow_module_level=True)


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Tests of kernels import this: without a GPU they run in the interpreter."""
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    # SpeechBrain allows TF32 when it is imported, in which torch's own products have three digits
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(autouse=True)
def layers_use_kernels(monkeypatch):
    """Tests of layers import this: without a GPU the package takes its kernels for tensors of the CPU."""
    monkeypatch.setattr(dispatch, "DEVICES", (DEVICE,))


class Batch:
    """A batch with NaN in its padding, scores of one kind in its first channel, and gradients for its output.

    Attributes:
        x: (B, C, T) in `dtype`, on the CPU.
        lengths, rows: of the items, before and behind.
        width: of the output, for T frames.
        dz: (B, C, width) in `dtype`; NaN behind an item's own rows.
    """

    def __init__(self, lengths, channels=5, stride=2.0, std=0.1, extra=0, dtype=torch.float32, seed=0):
        generator = torch.Generator().manual_seed(seed)
        frames = max(lengths) + extra
        self.lengths, self.stride, self.dtype = lengths, stride, dtype
        self.rows = [oracles.ceil_length(n, stride) for n in lengths]
        self.width = oracles.ceil_length(frames, stride)
        x = torch.randn(len(lengths), channels, frames, generator=generator, dtype=torch.float64)
        x[:, 0] = peaks(x[:, 0]) if std == "peak" else x[:, 0] * std
        dz = torch.randn(len(lengths), channels, self.width, generator=generator, dtype=torch.float64)
        self.x, self.dz = x.to(dtype), dz.to(dtype)
        for item, (n, rows) in enumerate(zip(lengths, self.rows, strict=True)):
            self.x[item, :, n:] = torch.nan
            self.dz[item, :, rows:] = torch.nan

    @property
    def given(self):
        """`lengths` as a kernel takes them: None where all frames are real."""
        full = set(self.lengths) == {self.x.shape[2]}
        return None if full else torch.tensor(self.lengths, device=DEVICE)

    @property
    def output_lengths(self):
        return torch.tensor(self.rows, device=DEVICE)

    def positions(self):
        """Positions (B, T) float64 for the scores in the first channel, by the reference."""
        padded = torch.zeros(self.x.shape[0], self.x.shape[2], dtype=torch.float64)
        for item, (n, rows) in enumerate(zip(self.lengths, self.rows, strict=True)):
            scores = self.x[item, 0, :n].double().numpy()
            padded[item, :n] = torch.from_numpy(oracles.adaptive_positions(scores, rows))
        return padded

    def items(self):
        """Number, real frames (C, T_b) in float64, and real gradients (C, L_b), of every item."""
        for item, (n, rows) in enumerate(zip(self.lengths, self.rows, strict=True)):
            yield item, self.x[item, :, :n].double().numpy(), self.dz[item, :, :rows].double().numpy()


def peaks(noise):
    """Scores 0 but for one of +30 in the middle of the signal: gaps as long as the output."""
    flat = torch.zeros_like(noise)
    flat[:, noise.shape[1] // 2] = 30.0
    return flat


def error(found, wanted):
    """The largest error, relative to the largest number; everything must be finite."""
    found = found.detach().double().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    wanted = wanted.detach().double().cpu().numpy() if isinstance(wanted, torch.Tensor) else np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    return np.abs(found - wanted).max(initial=0.0) / max(np.abs(wanted).max(initial=0.0), 1e-30)
