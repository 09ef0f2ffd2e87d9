"""Writes small sets in the layout in which CMU AN4 is published."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile


class Spoken(NamedTuple):
    """An utterance of the set: features (T, 13) for kind "mfc", int16 samples (S,) for "raw" and "sph"."""

    name: str
    speaker: str
    line: str
    content: np.ndarray


def write_release(folder: Path, train: list[Spoken], test: list[Spoken], kind: str = "mfc") -> Path:
    """Writes etc/ and feat/ or wav/ below a new folder; kind "mfc", "raw" or "sph"."""
    (folder / "etc").mkdir(parents=True)
    for split, top, utterances in (("train", "an4_clstk", train), ("test", "an4test_clstk", test)):
        fileids = [f"{top}/{spoken.speaker}/{spoken.name}" for spoken in utterances]
        (folder / "etc" / f"an4_{split}.fileids").write_text("\n".join(fileids) + "\n")
        lines = [f"{spoken.line} ({spoken.name})" for spoken in utterances]
        (folder / "etc" / f"an4_{split}.transcription").write_text("\n".join(lines) + "\n")
        for fileid, spoken in zip(fileids, utterances, strict=True):
            file = folder / ("feat" if kind == "mfc" else "wav") / f"{fileid}.{kind}"
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind == "mfc":
                file.write_bytes(spoken.content.size.to_bytes(4, "big") + spoken.content.astype(">f4").tobytes())
            elif kind == "raw":
                file.write_bytes(spoken.content.astype(">i2").tobytes())
            else:
                soundfile.write(file, spoken.content, 16000, format="NIST", subtype="PCM_16", endian="BIG")
    return folder
