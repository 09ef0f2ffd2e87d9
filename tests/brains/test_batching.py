"""Batches by length: how many items a batch has, and those that are longer than every bucket."""

from __future__ import annotations

import pytest

pytest.importorskip("speechbrain")

from speechbrain.dataio.dataset import DynamicItemDataset

from seqstride.brains.batching import batch_by_length
from seqstride.errors import InputError


def sizes(seconds: list[float], **options: object) -> list[int]:
    """The sizes of the batches of items of these durations, largest first."""
    dataset = DynamicItemDataset({f"item_{index}": {"duration": each} for index, each in enumerate(seconds)})
    hparams = {"dynamic_batching": options, "seed": 1, "train_dataloader": {"batch_size": 4, "shuffle": True}}
    batch_by_length(hparams, dataset)
    assert list(hparams["train_dataloader"]) == ["batch_sampler"]
    return sorted((len(batch) for batch in hparams["train_batches"]), reverse=True)


def test_items_beyond_the_last_bucket_share_batches() -> None:
    assert sizes([2.0] * 45, max_batch_length=40, bucket_boundaries=[0.5, 1.9]) == [20, 20, 5]
    assert sizes([0.4] * 10 + [2.5] * 16, max_batch_length=20, bucket_boundaries=[0.5, 1.0]) == [10, 8, 8]


def test_an_item_longer_than_a_batch_is_alone() -> None:
    assert sizes([1.0] * 4 + [50.0], max_batch_length=4, bucket_boundaries=[1.0, 2.0]) == [4, 1]


def test_buckets_up_to_the_longest_item_are_as_given() -> None:
    assert sizes([1.0] * 6 + [2.0] * 4, max_batch_length=4, bucket_boundaries=[1.0, 2.0]) == [4, 2, 2, 2]
    assert sizes([1.0] * 8, max_batch_length=4, bucket_boundaries=[1.0, 2.0]) == [4, 4]


@pytest.mark.parametrize("boundaries", [[2.0, 1.0], [1.0, 1.0], ["a"], [-1.0]])
def test_wrong_boundaries_are_refused(boundaries: list) -> None:
    with pytest.raises(InputError, match="`dynamic_batching` cannot be used"):
        sizes([1.0], max_batch_length=4, bucket_boundaries=boundaries)
