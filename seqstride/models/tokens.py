"""The units that a CTC model writes: characters, words or word pieces, and greedy decoding."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from seqstride.errors import InputError, require
from seqstride.files.whole_files import whole_file

KINDS = ("chars", "words", "pieces")
BLANK = 0
SPACE = "▁"
"""SentencePiece marks the space before a word with this letter."""


class Units:
    """Translates texts to unit indices and back. Index 0 is CTC's blank.

    Args:
        kind: "chars" (the space is one of them), "words" or "pieces" (of SentencePiece).
        names: the units, without the blank.
        split: cuts a text into the names of its units; None: by the kind, except for pieces, which then only decode.

    Raises:
        ValueError: an unknown kind, no names, or one that is no text or empty.
    """

    def __init__(self, kind: str, names: Sequence[str], split: Callable[[str], list[str]] | None = None) -> None:
        if kind not in KINDS:
            raise InputError(f"`kind` (={kind!r}) must be one of {', '.join(KINDS)}")
        if not names:
            raise InputError("`names` (empty) must hold at least one unit")
        wrong = [name for name in names if not isinstance(name, str) or not name]
        if wrong:
            raise InputError(f"`names` (one is {wrong[0]!r}) must be texts of at least one letter")
        self.kind, self.names = kind, list(names)
        self._index = {name: index for index, name in enumerate(names, start=1)}
        self._split = split or _SPLIT[kind]

    @classmethod
    def of(cls, kind: str, texts: Iterable[str]) -> Units:
        """Returns all characters or words of the texts, sorted."""
        if kind not in KINDS:
            raise InputError(f"`kind` (={kind!r}) must be one of {', '.join(KINDS)}")
        return cls(kind, sorted({name for text in texts for name in _SPLIT[kind](text)}))

    @classmethod
    def pieces(cls, texts: Iterable[str], model: str | os.PathLike[str], **options: Any) -> Units:
        """Returns word pieces: SentencePiece learns them from the texts, or they are read from `model` if it exists.

        Args:
            texts: of the training part.
            model: the file for SentencePiece's model, `….model`.
            **options: for SentencePiece's trainer, such as `vocab_size` and `model_type` ("unigram" or "bpe").

        Raises:
            ValueError: SentencePiece refuses the options, or there is too little text for them.
        """
        sentencepiece = require("sentencepiece", "speech")

        path = Path(model)
        if not path.is_file():
            trained = io.BytesIO()
            try:
                sentencepiece.SentencePieceTrainer.train(
                    sentence_iterator=iter(" ".join(text.split()) for text in texts),
                    model_writer=trained,
                    **{"bos_id": -1, "eos_id": -1, "minloglevel": 1, **options},
                )
            except (OSError, RuntimeError) as error:
                reason = str(error).rpartition("] ")[2]
                raise InputError(f"`pieces` (={options}) must suit SentencePiece's trainer: {reason}") from error
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                part.write_bytes(trained.getbuffer())
        processor = sentencepiece.SentencePieceProcessor(model_file=os.fspath(path))
        names = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
        return cls("pieces", names, processor.encode_as_pieces)

    def __len__(self) -> int:
        """Number of units, including the blank."""
        return len(self.names) + 1

    def encode(self, text: str) -> list[int]:
        """Returns the indices of the units of a text; unknown units are left out."""
        return [self._index[name] for name in self._split(text) if name in self._index]

    def unknown(self, text: str) -> list[str]:
        """Returns the units of a text that `encode` leaves out."""
        return [name for name in self._split(text) if name not in self._index]

    def decode(self, indices: Iterable[int]) -> str:
        """Returns the text of a sequence of indices without blanks; words are separated by one space."""
        text = (" " if self.kind == "words" else "").join(self.names[index - 1] for index in indices)
        return " ".join(text.replace(SPACE, " ").split())


def _no_split(text: str) -> list[str]:
    raise InputError("pieces cannot be cut without SentencePiece's model: these units only decode")


_SPLIT: dict[str, Callable[[str], list[str]]] = {
    "chars": lambda text: list(" ".join(text.split())),  # any white space separates words
    "words": str.split,
    "pieces": _no_split,
}


def frames_needed(units: Sequence[int]) -> int:
    """Least number of frames that CTC needs for these units: one each, and a blank between two equal ones.

    Source: Graves et al., "Connectionist temporal classification", ICML 2006, §3.
    """
    return len(units) + sum(first == second for first, second in pairwise(units))


def greedy_decode(log_probs: Tensor, lengths: Tensor) -> list[tuple[list[int], list[int]]]:
    """Best-path decoding: takes the most probable unit of every frame, merges runs and drops blanks.

    Args:
        log_probs: (B, L, V).
        lengths: (B,) int64; frames behind them are ignored.

    Returns:
        For each item its units, and for each unit the frame of its run in which it is most probable.
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
