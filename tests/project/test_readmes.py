"""Every block and every command of the READMEs: understood always, run on small data where that takes seconds.

`python -m pytest -m long tests/project/test_readmes.py` also runs comparisons and several processes, for minutes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import speechbrain
import torch
from hyperpyyaml import load_hyperpyyaml
from readme_data import DATA, NEEDS, SLOW_NEEDS, SMALL
from readmes import ROOT, Block, Command, blocks, commands, kind, readmes, spans
from ruamel.yaml import YAML
from torch.distributed.run import get_args_parser

from seqstride import DOWNSAMPLERS
from seqstride.cli.command import COMMANDS, main
from seqstride.cli.parser import make_parser
from seqstride.experiments.bench_layers import Shape, default_methods
from seqstride.experiments.building import build_recipe
from seqstride.experiments.comparison_plan import choose_methods
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.options import joined, read_command_line
from seqstride.experiments.recipe import find_recipe_file, method_file, method_words, recipe_folds, recipe_more_folds
from seqstride.experiments.run_folder import OVERWRITE

README = "README.md"
RECIPES = {readme: Path(*Path(readme).parts[:3]) for readme in readmes() if re.match(r"recipes/\w+/\w+/", readme)}
"""README → its recipe."""
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
EXTRAS = re.findall(r"^(\w+) = ", PYPROJECT.split("[project.optional-dependencies]")[1].split("\n[")[0], re.MULTILINE)
JAPANESE_VOWELS = "recipes/JapaneseVowels/speaker_id"
STANDS_FOR = {"RECIPE_FOLDER": JAPANESE_VOWELS, "my_recipe": JAPANESE_VOWELS}
"""Folders that its reader makes, or puts into a command."""
NEVER_RUN = r"pip |python3 |\. |python -m pytest|python \.assets|torchrun --nnodes|.* --beam_search |pdoc "
"""Commands that are checked only: they change the environment, run these tests, need a GPU, two machines or kenlm, or
have a test of their own (`test_reference`)."""
SLOW = r"seqstride compare |torchrun |.* --model compare_"
"""Commands that start processes of their own, or need what these leave."""
SHORTER = {
    "SeqStrideClassifier(random_state=1)": "SeqStrideClassifier(random_state=1, n_epochs=2)",
}
"""What is changed in a block of Python that would take a quarter of a minute and more."""
PROMISED = {
    README: [
        f"results/japanese_vowels_adastride/1986/{name}" for name in ("results.json", "strides.png", "training.png")
    ],
    "recipes/README.md": ["results/my_recipe_adastride/1986/results.json"],
    "recipes/AudioFolder/classification/README.md": [
        *("my_model/hyperparams.yaml", "my_model/model.json", "strides.png", "new.png", "new.csv", "new.html"),
    ],
    "recipes/LJSpeechFormat/VQVAE/README.md": ["new.json", "new.wav"],
    "seqstride/estimators/README.md": [
        *(
            f"results/mine/{name}"
            for name in ("predictions.csv", "report.md", "strides.png", "series.json", "series.safetensors")
        ),
        *("strides.png", "predictions.csv"),
    ],
    "seqstride/export/README.md": ["my_model/model.onnx", "my_model/model.pt2"],
}
"""README → files that its text says are there in the end."""


# What can be read off a command


def of_seqstride(command: Command) -> list[str] | None:
    """The arguments of the `seqstride` command that a line runs; None: it runs another program."""
    argv = list(command.argv)
    if argv[0] == "torchrun":
        options = get_args_parser().parse_args(argv[1:])
        argv = [
            *(["seqstride"] if options.module else ["python"]),
            options.training_script,
            *options.training_script_args,
        ]
        argv = argv[:1] + argv[2:] if options.module else argv
    if argv[:2] == ["python", "train.py"]:  # in the folder of the recipe
        assert command.block.readme in RECIPES, command
        folder = ROOT / RECIPES[command.block.readme]
        assert (folder / "train.py").is_file(), command
        return ["train", str(folder / argv[2]), *argv[3:]]
    return argv[1:] if argv[0] == "seqstride" else None


def check(command: Command) -> None:
    """Everything but the run: files of recipes, methods, folds, every option and its value.

    Raises:
        AssertionError, SystemExit, ValueError: something is not there, or is not understood.
    """
    argv = command.argv
    if argv[0] == "pip":
        install, flag, what = (*argv[1:2], *argv[2:-1], argv[-1]) if len(argv) > 3 else (argv[1], "", argv[-1])
        assert install == "install", command
        assert flag in ("", "-e"), command
        where, extras = re.fullmatch(r"([^\[]+)(?:\[(.+)\])?", what).groups()
        assert where in (".", "tensorboard"), command
        assert set((extras or "html").split(",")) <= set(EXTRAS), command
    elif argv[0] == "pdoc":
        assert argv[1:3] == ("-d", "google"), command
        assert all(find_spec(module) for module in argv[3:-2]), command
        assert argv[-2:] == ("-o", "build/reference"), command
    elif argv[0] in ("cp", "mkdir"):
        assert argv[-1] == "my_recipe", command
        assert all((ROOT / word).exists() for word in argv[1:-1] if word != "-r"), command
    elif argv[0] in ("python3", "."):
        assert argv in (("python3", "-m", "venv", ".venv"), (".", ".venv/bin/activate")), command
    elif argv[:3] == ("python", "-m", "pytest"):
        assert argv[3:] in ((), ("-m", "long")) or argv[3] == "-k" or (ROOT / argv[3]).is_dir(), command
    elif argv[0] == "python" and argv[1].startswith(".assets/"):
        text = (ROOT / argv[1]).read_text(encoding="utf-8")
        known = [*DOWNSAMPLERS, *(folder.name for folder in ROOT.glob("recipes/*/*/results/*"))]
        assert all(f'"{word}"' in text or word in known for word in argv[2:]), command
    else:
        arguments = of_seqstride(command)
        assert arguments is not None, command
        check_seqstride([STANDS_FOR.get(word, word) for word in arguments])


def check_seqstride(argv: list[str]) -> None:
    """The same of the arguments of `seqstride`."""
    arguments, rest = make_parser(COMMANDS).parse_known_args(argv)
    if arguments.command == "train":
        built(arguments.recipe, tuple(rest))
    elif arguments.command == "compare":
        folder = find_recipe_file(arguments.recipe)
        methods = choose_methods(folder.resolve(), arguments.methods.split(",") if arguments.methods else None)
        first = method_words(*next(iter(methods.items()))) if arguments.methods else [arguments.recipe]
        built(first[0], (*first[1:], *rest))
        if arguments.folds and arguments.folds != "all":
            known = {*recipe_folds(folder), *recipe_more_folds(folder), "all", "more"}
            assert set(arguments.folds.split(",")) <= known, argv
    else:
        assert not rest, argv
    if arguments.command == "table":
        assert find_recipe_file(arguments.folder).is_dir()
    if arguments.command == "bench":
        assert set((arguments.methods or "average").split(",")) <= {*default_methods(), "dense_adastride", "torch_dct"}
        assert [Shape.parse(text) for text in arguments.shapes or ["1,1,1"]]


@cache
def built(recipe: str, words: tuple[str, ...]) -> None:
    """Merges and builds a recipe with the changes of a command line, in a folder that is deleted afterwards."""
    base = method_file(recipe).with_name("train.yaml").read_text(encoding="utf-8")
    if "\ndata_folder:" in base and "--data_folder" not in words:
        words = (*words, "--data_folder", "data")
    file, _, overrides = read_command_line([recipe, *words])
    merged = merge_recipe(file, overrides)
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # a checkpointer makes its folder
        try:
            build_recipe(merged, file)
        finally:
            os.chdir(before)


def shell(readme: str, folder: Path) -> list[Block | Command]:
    """All blocks and commands of a README in order: commands as a shell understands them, the others as they are."""
    found: list[Block | Command] = []
    for block in sorted([*blocks(readme), *whole_commands(readme)], key=lambda block: block.line):
        understood = kind(block) == "shell"
        found += commands(block, folder / str(block.line)) if understood else [block]
    return found


def whole_commands(readme: str) -> list[Block]:
    """The commands with arguments that stand in sentences."""
    return [
        span for span in spans(readme) if re.match(r"(seqstride \S+|pip|torchrun .*(-m|\.py)|python3?) \S", span.text)
    ]


def check_all(block: Block, folder: Path) -> None:
    for command in commands(block, folder):
        check(command)


@pytest.mark.parametrize("readme", readmes())
def test_every_command_is_understood(readme: str, tmp_path: Path) -> None:
    for step in shell(readme, tmp_path):
        if isinstance(step, Command):
            check(step)


@pytest.mark.parametrize("readme", readmes())
def test_every_option_in_a_sentence_exists(readme: str) -> None:
    recipe = RECIPES.get(readme, Path("recipes/SpokenDigits/classification"))
    known = known_options(recipe)
    with_values: list[list[str]] = []
    for span in spans(readme):
        words = shlex.split(span.text)
        if words[0].startswith("--") and len(words) > 1:
            with_values.append(words)
        elif words[0].startswith("--"):
            assert words[0] in known, span
        elif words[0] == "seqstride" and len(words) == 2:
            assert words[1] in subcommands(), span
    for words in together(with_values):
        check_seqstride(["train" if "--downsampler" in words else "compare", str(recipe), *words])


def together(options: list[list[str]]) -> list[list[str]]:
    """Joins those that do not change the same things: building a recipe takes a second, whatever changes."""
    joint: list[list[str]] = []
    alone = {"--downsampler", "--methods"}
    for words in options:
        names = {word for word in words if word.startswith("--")}
        fits = [other for other in joint if not (names | alone) & set(other) and not names & alone]
        if fits:
            fits[0].extend(words)
        else:
            joint.append(list(words))
    return joint


def subcommands() -> dict:
    return make_parser(COMMANDS)._subparsers._group_actions[0].choices


def known_options(recipe: Path) -> set[str]:
    """Of all commands, of SpeechBrain and of a recipe."""
    options = {option for command in subcommands().values() for option in command._option_string_actions}
    options |= {f"--{field}" for field in speechbrain.core.RunOptions.__dataclass_fields__}
    text = (ROOT / recipe / "hparams" / "train.yaml").read_text(encoding="utf-8")
    return options | {OVERWRITE} | {f"--{key}" for key in re.findall(r"^(\w+):", text, re.MULTILINE)}


@pytest.mark.parametrize(
    "text",
    [
        "seqstride train recipes/AN4/ASB",
        "seqstride train recipes/AN4/ASR/hparams/adastrid.yaml",
        "seqstride train recipes/AN4/ASR --downsampler adastrid",
        "seqstride train recipes/AN4/ASR --number_of_epoch 3",
        "seqstride train recipes/AN4/ASR --strides '[2, x]'",
        "seqstride compare recipes/AN4/ASR --methods strided,mean",
        "seqstride compare recipes/ESC/classification --folds 6",
        "seqstride classify new.wav",
        "seqstride bench --shapes 8,256",
        "seqstride tables recipes/AN4/ASR",
        "torchrun --nproc=2 -m seqstride recipe",
        "pip install -e '.[asr]'",
        "rm -r results",
        "seqstride recipes | head",
        "python train.py hparams/train.yaml",
        "pdoc -d google seqstride.layer -o build/reference",
    ],
)
def test_a_command_that_is_wrong_is_found(text: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, SystemExit, ValueError)):
        check_all(Block(README, 1, "", text + "\n"), tmp_path / "shell")


@pytest.mark.parametrize("block", [Block(README, 1, "", "key: value\n"), Block(README, 1, "cpp", "int i;\n")])
def test_a_block_of_another_kind_is_found(block: Block) -> None:
    with pytest.raises(AssertionError, match=r"README\.md:1: "):
        kind(block)


# Runs


@pytest.mark.parametrize("readme", readmes())
def test_every_block_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(readme, tmp_path, monkeypatch, slow=False)


def test_your_own_data_are_learnt_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has a finished run of the copied recipe, whose results stay."""
    readme = "recipes/README.md"
    text = (ROOT / readme).read_text(encoding="utf-8")
    first, last = (text.count("\n", 0, text.index(f"\n## {title}")) + 1 for title in ("Your own data", "Several GPUs"))
    other = tmp_path / "home" / "results" / "japanese_vowels_adastride" / "1986" / "results.json"
    other.parent.mkdir(parents=True)
    other.write_text("not to be touched")
    follow(readme, tmp_path, monkeypatch, slow=False, lines=range(first, last))
    record = json.loads((tmp_path / "home/results/my_recipe_adastride/1986/results.json").read_text())
    assert record["recipe"] == "my_recipe"
    assert record["test_items_per_class"] == {"another": 4, "yes": 4}
    assert other.read_text() == "not to be touched"


@pytest.mark.long
@pytest.mark.parametrize("readme", readmes())
def test_every_block_runs_the_slow_ones_too(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(readme, tmp_path, monkeypatch, slow=True)


def follow(readme: str, folder: Path, monkeypatch: pytest.MonkeyPatch, slow: bool, lines: range | None = None) -> None:
    """Does what a README says, or some of its lines, in their order, in one folder."""
    steps = shell(readme, folder / "shell")
    home = folder / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.chdir(home)
    if lines is None:
        DATA.get(readme, lambda folder: None)(home)
        needs = [*NEEDS.get(readme, []), *(SLOW_NEEDS.get(readme, []) if slow else [])]
        steps = [*commands(Block(readme, 0, "", "\n".join(needs)), folder / "needs"), *steps]
    else:
        steps = [step for step in steps if (step.block if isinstance(step, Command) else step).line in lines]
    yaml: dict[str, object] = {}
    trained: list[list[str]] = []  # a command that is in a block and in a sentence is run once
    printed = ""
    for step in steps:
        if isinstance(step, Command):
            line = " ".join(step.argv)
            if re.match(NEVER_RUN, line) or (re.match(SLOW, line) and not slow):
                continue
            if (argv := absolute(step)) not in trained:
                run(step)
            trained.append(argv)
        elif kind(step) == "python":
            printed = run_python(step, yaml, slow)
        elif kind(step) == "output":
            check_output(step, printed)
        elif kind(step) == "files":
            pattern = re.sub(r"<\w+>|…", "*", step.text.strip())
            assert list(home.glob(pattern)), f"{step}: {pattern}"
        elif kind(step) == "json":
            own_data(home / "my_data", json.loads(step.text))
        elif kind(step) == "yaml":
            run_yaml(step, home, yaml)
    for path in PROMISED.get(readme, []) if lines is None else ():
        assert (home / path).stat().st_size > 0, path


def run_yaml(block: Block, home: Path, yaml: dict[str, object]) -> None:
    """Builds the objects of a block, or puts its keys into the recipe that they are for."""
    if "train_logger:" in block.text:
        file = method_file(JAPANESE_VOWELS)
        merged = merge_recipe(file, block.text)
        if find_spec("tensorboard"):
            build_recipe(merged, file)
    elif "recipe:" in block.text:
        change_keys(home / "my_recipe" / "hparams" / "train.yaml", block.text)
    else:
        yaml |= load_hyperpyyaml(block.text)


NUMBER = r"-?\d+\.\d+"


def check_output(block: Block, printed: str) -> None:
    """Compares what a block of Python printed with its README; decimals may differ by 0.3 between machines."""
    assert re.sub(NUMBER, "N", printed) == re.sub(NUMBER, "N", block.text), f"{block}: {printed}"
    shown, found = ([float(number) for number in re.findall(NUMBER, text)] for text in (block.text, printed))
    assert found == pytest.approx(shown, abs=0.3), f"{block}: {printed}"


def absolute(command: Command) -> list[str]:
    """The arguments of `seqstride`, recipes by where they are."""
    argv = of_seqstride(command) or list(command.argv)
    return [str(ROOT / word) if word.startswith("recipes/") else word for word in argv] + [str(command.to)]


def run(command: Command) -> None:
    """Runs a command on small data: in this process, or where it starts several, in those."""
    if command.argv[0] in ("cp", "mkdir"):
        subprocess.run([word.replace("recipes/", f"{ROOT}/recipes/") for word in command.argv], check=True)
        return
    argv, small = of_seqstride(command), smaller(command)
    if argv[0] in ("train", "compare"):
        argv = [word for word in joined(argv) if word.partition("=")[0] not in small[::2]]
    argv = [*argv, *small]
    if command.argv[0] == "torchrun":
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "seqstride"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*start, *argv], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    elif command.to is not None:
        with open(command.to, "w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
            assert main(argv) == 0, command
    else:
        assert main(argv) == 0, command


def smaller(command: Command) -> list[str]:
    """Options with a value each that make a command quick; they replace its own."""
    arguments, _ = make_parser(COMMANDS).parse_known_args(of_seqstride(command))
    if arguments.command == "bench":
        return ["--shapes", "1,8,50", "--repeats", "1", "--device", "cpu", "--dtype", "float32"]
    if arguments.command == "fit-series":
        return ["--epochs", "2"]
    if arguments.command not in ("train", "compare"):
        return []
    recipe = method_file(arguments.recipe).resolve().parents[1]
    base = (recipe / "hparams" / "train.yaml").read_text(encoding="utf-8")
    epochs = "number_of_epochs" if "\nnumber_of_epochs:" in base else "n_epochs"
    options = {epochs: "1", **SMALL.get(f"{recipe.parent.name}/{recipe.name}", {})}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    if arguments.command == "compare":
        options = {"--seeds": "0", "--jobs": "2", "--device": "cpu"}
        options["--methods"] = f"{arguments.methods.split(',')[0]},adastride"
        if arguments.folds == "all":
            options["--folds"] = recipe_folds(recipe)[0]
        return [*words, *(word for pair in options.items() for word in pair)]
    return [*words, "--device", "cpu", "--noprogressbar"]


def run_python(block: Block, yaml: dict[str, object], slow: bool) -> str:
    """Runs a block in a namespace of its own, and returns what it prints.

    Lines for SpeechBrain's own recipes find the names that exist there.
    """
    text = block.text
    if not slow:
        for long, short in SHORTER.items():
            text = text.replace(long, short)
    names: dict[str, object] = {"__name__": "readme"}
    if "self.modules" in text:
        names["self"] = SimpleNamespace(modules=SimpleNamespace(**yaml))
        names |= {"feats": torch.randn(2, 50, 80), "wav_lens": torch.tensor([1.0, 0.5])}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(text, str(block), "exec"), names)
    plt.close("all")
    return printed.getvalue()


def own_data(folder: Path, example: dict[str, dict]) -> None:
    """Features of 40 channels, and manifests whose items have the keys of the example."""
    folder.mkdir()
    [(name, item)] = example.items()
    for split in ("train", "valid", "test"):
        items = {}
        for index in range(8):
            own = f"{split}-{index}"
            np.save(folder / f"{own}.npy", np.random.default_rng(index).normal(size=(item["length"], 40)))
            label = item["label"] if index % 2 else "another"
            items[own] = {**item, "features": item["features"].replace(name, own), "label": label}
        (folder / f"{split}.json").write_text(json.dumps(items))


def change_keys(file: Path, changes: str) -> None:
    """Puts keys of a block of YAML in the place of those in a file."""
    yaml = YAML()
    tree = yaml.load(file.read_text(encoding="utf-8"))
    new = yaml.load(changes)
    assert set(new) <= set(tree), set(new) - set(tree)
    tree.update(new)
    yaml.dump(tree, file)
