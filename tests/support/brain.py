"""A brain on random features, and its batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedData

import seqstride as ss
from seqstride.brains import ClassificationBrain
from seqstride.encoders.heads import FeatureNorm, Heads, PooledClassifier

LENGTHS = torch.tensor([30, 17, 9, 24])


def signal(channels: int = 5) -> torch.Tensor:
    return torch.randn(4, channels, 30)


class Batch(SimpleNamespace):
    def to(self, device: str) -> Batch:
        return self

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


def make_brain(**overrides: Any) -> ClassificationBrain:
    encoder = ss.ResNet1d(5, channels=(8, 8), strides=(2, 2), downsampler=overrides.pop("downsampler", "adastride"))
    hparams = {
        "seed": 1,
        "classes": {"kind": ["a", "b", "c"]},
        "window": None,
        "wav_augment": None,
        "fea_augment": None,
        "number_of_epochs": 4,
        "lr": 0.01,
        "stride_lr": 0.1,
        "weight_decay": 0.01,
        "penalty_weight": 1.0,
        "mixup_alpha": 0.0,
        "complexity": {"kind": "frames", "length": 16, "weight": 0.0},
        "train_logger": SimpleNamespace(log_stats=lambda *args, **kwargs: None),
        **overrides,
    }
    modules = {
        "normalize": FeatureNorm(5),
        "encoder": encoder,
        "classifier": Heads({"kind": PooledClassifier(8, 3)}),
    }
    return ClassificationBrain(modules, torch.optim.AdamW, hparams, {"device": "cpu", "noprogressbar": True})


def batch() -> Batch:
    return Batch(
        id=["a", "b", "c", "d"],
        signal=PaddedData(signal().transpose(1, 2), LENGTHS / 30),
        target_kind=torch.tensor([0, 1, 2, 1]),
    )
