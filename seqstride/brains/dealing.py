"""Validation and test under `torchrun`: ranks are dealt the batches, and put together what they have counted.

Whole batches are dealt, in turn: rank r of W gets the batches r, r + W, … of a single process. So every batch is what
it is there, and so are its loss and its counts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import reduce
from itertools import chain, zip_longest
from operator import add
from typing import Any

from torch import Tensor

from seqstride._compat import require_torchaudio
from seqstride.distributed import as_first_rank, of_all_ranks, rank, ranks
from seqstride.experiments.items import ItemResult

require_torchaudio()

import speechbrain as sb  # noqa: E402
from torch.utils.data import BatchSampler, SequentialSampler  # noqa: E402

from seqstride.brains.optimisation import OptimisingBrain  # noqa: E402

logger = logging.getLogger(__name__)

_OF_BATCHES = ("batch_size", "drop_last", "shuffle", "sampler", "batch_sampler")


class DealingBrain(OptimisingBrain):
    """A `Brain` whose ranks share the batches of validation and test. At the end of a stage every rank knows all.

    Attributes:
        counted: names of the attributes in which validation and test count; see `together`.
        evaluated: the ids of the items of the stage.
        item_results: the result of every item of `evaluate`, by its id, where a task notes them in `TEST`.
    """

    counted: tuple[str, ...] = ("evaluated", "item_results", "batch_losses", "loss_not_finite")

    def make_dataloader(self, dataset: Any, stage: sb.Stage, *arguments: Any, **options: Any) -> Any:
        """Makes SpeechBrain's loader; in validation and test that of this rank's batches."""
        if ranks() > 1 and stage != sb.Stage.TRAIN:
            options = dealt(dataset, options)
        return super().make_dataloader(dataset, stage, *arguments, **options)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Starts the counts. Outside of training all ranks take the buffers of the first, such as those of norms."""
        super().on_stage_start(stage, epoch)
        self.loss_not_finite = False
        self.evaluated: set[str] = set()
        self.item_results: dict[str, ItemResult] = {}
        self.batch_losses: list[Tensor] = []
        if stage != sb.Stage.TRAIN:
            as_first_rank(self.modules.buffers())

    def evaluate_batch(self, batch: Any, stage: sb.Stage) -> Tensor:
        """Runs SpeechBrain's method and notes the items.

        It warns of a batch whose loss is not finite, because the mean would leave that out.
        """
        loss = super().evaluate_batch(batch, stage)
        self.batch_losses.append(loss)
        self.evaluated.update(batch.id)
        if not loss.isfinite():
            self.loss_not_finite = True
            logger.warning("the loss of a batch should be finite; that of %s is not", ", ".join(batch.id))
        return loss

    def put_together(self, stage_loss: float) -> float:
        """Makes the counts of this rank those of all ranks, after validation or test.

        Args:
            stage_loss: the mean over the batches of this rank.

        Returns:
            The mean over all batches, added in the order of a single process.
        """
        if ranks() == 1:
            return stage_loss
        shares = of_all_ranks({name: getattr(self, name) for name in self.counted})
        for name in self.counted:
            setattr(self, name, together([share[name] for share in shares]))
        return running_mean(self.batch_losses)


def running_mean(losses: Sequence[Tensor]) -> float:
    """Returns the mean of the losses of batches as SpeechBrain's `update_average` rounds it."""
    mean = 0.0
    for step, loss in enumerate(losses, 1):
        if loss.isfinite():
            mean -= mean / step
            mean += float(loss) / step
    return mean


def dealt(dataset: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a loader with the batches of this rank; shuffled ones come in the order of the items."""
    batches = options.get("batch_sampler")
    if batches is None:
        items = options.get("sampler") or SequentialSampler(dataset)
        batches = BatchSampler(items, options.get("batch_size", 1), options.get("drop_last", False))
    others = {name: value for name, value in options.items() if name not in _OF_BATCHES}
    return {**others, "batch_sampler": list(batches)[rank() :: ranks()]}


_NONE = object()


def together(values: Sequence[Any]) -> Any:
    """Returns what one process would have counted.

    Args:
        values: of every rank. Numbers, tensors and objects with `+` are added, sets united, dicts put together key by
            key. A list has an entry for every batch; it is dealt back.
    """
    first = values[0]
    if isinstance(first, bool):
        return any(values)
    if isinstance(first, set):
        return set().union(*values)
    if isinstance(first, list):
        return [entry for row in zip_longest(*values, fillvalue=_NONE) for entry in row if entry is not _NONE]
    if isinstance(first, dict):
        keys = dict.fromkeys(chain.from_iterable(values))
        return {key: together([value[key] for value in values if key in value]) for key in keys}
    return reduce(add, values)
