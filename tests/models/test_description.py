"""The allow-list of descriptions: its classes exist, and are imported only when a description names them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tiny_models import resnet, saved
from torch import nn

from seqstride.models.description import ALLOWED, USES, build_module


@pytest.mark.parametrize("path", sorted({path for paths in ALLOWED.values() for path in paths}))
def test_every_allowed_name_is_a_module(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert issubclass(getattr(import_module(module), name), nn.Module)


def test_every_task_has_its_use_and_its_own_classes() -> None:
    assert ALLOWED.keys() == USES.keys()
    conformer = "seqstride.encoders.conformer.ConformerEncoder"
    for task, allowed in ALLOWED.items():
        if conformer not in allowed:
            with pytest.raises(ValueError, match=rf"module `encoder` \(='{conformer}'\) must be one of {allowed[0]}, "):
                build_module("encoder", {"class": conformer, "arguments": {}}, task)


def test_a_classifier_loads_without_the_encoders_of_other_tasks(tmp_path: Path) -> None:
    folder = saved(resnet("adastride"), tmp_path / "model")
    code = (
        "import sys; from seqstride.models.classifier import load_model; load_model(sys.argv[1]);"
        "loaded = [name for name in ('seqstride.encoders.conformer', 'seqstride.encoders.vqvae', 'speechbrain')"
        " if name in sys.modules];"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
