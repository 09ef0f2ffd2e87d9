"""What the benchmark measures: layers of this package, layers of other packages for comparison, encoders, and shapes.

Every module takes a signal (B, C, T) and, where items have different lengths, their lengths (B,).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.spectral_window import spectral_mask
from seqstride.encoders.resnet import ResNet1d
from seqstride.encoders.subsampling import Subsampling
from seqstride.errors import InputError
from seqstride.layers import DOWNSAMPLERS, make_downsampler
from seqstride.layers.base import Downsampler

#: numbers in the dense reference's matrix beyond which it is left out (1 GB in float32, and several of them at a time)
DENSE_LIMIT = 1 << 28

#: encoders that can be measured with every method inside
ENCODERS = ("resnet", "conformer")


@dataclass(frozen=True)
class Shape:
    """One measured input: (batch, channels, frames), with equal lengths or a different one for every item."""

    batch: int
    channels: int
    frames: int
    varied: bool = False

    @classmethod
    def parse(cls, text: str) -> Shape:
        """ "8,256,4000" or, with different lengths, "8,256,4000v".

        Raises:
            ValueError: anything else.
        """
        try:
            batch, channels, frames = (int(part) for part in text.removesuffix("v").split(","))
        except ValueError:
            raise InputError(f"`shapes` (={text!r}) must be like 8,256,4000 or 8,256,4000v (varied lengths)") from None
        if min(batch, channels, frames) < 1:
            raise InputError(f"`shapes` (={text!r}) must have sizes of at least 1")
        return cls(batch, channels, frames, text.endswith("v"))

    def __str__(self) -> str:
        return f"({self.batch}, {self.channels}, {self.frames})" + (" varied" if self.varied else "")

    def lengths(self) -> Tensor | None:
        """Returns None, or lengths (B,) that fall in equal steps from T to about 2/3 T."""
        if not self.varied:
            return None
        return torch.tensor([self.frames - item * self.frames // (3 * self.batch) for item in range(self.batch)])


class DenseAdaStride(nn.Module):
    """AdaStride's matrix method with a dense (B, L, T) matrix, as it is defined: the reference for the banded matrix.

    (B, C, T) → (B, C, ceil(T / s)). float32 positions, no lengths. Source: AdaStride, the matrix method.
    """

    def __init__(self, channels: int, stride: int, sigma_square: float = 5.0) -> None:
        super().__init__()
        self.stride, self.sigma_square = stride, sigma_square
        self.score = nn.Conv1d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Aligns by a softmax over all T frames for every output frame."""
        rows = -(-x.shape[-1] // self.stride)
        c = self.score(x)[:, 0].exp().cumsum(1)
        p = (c - c[:, :1]) / (c[:, -1:] - c[:, :1]) * (rows - 1)
        distance = torch.arange(rows, dtype=p.dtype, device=p.device)[:, None] - p[:, None]
        square = distance.square()
        logits = (square.amin(-1, keepdim=True) - square) * self.sigma_square
        # below e⁻²² weights are 0: many would be smaller than 1e-38, and with such numbers a CPU is ten times as slow
        matrix = torch.softmax(nn.functional.threshold(logits, -22.0, -torch.inf), dim=-1)
        return x @ matrix.transpose(1, 2)


class TorchDct(nn.Module):
    """DCT-DiffStride on the public package torch-dct: full transforms and a mask. (B, C, T) → (B, C, L)."""

    def __init__(self, stride: float) -> None:
        super().__init__()
        self.stride_parameter = nn.Parameter(torch.tensor(float(stride)))

    def forward(self, x: Tensor) -> Tensor:
        """Transforms, masks, crops and transforms back."""
        import torch_dct

        mask = spectral_mask(self.stride_parameter, x.shape[-1], transform="dct").to(x.dtype)
        kept = torch_dct.dct(x, norm="ortho")[..., : mask.shape[0]] * mask
        return torch_dct.idct(kept, norm="ortho") * (mask.shape[0] / x.shape[-1]) ** 0.5


class TorchCif(nn.Module):
    """Continuous integrate-and-fire by the public package torch-cif, told to fire L frames. (B, C, T) → (B, C, L).

    The weights of the frames come from a 1×1 convolution and a sigmoid, in float32.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Conv1d(channels, 1, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Fires ceil(T_b / s) frames of each item."""
        from torch_cif import cif_function

        frames = x.shape[2]
        alpha = self.weight(x)[:, 0].sigmoid().float()
        given = torch.full((x.shape[0],), frames) if lengths is None else lengths
        given = given.to(x.device)
        padding = None if lengths is None else torch.arange(frames, device=x.device) >= given[:, None]
        fired = cif_function(x.transpose(1, 2), alpha, padding_mask=padding, target_lengths=-(-given // self.stride))
        output: Tensor = fired["cif_out"][0].transpose(1, 2)
        return output


class HNetChunking(nn.Module):
    """H-Net's dynamic chunking by the public package h-net-dynamic-chunking. (B, C, T) → (B, C, L).

    L follows from the boundaries that it finds: about T / 2 with weights that have learnt nothing, whatever the stride.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        from h_net_dynamic_chunking import DynamicSequenceChunker

        self.chunker = DynamicSequenceChunker(channels, target_avg_token_length=max(stride, 1.5))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Picks the first frame of every chunk."""
        given = None if lengths is None else lengths.to(x.device)
        output: Tensor = self.chunker(x.transpose(1, 2), lens=given).downsampled.transpose(1, 2)
        return output


class AvgPool(nn.Module):
    """torch's own average pooling, without lengths: (B, C, T) → (B, C, ceil(T / s))."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Averages all frames, the padding included."""
        return F.avg_pool1d(x, self.stride, self.stride, ceil_mode=True)


class Pair(nn.Module):
    """A convolution of 3 taps, then a method."""

    def __init__(self, channels: int, layer: nn.Module) -> None:
        super().__init__()
        self.convolution, self.layer = nn.Conv1d(channels, channels, 3, padding=1), layer

    def forward(self, x: Tensor, *lengths: Tensor) -> Tensor:
        """Applies both."""
        return self.layer(self.convolution(x), *lengths)


class Encoder(nn.Module):
    """An encoder with a method in all its blocks, and its penalty: (B, C, T) → (B, C', L).

    Args:
        name: "resnet", three residual blocks of stride s; "conformer", the front end of a Conformer, two blocks.
    """

    def __init__(self, name: str, method: str, channels: int, stride: int) -> None:
        super().__init__()
        if name not in ENCODERS:
            raise InputError(f"`encoder` (={name!r}) must be one of {', '.join(ENCODERS)}")
        self.encoder: ResNet1d | Subsampling = (
            ResNet1d(channels, (128, 128, 128), (stride,) * 3, method)
            if name == "resnet"
            else Subsampling(channels, 144, (stride,) * 2, method)
        )

    def forward(self, x: Tensor, *lengths: Tensor) -> Tensor:
        """Features with the penalties added to each number, so that one gradient reaches both."""
        if isinstance(self.encoder, ResNet1d):
            encoded = self.encoder(x, *lengths)
            features: Tensor = encoded.features + encoded.penalty
            return features
        h, _, plans = self.encoder(x, *lengths)
        return h + torch.stack([plan.penalty for plan in plans]).sum()


def extras() -> dict[str, Callable[[int, int], nn.Module]]:
    """Returns the layers that are measured for comparison only; those of other packages where they are installed."""
    known: dict[str, Callable[[int, int], nn.Module]] = {"dense_adastride": DenseAdaStride}
    peers: dict[str, Callable[[int, int], nn.Module]] = {
        "torch_dct": lambda channels, stride: TorchDct(stride),
        "torch_cif": TorchCif,
        "h_net_dynamic_chunking": HNetChunking,
    }
    return known | {package: peer for package, peer in peers.items() if importlib.util.find_spec(package) is not None}


def default_methods() -> list[str]:
    """Returns all keys of `DOWNSAMPLERS`, and the layers that are measured for comparison."""
    return [*DOWNSAMPLERS, *extras()]


def takes(method: str, shape: Shape, stride: int) -> bool:
    """Whether a method can be measured on a shape: some layers that are here for comparison know no lengths."""
    if method == "dense_adastride" and shape.batch * shape.frames * (shape.frames // stride + 1) > DENSE_LIMIT:
        return False
    return not (shape.varied and method in ("dense_adastride", "torch_dct"))


def make_layer(method: str, channels: int, stride: int, score_std: float) -> nn.Module:
    """Makes a layer of the registry or of `extras`; AdaStride's scores vary by `score_std` on unit noise."""
    others = extras()
    if method not in DOWNSAMPLERS and method not in others:
        raise InputError(f"`methods` (={method!r}) must be among {', '.join([*DOWNSAMPLERS, *others])}")
    layer = others[method](channels, stride) if method in others else make_downsampler(method, channels, stride)
    set_scores(layer, score_std)
    return layer


def set_scores(module: nn.Module, score_std: float) -> None:
    """Lets the scores of all layers inside vary by `score_std` on unit noise."""
    for layer in module.modules():
        score = getattr(layer, "score", None)
        if isinstance(layer, Downsampler | DenseAdaStride) and score is not None:
            nn.init.normal_(score.weight, std=score_std / score.weight.numel() ** 0.5)


def make_module(
    method: str, shape: Shape, stride: int, score_std: float, convolution: bool = False, encoder: str | None = None
) -> nn.Module:
    """Makes what is measured: a layer, a layer behind a convolution, or an encoder."""
    if encoder is None:
        layer = make_layer(method, shape.channels, stride, score_std)
        return Pair(shape.channels, layer) if convolution else layer
    if method not in DOWNSAMPLERS:
        raise InputError(f"`methods` (={method!r}) must be among {', '.join(DOWNSAMPLERS)} in an encoder")
    whole = Encoder(encoder, method, shape.channels, stride)
    set_scores(whole, score_std)
    return whole
