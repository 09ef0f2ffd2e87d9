"""Two processes are one: training steps, whole runs, errors."""

from __future__ import annotations

import os
from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ranks
import torch
import torch.distributed as dist
from helpers import KEYS, LEARNT
from speechbrain.dataio.batch import PaddedBatch
from torch import nn

import seqstride as ss
from seqstride.brains import ClassificationBrain
from seqstride.brains.asr import CTCBrain
from seqstride.distributed import rank
from seqstride.distributed import ranks as group_size
from seqstride.encoders.conformer import ConformerEncoder
from seqstride.encoders.heads import FeatureNorm, Heads, PooledClassifier
from seqstride.lengths import MaskedBatchNorm1d
from seqstride.units import Units

EXACT = {"rtol": 1e-9, "atol": 1e-10}
"""Of float64: what the order of the sums changes."""
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""The same of float32, after several steps."""
LENGTHS = (60, 7, 52, 5, 33, 1, 41, 9)
"""Dealt out to two ranks, the second one's items are much shorter."""


def join() -> None:
    """Joins the other rank, where this is one of two."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")


# Masked batch norm


def normalise(lengths: tuple[int, ...] | None) -> dict[str, torch.Tensor]:
    """One step of a norm on this rank's half of a batch: outputs, statistics, gradients."""
    join()
    x = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 100
    weight = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = slice(rank(), None, group_size())
    norm = MaskedBatchNorm1d(3).double()
    mine = x[own].clone().requires_grad_()
    y = norm(mine, None if lengths is None else torch.tensor(lengths)[own])
    (y * weight[own]).pow(3).sum().backward()
    gradients = torch.stack([norm.weight.grad, norm.bias.grad])
    if group_size() > 1:
        dist.all_reduce(gradients)
    return {
        "y": y.detach(),
        "x": mine.grad,
        "parameters": gradients,
        "mean": norm.running_mean,
        "var": norm.running_var,
    }


@pytest.mark.parametrize("lengths", [(12, 1, 9, 2), None])
def test_the_norm_has_the_statistics_of_all_ranks(lengths: tuple[int, ...] | None) -> None:
    whole = normalise(lengths)
    parts = ranks.run(normalise, lengths)
    for number, part in enumerate(parts):
        for key in ("y", "x"):
            torch.testing.assert_close(part[key], whole[key][number::2], **EXACT)
        for key in ("parameters", "mean", "var"):
            torch.testing.assert_close(part[key], whole[key], **EXACT)


# Steps of training


def hparams(**more: Any) -> dict[str, Any]:
    return {
        **{"seed": 1, "number_of_epochs": 2, "lr": 0.01, "stride_lr": 0.1, "weight_decay": 0.01, "penalty_weight": 1.0},
        **{"wav_augment": None, "fea_augment": None, "complexity": {"kind": "macs", "length": 30, "weight": 0.1}},
        "train_logger": SimpleNamespace(log_stats=lambda *args, **kwargs: None),
        **more,
    }


RUN_OPTIONS = {"device": "cpu", "noprogressbar": True, "distributed_backend": "gloo"}


class Watched:
    """A Brain that notes its strides after every step."""

    seen: list[list[float]]

    def optimizers_step(self) -> None:
        super().optimizers_step()  # type: ignore[misc]
        self.seen.append(self.strides())  # type: ignore[attr-defined]


class Classification(Watched, ClassificationBrain):
    """Two labels."""


class Recognition(Watched, CTCBrain):
    """Letters."""


def classification(method: str) -> Classification:
    torch.manual_seed(0)
    modules = {
        "normalize": FeatureNorm(5),
        "encoder": ss.ResNet1d(5, channels=(8,), strides=(2,), downsampler=method),
        "classifier": Heads({"kind": PooledClassifier(8, 3), "other": PooledClassifier(8, 2)}),
    }
    classes = {"kind": ["a", "b", "c"], "other": ["d", "e"]}
    return Classification(modules, torch.optim.SGD, hparams(classes=classes, window=None, mixup_alpha=0.0), RUN_OPTIONS)


def recognition(method: str) -> Recognition:
    torch.manual_seed(0)
    encoder = ConformerEncoder(5, 8, (2,), method, layers=1, heads=2, feed_forward=8, kernel_size=3, dropout=0.0)
    units = Units("chars", "ABC")
    modules = {"normalize": FeatureNorm(5), "encoder": encoder, "output": nn.Linear(8, len(units))}
    more = {
        "text": "text",
        "selection": "WER",
        "average": 1,
        "unit_names": units,
        "warmup_steps": 1,
        "beam_search": None,
    }
    return Recognition(modules, torch.optim.SGD, hparams(**more), RUN_OPTIONS)


def items() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(2)
    return [
        {
            "id": str(index),
            "signal": torch.randn(length, 5, generator=generator),
            "target_kind": index % 3,
            "target_other": index % 2,
            "text": "ABCCA"[: 1 + length // 10],
        }
        for index, length in enumerate(LENGTHS)
    ]


def train(make: Any, method: str, shares: list[list[list[int]]]) -> dict[str, Any]:
    """Steps of a fresh Brain on this rank's share of the items of each step; what it has learnt, and its losses."""
    brain = make(method)
    for layer in brain.encoder.downsamplers:
        if hasattr(layer, "score"):
            nn.init.normal_(layer.score.weight, std=0.5)
    brain.seen = []
    data = items()
    loader = torch.utils.data.DataLoader(
        [PaddedBatch([data[index] for index in step[rank()]]) for step in shares], batch_size=None
    )
    sb_fit = super(CTCBrain, brain).fit if make is recognition else brain.fit
    sb_fit([1], loader, loader)
    weights = {name: tensor.clone() for name, tensor in brain.encoder.state_dict().items()}
    for name in ("classifier", "output"):
        if name in brain.modules:
            weights.update(brain.net(name).state_dict())
    return {
        "weights": weights,
        "strides": brain.seen,
        "train": [epoch["train"] for epoch in brain.history.epochs],
    }


def train_all(make: Any, methods: list[str], shares: list[list[list[int]]]) -> dict[str, dict[str, Any]]:
    join()
    return {method: train(make, method, shares) for method in methods}


def assert_one_run(make: Any, methods: list[str], shares: list[list[list[int]]]) -> None:
    """Two ranks, each with its share of every step, learn what one process with all of them does."""
    parts = ranks.run(train_all, make, methods, shares)
    wholes = train_all(make, methods, [[sorted(chain(*step))] for step in shares])
    for method, whole in wholes.items():
        first, second = (part[method] for part in parts)
        assert first["strides"] == second["strides"], method
        assert len(first["strides"]) == len(shares)
        np.testing.assert_allclose(first["strides"], whole["strides"], rtol=1e-5)
        if method in LEARNT:
            assert first["strides"][0] != first["strides"][-1]
        for part in (first, second):
            for name, tensor in whole["weights"].items():
                torch.testing.assert_close(part["weights"][name], tensor, **CLOSE)
            for before, after in zip(part["train"], whole["train"], strict=True):
                assert before == pytest.approx(after, rel=1e-5)


def test_every_method_learns_on_two_ranks_what_it_learns_on_one() -> None:
    assert_one_run(classification, KEYS, [[[0, 2], [1, 3]], [[4, 6], [5, 7]]])


def test_items_count_alike_where_ranks_have_different_numbers_of_them() -> None:
    assert_one_run(recognition, ["adastride", "dct_diffstride"], [[[0, 2, 4], [1]], [[6], [3, 7]]])
