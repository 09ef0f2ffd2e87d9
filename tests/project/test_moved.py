"""Older names of modules: in YAML files, in folders of runs, and in copies of `train.py`."""

from __future__ import annotations

from importlib import import_module
from pydoc import locate

import pytest

from seqstride._moved import MOVED, current_name
from seqstride.experiments.provenance import changed_settings, settings_digest

NAMED = {
    "seqstride.augment": "Tempo",
    "seqstride.checkpoints": "Checkpointer",
    "seqstride.estimators.recipe": "run_estimator",
    "seqstride.model": "load_model",
    "seqstride.plot": "plot_training",
    "seqstride.reconstruction": "SpectralL1",
    "seqstride.training": "run_recipe",
}
"""Old module → something that it has."""


def test_every_old_name_is_tested() -> None:
    assert set(NAMED) == set(MOVED)


@pytest.mark.parametrize("old", NAMED)
def test_an_old_module_is_the_new_one(old: str) -> None:
    assert import_module(old) is import_module(MOVED[old])


@pytest.mark.parametrize(("old", "name"), NAMED.items())
def test_what_an_old_name_stands_for_is_found(old: str, name: str) -> None:
    found = locate(f"{old}.{name}")
    assert found is not None
    assert found is locate(current_name(f"{old}.{name}"))


NAMED_BY_RECIPES = [
    *("Spectrogram2d", "ResNet1d", "SeqStrideClassifier", "SeqStrideTabularClassifier", "lobes.FrontEnd"),
    *("augment.Tempo", "checkpoints.Checkpointer", "reconstruction.MaskedL1", "reconstruction.SpectralL1"),
    *("encoders.conformer.ConformerEncoder", "encoders.frontend.LogMel", "encoders.heads.FeatureNorm"),
    *("encoders.heads.PooledClassifier", "encoders.subsampling.Subsampling", "encoders.vqvae.ExpandDecoder"),
    *("encoders.vqvae.Quantizer", "encoders.vqvae.TransposedDecoder", "encoders.waveform.Samples"),
    *("encoders.waveform.WaveDecoder", "encoders.waveform.WaveEncoder"),
    *("data_prep.an4.prepare_an4", "data_prep.audio_folder.prepare_audio_folder", "data_prep.esc.prepare_esc"),
    *("data_prep.japanese_vowels.prepare_japanese_vowels", "data_prep.librispeech.prepare_librispeech"),
    *("data_prep.ljspeech_format.prepare_ljspeech_format", "data_prep.speech_commands.prepare_speech_commands"),
    *("data_prep.spoken_digits.prepare_spoken_digits", "data_prep.tables.load_table", "data_prep.ucr.load_ucr"),
]
"""Names that recipes had when the modules were still one flat folder."""


@pytest.mark.parametrize("name", NAMED_BY_RECIPES)
def test_what_older_recipes_name_is_found(name: str) -> None:
    assert callable(locate(f"seqstride.{name}"))


OLD = {
    "checkpointer": "!new:seqstride.checkpoints.Checkpointer",
    "augment": {"!": "!new:seqstride.augment.Tempo", "low": 0.8},
    "losses": ["!new:seqstride.reconstruction.MaskedL1", 3],
    "lr": 0.1,
}
NEW = {
    "checkpointer": "!new:seqstride.brains.checkpoints.Checkpointer",
    "augment": {"!": "!new:seqstride.brains.augment.Tempo", "low": 0.8},
    "losses": ["!new:seqstride.brains.losses.MaskedL1", 3],
    "lr": 0.1,
}


def test_settings_with_old_names_are_the_same_run() -> None:
    assert changed_settings(OLD, NEW) == changed_settings(NEW, OLD) == []
    assert settings_digest(OLD) == settings_digest(NEW)
    assert changed_settings(OLD, {**NEW, "lr": 0.2}) == ["lr"]
    assert changed_settings(OLD, {**NEW, "checkpointer": "!new:mine.Checkpointer"}) == ["checkpointer"]
    assert settings_digest(OLD) != settings_digest({**NEW, "lr": 0.2})
