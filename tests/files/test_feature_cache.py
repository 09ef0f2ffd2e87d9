"""Files of features that are kept in memory: the same numbers, changed and damaged files, the limit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from seqstride.errors import InputError
from seqstride.files import feature_cache
from seqstride.files.feature_cache import FeatureCache
from seqstride.files.loading import load_features


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).standard_normal((50, 3)))
    return str(path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The arguments of all reads from the disk."""
    calls: list[tuple[object, ...]] = []

    def counted(*arguments: object) -> torch.Tensor:
        calls.append(arguments)
        return load_features(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(feature_cache, "load_features", counted)
    return calls


def test_the_same_numbers_and_only_one_reading(file: str, read: list[tuple[object, ...]]) -> None:
    cache = FeatureCache()
    for part in [(), (10,), (10, 20), (49, 50), (0, None)]:
        found = cache.load(file, *part)
        assert torch.equal(found, load_features(file, *part))
        found.zero_()  # belongs to the caller
    assert torch.equal(cache.load(file), load_features(file))
    assert read == [(file,)]


@pytest.mark.parametrize("part", [(50,), (60, 70), (40, 51), (0, 51)])
def test_parts_beyond_the_end_have_the_error_of_load_features(part: tuple[int, ...], file: str) -> None:
    cache = FeatureCache()
    cache.load(file)
    with pytest.raises(InputError) as expected:
        load_features(file, *part)
    with pytest.raises(InputError) as found:
        cache.load(file, *part)
    assert str(found.value) == str(expected.value)


def test_a_file_that_changes_is_read_again(file: str) -> None:
    cache = FeatureCache()
    cache.load(file)
    np.save(file, np.ones((50, 3)))
    os.utime(file, (1e9, 1e9))
    assert torch.equal(cache.load(file, 3, 9), torch.ones(6, 3))
    Path(file).unlink()
    with pytest.raises(InputError, match="there is no such file"):
        cache.load(file, 3, 9)


def test_the_whole_part_of_a_damaged_file_can_be_read(file: str) -> None:
    series = np.load(file)
    series[40] = np.nan
    np.save(file, series)
    cache = FeatureCache()
    assert torch.equal(cache.load(file, 0, 40), load_features(file, 0, 40))
    with pytest.raises(InputError, match="finite values only"):
        cache.load(file, 30, 45)


def test_what_is_beyond_the_limit_is_read_every_time(
    file: str, tmp_path: Path, read: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "LIMIT", 2000)  # each file has 1328 bytes, as float32 600
    cache = FeatureCache()
    others = [str(tmp_path / f"{index}.npy") for index in range(2)]
    for other in others:
        np.save(other, np.load(file))
    for _ in range(3):
        for path in (file, *others):
            assert torch.equal(cache.load(path, 5, 9), load_features(path, 5, 9))
    assert read.count((file,)) == read.count((others[0],)) == 1
    assert read.count((others[1], 5, 9)) == 3
