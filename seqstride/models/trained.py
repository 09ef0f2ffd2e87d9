"""The part that all trained models share: front end, normalisation and encoder, built from a description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from seqstride.models.description import build_module, check_description


class TrainedModel(nn.Module):
    """A trained model in evaluation mode.

    Args:
        description: the content of `model.json`.

    Attributes:
        description: the argument.
        sample_rate: of the waveforms, Hz; None where the model reads features.
        frontend: from waveforms to features; None where the model reads features.
        normalize, encoder: further modules of the description.

    Raises:
        ValueError: the description names a class that is not allowed, or is not one for this task.
    """

    task: ClassVar[str]

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        check_description(description, self.task)
        self.description = dict(description)
        self.sample_rate: int | None = description["sample_rate"]
        self.frontend: Any = None if description["modules"].get("frontend") is None else self._built("frontend")
        self.normalize: Any = self._built("normalize")
        self.encoder: Any = self._built("encoder")

    def _built(self, name: str) -> Any:
        return build_module(name, self.description["modules"][name], self.task)

    def features(self, signal: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the input of the encoder.

        Args:
            signal: waveforms (B, S) at `sample_rate`, or features (B, T, C) for a model without front end.
            lengths: (B,) int64.

        Returns:
            Normalised features (B, C, T) with 0 in the padding, and their lengths (B,).
        """
        x, lengths = (signal.transpose(1, 2), lengths) if self.frontend is None else self.frontend(signal, lengths)
        return self.normalize(x, lengths), lengths
