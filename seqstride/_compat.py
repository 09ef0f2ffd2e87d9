"""A check before SpeechBrain is imported: its dependency torchaudio loads only beside the torch it was built for."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

from seqstride.errors import MissingExtraError, require

WORKING_PAIR = "pip install 'torch>=2.11,<2.15,!=2.13.*' 'torchaudio>=2.11,<2.12'"


def require_torchaudio() -> None:
    """Imports torchaudio before SpeechBrain does, so that a failure is explained.

    Raises:
        MissingExtraError: torchaudio or SpeechBrain is not installed, or this torchaudio does not load beside this
            torch; says what to install.
    """
    try:
        importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        require("torchaudio", "speech")
        raise
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingExtraError(
            f"torchaudio cannot be imported ({reason}). Installed: torch {_installed('torch')}, "
            f"torchaudio {_installed('torchaudio')}. Both must be built for the same CUDA; "
            f"this gives a pair that works: {WORKING_PAIR}"
        ) from error
    require("speechbrain", "speech")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
