"""The network behind the estimators, and what it says about items: a trained one with its normalisation is a `Model`.

Items are tensors (C, T) whose lengths may differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqstride.distributed import device_of_rank
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.heads import PooledClassifier
from seqstride.encoders.resnet import ResNet1d
from seqstride.errors import InputError

FRAMES = 1 << 16
"""Frames of a batch in prediction, padding included, where no single item is longer. Results do not depend on it."""


class Network(nn.Module):
    """An encoder that downsamples and a head on each group of its channels; for rows of a table with an embedding
    before both.

    Every group is trained by a loss of its own; what the network says is the mean over them. The mean of logits is the
    product of the groups' probabilities.
    """

    def __init__(
        self, encoder: ResNet1d, heads: Sequence[PooledClassifier], embedding: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.embedding, self.encoder, self.heads = embedding, encoder, nn.ModuleList(heads)

    def encode(self, x: Tensor, lengths: Tensor) -> Encoded:
        """(B, C, T), (B,) int64 → what the encoder returns."""
        if self.embedding is not None:
            x = self.embedding(x)
        # without lengths the norms need no masks, a quarter of the time; a single item may have a single frame, though,
        # of which torch's batch norm takes no variance
        padded = len(x) == 1 or bool((lengths < x.shape[2]).any())
        return self.encoder(x, lengths if padded else None)

    def embed(self, encoded: Encoded) -> Tensor:
        """What the heads' linear layers read: (B, C)."""
        return torch.cat([head.embed(part, encoded.lengths) for head, part in self._parts(encoded)], 1)

    def forward(
        self, x: Tensor, lengths: Tensor, keep: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Encoded]:
        """(B, C, T), (B,) int64 → outputs of the G groups (B, G, K), and what the encoder returned.

        `keep` are the factors of dropout for what the linear layer of each group reads, (B, C / G): torch's own dropout
        draws from the global generator.
        """
        encoded = self.encode(x, lengths)
        outputs = []
        for (head, part), factors in zip(self._parts(encoded), keep or [None] * len(self.heads), strict=True):
            pooled = head.embed(part, encoded.lengths)
            outputs.append(head.linear(pooled if factors is None else pooled * factors))
        return torch.stack(outputs, 1), encoded

    def _parts(self, encoded: Encoded) -> Iterable[tuple[PooledClassifier, Tensor]]:
        return zip(self.heads, encoded.features.chunk(len(self.heads), dim=1), strict=True)  # type: ignore[arg-type]


def strides(network: Network) -> list[float]:
    """The current stride of every block."""
    return [float(torch.as_tensor(layer.stride).detach()) for layer in network.encoder.downsamplers]


def resolve_device(device: str | torch.device) -> torch.device:
    """The device that a name stands for; "auto" is a GPU where CUDA has one, and the CPU else.

    Raises:
        InputError: there is no such device on this machine.
    """
    if not isinstance(device, str | torch.device):
        raise InputError(f"`device` (={device!r}) must be 'auto', or a device by torch's name for it, such as 'cpu'")
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device_of_rank(name))


def pad(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Items (C, T) of any lengths → (B, C, T) with zeros in the padding, and lengths (B,)."""
    x = pad_sequence([item.T for item in items], batch_first=True).transpose(1, 2).contiguous()
    return x, torch.tensor([item.shape[1] for item in items])


Step = Callable[[Network, Tensor, Tensor], Tensor]


def outputs_of(network: Network, x: Tensor, lengths: Tensor) -> Tensor:
    """The step of prediction: (B, C, T), (B,) → (B, K)."""
    outputs: Tensor = network(x, lengths)[0]
    return outputs.mean(1)


@torch.no_grad()
def run_batches(network: Network, step: Step, items: Sequence[Tensor]) -> Tensor:
    """`step` of the network and a padded batch → a row per item, for batches of items of similar lengths.

    Returns:
        The rows in the order of the items, on the CPU.
    """
    network.eval()
    device = next(network.parameters()).device
    order = sorted(range(len(items)), key=lambda i: items[i].shape[1])
    rows: dict[int, Tensor] = {}
    batch: list[int] = []
    for index, following in zip(order, [*order[1:], None], strict=True):
        batch.append(index)
        if following is None or items[following].shape[1] * (len(batch) + 1) > FRAMES:
            x, lengths = pad([items[i] for i in batch])
            rows |= zip(batch, step(network, x.to(device), lengths.to(device)).cpu(), strict=True)
            batch = []
    return torch.stack([rows[index] for index in range(len(items))])


def _too_far(index: int) -> InputError:
    return InputError(f"`X` (item {index}) must not have values so far from those that were fitted")


class Model:
    """A network with the normalisation before it, as an estimator keeps them: on the CPU, whatever it was trained on.

    Args:
        norm: module with `fit(items)`; an item (C, T) in double precision, NaN where a value is missing → what the
            network reads, in single precision and finite.
        network: its input are items that `norm` has normalised.
    """

    def __init__(self, norm: nn.Module, network: Network) -> None:
        self.norm, self.network = norm, network

    @torch.no_grad()
    def prepare(self, items: Sequence[Tensor]) -> list[Tensor]:
        """Normalised items.

        Raises:
            ValueError: a value is too far from those of the training for single precision.
        """
        prepared = [self.norm(item) for item in items]
        for index, item in enumerate(prepared):
            if not bool(item.isfinite().all()):
                raise _too_far(index)
        return prepared

    def predict(self, items: Sequence[Tensor], device: torch.device) -> Tensor:
        """The outputs of every item: (N, K), on the CPU.

        Raises:
            ValueError: as `prepare`.
        """
        outputs = run_batches(self._on(device), outputs_of, self.prepare(items))
        for index in (~outputs.isfinite().all(1)).nonzero().flatten().tolist():
            raise _too_far(index)
        return outputs

    def embed(self, items: Sequence[Tensor], device: torch.device) -> Tensor:
        """The pooled features of every item, which the head's linear layer reads: (N, C'), on the CPU."""

        def pooled(network: Network, x: Tensor, lengths: Tensor) -> Tensor:
            return network.embed(network.encode(x, lengths))

        return run_batches(self._on(device), pooled, self.prepare(items))

    @torch.no_grad()
    def encode(self, items: Sequence[Tensor]) -> Encoded:
        """What the encoder returns for all items as one batch, on the CPU."""
        return self.network.eval().encode(*pad(self.prepare(items)))

    def _on(self, device: torch.device) -> Network:
        return self.network if device.type == "cpu" else copy.deepcopy(self.network).to(device)
