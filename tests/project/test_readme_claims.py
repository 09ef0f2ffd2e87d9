"""Links, tables and figures of the READMEs, against what they speak of."""

from __future__ import annotations

import re

import pytest
from readmes import ROOT, readmes, spans

from seqstride.cli import main
from seqstride.experiments.comparison_report import read_comparison, report
from seqstride.experiments.recipe import recipes_folder


@pytest.mark.parametrize("readme", readmes())
def test_every_link_leads_somewhere(readme: str) -> None:
    """Those of this repository."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        file = (ROOT / readme).parent / path if path else ROOT / readme
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("readme", readmes())
def test_every_file_that_is_named_exists(readme: str) -> None:
    """A file of Python stands beside the README, in the package or one of its rooms, in a recipe, or in the project."""
    package, recipe = ROOT / "seqstride", ROOT / "recipes" / "UCR" / "classification"
    places = [(ROOT / readme).parent, ROOT, package, *package.glob("*/"), ROOT / "data_prep", recipe]
    for span in spans(readme):
        if re.fullmatch(r"[\w./]+\.py", span.text):
            assert any((place / span.text).is_file() for place in places), span


@pytest.mark.parametrize("readme", ["README.md", "recipes/README.md"])
def test_a_recipe_is_said_to_be_code(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the same words as by the command that runs it."""
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    help_, text = (
        " ".join(text.replace("`", "").split())
        for text in (capsys.readouterr().out, (ROOT / readme).read_text(encoding="utf-8"))
    )
    words = "A recipe is code: its YAML may run any program (!apply:, !new:). Read recipes of strangers before you run"
    assert words in help_
    assert words in text


def test_the_map_of_the_code_has_every_room() -> None:
    rooms = {span.text for span in spans("seqstride/README.md") if re.fullmatch(r"\w+/", span.text)}
    assert {f"{file.parent.name}/" for file in (ROOT / "seqstride").glob("*/__init__.py")} <= rooms


# Figures


def rows(recipe: str, comparison: str) -> dict[str, list[str]]:
    """Method → the cells of its row in the first table of a comparison."""
    shown = report(read_comparison(recipes_folder() / recipe / "results" / comparison))
    table = shown[shown.index("| method") :].split("\n\n")[0].splitlines()[2:]
    return {cells[0].strip("`"): cells[1:] for cells in (line.strip("| ").split(" | ") for line in table)}


@pytest.mark.parametrize("readme", [readme for readme in readmes() if readme.startswith("recipes/")])
def test_tables_are_those_of_the_records(readme: str) -> None:
    """Of several ratios the table of all; where folds are sets all but the first, since READMEs have all in one."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for folder in sorted((ROOT / readme).parent.joinpath("results").glob("compare_*")):
        comparison = read_comparison(folder)
        tables = [table for table in report(comparison).split("\n\n") if table.startswith("| method")]
        several = len({run.get("ratio") for run in comparison["runs"]}) > 1
        for table in tables[:1] if several else tables[1:] or tables:
            lacking = [row for row in table.splitlines() if row.strip("| ") not in text]
            assert not lacking, "\n".join(lacking)


def test_the_page_of_results_is_what_its_command_makes(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "recipes" / "RESULTS.md").read_text(encoding="utf-8")
    assert main(["table", "--all", str(ROOT / "recipes")]) == 0
    assert capsys.readouterr().out == page, "run: seqstride table --all recipes > recipes/RESULTS.md"


CLAIMS = [
    ("UCR/classification", "compare_all", ["average", "adastride", "diffstride", "dct_diffstride"], "< 0.001 each"),
    ("AN4/ASR", "compare_32", ["adastride"], "0.015"),
    ("AN4/ASR", "compare_32", ["average"], "0.027"),
    ("AN4/ASR", "compare_32_context", ["adastride_context"], "0.087"),
    ("SpokenDigits/VQVAE", "compare_8", ["adastride"], "0.030"),
    ("SpokenDigits/VQVAE", "compare_8", ["spectral"], "0.030"),
    ("AN4/ASR", "compare_22", ["adastride"], "0.217"),
    ("SpokenDigits/classification", "compare_222", ["dct_diffstride"], "0.022"),
    ("SpokenDigits/classification", "compare_222", ["adastride"], "0.304"),
    ("Tabular/classification", "compare_all", ["diffstride"], "0.121"),
]
"""Rows of README's table of methods, in their order: recipe, comparison, methods, and p as the row shows it."""


def mean(cell: str) -> str:
    return cell.split(" ± ")[0]


def test_the_readmes_table_of_methods_has_the_figures_of_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("\n| task | result | p | conclusion |\n|---|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    link = ""
    for line, (recipe, comparison, methods, p) in zip(table, CLAIMS, strict=True):
        task, result, shown_p, _ = line.strip("| ").split(" | ")
        if "](" in task:
            link = task
        assert recipe.partition("/")[0] in link or "Speech recognition" in task, line
        found = rows(recipe, comparison)
        reference = next(iter(found))
        assert reference == "strided" or f"difference to `{reference}`" in task, line
        steps = [f"`{method}` {mean(found[reference][0])} → {mean(found[method][0])}" for method in methods]
        assert re.sub(r" (%|dB)", "", result) == ", ".join(steps), line
        assert shown_p == p, line
        assert {found[method][2] for method in methods} == {p.removesuffix(" each")}, line


def test_the_readmes_sentences_have_the_figures_of_the_records() -> None:
    def flat(readme: str) -> str:
        return " ".join((ROOT / readme).read_text(encoding="utf-8").split())

    readme, estimators = flat("README.md"), flat("seqstride/estimators/README.md")
    six = rows("AN4/ASR", "compare_32")
    softpool = rows("AN4/ASR", "compare_32_softpool")
    assert (
        f"is {mean(softpool['average'][1])} % with plain averages (`average`), {mean(softpool['softpool'][1])} %"
        in readme
    )
    best = softpool["adastride_softpool"]
    assert f"and {mean(best[1])} % with such means over frames that follow" in readme
    assert f"(`adastride_softpool`): {best[2].removeprefix('-')} points below `softpool` (p = {best[3]})" in readme
    assert f"by {float(mean(six['average'][0])) - float(mean(six['adastride'][0])):.1f} points" in readme
    bursts = report(read_comparison(recipes_folder() / "Synthetic" / "bursts" / "results" / "compare_all"))
    by_ratio = dict(re.findall(r"^\| `(\w+)` \| (\S+ ± \S+(?: \| \S+ ± \S+){3}) \|$", bursts, re.MULTILINE))
    _, eight, sixteen, _ = ({name: cells.split(" ")[at] for name, cells in by_ratio.items()} for at in (0, 4, 8, 12))
    shown = (
        "`adastride_softpool` reads {adastride_softpool} % of the codes, `adastride_context` {adastride_context}, "
        "`adastride` {adastride}, `softpool` {softpool} and `average` {average} %"
    )
    assert shown.format(**sixteen) in readme
    shown = (
        "`adastride_softpool` has {adastride_softpool}, `adastride_context` {adastride_context} and "
        "`softpool` {softpool} %"
    )
    assert shown.format(**eight) in readme
    keywords = {name: mean(row[1]) for name, row in rows("WUW/keywords", "compare_32").items()}
    shown = "`adastride_softpool` has {adastride_softpool} % and `max` {max} %, which"
    assert shown.format(**keywords) in readme
    assert "`adastride_context` has {adastride_context} %.".format(**keywords) in readme
    tones = mean(rows("Synthetic/tones", "compare_6")["diffstride_narrowing"][1])
    assert f"that a start at 6 cuts wholly are told apart at {tones} %." in readme
    sets = {name: mean(row[0]) for name, row in rows("UCR/classification", "compare_all").items()}
    assert f"MiniRocket has {sets['minirocket']} %" in readme
    assert f"{sets['adastride']} % for `adastride`, {sets['average']} % for `average` and" in estimators
    assert f"{sets['strided']} % for `strided`" in estimators
    assert f"MiniRocket, for comparison, has {sets['minirocket']} %" in estimators
    assert f"cost {float(rows('SpokenDigits/VQVAE', 'compare_8')['adastride'][4]):.0f} bits/s more" in readme


def test_the_figures_of_speed_are_those_of_the_full_table() -> None:
    text = (ROOT / ".assets" / "bench.md").read_text(encoding="utf-8")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    short, full = text.split("## All measurements")
    found = {}
    for line in full.splitlines():
        if line.startswith("| (8, 256, 4000) | "):
            _, method, _, both, peak, *_ = line.strip("| ").split(" | ")
            found[method.strip("`")] = (both, peak)
    for method in ("average", "strided", "diffstride", "dct_diffstride", "adastride"):
        assert "| `{}` | {} | {} |".format(method, *found[method]) in short
    assert "| the dense matrix of AdaStride's definition | {} | {} |".format(*found["dense_adastride"]) in short
    assert "| DCT-DiffStride on the public package torch-dct | {} | {} |".format(*found["torch_dct"]) in short
    milliseconds = [round(float(mean(found[method][0]))) for method in ("adastride", "average", "strided")]
    assert "`adastride` takes {} ms, `average` {}, `strided` {}".format(*milliseconds) in readme
