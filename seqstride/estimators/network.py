"""The network behind the estimators, and `Model`: networks and MiniRocket features behind one normalisation.

Items are tensors (C, T) whose lengths may differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqstride.distributed import device_of_rank
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.heads import PooledClassifier
from seqstride.encoders.resnet import ResNet1d
from seqstride.errors import InputError
from seqstride.estimators.rocket import Rocket

FRAMES = 1 << 16
"""Most frames in a batch of predictions, padding included, unless a single item is longer. It changes no result."""


class Network(nn.Module):
    """An encoder that downsamples, and a head for each group of its channels. Rows of a table pass an embedding first.

    Every group has a loss of its own. Predictions are the mean of the groups' outputs; a mean of logits stands for the
    product of the groups' probabilities.
    """

    def __init__(
        self, encoder: ResNet1d, heads: Sequence[PooledClassifier], embedding: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.embedding, self.encoder, self.heads = embedding, encoder, nn.ModuleList(heads)

    def encode(self, x: Tensor, lengths: Tensor) -> Encoded:
        """Encodes a padded batch: (B, C, T), lengths (B,) int64 → the encoder's output."""
        if self.embedding is not None:
            x = self.embedding(x)
        # Without lengths the norms need no masks, which saves a quarter of the time. A single item keeps its length:
        # it may have a single frame, and torch's batch norm refuses the variance of one value.
        padded = len(x) == 1 or bool((lengths < x.shape[2]).any())
        return self.encoder(x, lengths if padded else None)

    def embed(self, encoded: Encoded) -> Tensor:
        """Returns the pooled features that the heads' linear layers read: (B, C)."""
        return torch.cat([head.embed(part, encoded.lengths) for head, part in self._parts(encoded)], 1)

    def forward(
        self, x: Tensor, lengths: Tensor, keep: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Encoded]:
        """Computes the outputs of the G groups.

        Args:
            x: (B, C, T), padded.
            lengths: (B,) int64.
            keep: dropout factors (B, C / G) for the input of each group's linear layer; torch's own dropout would draw
                from the global generator.

        Returns:
            The outputs (B, G, K), and the encoder's output.
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
    """Returns the current stride of every block, in input frames per output frame."""
    return [float(torch.as_tensor(layer.stride).detach()) for layer in network.encoder.downsamplers]


def resolve_device(device: str | torch.device) -> torch.device:
    """Returns the device of this name; "auto" stands for a GPU if CUDA has one, else for the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    if not isinstance(device, str | torch.device):
        raise InputError(f"`device` (={device!r}) must be 'auto', or a device by torch's name for it, such as 'cpu'")
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device_of_rank(name))


def pad(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pads items (C, T) of any lengths with zeros: returns (B, C, T) and the lengths (B,)."""
    x = pad_sequence([item.T for item in items], batch_first=True).transpose(1, 2).contiguous()
    return x, torch.tensor([item.shape[1] for item in items])


Step = Callable[[Network, Tensor, Tensor], Tensor]


def outputs_of(network: Network, x: Tensor, lengths: Tensor) -> Tensor:
    """Predicts a padded batch: (B, C, T), lengths (B,) → (B, K)."""
    outputs: Tensor = network(x, lengths)[0]
    return outputs.mean(1)


@torch.no_grad()
def run_batches(network: Network, step: Step, items: Sequence[Tensor]) -> Tensor:
    """Applies `step` to padded batches of items of similar lengths.

    Args:
        network: goes into evaluation mode.
        step: the network, a batch and its lengths → one row per item.
        items: (C, T) each.

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
    """What an estimator has fitted; it lies on the CPU, wherever it was trained.

    The outputs are the mean of the networks' outputs; with MiniRocket features, a weighted mean of that and of what is
    predicted from them. A mean of logits or log-probabilities stands for a product of probabilities.

    Args:
        norm: a module with `fit(items)`. It maps an item (C, T) in double precision, NaN where a value is missing, to
            the networks' input in single precision, without missing values. Where there is a `rocket`, `views(item)`
            returns the input of that.
        members: the networks; they read normalised items.
        rocket: predicts from MiniRocket features, or None.
    """

    def __init__(self, norm: nn.Module, members: Sequence[Network], rocket: Rocket | None = None) -> None:
        self.norm, self.members, self.rocket = norm, list(members), rocket

    @property
    def network(self) -> Network:
        """The first network: that of plans and pictures."""
        return self.members[0]

    @torch.no_grad()
    def prepare(self, items: Sequence[Tensor]) -> list[Tensor]:
        """Returns the normalised items.

        Raises:
            InputError: a value is too far from the training values for single precision.
        """
        prepared = [self.norm(item) for item in items]
        for index, item in enumerate(prepared):
            if not bool(item.isfinite().all()):
                raise _too_far(index)
        return prepared

    def views(self, items: Sequence[Tensor]) -> list[list[Tensor]]:
        """Returns what the `rocket` reads of every item."""
        return [self.norm.views(item) for item in items]  # type: ignore[operator]

    def predict(self, items: Sequence[Tensor], device: torch.device) -> Tensor:
        """Returns the outputs for every item: (N, K), on the CPU.

        Raises:
            InputError: a value is too far from the training values.
        """
        prepared = self.prepare(items)
        rows = [run_batches(_on(device, member), outputs_of, prepared) for member in self.members]
        outputs = torch.stack(rows).mean(0)
        if self.rocket is not None:
            outputs = self.rocket.mean(outputs, self.rocket.predict(self.views(items)))
        for index in (~outputs.isfinite().all(1)).nonzero().flatten().tolist():
            raise _too_far(index)
        return outputs

    def try_out(self, tone: Tensor) -> None:
        """Predicts an item whose values are like those that were fitted.

        Args:
            tone: the item, if all training values had zero mean and unit variance.

        Raises:
            InputError: finite weights gave an answer that is not.
        """
        fitted: Any = self.norm.training_set
        by_row = len(fitted.mean) == tone.shape[0]
        std = torch.where(fitted.std > 0, fitted.std, 1.0)  # a norm that divides by 0 must be seen
        mean, std = (part[:, None] if by_row else part for part in (fitted.mean, std))
        try:
            self.predict([mean + std * tone], torch.device("cpu"))
        except InputError as error:
            raise InputError("its answer to values as in training must be finite") from error

    def embed(self, items: Sequence[Tensor], device: torch.device) -> Tensor:
        """Returns the pooled features of every item, which the heads' linear layers read: (N, C'), on the CPU.

        Those of several networks stand side by side.
        """

        def pooled(network: Network, x: Tensor, lengths: Tensor) -> Tensor:
            return network.embed(network.encode(x, lengths))

        prepared = self.prepare(items)
        return torch.cat([run_batches(_on(device, member), pooled, prepared) for member in self.members], 1)

    @torch.no_grad()
    def encode(self, items: Sequence[Tensor]) -> Encoded:
        """Returns the first encoder's output for all items as one batch, on the CPU."""
        return self.network.eval().encode(*pad(self.prepare(items)))


def _on(device: torch.device, network: Network) -> Network:
    return network if device.type == "cpu" else copy.deepcopy(network).to(device)
