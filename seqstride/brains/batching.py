"""Training batches of items of similar lengths, so that little of a batch is padding."""

from __future__ import annotations

from typing import Any

from seqstride._compat import require_torchaudio
from seqstride.errors import made_as_asked

require_torchaudio()

from speechbrain.dataio.sampler import DynamicBatchSampler  # noqa: E402

from seqstride.brains.manifests import item_seconds  # noqa: E402

OF_FIXED_BATCHES = ("batch_size", "shuffle")  # options of a loader whose batches are not made by length


def batch_by_length(hparams: dict[str, Any], dataset: Any) -> None:
    """Makes the batches of the training part by length, where the recipe has `dynamic_batching`.

    `dynamic_batching` has the arguments of SpeechBrain's `DynamicBatchSampler`, lengths in seconds; without it, or with
    null, batches have `batch_size` items of any lengths. Sets `train_dataloader`, and `train_batches`, the sampler that
    SpeechBrain must tell the epoch.

    Args:
        hparams: of the recipe; changed.
        dataset: the training part.

    Raises:
        InputError: the sampler refuses its arguments.
    """
    options = hparams.get("dynamic_batching")
    if options is None:
        return
    with made_as_asked("dynamic_batching"):
        batches = DynamicBatchSampler(dataset, length_func=item_seconds, seed=hparams["seed"], **options)
    others = {key: value for key, value in hparams["train_dataloader"].items() if key not in OF_FIXED_BATCHES}
    hparams["train_batches"], hparams["train_dataloader"] = batches, {**others, "batch_sampler": batches}
