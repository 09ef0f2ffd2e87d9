"""Encoders: (B, C, T) and lengths → features, lengths, penalty and plans."""

from seqstride.encoders.encoded import Encoded
from seqstride.encoders.resnet import ResNet1d
from seqstride.encoders.spectrogram import Spectrogram2d

__all__ = ["Encoded", "ResNet1d", "Spectrogram2d"]
