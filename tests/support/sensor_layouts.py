"""The official layouts of sets of sensors in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wfdb
from seqstride.data_prep.mitbih import DS1, DS2, RATE
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


def mitbih_layout(folder: Path, seconds: float = 21.0) -> Path:
    """All records that are used: a beat of 0.1 s every second, wide and early where it is of the group V."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = round(seconds * RATE)
    time = np.arange(samples) / RATE
    for record in (*DS1, *DS2):
        symbols = [("N", "A", "V", "F")[(record + index) % 4 if index % 3 == 2 else 0] for index in range(int(seconds))]
        places = [index + 0.5 for index in range(int(seconds))]
        widths = [0.08 if symbol == "V" else 0.03 for symbol in symbols]
        beats = sum(np.exp(-(((time - at) / width) ** 2)) for at, width in zip(places, widths, strict=True))
        leads = np.stack([beats + 0.3 * np.sin(0.5 * time), 0.1 * time], 1)
        names = ["MLII", "V1"] if record != 114 else ["V5", "MLII"]
        wfdb.wrsamp(
            str(record),
            fs=RATE,
            units=["mV", "mV"],
            sig_name=names,
            p_signal=leads if record != 114 else leads[:, ::-1].copy(),
            fmt=["212", "212"],
            write_dir=str(folder),
        )
        # "+" is a change of the rhythm and "/" a paced beat: neither is of a group
        marks = [(0.2, "+"), (0.3, "/"), *zip(places, symbols, strict=True)]
        places_of_marks = np.array([round(at * RATE) for at, _ in marks])
        wfdb.wrann(str(record), "atr", places_of_marks, [symbol for _, symbol in marks], write_dir=str(folder))
    return folder
