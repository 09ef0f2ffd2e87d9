"""The command line of a recipe: what is taken literally, what values may be, and how mistakes are named."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import speechbrain as sb

from seqstride.cli import main
from seqstride.errors import InputError
from seqstride.experiments.building import build_recipe
from seqstride.experiments.merging import merge_recipe, overrides_as_yaml
from seqstride.experiments.options import joined, read_command_line, separated
from seqstride.experiments.recipe import list_recipes, method_file, recipes_folder
from seqstride.experiments.yaml_trees import base_of
from seqstride.files.folder_lock import LOCK
from seqstride.files.yaml_text import load_recipe, quoted, resolved, round_trip_yaml

VOWELS = "JapaneseVowels/speaker_id"
SPOKEN = "SpokenDigits/classification"
TABULAR = "Tabular/classification"

# what YAML or HyperPyYAML would make something else of
NAMES = [
    *("2024", "001", "1e3", "0x10", "1_000", "2024-01-01", "1:30", ".5", "~", "null", "yes", "true", "=", ".inf"),
    *("run #2", "a: b", "{x}", "{", "[a", "]", "*a", "&a", "%a", "@x", "`x`", "'q'", '"d"', "it's", "|", ">", "?", "-"),
    *("-x", "-h", "- x", " lead", "trail ", "a,b", "a\tb", "a\nb", "a\\nb", "\x1b[31m", "ü\udcff", "a=b", "--x"),
    *("<seed>", "a<seed>b", "<nothing>", "!ref <seed>", "!new:os.getcwd", "!apply:os.getcwd []", "2 * 3", "(a)"),
    *("(1, 2)", "\ue00061\ue001", "x" * 200 + " y  z", "*", "&", "#", ":", "!"),
]
NAMES += ["w"] * (-len(NAMES) % 4)

BASE = """\
seed: 5
where: !PLACEHOLDER
other_folder: 3         # a path by its name
csv: null
save: !ref <where>/save
same: !ref <where>
root: !ref <save>
half: !ref <seed> // 2
number: !ref <half>
word: plain
augment: !ref <thing>
thing: !new:collections.Counter
    a: !ref <where>
files:
    train: !ref <save>/train.json
    count: 3
steps: [1, 2]
share: 0.5
flag: false
window: null
"""


@pytest.fixture
def method(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe" / "hparams"
    folder.mkdir(parents=True)
    (folder / "train.yaml").write_text(BASE)
    (folder / "method.yaml").write_text("word: method\n")
    return folder / "method.yaml"


def values(method: Path, *words: str) -> dict[str, Any]:
    """The hyperparameters that a command line gives."""
    file, _, overrides = read_command_line([str(method), *words])
    return build_recipe(merge_recipe(file, overrides), file)


@pytest.mark.parametrize("first", range(0, len(NAMES), 4))
def test_paths_and_words_are_taken_as_they_are(method: Path, first: int) -> None:
    keys = ("where", "word", "other_folder", "csv")
    names = dict(zip(keys, NAMES[first : first + 4], strict=True))
    pairs = [
        [f"--{key}={name}"] if key == "where" or name[:2] == "--" else [f"--{key}", name] for key, name in names.items()
    ]
    found = values(method, *(word for pair in pairs for word in pair))
    assert {key: found[key] for key in keys} == names
    assert found["same"] == names["where"]
    assert found["save"] == found["root"] == f"{names['where']}/save"
    assert found["files"]["train"] == f"{names['where']}/save/train.json"
    assert found["thing"] == {"a": names["where"]}


@pytest.mark.parametrize("name", ["run <seed> #2", "(a)", "!new:os.getcwd"])
def test_what_was_read_can_be_written_and_read_again(name: str, tmp_path: Path) -> None:
    written = io.StringIO()
    round_trip_yaml().dump({"seed": 5, "a": quoted(name), "b": quoted("ü\udcff")}, written)
    (tmp_path / "train.yaml").write_text(written.getvalue(), encoding="utf-8")
    text = (tmp_path / "train.yaml").read_text(encoding="utf-8")
    assert load_recipe(text) == resolved(text) == {"seed": 5, "a": name, "b": "ü\udcff"}


def test_an_empty_path_is_none(method: Path) -> None:
    assert values(method, "--where", "x", "--csv", "", "--root=")["csv"] is None
    assert values(method, "--where", "x", "--root=")["root"] is None


def test_all_else_is_yaml(method: Path) -> None:
    found = values(method, "--where=w", "--steps", "[3, 4]", "--share", "1e-3", "--flag", "true", "--seed", "7")
    assert (found["steps"], found["share"], found["flag"], found["half"], found["number"]) == (
        [3, 4],
        0.001,
        True,
        3,
        3,
    )
    assert values(method, "--where=w", "--augment", "null")["augment"] is None
    assert values(method, "--where=w", "--augment", "!ref <seed>")["augment"] == 5
    assert values(method, "--where=w", "--window", "0.5")["window"] == 0.5
    assert values(method, "--where=w", "--half", "9")["number"] == 9


@pytest.mark.parametrize("name", ["2024", "001", "a <seed>", "yes"])
def test_paths_inside_of_mappings_and_in_files(method: Path, name: str) -> None:
    found = values(method, "--where=w", "--files", f"{{train: {name}}}")
    assert found["files"] == {"train": name, "count": 3}
    method.write_text(f"where: {name}\ncsv: null\nfiles: {{train: {name}}}\n")
    assert [values(method)[key] for key in ("where", "same", "save")] == [name, name, f"{name}/save"]
    assert values(method)["files"]["train"] == name
    assert values(method)["csv"] is None
    assert values(method)["other_folder"] == "3", "in train.yaml, too"


def test_a_reference_in_a_file_is_one(method: Path) -> None:
    method.write_text("where: !ref results/<word>\n")
    assert values(method, "--word", "<seed>")["save"] == "results/<seed>/save"


def test_every_recipe_takes_its_paths_literally() -> None:
    odd = "a: #<seed> (1)"
    for name in list_recipes():
        base = base_of(recipes_folder() / name / "hparams" / "train.yaml")
        for key in ("output_folder", "save_folder", "data_folder", "data_root", "data_file", "csv", "feature_name"):
            if key in base:
                assert round_trip_yaml().load(overrides_as_yaml(base, {key: odd})) == {key: odd}, (name, key)


# Values


@pytest.mark.parametrize(
    ("recipe", "option", "rule"),
    [
        (VOWELS, "--number_of_epochs 0", "`number_of_epochs` (=0) must be a whole number of at least 1"),
        (VOWELS, "--number_of_epochs -1", "`number_of_epochs` (=-1) must be a whole number of at least 1"),
        (VOWELS, "--number_of_epochs 2.5", "`number_of_epochs` (=2.5) must be a whole number of at least 1"),
        (VOWELS, "--number_of_epochs null", "`number_of_epochs` (=null) must be a whole number"),
        (VOWELS, "--lr fast", "`lr` (='fast') must be a number above 0"),
        (VOWELS, "--lr 0", "`lr` (=0) must be a number above 0"),
        (VOWELS, "--lr .nan", "`lr` (=nan) must be a number above 0"),
        (VOWELS, "--lr .inf", "`lr` (=inf) must be a number above 0"),
        (VOWELS, "--lr true", "`lr` (=true) must be a number above 0"),
        (VOWELS, "--lr [1]", "`lr` (=[1]) must be a number above 0"),
        (VOWELS, "--batch_size 0", "`batch_size` (=0) must be a whole number of at least 1"),
        (VOWELS, "--seed x", "`seed` (='x') must be a whole number of at least 0 and at most 4294967295"),
        (VOWELS, "--seed -1", "`seed` (=-1) must be a whole number"),
        (VOWELS, "--strides 0", "`strides` (=0) must be a list, such as [2, 2, 1], or random"),
        (VOWELS, "--labels speaker", "`labels` (='speaker') must be a list, such as [speaker]"),
        (VOWELS, "--dropout 1.5", "`dropout` (=1.5) must be a number of at least 0 and below 1"),
        (VOWELS, "--window 0", "`window` (=0) must be a number above 0, or null"),
        (VOWELS, "--max_grad_norm x", "`--max_grad_norm` (='x') must be a number"),
        (VOWELS, "--complexity {weight: -1}", "`complexity.weight` (=-1) must be a number of at least 0"),
        (VOWELS, "--valid_dataloader {batch_size: 0}", "`valid_dataloader.batch_size` (=0) must be a whole number"),
        (VOWELS, "--train_dataloader {num_workers: -1}", "`train_dataloader.num_workers` (=-1) must be a whole"),
        (VOWELS, "--complexity 3", "`complexity` (=3) must be a mapping"),
        (VOWELS, "--lr 1 2", "'2' does not follow an option; put quotes around a value with spaces"),
        (VOWELS, "--lr", "`--lr` must have a value"),
        (VOWELS, "--lr 1 --lr 2", "`--lr` must be given once"),
        (VOWELS, "--lr [", "the command line: `--lr` (='[') is not valid YAML"),
        (VOWELS, "--device", "`--device` must have a value"),
        (VOWELS, "--devcie cpu", "`devcie` is not a key of train.yaml; near matches: device"),
        (VOWELS, "--lerning_rate 1", "`lerning_rate` is not a key of train.yaml"),
        (VOWELS, "--precision fp8", "`--precision` (='fp8') must be one of fp32, fp16, bf16"),
        (VOWELS, "--ckpt_interval_steps x", "`--ckpt_interval_steps` (='x') must be a whole number"),
        (VOWELS, "--grad_accumulation_factor 0", "`--grad_accumulation_factor` (=0) must be a whole number of at"),
        (VOWELS, "--debug_batches 0", "`--debug_batches` (=0) must be a whole number of at least 1"),
        (VOWELS, "--test_only=yes", "`--test_only` (='yes') must have no value"),
        (VOWELS, "--log_config none", "`--log_config` (='none') must be a file"),
        (TABULAR, "--n_epochs 0", "`n_epochs` (=0) must be a whole number of at least 1"),
        (TABULAR, "--test_share x", "`test_share` (='x') must be a number above 0 and below 1"),
        (TABULAR, "--test_share 7", "`test_share` (=7) must be a number above 0 and below 1"),
        (TABULAR, "--model null", "`model` must be given in train.yaml, and must not be null"),
        (VOWELS, "--modules null", "`modules` must be given in train.yaml, and must not be null"),
        (VOWELS, "--complexity {kind: x}", "`complexity.kind` (='x') must be one of frames, memory, macs"),
        (VOWELS, "--opt_class {betas: 3}", "must be !name:torch.optim.AdamW, with arguments or another one"),
        (VOWELS, "--encoder {x: 3}", "cannot be built: "),
        (VOWELS, "--downsampler maxx", "`downsampler` (='maxx') must be one of strided, average"),
        (VOWELS, "--downsampler ../max", "`downsampler` (='../max') must be one of strided, average"),
        (
            VOWELS,
            "--downsampler adastide",
            "hnet, merge; did you mean adastride",
        ),
        (
            SPOKEN,
            "--data_folder x --downsampler spectrogram2d",
            "`downsampler` (='spectrogram2d') must be one of strided, average",
        ),
    ],
)
def test_wrong_values_are_one_line(
    recipe: str,
    option: str,
    rule: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = option.split(" ") if "{" not in option else option.split(" ", 1)
    monkeypatch.chdir(tmp_path)
    assert main(["train", f"recipes/{recipe}", "--output_folder", "out", *words]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("seqstride: ")
    assert rule in line
    assert not {path.name for path in tmp_path.glob("out/*")} - {"save", LOCK}


def test_wrong_values_in_files_name_the_file(method: Path) -> None:
    method.write_text("share: half\n")
    with pytest.raises(ValueError, match=re.escape(f"{method}: `share` (='half') must be a number")):
        values(method, "--where=w")
    method.with_name("train.yaml").write_text(f"{BASE}lr: 0\n")
    with pytest.raises(ValueError, match=r"train\.yaml: `lr` \(=0\) must be a number above 0"):
        values(method, "--where=w")


# Options


def test_options_of_speechbrain_are_as_it_reads_them() -> None:
    words = ["--device", "cpu", "--test_only", "--precision=bf16", "--max_grad_norm", "2", "--ckpt_interval_steps=3"]
    words += ["--jit_module_keys", "encoder", "normalize", "--noprogressbar"]
    file, found, _ = read_command_line([VOWELS, *words])
    _, expected, _ = sb.parse_arguments([file, *words])
    assert found.as_dict() == expected.as_dict()
    assert Path(file) == method_file(VOWELS)


def test_a_debug_run_is_asked_for_by_its_batches_or_epochs() -> None:
    for words in (["--debug_batches", "1"], ["--debug_epochs=1"], ["--debug_persistently"]):
        run_opts = read_command_line([VOWELS, *words])[1]
        assert run_opts.debug
        assert "debug" in run_opts.overridden_args
    assert not read_command_line([VOWELS])[1].debug


def test_words_are_joined_and_separated() -> None:
    words = ["f", "--a", "-x", "--test_only", "--b=c", "--d", "--resume", "g", "--e", ""]
    once = ["f", "--a=-x", "--test_only", "--b=c", "--d", "--resume", "g", "--e="]
    assert joined(words) == once
    assert joined(once) == once
    assert separated(once) == ["f", "--a", "-x", "--test_only", "--b", "c", "--d", "--resume", "g", "--e", ""]
    assert separated(["--a=--b", "--test_only=c"]) == ["--a=--b", "--test_only=c"]


def test_help_is_shown_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["train", VOWELS, "--help"], ["train", "-h"], ["compare", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        assert "--key value" in capsys.readouterr().out


# Files


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["recipes/AN4/ASR"], ["`--data_folder` must be given: the folder that has etc/"]),
        (["recipes/AudioFolder/classification"], ["`--data_folder` must be given: "]),
        (["recipes/AN4/ASR", "--data_folder="], ["`--data_folder` must be given: the folder"]),
        (["recipes/Tabular/classification", "--output_folder="], ["`output_folder` must be given"]),
        (["recipes/Tabular/classification", "--lerning_rate", "1"], ["is not a key of train.yaml"]),
        (["recipes/Tabular/classification/hparams", "--lerning_rate", "1"], ["is not a key of train.yaml"]),
        (["recipes/Tabular"], ["must be a folder with hparams/train.yaml"]),
        (["recipes/Tabular/clasification/hparams/forest.yaml"], ["no recipe", "near matches: Tabular/classification"]),
        (["recipes/Tabular/clasification"], ["no recipe", "near matches: Tabular/classification"]),
        (
            ["recipes/Tabular/classification/hparams/adastride.yaml"],
            ["no file of its own. Run: seqstride train recipes/Tabular/classification --downsampler adastride"],
        ),
        (["recipes/Tabular/classification/hparams/adastrid.yaml"], ["near matches: adastride"]),
    ],
)
def test_what_is_no_method_is_explained(words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    for part in parts:
        assert part in line


def test_a_comparison_follows_the_same_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["-o", str(tmp_path / "out"), "--methods", "average"]
    for words, part in (
        (["recipes/AN4/ASR"], "`--data_folder` must be given: the folder"),
        (["recipes/JapaneseVowels/speaker_id", "--lr", "fast"], "`lr` (='fast') must be a number above 0"),
        (["recipes/JapaneseVowels/speaker_id", "--widht", "3"], "`widht` is not a key of train.yaml; near matches"),
        (["recipes/JapaneseVowels/speaker_id", "--lr", "1", "2"], "'2' does not follow an option"),
    ):
        assert main(["compare", *words, *out]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert part in line
    assert not (tmp_path / "out").exists()


def test_a_run_in_a_folder_with_an_odd_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: merged, built, trained on windows of features, described, written."""
    monkeypatch.chdir(tmp_path)
    name = "-run #2 <seed> {x} (1): *&%!'ü"
    words = ["--device", "cpu", "--number_of_epochs", "1", "--width", "8", "--window", "0.1", "--noprogressbar"]
    assert main(["train", f"recipes/{VOWELS}", *words, "--output_folder", name, "--feature_name", "001"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert json.loads((tmp_path / name / "model.json").read_text(encoding="utf-8"))["feature_name"] == "001"
    merged = (tmp_path / name / "train.yaml").read_text(encoding="utf-8")
    assert load_recipe(merged)["output_folder"] == name


CODE = [
    *("!apply:os.system [touch x]", "[1, !new:os.PathLike x]", "{a: !name:os.system }", "!include:x.yaml"),
    *("!!python/object/apply:os.system [touch x]", "{a: !!python/name:os.system ''}", "{!apply:os.getcwd '': 1}"),
    *("!<!apply:os.system> [touch x]", "&a !applyref:os.system [touch x]", "!!omap [a: !apply:os.system [touch x]]"),
]


@pytest.mark.parametrize("value", CODE)
@pytest.mark.parametrize("key", ["lr", "strides", "complexity", "train_dataloader", "items", "window"])
def test_a_plain_value_cannot_become_code(key: str, value: str) -> None:
    base = {**base_of(recipes_folder() / VOWELS / "hparams" / "train.yaml"), "items": {"train": 3}}
    with pytest.raises(
        InputError, match=rf"`--{key}` .* must .*(as it is in train.yaml: it names code|it has the tag)"
    ):
        overrides_as_yaml(base, {key: value})


@pytest.mark.parametrize("value", ["!!set {!apply:os.system [x]}", "!!binary [a]", "!!timestamp x", "!!int x", "? ? ?"])
def test_yaml_that_its_reader_does_not_expect_is_one_line(value: str) -> None:
    with pytest.raises(InputError, match="`--strides`"):
        overrides_as_yaml(base_of(recipes_folder() / VOWELS / "hparams" / "train.yaml"), {"strides": value})
