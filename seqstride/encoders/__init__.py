"""Encoders: (B, C, T) and lengths → features, lengths, penalty and plans."""

from seqstride.encoders.encoded import Encoded
from seqstride.encoders.resnet import ResNet1d

__all__ = ["Encoded", "ResNet1d"]
