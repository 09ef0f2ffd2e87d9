"""seqstride: learnable and adaptive downsampling of one-dimensional signals. Importing it loads torch only."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seqstride._interrupt import is_command, stop_in_one_line

if is_command():  # before torch is imported, which takes seconds
    stop_in_one_line()

# In a bare checkout recipes/ and data_prep/ stand beside the package; installed, they are inside it.
if (Path(__file__).parents[1] / "pyproject.toml").is_file():
    __path__.append(str(Path(__file__).parents[1]))

from seqstride import functional
from seqstride._moved import alias_moved_modules
from seqstride._version import VERSION
from seqstride.core.plan import Plan
from seqstride.encoders import Encoded, ResNet1d, Spectrogram2d
from seqstride.layers import DOWNSAMPLERS, make_downsampler
from seqstride.layers.adastride import AdaStride1d
from seqstride.layers.adastride_content import AdaStrideContent1d
from seqstride.layers.adastride_ratio import AdaStrideRatio1d
from seqstride.layers.annealing import anneal
from seqstride.layers.base import Downsampler
from seqstride.layers.cif import CIF1d
from seqstride.layers.complexity import Stage, complexity, macs, parameter_groups
from seqstride.layers.diffstride import DCTDiffStride1d, DiffStride1d
from seqstride.layers.hnet import HNet1d
from seqstride.layers.merge import MergePool1d
from seqstride.layers.phases import PhasePool1d
from seqstride.layers.phc import PHConv1d
from seqstride.layers.pooling import AvgPool1d, BlurPool1d, MaxPool1d, StridedConv1d
from seqstride.layers.separable2d import DCTDiffStride2d, DiffStride2d, Separable2d, make_downsampler2d
from seqstride.layers.softpool import SoftPool1d
from seqstride.layers.spectral_pooling import DCTPool1d, SpectralPool1d
from seqstride.layers.stream import Stream

__version__ = VERSION

alias_moved_modules()

__all__ = [
    "DOWNSAMPLERS",
    "AdaStride1d",
    "AdaStrideContent1d",
    "AdaStrideRatio1d",
    "AvgPool1d",
    "BlurPool1d",
    "CIF1d",
    "DCTDiffStride1d",
    "DCTDiffStride2d",
    "DCTPool1d",
    "DiffStride1d",
    "DiffStride2d",
    "Downsampler",
    "Encoded",
    "HNet1d",
    "MaxPool1d",
    "MergePool1d",
    "PHConv1d",
    "PhasePool1d",
    "Plan",
    "ResNet1d",
    "Separable2d",
    "SoftPool1d",
    "SpectralPool1d",
    "Spectrogram2d",
    "Stage",
    "Stream",
    "StridedConv1d",
    "anneal",
    "complexity",
    "functional",
    "macs",
    "make_downsampler",
    "make_downsampler2d",
    "parameter_groups",
]

_ESTIMATORS = {
    "SeqStrideClassifier": "seqstride.estimators.classifier",
    "SeqStrideRegressor": "seqstride.estimators.regressor",
    "SeqStrideTabularClassifier": "seqstride.estimators.tabular",
}


def __getattr__(name: str) -> Any:
    """The estimators, imported when they are asked for: they load sktime and scikit-learn."""
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ESTIMATORS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *(_ESTIMATORS if find_spec("sktime") else ())])
