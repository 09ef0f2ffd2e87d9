"""Manifests of prepared feature files to SpeechBrain data sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqstride._compat import require_torchaudio

require_torchaudio()

from speechbrain.dataio.dataset import DynamicItemDataset, add_dynamic_item, set_output_keys  # noqa: E402
from speechbrain.dataio.encoder import CategoricalEncoder  # noqa: E402


def labelled_features(manifests: Mapping[str, str | os.PathLike[str]], label: str) -> tuple[dict[str, Any], Any]:
    """Data sets whose items are `features` (T, C) float32 and `target`, the class index.

    Args:
        manifests: split → SpeechBrain JSON manifest with the keys `features` and `label`; `features` is a .npy file
            (T, C), in whose path `{data_root}` stands for the manifest's folder. The split `train` must be there: it
            defines the classes.
        label: the manifest's key that holds the label.

    Returns:
        split → `DynamicItemDataset`, and the `CategoricalEncoder` of the labels.

    Raises:
        ValueError: a manifest is missing, or has a label that the training part does not.
    """
    datasets = {}
    for split, manifest in manifests.items():
        if not Path(manifest).is_file():
            raise ValueError(f"`manifests` ({split}={os.fspath(manifest)!r}) must be a file; prepare the data first")
        root = {"data_root": str(Path(manifest).parent)}
        datasets[split] = DynamicItemDataset.from_json(str(manifest), replacements=root)

    classes = CategoricalEncoder()
    classes.update_from_iterable(sorted({item[label] for item in datasets["train"].data.values()}))
    classes.expect_len(len(classes))
    for split, dataset in datasets.items():
        unknown = {item[label] for item in dataset.data.values()} - set(classes.lab2ind)
        if unknown:
            raise ValueError(f"`manifests` ({split}) has labels that train lacks: {', '.join(sorted(unknown))}")

    every = list(datasets.values())
    add_dynamic_item(every, _load, takes=["features"], provides=["frames"])
    add_dynamic_item(every, classes.encode_label, takes=[label], provides=["target"])
    set_output_keys(every, {"id": "id", "features": "frames", "target": "target"})
    return datasets, classes


def _load(path: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path))
