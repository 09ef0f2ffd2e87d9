"""Links, tables and figures of the READMEs, against what they speak of."""

from __future__ import annotations

import re

import pytest
from readmes import ROOT, readmes

from seqstride.experiments.comparison_report import read_comparison, report
from seqstride.experiments.recipe import recipes_folder


@pytest.mark.parametrize("readme", readmes())
def test_every_link_leads_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        file = (ROOT / readme).parent / path if path else ROOT / readme
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles], target


# Figures


def rows(recipe: str, comparison: str) -> dict[str, list[str]]:
    """Method → the cells of its row in the first table of a comparison."""
    shown = report(read_comparison(recipes_folder() / recipe / "results" / comparison))
    table = shown[shown.index("| method") :].split("\n\n")[0].splitlines()[2:]
    return {cells[0].strip("`"): cells[1:] for cells in (line.strip("| ").split(" | ") for line in table)}


@pytest.mark.parametrize("readme", [readme for readme in readmes() if readme.startswith("recipes/")])
def test_tables_are_those_of_the_records(readme: str) -> None:
    """But for the first table of recipes whose folds are sets: their READMEs have all in one."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for folder in sorted((ROOT / readme).parent.joinpath("results").glob("compare_*")):
        shown = report(read_comparison(folder))
        tables = [table for table in shown.split("\n\n") if table.startswith("| method")]
        for table in tables if len(tables) == 1 else tables[1:]:
            lacking = [row for row in table.splitlines() if row.strip("| ") not in text]
            assert not lacking, "\n".join(lacking)


def test_the_readmes_sentences_have_the_figures_of_the_records() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    def mean(cell: str) -> str:
        return cell.split(" ± ")[0]

    four, six = rows("AN4/ASR", "compare_22"), rows("AN4/ASR", "compare_32")
    wer = {
        name: [mean(row[0]) for row in (four[name], six[name]) if row] for name in ("strided", "adastride", "average")
    }
    assert (
        f"the WER is {wer['strided'][0]} % with strided convolutions and {wer['adastride'][0]} % with AdaStride" in text
    )
    assert f"(p = {four['adastride'][2]}). At six" in text
    assert f"it is {wer['strided'][1]} and {wer['adastride'][1]} % (p = {six['adastride'][2]}), " in text
    assert f"and {wer['average'][1]} % with averages" in text
    sets = {name: mean(row[0]) for name, row in rows("UCR/classification", "compare_all").items()}
    assert f"{sets['adastride']} % for `adastride`, {sets['average']} % for `average` and {sets['strided']} %" in text
    assert f"MiniRocket, for comparison, has {sets['minirocket']} %" in text
    units = rows("SpokenDigits/VQVAE", "compare_8")["adastride"]
    assert f"{float(units[1]):.2f} dB".lstrip("-") in text
    assert f"(p = {float(units[2]):.2f}, three seeds" in text
    assert f"needs {float(units[4]):.0f} bits/s more" in text
    bench = (ROOT / ".assets" / "bench.md").read_text(encoding="utf-8")
    for method, name in (
        ("`adastride`", "`adastride`"),
        ("`dense_adastride`", "the dense matrix of AdaStride's definition"),
    ):
        cells = next(line for line in bench.splitlines() if f"(8, 256, 4000) | {method} |" in line).split(" | ")
        assert f"| {name} | {cells[3]} | {cells[4]} |" in text
