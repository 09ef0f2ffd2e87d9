"""The official layouts of corpora of GitHub in miniature, filled with noise."""

from __future__ import annotations

import hashlib
import json
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
from layouts import write
from seqstride.data_prep.wuw import KEYWORDS
from speech_layouts import SENTENCES

CALLERS = ("{breath} Ada Byron", "Ada K. Byron [click]", "Alan Turing", "Grace Hopper", "((Emmy)) Noether", "[[skip]]")


def wuw_layout(folder: Path, callers: tuple[str, ...] = CALLERS) -> Path:
    """A session of each caller; the last one says no keyword in the first sentence."""
    entries = []
    for number, name in enumerate(callers):
        session = f"{number:05d}"
        for utterance in range(11):
            keyword = KEYWORDS[(utterance - 1) % 5].title()
            words = name if utterance == 0 else keyword if utterance <= 5 else f"[click] could you call the {keyword}"
            start, end = (0.1, 0.2) if utterance <= 5 else (0.2, 0.3)
            if number == len(callers) - 1 and utterance == 6:
                words, start, end = "I'm done now", 0, 0
            content = np.random.default_rng(11 * number + utterance).bytes(2400 + 80 * utterance + number)
            file = folder / "calls" / session / f"WUWII{session}_{utterance:03d}.ulaw"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            entries.append(
                {
                    "gender": "female",
                    "sessionNumber": session,
                    "utteranceNumber": f"{utterance:03d}",
                    "fileName": file.name,
                    "filePath": file.relative_to(folder).as_posix(),
                    "checksum": hashlib.md5(content).hexdigest(),
                    "startTime": start,
                    "endTime": end,
                    "transcription": words,
                }
            )
    (folder / "data.json").write_text(json.dumps({"entries": entries}))
    return folder


def speech_to_intent_layout(folder: Path, speakers: int = 6, each: int = 4) -> Path:
    """Each speaker is softer than the one before; every class is said by each of them."""
    labels = {"not-there.wav": {"intent": "orderDrink", "slots": {"coffeeDrink": "latte"}}}
    amounts = ("", "a bit of", "lots of", " ")
    for speaker, index in product(range(speakers), range(each)):
        noise = np.random.default_rng(each * speaker + index).normal(size=4000 + 100 * index)
        name = f"{speaker:04d}-{index:04d}.wav"
        file = folder / "data" / "speech" / "clean" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.1 * 0.01 ** (speaker / speakers) * noise, 16000, subtype="FLOAT")
        slots = {"coffeeDrink": ("latte", "iced mocha")[index % 2]}
        if index % 2:
            slots |= {"milkAmount": f"{amounts[index]} soy milk", "sugarAmount": "brown sugar", "size": "small"}
        if index > 1:
            slots |= {"roast": "dark roast", "numberOfShots": "double shot"}
        labels[name] = {"intent": "orderDrink", "slots": slots}
    table = folder / "data" / "label" / "label.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps(labels))
    return folder


def philharmonia_layout(folder: Path) -> Path:
    """Three instruments at four pitches, three recordings each, a pitch that only one of them has, and castanets."""
    names = [
        (kind, f"{kind}_{pitch}_{length}_forte_normal")
        for kind, pitches in (("flute", "C4 Cs4 D4 E4 G7"), ("double bass", "C4 Cs4 D4 E4"), ("oboe", "C4 Cs4 D4 E4"))
        for pitch, length in product(pitches.split(), ("05", "1", "phrase"))
    ]
    names += [("percussion/castanets", f"castanets__{length}_forte_struck-singly") for length in ("025", "05", "1")]
    for seed, (kind, name) in enumerate(names):
        file = folder / "audio" / kind / f"{name.replace(' ', '-')}.mp3"
        file.parent.mkdir(parents=True, exist_ok=True)
        seconds = 2.5 if "_phrase_" in name else 0.3
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * 44100))
        soundfile.write(file, noise, 44100)
    (folder / "audio" / "saxophone").mkdir()
    (folder / "audio" / "saxophone" / "saxophone_Fs3_15_fortissimo_normal.mp3").touch()
    return folder


def mboshi_layout(folder: Path) -> Path:
    """Twelve sentences for training, the first of them said twice, and three for the test."""
    root = folder / "full_corpus_newsplit"
    for part, first, count in (("train", 0, 13), ("dev", 13, 3)):
        for index in range(first, first + count):
            text = SENTENCES[index % 10 if index < 12 else 0].lower().replace(",", "").replace(".", "")
            number = "" if index in (0, 12) else f" ω{index}"
            file = write(root / part / f"ada_2015_Dico_{index}.wav", 32000 + index, 16000)
            file.with_suffix(".mb.cleaned").write_text(f"{text}{number}\n", encoding="utf-8")
    return folder


def kathleen_layout(folder: Path) -> Path:
    """Ten prompts, two of them recorded twice, and the words of the first one under another name."""
    takes = [(index, SENTENCES[index], take) for index in range(10) for take in range(1 + (index in (2, 5)))]
    for index, text, take in [*takes, (10, SENTENCES[0], 0)]:
        file = write(folder / "data" / f"arctic_a{index:04d}_{1592748000 + take}.wav", 96000 + index, 48000, 2)
        file.with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8")
    return folder
