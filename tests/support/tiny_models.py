"""Trained classifiers in miniature, without the training."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from seqstride.models.classifier import SequenceClassifier, save_model

DIGITS = {"digit": ["0", "7"]}


def description(encoder, arguments, labels=None, sample_rate=8000, window=None, pool="mean", bands=12):
    """What `seqstride.models.classifier.describe` would give."""
    frontend = {
        "class": "seqstride.encoders.frontend.LogMel",
        "arguments": {"sample_rate": sample_rate, "bands": bands},
    }
    return {
        "format": 1,
        "labels": DIGITS if labels is None else labels,
        "sample_rate": sample_rate,
        "frame_rate": 100.0,
        "window": window,
        "feature_name": "mel band",
        "modules": {
            **({} if sample_rate is None else {"frontend": frontend}),
            "normalize": {
                "class": "seqstride.encoders.heads.FeatureNorm",
                "arguments": {"channels": bands, "centred": True},
            },
            "encoder": {"class": f"seqstride.{encoder}", "arguments": arguments},
        },
        "head": {
            "class": "seqstride.encoders.heads.PooledClassifier",
            "arguments": {"channels": arguments["channels"][-1], "pool": pool},
        },
    }


def resnet(downsampler, strides=(2, 2), **options):
    """A classifier with a 1D encoder; AdaStride's scores and the norms are not those of the start."""
    arguments = {
        "in_channels": options.get("bands", 12),
        "channels": [6] * len(strides),
        "strides": list(strides),
        "downsampler": downsampler,
    }
    return randomised(description("ResNet1d", arguments, **options))


def spectrogram(downsampler, strides=((2, 1.5), (1.7, 2)), **options):
    """A classifier with a 2D encoder."""
    arguments = {
        "bands": 12,
        "channels": [4] * len(strides),
        "strides": [list(pair) for pair in strides],
        "downsampler": downsampler,
    }
    return randomised(description("Spectrogram2d", arguments, **options))


def randomised(words):
    """The model of a description, every parameter and statistic random."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        model = SequenceClassifier(words)
        for name, parameter in model.named_parameters():
            if "stride" not in name:
                # peaky scores would put all frames into one
                parameter.add_((0.1 if "score" in name else 0.3) * torch.randn(parameter.shape))
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "running_var", "std")):
                buffer.add_(0.2 * torch.rand(buffer.shape))
    return model


def as_older(folder, stem="model"):
    """Turns the weights of a folder into the file that older versions wrote, and returns it."""
    file = Path(folder, f"{stem}.safetensors")
    torch.save(load_file(file), old := file.with_suffix(".ckpt"))
    file.unlink()
    return old


def saved(model, folder):
    """Puts a model into a results folder, as a run does."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    parts = {"frontend": model.frontend, "normalize": model.normalize, "encoder": model.encoder}
    modules = {name: module for name, module in parts.items() if module is not None}
    save_model(folder, model.description, nn.ModuleDict({**modules, "classifier": model.classifier}))
    return Path(folder)


def tones(seconds, rate=8000, seed=0):
    """A waveform (S,) whose pitch and level change, with noise."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    pitch = 400 + 300 * torch.sin(5 * t + seed)
    wave = torch.sin(2 * torch.pi * (pitch / rate).cumsum(0)) * (0.55 + 0.45 * torch.sin(9 * t + seed))
    return (0.4 * wave + 0.01 * torch.randn(len(t), generator=generator, dtype=torch.float64)).float()
