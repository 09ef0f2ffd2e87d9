"""A step of an encoder by kernels is that of plain torch in double precision."""

import copy

import pytest
import torch
from interpreted import DEVICE, error, interpreter, layers_use_kernels  # noqa: F401

import seqstride as ss
from seqstride.encoders.subsampling import Subsampling


def _step(encoder, x, lengths):
    """Features, gradients of all weights, and running statistics."""
    encoded = encoder(x, lengths)
    features = encoded.features if isinstance(encoder, ss.ResNet1d) else encoded[0]
    gradients = torch.autograd.grad(features.square().mean(), list(encoder.parameters()))
    return features, *gradients, *encoder.buffers()


@pytest.mark.parametrize(
    ("method", "training"), [("average", True), ("average", False), ("max", True), ("blur", True), ("strided", True)]
)
@pytest.mark.parametrize("kind", ["resnet", "front end"])
def test_a_step_agrees_with_double_precision(kind, method, training):
    if kind == "resnet":
        exact = ss.ResNet1d(3, channels=(4, 6, 6), strides=(2, 1, 3), downsampler=method)
    else:
        exact = Subsampling(3, 4, (2, 3), method)
    exact = exact.double().train(training)
    encoder = copy.deepcopy(exact).to(DEVICE, torch.float32)
    x, lengths = torch.randn(3, 3, 47), torch.tensor([47, 5, 33])
    for item, length in enumerate(lengths.tolist()):
        x[item, :, length:] = torch.nan
    wanted = _step(exact, x.double(), lengths)  # there are no kernels in double precision
    found = _step(encoder, x.to(DEVICE), lengths.to(DEVICE))
    # convolutions of a GPU go through TF32
    bound = 2e-5 if DEVICE == "cpu" else 2e-2
    for a, b in zip(found, wanted, strict=True):
        a = a[..., : b.shape[-1]] if a.dim() == 3 else a
        # the gradient of a bias before a norm is 0
        assert error(a, b) < bound if b.abs().max() > 1e-12 else a.abs().max() < 1e-6
