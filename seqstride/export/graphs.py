"""Models as functions of tensors, (signal, lengths) → outputs by name. `seqstride.export.write` writes these graphs."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqstride._version import VERSION
from seqstride.core.lengths import length_mask
from seqstride.core.positions import nearest_output
from seqstride.encoders.encoded import Encoded
from seqstride.errors import InputError
from seqstride.layers.base import Downsampler
from seqstride.models.classifier import SequenceClassifier

CHANNELS = 3  # of the check signals for a layer that accepts any number of channels


class Graph(nn.Module):
    """A copy of a model as a function from (signal, lengths) to outputs by name, in evaluation mode, strides fixed.

    Attributes:
        longest: the largest length in the check.
    """

    longest = 150

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = copy.deepcopy(model).eval()
        for part in self.model.modules():
            if isinstance(part, Downsampler):
                part.freeze()

    def signal(self, batch: int, longest: int, generator: torch.Generator) -> Tensor:
        """Returns a random signal (B, C, T)."""
        channels = getattr(self.model, "bands", None) or getattr(self.model, "in_channels", None)
        return torch.randn(batch, channels or self.model.channels or CHANNELS, longest, generator=generator)

    def time_axis(self) -> int:
        """Returns the index of the signal's time axis."""
        return 2

    def difference(self, found: Mapping[str, Tensor], signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the largest absolute difference between the outputs of another runtime and the model, 0-d."""
        return largest_difference(found, self(signal, lengths))

    def spare_frames(self) -> int:
        """Returns the number of padding frames to append so that no layer is left with a single frame."""
        encoder = getattr(self.model, "encoder", self.model)
        strides = [float(layer.stride) for layer in getattr(encoder, "downsamplers", [encoder])]
        return 2 * math.prod(math.ceil(stride) for stride in strides)

    def metadata(self) -> dict[str, Any]:
        """Returns the metadata for the user of the file, as JSON values."""
        return {"version": VERSION, "signal": "(batch, channels, frames)"}


class LayerGraph(Graph):
    """A downsampling layer."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        plan = self.model.plan(signal, lengths)
        output = self.model.pool(signal, plan)
        return {"output": output, "output_lengths": plan.lengths, "positions": plan.positions}


class EncoderGraph(Graph):
    """An encoder: a module that returns `Encoded`."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        encoded = self.model(signal, lengths)
        return {"output": encoded.features, "output_lengths": encoded.lengths, "positions": encoded.positions}


class TrainedGraph(Graph):
    """A trained model, with the front end and normalisation before its encoder."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if self.model.frontend is not None:
            self.longest = round(1.5 * self.model.sample_rate)

    def signal(self, batch: int, longest: int, generator: torch.Generator) -> Tensor:
        """Returns noise (B, S), or features (B, T, C) with mean and deviation of the training set."""
        if self.model.frontend is not None:
            return 0.1 * torch.randn(batch, longest, generator=generator)
        mean, std = self.model.normalize.mean, self.model.normalize.std
        return mean + std * torch.randn(batch, longest, len(mean), generator=generator)

    def time_axis(self) -> int:
        return 1

    def metadata(self) -> dict[str, Any]:
        description, rate = self.model.description, self.model.sample_rate
        channels = len(self.model.normalize.mean)
        features = f"{description['feature_name']} features (batch, frames, {channels})"
        return {
            "version": VERSION,
            "signal": features if rate is None else f"waveforms (batch, samples) at {rate} Hz",
            "sample_rate": rate,
            "frame_rate": self.model.frame_rate,
            **{key: description[key] for key in ("labels", "units") if key in description},
        }


class ClassifierGraph(TrainedGraph):
    """A trained classifier."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if self.model.window_size is not None:
            self.longest = 3 * self.model.window_size

    def spare_frames(self) -> int:
        """Returns 0 for a model on windows, because all windows have the same width."""
        return super().spare_frames() if self.model.window_size is None else 0

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return {f"log_probs_{label}": logits.log_softmax(1) for label, logits in self.model(signal, lengths).items()}


class TranscriberGraph(TrainedGraph):
    """A trained recogniser."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        log_probs, encoded = self.model(signal, lengths)
        return {"log_probs": log_probs, "output_lengths": encoded.lengths, "positions": encoded.positions}


class CoderGraph(TrainedGraph):
    """A trained VQ-VAE, from the signal to its codes."""

    def encoded(self, signal: Tensor, lengths: Tensor) -> Encoded:
        """Returns the `Encoded` of a signal."""
        x, frames = self.model.frontend(signal, lengths)
        encoded: Encoded = self.model.encoder(self.model.normalize(x, frames), frames)
        return encoded

    def difference(self, found: Mapping[str, Tensor], signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the largest `Quantizer.excess` of the codes, 0-d; infinite if their number is wrong.

        Other outputs count with their absolute difference.
        """
        encoded = self.encoded(signal, lengths)
        outputs = self.outputs(encoded)
        expected = outputs.pop("codes")
        codes, real = found["codes"][:, : expected.shape[1]], expected >= 0
        if not torch.equal(codes >= 0, real):
            return torch.tensor(math.inf).double()
        frames = real[:, :, 0]
        excess = self.model.quantizer.excess(encoded.features.transpose(1, 2)[frames], codes[frames])
        return torch.maximum(excess.max(), largest_difference(found, outputs))

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return self.outputs(self.encoded(signal, lengths))

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """Returns codes (B, L, Q), durations (B, L) and output lengths (B,) from an encoder's result."""
        codes = self.model.quantizer(encoded.features, encoded.lengths).codes
        units = nearest_output(encoded.positions, encoded.lengths)
        real = length_mask(encoded.input_lengths, units.shape[1]).long()
        durations = codes.new_zeros(codes.shape[:2]).scatter_add(1, units, real)
        return {"codes": codes, "durations": durations, "output_lengths": encoded.lengths}

    def metadata(self) -> dict[str, Any]:
        rate, quantizer = self.model.sample_rate, self.model.quantizer
        return {
            "version": VERSION,
            "signal": f"waveforms (batch, samples) at {rate} Hz",
            "sample_rate": rate,
            "frame_rate": self.model.frame_rate,
            "codebooks": [quantizer.size] * quantizer.quantizers,
        }


def largest_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Tensor:
    """Returns the largest absolute difference between outputs of the same name, 0-d; `found` may be wider."""
    differences = [
        (found[name][tuple(slice(size) for size in value.shape)] - value).abs().max().double()
        for name, value in expected.items()
    ]
    return torch.stack(differences).max()


def graph_of(model: nn.Module) -> Graph:
    """Returns the graph of a model.

    Raises:
        ValueError: the model cannot be exported.
    """
    if isinstance(model, Downsampler):
        return LayerGraph(model)
    if isinstance(model, SequenceClassifier):
        return ClassifierGraph(model)
    # checks attributes, because importing these classes takes seconds
    if hasattr(model, "quantizer"):
        return CoderGraph(model)
    if hasattr(model, "units"):
        return TranscriberGraph(model)
    if hasattr(model, "downsamplers") and hasattr(model, "out_channels"):
        return EncoderGraph(model)
    raise InputError(
        f"`model` (a {type(model).__name__}) must be a trained model, an encoder or a layer of this package; "
        "`torch.export.export` and `torch.onnx.export` take any other module with layers of this package inside, once "
        "`freeze()` has fixed those strides that learn"
    )


class WideGraph(nn.Module):
    """A graph that appends padding to its signals. The padding does not change the result.

    Convolutions add a guard on a length of 1, but the graph must work for any length. With enough padding, no layer is
    left with a single frame, and no guard is needed.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inner = graph
        self.axis, self.frames = graph.time_axis(), graph.spare_frames()
        self.width = self.frames * getattr(getattr(graph.model, "frontend", None), "hop", 1)

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        # stated first, or else broadcasting adds a guard on a size of 1
        torch._check(lengths.shape[0] == signal.shape[0])
        spare = torch.zeros_like(signal.narrow(self.axis, 0, 1)).expand(
            [self.width if axis == self.axis else -1 for axis in range(signal.ndim)]
        )
        outputs: dict[str, Tensor] = self.inner(torch.cat([signal, spare], self.axis), lengths)
        if self.frames and "positions" in outputs:
            outputs["positions"] = outputs["positions"][:, : -self.frames]
        return outputs
