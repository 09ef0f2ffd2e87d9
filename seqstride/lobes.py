"""Converts between SpeechBrain's layout, (B, T, C) with relative lengths, and (B, C, T) with absolute lengths.

Only this module converts. The lobes are plain modules, so SpeechBrain itself is not imported.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seqstride.core.derivatives import differentiable
from seqstride.layers.base import Downsampler


def absolute_lengths(relative: Tensor, frames: int) -> Tensor:
    """Converts SpeechBrain's relative lengths to numbers of frames.

    Args:
        relative: (B,) floats in (0, 1]; 1 is the full width.
        frames: T, the width of the batch.

    Returns:
        (B,) int64, rounded to the nearest frame, at least 1.

    Raises:
        ValueError: `relative` is not floating point, or lies outside (0, 1].
    """
    if not relative.is_floating_point():
        raise ValueError(f"`relative` (dtype {relative.dtype}) must be floats in (0, 1], as SpeechBrain's wav_lens")
    values = relative.double()
    if not bool(((values > 0) & (values <= 1 + 1e-6)).all()):
        raise ValueError(f"`relative` (={relative.tolist()}) must lie in (0, 1]")
    return (values * frames).round().long().clamp(1, frames)


def relative_lengths(lengths: Tensor, frames: int) -> Tensor:
    """Converts numbers of frames (B,) int64 to SpeechBrain's relative lengths (B,) float32 in (0, 1]."""
    return lengths.float() / frames


def to_channels_first(x: Tensor, wav_lens: Tensor) -> tuple[Tensor, Tensor]:
    """Converts SpeechBrain's layout to the package's: (B, T, C) and (B,) floats in (0, 1] → (B, C, T) and (B,) int64.

    Raises:
        ValueError: `x` does not have three axes, or `wav_lens` is not in (0, 1].
    """
    if x.ndim != 3:
        raise ValueError(f"`x` (shape {tuple(x.shape)}) must have shape (B, T, C)")
    return x.transpose(1, 2), absolute_lengths(wav_lens, x.shape[1])


def to_channels_last(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Converts the package's layout to SpeechBrain's: (B, C, L), (B,) int64 → (B, L, C), (B,) floats in (0, 1]."""
    return x.transpose(1, 2), relative_lengths(lengths, x.shape[-1])


class Downsample(nn.Module):
    """A downsampling layer in SpeechBrain's layout.

    Args:
        layer: any layer of `seqstride.DOWNSAMPLERS`.

    Shapes: x (B, T, C), wav_lens (B,) floats in (0, 1] → y (B, L, C), its relative lengths (B,), and the layer's
    penalty, a scalar to add to the loss (0 for layers without one).

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> lobe = Downsample(ss.AvgPool1d(2))
        >>> y, wav_lens, penalty = lobe(torch.randn(2, 100, 40), torch.tensor([1.0, 0.73]))
        >>> y.shape, wav_lens
        (torch.Size([2, 50, 40]), tensor([1.0000, 0.7400]))
    """

    def __init__(self, layer: Downsampler) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, wav_lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Downsamples a batch."""
        signal, lengths = to_channels_first(x, wav_lens)
        plan = self.layer.plan(signal, lengths)
        return *to_channels_last(self.layer.pool(signal, plan), plan.lengths), plan.penalty


class Encoder(nn.Module):
    """An encoder in SpeechBrain's layout.

    Args:
        encoder: an encoder of this package, such as `seqstride.ResNet1d`.

    Shapes: x (B, T, C), wav_lens (B,) floats in (0, 1] → features (B, L, C'), their relative lengths (B,), and the
    penalty of all blocks, a scalar to add to the loss.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, wav_lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes a batch."""
        encoded: Any = self.encoder(*to_channels_first(x, wav_lens))
        return *to_channels_last(encoded.features, encoded.lengths), encoded.penalty


class FrontEnd(nn.Module):
    """Replaces SpeechBrain's `ConvolutionFrontEnd` by `Subsampling`, for recipes that expect a single tensor.

    Such a recipe cannot add the penalty of the layers to its loss, so the penalty goes directly into the gradient.
    Training behaves as if `penalty_weight` · penalty were added to the loss of `backward`. (Scaling the loss for
    float16, or dividing it for gradient accumulation, does not scale the penalty.)

    Without `wav_lens`, padding counts as real frames, as in SpeechBrain's own front end. SpeechBrain's LibriSpeech CTC
    recipe calls it this way. With `wav_lens`, an item does not depend on its batch, and `output_lens` returns the exact
    relative lengths of the output. The relative lengths of the input may be off by one frame, because the length of
    every item is rounded.

    Args:
        subsampling: a `seqstride.encoders.subsampling.Subsampling`.
        penalty_weight: weight of the penalty (AdaStride's gap penalty; most other methods have none).

    Raises:
        ValueError: a method whose output lengths follow from the content: the recipe takes the relative lengths of its
            input for those of the output.

    Shapes: x (B, T, C), wav_lens (B,) floats in (0, 1] or None → y (B, L, C').
    """

    def __init__(self, subsampling: nn.Module, penalty_weight: float = 1.0) -> None:
        super().__init__()
        if any(isinstance(part, Downsampler) and part.content_lengths for part in subsampling.modules()):
            raise ValueError(
                "`subsampling` must have layers whose output lengths follow from those of their input: a recipe that "
                "expects a single tensor cannot know the others"
            )
        self.subsampling, self.penalty_weight = subsampling, penalty_weight

    def forward(self, x: Tensor, wav_lens: Tensor | None = None) -> Tensor:
        """Downsamples a batch."""
        if wav_lens is None:
            y, _, plans = self.subsampling(x.transpose(1, 2))
        else:
            y, _, plans = self.subsampling(*to_channels_first(x, wav_lens))
        penalty = sum(plan.penalty for plan in plans)
        features: Tensor = _penalised(y.transpose(1, 2), self.penalty_weight * penalty)
        return features

    def output_lens(self, wav_lens: Tensor, frames: int) -> Tensor:
        """Returns the relative lengths (B,) of the output.

        Args:
            wav_lens: (B,) floats in (0, 1], relative lengths of the input.
            frames: number of input frames.
        """
        subsampling: Any = self.subsampling
        lengths = subsampling.output_lengths(absolute_lengths(wav_lens, frames))
        return relative_lengths(lengths, int(lengths.max()))


def _penalised_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.dtype = inputs[1].dtype


_penalised = differentiable(
    lambda y, penalty: y.view_as(y),
    _penalised_setup,
    lambda ctx, gradient: (gradient, gradient.new_ones((), dtype=ctx.dtype)),
)
"""Maps (y, penalty) to y, with the gradient of a loss to which the penalty is added."""


class First(nn.Module):
    """Returns its first argument. It replaces a step of SpeechBrain's interfaces that the model does itself."""

    def forward(self, x: Tensor, wav_lens: Tensor) -> Tensor:
        """Returns `x`."""
        return x


class Embedding(nn.Module):
    """The embeddings of a trained classifier (the input of its linear layer), for SpeechBrain's `EncoderClassifier`.

    Args:
        model: a `seqstride.models.classifier.SequenceClassifier`; the first of its labels is used.

    Shapes: waveforms (B, S), wav_lens (B,) floats in (0, 1] → (B, 1, C').
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, wavs: Tensor, wav_lens: Tensor) -> Tensor:
        """Embeds a batch."""
        vectors: dict[str, Tensor] = self.model.embed(wavs, absolute_lengths(wav_lens, wavs.shape[1]))
        return next(iter(vectors.values()))[:, None]


class LogProbabilities(nn.Module):
    """Log probabilities from the result of `Embedding`: (B, 1, C') → (B, 1, classes).

    Args:
        model: the same classifier.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor) -> Tensor:
        """Classifies a batch."""
        scores: Tensor = self.model.logits(next(iter(self.model.labels)), embeddings)
        return scores.log_softmax(-1)
