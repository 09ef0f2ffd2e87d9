"""Fitted estimators of series as graphs, the normalisation of the series inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqstride._version import VERSION
from seqstride.core.lengths import length_mask
from seqstride.estimators.harmonics import QUANTILES, RankHarmonics
from seqstride.estimators.levels import Levels
from seqstride.estimators.minirocket import BOUND, STEP, TAPS, MiniRocket, convolve
from seqstride.estimators.preparation import LAST_DIGITS, SeriesNorm, differences
from seqstride.export.graphs import Graph, largest_difference

if TYPE_CHECKING:
    from seqstride.estimators.classifier import SeqStrideClassifier
    from seqstride.estimators.regressor import SeqStrideRegressor


class SeriesGraph(Graph):
    """A fitted estimator of series: series (B, T, C) and lengths (B,) → what it predicts.

    Gaps inside series are not interpolated here: whoever runs the graph fills them before. A channel without any value
    is NaN, and takes its mean over the training series.
    """

    def __init__(self, estimator: SeqStrideClassifier | SeqStrideRegressor) -> None:
        model = estimator.model_
        parts = {"norm": model.norm, "members": nn.ModuleList(model.members)}
        super().__init__(nn.ModuleDict(parts if model.rocket is None else {**parts, "rocket": model.rocket}))
        self.fitted = model
        self.channels = [str(name) for name in estimator.channel_names_]

    def signal(self, batch: int, longest: int, generator: torch.Generator) -> Tensor:
        """Returns random series (B, T, C) with mean and deviation of the training series."""
        statistics = self.model["norm"].training_set
        noise = torch.randn(batch, longest, len(statistics.mean), generator=generator)
        return (statistics.mean + statistics.std * noise).float()

    def time_axis(self) -> int:
        return 1

    def spare_frames(self) -> int:
        strides = [float(layer.stride) for layer in self.model["members"][0].encoder.downsamplers]
        return 2 * math.prod(math.ceil(stride) for stride in strides)

    def metadata(self) -> dict[str, Any]:
        signal = f"series (batch, frames, {len(self.channels)}), without gaps"
        return {"version": VERSION, "signal": signal, "channels": self.channels}

    def outputs(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the model's outputs (B, K)."""
        norm = self.model["norm"]
        parts = normalised(norm, signal.transpose(1, 2).double(), lengths)
        real = length_mask(lengths, signal.shape[1])[:, None]
        x = torch.where(real, torch.cat([part.float() for part in parts], 1), 0.0)
        outputs = torch.stack([_outputs(member, x, lengths) for member in self.model["members"]]).mean(0)
        if "rocket" not in self.model:
            return outputs
        rocket = self.model["rocket"]
        views = [torch.where(real, view, 0.0) for view in _views(norm, parts)]
        features = [
            (_levels if isinstance(transform, Levels) else _features)(transform, view, lengths)
            for transform, view in rocket.pairs(views)
        ]
        return rocket.mean(outputs, rocket.outputs(torch.cat(features, 1)))

    def predicted(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the outputs (B, K) of the estimator itself."""
        items = [series[:length].T.double() for series, length in zip(signal, lengths.tolist(), strict=True)]
        return self.fitted.predict(items, torch.device("cpu"))


class SeriesClassifierGraph(SeriesGraph):
    """A fitted `SeqStrideClassifier`: → log-probabilities (B, K)."""

    def __init__(self, classifier: SeqStrideClassifier) -> None:
        super().__init__(classifier)
        self.labels = [str(name) for name in classifier.classes_]

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "labels": {"label": self.labels}}

    def difference(self, found: Mapping[str, Tensor], signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the largest difference to the estimator's own predictions, 0-d."""
        return largest_difference(found, {"log_probs_label": self.predicted(signal, lengths).log_softmax(1)})

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return {"log_probs_label": self.outputs(signal, lengths).log_softmax(1)}


class SeriesRegressorGraph(SeriesGraph):
    """A fitted `SeqStrideRegressor`: → values (B,), double precision, as they may be large."""

    def __init__(self, regressor: SeqStrideRegressor) -> None:
        super().__init__(regressor)
        self.mean, self.std = regressor._mean, regressor._std

    def difference(self, found: Mapping[str, Tensor], signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the largest difference to the estimator's predictions, in deviations of the training values, 0-d."""
        standard = {"value": (found["value"] - self.mean) / self.std}
        return largest_difference(standard, {"value": self.predicted(signal, lengths)[:, 0].double()})

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return {"value": self.outputs(signal, lengths)[:, 0].double() * self.std + self.mean}


def _outputs(network: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """`Network.forward`, averaged over the groups, without a branch on the lengths."""
    encoded = network.encoder(x, lengths)
    parts = zip(network.heads, encoded.features.chunk(len(network.heads), dim=1), strict=True)
    return torch.stack([head(part, encoded.lengths) for head, part in parts]).mean(0)


def _views(norm: SeriesNorm, parts: list[Tensor]) -> list[Tensor]:
    """`SeriesNorm.views` of what `normalised` returned: (B, C, T) each, double precision, padded with any numbers."""
    kinds = norm.n_views - 1 - (norm.ranks.harmonics > 0)
    values, *others = parts[:kinds]
    views = [values, differences(values), *others]
    return [*views, _ranks(norm.ranks, values)] if norm.ranks.harmonics > 0 else views


def _features(transform: MiniRocket, x: Tensor, lengths: Tensor) -> Tensor:
    """`MiniRocket` on a padded batch, 0 in the padding: (B, C, T) → (B, F), double precision.

    A series that is shorter than a kernel counts with zeros up to the kernel's length.
    """
    x = F.pad((x * transform.scale[:, None]).clamp(-BOUND, BOUND), (0, TAPS - 1))
    x = (x / STEP).round() * STEP
    frames = lengths.clamp(min=TAPS)
    real = length_mask(frames, x.shape[2])[:, None, None]
    shares = []
    for step, thresholds in enumerate(transform.split(transform.thresholds)):
        dilation = transform.steps[step][0]
        reach = dilation * (TAPS // 2)
        outputs = convolve(F.pad(x, (reach, reach)), transform.weights(step), dilation)
        above = (outputs[:, :, None] > thresholds[:, :, None]) & real
        shares.append((above.double().sum(3) / frames[:, None, None]).flatten(1))
    return torch.cat(shares, 1)


def _levels(transform: Levels, x: Tensor, lengths: Tensor) -> Tensor:
    """`Levels` on a padded batch, 0 in the padding: (B, C, T) → (B, 4 C), double precision."""
    real, count = length_mask(lengths, x.shape[2])[:, None], lengths[:, None].double()
    mean = x.sum(2) / count
    std = (torch.where(real, x - mean[:, :, None], 0.0).square().sum(2) / count).sqrt()
    smallest, largest = torch.where(real, x, math.inf).amin(2), torch.where(real, x, -math.inf).amax(2)
    return transform.bounded(torch.cat([mean, std, smallest, largest], 1))


def normalised(norm: SeriesNorm, x: Tensor, lengths: Tensor) -> list[Tensor]:
    """The parts of `SeriesNorm` on a padded batch: (B, C, T) → (B, C', T) each, double precision but for the curves."""
    mean, std = norm.training_set.mean[:, None], norm.training_set.std[:, None]
    real = length_mask(lengths, x.shape[2])[:, None]
    x = torch.where(real, torch.where(x.isnan(), mean, x), 0.0)
    parts = []
    if norm.kind in ("training", "both"):
        parts.append((x - mean) / std)
    if norm.kind in ("series", "both"):
        count = lengths[:, None, None].double()
        centred = torch.where(real, x - x.sum(2, keepdim=True) / count, 0.0)
        own = (centred.square().sum(2, keepdim=True) / count).sqrt()
        moves = own > LAST_DIGITS * x.abs().amax(2, keepdim=True)
        parts.append(torch.where(moves, centred / torch.where(moves, own, 1.0), 0.0))
    return parts + (_curves(norm.ranks, parts[0]) if norm.ranks.harmonics > 0 else [])


def _curves(ranks: RankHarmonics, x: Tensor) -> list[Tensor]:
    """The curves of `RankHarmonics`: (B, C, T) → one (B, C, T) float32 for every harmonic."""
    found, moves = _ranks(ranks, x).float(), ranks.moves[:, None]
    return [
        torch.where(moves, math.sqrt(2) * torch.cos(math.pi * k * found), 0.0) for k in range(1, ranks.harmonics + 1)
    ]


def _ranks(ranks: RankHarmonics, x: Tensor) -> Tensor:
    """`RankHarmonics.ranks_of`: (B, C, T) → (B, C, T), double precision.

    Graphs have no `np.interp`: a search by halves finds the last quantile at or below each value.
    """
    quantiles, values = ranks.quantiles.flatten(), ranks.ranks.flatten()
    first = QUANTILES * torch.arange(x.shape[1])[:, None]  # of each channel
    place = torch.zeros_like(x, dtype=torch.int64)
    step = QUANTILES // 2
    while step:
        place = torch.where(quantiles[first + place + step] <= x, place + step, place)
        step //= 2
    low = first + place.clamp(max=QUANTILES - 2)
    gap = quantiles[low + 1] - quantiles[low]
    part = torch.where(gap > 0, (x - quantiles[low]) / torch.where(gap > 0, gap, 1.0), 0.0).clamp(0.0, 1.0)
    return values[low] + part * (values[low + 1] - values[low])
