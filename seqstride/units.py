"""The units that a CTC model writes: characters or words, as plain lists of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import Tensor

KINDS = ("chars", "words")
BLANK = 0


class Units:
    """Texts to unit indices and back. Index 0 is CTC's blank.

    Args:
        kind: "chars" (the space is one of them) or "words".
        names: the units, without the blank.

    Raises:
        ValueError: an unknown kind, or no names.
    """

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        if kind not in KINDS:
            raise ValueError(f"`kind` (={kind!r}) must be one of {', '.join(KINDS)}")
        if not names:
            raise ValueError("`names` (empty) must hold at least one unit")
        self.kind, self.names = kind, list(names)
        self._index = {name: index for index, name in enumerate(names, start=1)}

    @classmethod
    def of(cls, kind: str, texts: Iterable[str]) -> Units:
        """All units that the texts have, sorted."""
        return cls(kind, sorted({name for text in texts for name in split_text(kind, text)}))

    def __len__(self) -> int:
        """How many there are, the blank included."""
        return len(self.names) + 1

    def encode(self, text: str) -> list[int]:
        """The indices of a text's units; units that are not among the names are left out."""
        return [self._index[name] for name in split_text(self.kind, text) if name in self._index]

    def unknown(self, text: str) -> list[str]:
        """The units of a text that `encode` leaves out."""
        return [name for name in split_text(self.kind, text) if name not in self._index]

    def decode(self, indices: Iterable[int]) -> str:
        """The text of a sequence of indices (no blanks), its words one space apart."""
        text = (" " if self.kind == "words" else "").join(self.names[index - 1] for index in indices)
        return " ".join(text.split())


def split_text(kind: str, text: str) -> list[str]:
    """A text's units by name; words are what white space separates."""
    words = text.split()
    return words if kind == "words" else list(" ".join(words))


def frames_needed(units: Sequence[int]) -> int:
    """The fewest frames in which CTC can write these units: one each, and a blank between two that are the same.

    Source: Graves et al., "Connectionist temporal classification", ICML 2006, §3.
    """
    return len(units) + sum(first == second for first, second in pairwise(units))


def greedy_decode(log_probs: Tensor, lengths: Tensor) -> list[tuple[list[int], list[int]]]:
    """Best-path decoding: the likeliest unit of every frame, runs merged, blanks dropped.

    Args:
        log_probs: (B, L, V).
        lengths: (B,) int64; frames behind them count for nothing.

    Returns:
        For each item the units, and for each unit the frame of its run in which it is likeliest.
    """
    best, index = log_probs.max(2)
    decoded = []
    for values, path, length in zip(best.tolist(), index.tolist(), lengths.tolist(), strict=True):
        units: list[int] = []
        frames: list[int] = []
        last = BLANK
        for frame in range(length):
            unit = path[frame]
            if unit != BLANK and unit != last:
                units.append(unit)
                frames.append(frame)
            elif unit != BLANK and values[frame] > values[frames[-1]]:
                frames[-1] = frame
            last = unit
        decoded.append((units, frames))
    return decoded
