"""The blocks of a README, and the commands that bash makes of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("seqstride", "python", "python3", "pip", "torchrun", "pdoc", ".", "cp", "mkdir")
"""What a command of a README may start with."""


PLACES = (
    *(
        "README.md",
        "recipes/README.md",
        "recipes/RESULTS.md",
        "recipes/*/*/README.md",
        "recipes/*/*/results/SETTINGS.md",
    ),
    *("seqstride/README.md", "seqstride/*/README.md", "tests/README.md", ".assets/bench.md", ".github/CONTRIBUTING.md"),
)
"""Where the READMEs are, relative to the root."""


def readmes() -> list[str]:
    """The READMEs of the project, relative to its root, the one of the root first."""
    return [path.relative_to(ROOT).as_posix() for place in PLACES for path in sorted(ROOT.glob(place))]


class Block(NamedTuple):
    """A block of code, or code inside of a sentence."""

    readme: str
    line: int  # of its first
    language: str  # what follows the fence; "" for an indented block and for code inside of a sentence
    text: str

    def __str__(self) -> str:
        return f"{self.readme}:{self.line}"


def blocks(readme: str) -> list[Block]:
    """The fenced and the indented blocks, in order."""
    return list(_blocks(readme, (ROOT / readme).read_text(encoding="utf-8").splitlines()))


def _blocks(readme: str, lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        start = number
        if lines[number].startswith("```"):
            number += 1
            while lines[number] != "```":
                number += 1
            yield Block(readme, start + 2, lines[start][3:], "\n".join(lines[start + 1 : number]) + "\n")
        elif lines[number].startswith("    ") and not lines[number - 1].strip():
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            text = "\n".join(line[4:] for line in lines[start:number]) + "\n"
            yield Block(readme, start + 1, "", text)
        number += 1


def spans(readme: str) -> list[Block]:
    """What stands between single backticks in the sentences and tables, in order; line breaks are spaces."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for block in blocks(readme):  # of the same length, so that the numbers of the lines stay
        code = block.text if block.language else "\n".join(f"    {line}" for line in block.text.splitlines())
        text = text.replace(code, re.sub(r"[^\n]", " ", code))
    found = []
    for match in re.finditer(r"(?<!`)`([^`]+)`(?!`)", text):
        found.append(Block(readme, text.count("\n", 0, match.start()) + 1, "", " ".join(match[1].split())))
    return found


def kind(block: Block) -> str:
    """The kind of a block: python, output (of the Python before it), yaml, json, csv,
    files (where data lie), diagram or shell.

    Raises:
        AssertionError: none of these.
    """
    known = {"text": "files", **{name: name for name in ("python", "output", "yaml", "json", "csv", "diagram")}}
    if block.language in known:
        return known[block.language]
    first = block.text.split()[0]
    assert not block.language, f"{block}: a block of {block.language!r}, which no test knows"
    assert first in (*PROGRAMS, "for"), f"{block}: no command of this project, and no language is given: {first}"
    return "shell"


class Command(NamedTuple):
    """A command as a shell understands it."""

    block: Block
    argv: tuple[str, ...]
    to: str | None  # the file that its output goes to

    def __str__(self) -> str:
        return f"{self.block} {' '.join(self.argv)}"


RECORD = """count=0
record() { echo "output of $((++count))"; printf '%s\\0' "$@" >&9; printf '\\n\\0' >&9; }
"""


def commands(block: Block, folder: Path) -> list[Command]:
    """What bash runs for a block, in order. Nothing is run: every program's name is a function that writes it down.

    Args:
        block: shell commands.
        folder: an empty one, for files that output goes to.

    Raises:
        AssertionError: bash does not understand it, or it names a program that is not one of `PROGRAMS`.
    """
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    functions = RECORD + "".join(f'{name}() {{ record {name} "$@"; }}\n' for name in PROGRAMS)
    with log.open("wb") as file:
        done = subprocess.run(
            ["bash", "-c", f"exec 9>&{file.fileno()}; PATH=; set -eu; {functions}{block.text}"],
            cwd=folder,
            pass_fds=[file.fileno()],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, f"{block}: {done.stderr}"
    redirected = {path.read_text().strip(): path.name for path in folder.iterdir()}
    found = []
    for number, words in enumerate(log.read_text(encoding="utf-8").split("\n\0")[:-1], 1):
        found.append(Command(block, tuple(words.split("\0")[:-1]), redirected.get(f"output of {number}")))
    return found
