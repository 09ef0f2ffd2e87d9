"""The official layouts of LibriSpeech and LJSpeech in miniature."""

from __future__ import annotations

from pathlib import Path

from layouts import write

FLAC = {"format": "FLAC"}


WORDS = ["A MAN SAID TO THE UNIVERSE", "SIR I EXIST", "HOWEVER REPLIED THE UNIVERSE", "THE FACT HAS NOT CREATED IN ME"]


SENTENCES = [f"Der {noun}, so {verb} es, lief {count} Meter." for noun, verb, count in zip(
    ["Hund", "Bär", "Wolf", "Igel", "Dachs", "Luchs", "Fuß", "Hase", "Elch", "Aal"],
    ["heißt", "schien", "war", "sei", "gab", "hieß", "ist", "blieb", "wäre", "sang"],
    range(10),
    strict=True,
)]  # fmt: skip


def librispeech(folder: Path, more: tuple[str, ...] = ()) -> Path:
    """Two speakers for training (and one in each of `more`), one each for validation and test, two utterances each."""
    parts = {"train-clean-100": (19, 26), "dev-clean": (84,), "test-clean": (61,)}
    parts |= {part: (300 + number,) for number, part in enumerate(more)}
    for part, speakers in parts.items():
        for speaker in speakers:
            chapter = folder / part / str(speaker) / "70"
            lines = []
            for index in range(2):
                name = f"{speaker}-70-{index:04d}"
                write(chapter / f"{name}.flac", 16000 + 800 * index + speaker, 16000, **FLAC)
                lines.append(f"{name} {WORDS[(speaker + index) % len(WORDS)]}")
            (chapter / f"{speaker}-70.trans.txt").write_text("\n".join(lines) + "\n")
    return folder


def sentences(folder: Path) -> Path:
    """Ten sentences, the second of them said twice; WAV and FLAC, two rates."""
    lines = []
    for index, text in enumerate([*SENTENCES, SENTENCES[1].upper()]):
        rate, ending = (22050, "wav") if index % 2 else (16000, "flac")
        write(folder / "wavs" / f"s-{index:02d}.{ending}", 2 * rate + index, rate, **(FLAC if ending == "flac" else {}))
        lines.append(f"s-{index:02d}|{text}" if index % 3 else f"s-{index:02d}|raw {index}|{text}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
