"""Weights for SpeechBrain's interfaces, which look for `.ckpt` files by themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from seqstride._compat import require_torchaudio
from seqstride.models.folder import ENDING, WEIGHTS
from seqstride.models.untrusted import check_shapes
from seqstride.models.weights import read_weights

require_torchaudio()

from speechbrain.utils.fetching import FetchSource  # noqa: E402
from speechbrain.utils.parameter_transfer import Pretrainer  # noqa: E402


class ModelPretrainer(Pretrainer):
    """Fetches the loadable `model` from `model.safetensors` of a results folder, on this machine or on a hub.

    Args:
        loadables: name → object; all but `model` as in SpeechBrain's `Pretrainer`.
    """

    def __init__(self, loadables: dict[str, Any]) -> None:
        super().__init__(loadables=loadables, custom_hooks={WEIGHTS: _load})

    def collect_files(self, default_source: Any = None, *arguments: Any, **options: Any) -> Any:
        """As in SpeechBrain's `Pretrainer`."""
        if default_source is not None:
            self.add_paths({WEIGHTS: _below(default_source, WEIGHTS + ENDING)})
        return super().collect_files(default_source, *arguments, **options)


def _below(source: Any, name: str) -> Any:
    if isinstance(source, FetchSource):
        return FetchSource(source.FetchFrom, _below(source.path, name))
    return f"{os.fspath(source)}/{name}"


def _load(model: nn.Module, path: str | os.PathLike[str]) -> None:
    weights = read_weights(Path(path))
    check_shapes(model, weights)
    model.load_state_dict(weights)
