"""The official layouts of sets of sensors in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from seqstride.data_prep.wharf import ACTIVITIES

PEOPLE = ("f1", "f2", "f4", "f6", "m1", "m10", "m11", "m2", "m3", "m7", "m8")


def wharf_layout(folder: Path, frames: int = 40) -> Path:
    """One recording of every activity by every person, and what is left out: an activity of one, and a model."""
    data = folder / "WHARF Data Set" / "Data"
    for number, person in enumerate(PEOPLE):
        for activity in (*ACTIVITIES, *(["eat_soup"] if person == "f1" else [])):
            wharf_recording(data / activity.capitalize(), activity, person, frames + number)
    wharf_recording(data / "MODELS" / "Walk_MODEL", "walk", "f1", frames)
    (folder / "WHARF Data Set" / "MANUAL.txt").touch()
    return folder


def wharf_recording(folder: Path, activity: str, person: str, frames: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    codes = np.random.default_rng(frames).integers(0, 64, (frames, 3))
    np.savetxt(folder / f"Accelerometer-2011-04-11-13-28-18-{activity}-{person}.txt", codes, fmt="%d")
