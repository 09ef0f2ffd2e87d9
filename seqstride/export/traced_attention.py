"""The exportable twin of SpeechBrain's attention with relative positions. Importing it loads SpeechBrain."""

from __future__ import annotations

import torch
from torch import Tensor

from seqstride.errors import require

RelPosMHAXL = require("speechbrain.nnet.attention", "speech").RelPosMHAXL


class TracedAttention(RelPosMHAXL):  # type: ignore[misc, valid-type]
    """Attention whose shift is a lookup: views of a length that nobody has read have no sizes to be checked."""

    def rel_shift(self, x: Tensor) -> Tensor:
        """Scores of query i for the relative positions n − 1 … 1 − n → for key j: (B, H, n, 2 n − 1) → (B, H, n, n)."""
        batch, heads, frames, _ = x.shape
        i = torch.arange(frames, device=x.device)
        column = i - i[:, None] + (frames - 1)
        return x.gather(3, column.expand(batch, heads, frames, frames))
