"""Training batches of items of similar lengths, so that little of a batch is padding."""

from __future__ import annotations

from typing import Any

from seqstride._compat import require_torchaudio
from seqstride.errors import InputError, made_as_asked

require_torchaudio()

from speechbrain.dataio.sampler import DynamicBatchSampler  # noqa: E402

from seqstride.brains.manifests import item_seconds  # noqa: E402

OF_FIXED_BATCHES = ("batch_size", "shuffle")  # options of a loader whose batches are not made by length


def batch_by_length(hparams: dict[str, Any], dataset: Any) -> None:
    """Makes the batches of the training part by length, where the recipe has `dynamic_batching`.

    `dynamic_batching` has the arguments of SpeechBrain's `DynamicBatchSampler`, lengths in seconds; without it, or with
    null, batches have `batch_size` items of any lengths. Sets `train_dataloader`, and `train_batches`, the sampler that
    SpeechBrain must tell the epoch.

    Items longer than the last of `bucket_boundaries` have a bucket up to the longest item. SpeechBrain would put each
    of them into a batch of its own, in which batch norms see nothing.

    Args:
        hparams: of the recipe; changed.
        dataset: the training part.

    Raises:
        InputError: the boundaries do not ascend, or the sampler refuses its arguments.
    """
    options = hparams.get("dynamic_batching")
    if options is None:
        return
    boundaries = options.get("bucket_boundaries")
    with made_as_asked("dynamic_batching"):
        if boundaries:
            if list(boundaries) != sorted(boundaries):
                raise InputError(f"`dynamic_batching` cannot be used: `bucket_boundaries` (={boundaries}) must ascend")
            longest = max(item_seconds(item) for item in dataset.data.values())
            options = {**options, "bucket_boundaries": [*boundaries, *([longest] if longest > boundaries[-1] else [])]}
        batches = DynamicBatchSampler(dataset, length_func=item_seconds, seed=hparams["seed"], **options)
    others = {key: value for key, value in hparams["train_dataloader"].items() if key not in OF_FIXED_BATCHES}
    hparams["train_batches"], hparams["train_dataloader"] = batches, {**others, "batch_sampler": batches}
