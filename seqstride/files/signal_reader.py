"""A signal that is read from its start to its end, so that hours of it need no more memory than minutes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seqstride.errors import InputError


class SignalReader:
    """Holds the part of a signal that is needed, and drops what lies before it.

    Args:
        pieces: the signal, (S,) or (T, C), in consecutive pieces of at least one sample or frame.
        length: of all pieces together.
    """

    def __init__(self, pieces: Iterable[Tensor], length: int) -> None:
        self._pieces = iter(pieces)
        self._length = length
        self._held: list[Tensor] = []
        self._first = 0  # of the signal, in what is held
        self._end = 0

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> Tensor:
        """Returns the signal from `start` to before `stop`. No call may start before the call before it did.

        Raises:
            ValueError: a piece cannot be read, or there are fewer than the signal has samples.
        """
        self._drop(start)
        while self._end < stop:
            piece = next(self._pieces, None)
            if piece is None:
                raise InputError(f"it ends after {self._end} of {self._length} samples")
            self._held.append(piece)
            self._end += len(piece)
            self._drop(start)
        if len(self._held) > 1:
            self._held = [torch.cat(self._held)]
        return self._held[0][start - self._first : stop - self._first]

    def whole(self) -> Tensor:
        """Returns the whole signal, float32; nothing may have been read before."""
        content, shape = bytearray(), [0]
        for piece in self._pieces:  # joined at the end, they would be there twice
            content += piece.contiguous().numpy().data.cast("B")
            shape = list(piece.shape)
        return torch.frombuffer(content, dtype=torch.float32).view(-1, *shape[1:])

    def _drop(self, start: int) -> None:
        """Drops what lies before `start`."""
        while self._held and self._first + len(self._held[0]) <= start:
            self._first += len(self._held.pop(0))
        if self._held and self._first < start:
            self._held[0] = self._held[0][start - self._first :]
            self._first = start
