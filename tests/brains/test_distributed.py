"""Two processes are one: training steps, whole runs, errors."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ranks
import soundfile
import torch
import torch.distributed as dist
from an4_release import Spoken, write_release
from full_disks import files_of_at_most
from helpers import COUNTED, LEARNT
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.train_logger import FileTrainLogger
from tiny_models import resnet, saved, tones
from torch import nn

import seqstride as ss
import seqstride.brains.manifests
from seqstride.brains import ClassificationBrain, process_group, run
from seqstride.brains.asr import CTCBrain
from seqstride.brains.checkpoints import Checkpointer
from seqstride.brains.losses import MaskedL1
from seqstride.brains.vqvae import VQVAEBrain
from seqstride.cli import main
from seqstride.cli.shards import write_in_shards
from seqstride.distributed import rank
from seqstride.distributed import ranks as group_size
from seqstride.encoders.conformer import ConformerEncoder
from seqstride.encoders.heads import FeatureNorm, Heads, PooledClassifier
from seqstride.encoders.masked import MaskedBatchNorm1d
from seqstride.encoders.vqvae import ExpandDecoder, Quantizer
from seqstride.errors import FileError, InputError
from seqstride.experiments.recipe import recipes_folder
from seqstride.files.audio_files import Recording, read_list
from seqstride.models.recogniser import Transcriber, save_transcriber
from seqstride.models.tokens import Units

EXACT = {"rtol": 1e-9, "atol": 1e-10}
"""Of float64: what the order of the sums changes."""
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""The same of float32, after several steps."""
LENGTHS = (60, 7, 52, 5, 33, 1, 41, 9)
"""Dealt out to two ranks, the second one's items are much shorter."""


def join() -> None:
    """Joins the other rank, where this is one of two."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")


# Masked batch norm


def normalise(lengths: tuple[int, ...] | None) -> dict[str, torch.Tensor]:
    """One step of a norm on this rank's half of a batch: outputs, statistics, gradients."""
    join()
    x = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 100
    weight = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = slice(rank(), None, group_size())
    norm = MaskedBatchNorm1d(3).double()
    mine = x[own].clone().requires_grad_()
    y = norm(mine, None if lengths is None else torch.tensor(lengths)[own])
    (y * weight[own]).pow(3).sum().backward()
    gradients = torch.stack([norm.weight.grad, norm.bias.grad])
    if group_size() > 1:
        dist.all_reduce(gradients)
    return {
        "y": y.detach(),
        "x": mine.grad,
        "parameters": gradients,
        "mean": norm.running_mean,
        "var": norm.running_var,
    }


@pytest.mark.parametrize("lengths", [(12, 1, 9, 2), None])
def test_the_norm_has_the_statistics_of_all_ranks(lengths: tuple[int, ...] | None) -> None:
    whole = normalise(lengths)
    parts = ranks.run(normalise, lengths)
    for number, part in enumerate(parts):
        for key in ("y", "x"):
            torch.testing.assert_close(part[key], whole[key][number::2], **EXACT)
        for key in ("parameters", "mean", "var"):
            torch.testing.assert_close(part[key], whole[key], **EXACT)


# Steps of training


def hparams(**more: Any) -> dict[str, Any]:
    return {
        **{"seed": 1, "number_of_epochs": 2, "lr": 0.01, "stride_lr": 0.1, "weight_decay": 0.01, "penalty_weight": 1.0},
        **{"wav_augment": None, "fea_augment": None, "complexity": {"kind": "macs", "length": 30, "weight": 0.1}},
        "train_logger": SimpleNamespace(log_stats=lambda *args, **kwargs: None),
        **more,
    }


RUN_OPTIONS = {"device": "cpu", "noprogressbar": True, "distributed_backend": "gloo"}


class Watched:
    """A Brain that notes its strides after every step."""

    seen: list[list[float]]

    def optimizers_step(self) -> None:
        super().optimizers_step()  # type: ignore[misc]
        self.seen.append(self.strides())  # type: ignore[attr-defined]


class Classification(Watched, ClassificationBrain):
    """Two labels."""


class Codes(Watched, VQVAEBrain):
    """Codes and their reconstruction."""


class Recognition(Watched, CTCBrain):
    """Letters."""


def classification(method: str) -> Classification:
    torch.manual_seed(0)
    modules = {
        "normalize": FeatureNorm(5),
        "encoder": ss.ResNet1d(5, channels=(8,), strides=(2,), downsampler=method),
        "classifier": Heads({"kind": PooledClassifier(8, 3), "other": PooledClassifier(8, 2)}),
    }
    classes = {"kind": ["a", "b", "c"], "other": ["d", "e"]}
    return Classification(modules, torch.optim.SGD, hparams(classes=classes, window=None, mixup_alpha=0.0), RUN_OPTIONS)


def recognition(method: str) -> Recognition:
    torch.manual_seed(0)
    encoder = ConformerEncoder(5, 8, (2,), method, layers=1, heads=2, feed_forward=8, kernel_size=3, dropout=0.0)
    units = Units("chars", "ABC")
    modules = {"normalize": FeatureNorm(5), "encoder": encoder, "output": nn.Linear(8, len(units))}
    more = {
        "text": "text",
        "selection": "WER",
        "average": 1,
        "unit_names": units,
        "warmup_steps": 1,
        "beam_search": None,
    }
    return Recognition(modules, torch.optim.SGD, hparams(**more), RUN_OPTIONS)


def codes(method: str) -> VQVAEBrain:
    torch.manual_seed(0)
    modules = {
        "normalize": FeatureNorm(5),
        "encoder": ss.ResNet1d(5, channels=(8,), strides=(2,), downsampler=method),
        "quantizer": Quantizer(8, size=6, dimension=4),
        "decoder": ExpandDecoder(8, 5, width=8, blocks=1),
    }
    more = {"reconstruction": MaskedL1(), "log_mel": None, "commitment_weight": 1.0, "window": None}
    return Codes(modules, torch.optim.SGD, hparams(**more), RUN_OPTIONS)


def items() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(2)
    return [
        {
            "id": str(index),
            "signal": torch.randn(length, 5, generator=generator),
            "target_kind": index % 3,
            "target_other": index % 2,
            "text": "ABCCA"[: 1 + length // 10],
        }
        for index, length in enumerate(LENGTHS)
    ]


def train(make: Any, method: str, shares: list[list[list[int]]]) -> dict[str, Any]:
    """Steps of a fresh Brain on this rank's share of the items of each step; what it has learnt, and its losses."""
    brain = make(method)
    for layer in brain.encoder.downsamplers:
        if hasattr(layer, "score"):
            nn.init.normal_(layer.score.weight, std=0.5)
    brain.seen = []
    data = items()
    loader = torch.utils.data.DataLoader(
        [PaddedBatch([data[index] for index in step[rank()]]) for step in shares], batch_size=None
    )
    sb_fit = super(CTCBrain, brain).fit if make is recognition else brain.fit
    sb_fit([1], loader, loader)
    weights = {name: tensor.clone() for name, tensor in brain.encoder.state_dict().items()}
    for name in ("classifier", "output", "quantizer", "decoder"):
        if name in brain.modules:
            weights.update(brain.net(name).state_dict())
    return {
        "weights": weights,
        "strides": brain.seen,
        "train": [epoch["train"] for epoch in brain.history.epochs],
    }


def train_all(make: Any, methods: list[str], shares: list[list[list[int]]]) -> dict[str, dict[str, Any]]:
    join()
    return {method: train(make, method, shares) for method in methods}


def assert_one_run(make: Any, methods: list[str], shares: list[list[list[int]]]) -> None:
    """Two ranks, each with its share of every step, learn what one process with all of them does."""
    parts = ranks.run(train_all, make, methods, shares)
    wholes = train_all(make, methods, [[sorted(chain(*step))] for step in shares])
    for method, whole in wholes.items():
        first, second = (part[method] for part in parts)
        assert first["strides"] == second["strides"], method
        assert len(first["strides"]) == len(shares)
        np.testing.assert_allclose(first["strides"], whole["strides"], rtol=1e-5)
        if method in LEARNT:
            assert first["strides"][0] != first["strides"][-1]
        for part in (first, second):
            for name, tensor in whole["weights"].items():
                torch.testing.assert_close(part["weights"][name], tensor, **CLOSE)
            for before, after in zip(part["train"], whole["train"], strict=True):
                assert before == pytest.approx(after, rel=1e-5)


@pytest.mark.long
def test_every_method_learns_on_two_ranks_what_it_learns_on_one() -> None:
    # where the content decides on the lengths, each rank holds the mean ratio of its own items
    assert_one_run(classification, COUNTED, [[[0, 2], [1, 3]], [[4, 6], [5, 7]]])


def test_codebooks_are_those_of_all_ranks() -> None:
    assert_one_run(codes, ["adastride"], [[[0, 2], [1, 3]], [[4, 6], [5, 7]]])


def test_items_count_alike_where_ranks_have_different_numbers_of_them() -> None:
    assert_one_run(recognition, ["adastride", "dct_diffstride"], [[[0, 2, 4], [1]], [[6], [3, 7]]])


# Validation and test


def evaluate(make: Any, method: str, batch_size: int) -> dict[str, Any]:
    """What a fresh Brain counts of all items, on this rank or all together, and the batches that it has seen."""
    torch.manual_seed(0)
    brain, data, seen = make(method), items(), []
    options = {"batch_size": batch_size, "collate_fn": PaddedBatch}
    with torch.no_grad():
        for buffer in brain.modules.buffers():
            buffer += buffer.is_floating_point() and rank()  # those of the first rank count

    def forward(batch: Any, stage: Stage, real: Any = brain.compute_forward) -> Any:
        seen.append(list(batch.id))
        return real(batch, stage)

    brain.compute_forward = forward
    brain.evaluate(data, test_loader_kwargs=dict(options))
    counts = {name: getattr(brain, name) for name in brain.counted if name not in ("compute_seconds", "event_shares")}
    loader = brain.make_dataloader(data, Stage.VALID, None, shuffle=False, **options)
    brain.on_stage_start(Stage.VALID)
    for batch in loader:
        brain.evaluate_batch(batch, Stage.VALID)
    brain.put_together(0.0)
    return {"seen": seen, "all": [brain.test, counts, brain.strides(), brain.local_strides]}


EVALUATED = [(classification, "average"), (codes, "cif"), (recognition, "adastride")]


def evaluate_all(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    join()
    return [evaluate(make, method, size) for make, method in EVALUATED for size in sizes]


def test_two_ranks_share_the_batches_of_a_test_and_count_what_one_counts() -> None:
    sizes = (3, 8)  # three batches, and one that leaves the second rank without any
    parts, wholes = ranks.run(evaluate_all, sizes), evaluate_all(sizes)
    assert len(wholes) == len(EVALUATED) * len(sizes)
    for first, second, whole in zip(*parts, wholes, strict=True):
        batches = whole["seen"][: len(whole["seen"]) // 2]
        assert first["seen"] == 2 * batches[::2]
        assert second["seen"] == 2 * batches[1::2]
        for part in (first, second):
            assert_equal(part["all"], whole["all"])


def assert_equal(found: Any, expected: Any) -> None:
    """Equal, but for the order of sums."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = ([values[key] for key in expected] for values in (found, expected))
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == (pytest.approx(expected, rel=1e-15) if isinstance(expected, float) else expected)


# Whole runs

RECIPE = "JapaneseVowels/speaker_id"


def release(folder: Path) -> Path:
    """Noise of three speakers who say something, and of one to test them with."""
    generator = np.random.default_rng(0)

    def said(speaker: str) -> list[Spoken]:
        frames = generator.integers(60, 150, 4)
        content = [generator.normal(size=(count, 13)).astype(np.float32) for count in frames]
        words = ["A", "BA C", "AB", "CAB B"]
        return [Spoken(f"{i}-{speaker}", speaker, words[i], content[i]) for i in range(4)]

    return write_release(folder, [spoken for speaker in "pqr" for spoken in said(speaker)], said("z"))


def test_a_run_of_two_ranks_is_that_of_one_with_the_same_batches(tmp_path: Path) -> None:
    data = release(tmp_path / "an4")
    recipe = tmp_path / "recipe"
    shutil.copytree(recipes_folder() / "AN4" / "ASR", recipe)
    base = recipe / "hparams" / "train.yaml"
    plain = re.sub(r"^dynamic_batching:\n( .*\n)+", "dynamic_batching: null\n", base.read_text(), flags=re.MULTILINE)
    base.write_text(plain)
    small = {
        **{"data_folder": data, "valid_speakers": 1, "width": 16, "layers": 1, "feed_forward": 16, "dropout": 0},
        **{"number_of_epochs": 1, "warmup_steps": 1, "average": 1, "device": "cpu"},
        "fea_augment": "{min_augmentations: 0, max_augmentations: 0}",
    }

    def words(name: str, batch_size: int) -> list[object]:
        options = {**small, "batch_size": batch_size, "output_folder": tmp_path / name}
        flags = chain(*((f"--{key}", value) for key, value in options.items()))
        return ["train", recipe / "hparams" / "diffstride.yaml", *flags, "--noprogressbar"]

    # 8 items: two steps of twice 2
    assert ranks.run(ranks.print_to_file, tmp_path, *words("two", 2)) == [0, 0]
    assert main([str(word) for word in words("one", 4)]) == 0
    two, one = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("two", "one"))
    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["strides"] != two["initial_strides"]
    np.testing.assert_allclose(two["strides"], one["strides"], rtol=1e-5)
    for key in ("test_loss", "valid_loss"):
        assert two[key] == pytest.approx(one[key], rel=1e-3)
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("two", "one")]
    assert names[0] == names[1]
    assert len((tmp_path / "two" / "train_log.txt").read_text().splitlines()) == 2
    assert len(list((tmp_path / "two" / "save" / "checkpoints").iterdir())) == 1
    first, second = ((tmp_path / f"printed_{rank}").read_text() for rank in (0, 1))
    assert re.search(r"^ +1/1 ", first, re.MULTILINE)
    assert first.count("next      seqstride transcribe ") == 1
    assert second == ""


def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--output_folder", tmp_path / "out", "--noprogressbar"]
    for changed, message in (
        (["--data_folder", tmp_path / "none"], "JapaneseVowels_TRAIN.ts is missing"),  # rank 0 prepares the data
        (["--widht", 3], "`widht` is not a key of train.yaml"),  # all ranks find it
    ):
        start = time.monotonic()
        assert ranks.run(ranks.print_to_file, tmp_path, "train", RECIPE, *options, *changed) == [2, 2]
        assert time.monotonic() - start < 60
        printed = (tmp_path / "printed_0").read_text() + (tmp_path / "printed_1").read_text()
        assert printed.count(message) == 1
        assert "Traceback" not in printed


# Long lists


class Killed(BaseException):
    """Stands for the end of the process."""


def test_parts_are_kept_and_never_mixed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output, done = tmp_path / "new" / "squares.txt", []

    def work(chunk: Sequence[int]) -> Iterator[str]:
        for number in chunk:
            if number == 130 and 130 not in done:
                done.append(130)
                raise Killed
            done.append(number)
            yield f"{number * number}\n"

    def run(numbers: range, job: str = "squares") -> None:
        write_in_shards(numbers, work, output, header="n\n", job={"job": job})

    with pytest.raises(Killed):
        run(range(200))
    assert not output.exists()
    before = list(done)
    begun = {path.name: path.read_bytes() for path in output.with_name("squares.txt.parts").iterdir()}
    for numbers, job in ((range(7), "squares"), (range(200), "cubes")):
        caplog.clear()
        run(numbers, job)
        assert output.read_text() == "n\n" + "".join(f"{number * number}\n" for number in numbers)
        assert "squares.txt.parts' belongs to another job and is left alone" in caplog.text
        assert {path.name for path in output.parent.iterdir()} == {"squares.txt", "squares.txt.parts"}
        assert {path.name: path.read_bytes() for path in output.with_name("squares.txt.parts").iterdir()} == begun
    output.with_name("squares.txt.0123abcd.part").touch()  # a process was killed while it wrote the table
    done[:] = before
    run(range(200))
    assert output.read_text() == "n\n" + "".join(f"{number * number}\n" for number in range(200))
    # three to a chunk: what was lost is 129, which had come before 130
    assert sorted(done) == sorted([*range(200), 129, 130])
    assert [path.name for path in output.parent.iterdir()] == ["squares.txt"]
    run(range(3), "another")
    assert output.read_text() == "n\n0\n1\n4\n"


def test_a_job_beside_another_is_gone_on_with_too(tmp_path: Path) -> None:
    output, seen = tmp_path / "t", []

    def run(name: str, stop: int | None) -> None:
        def work(chunk: Sequence[int]) -> Iterator[str]:
            for number in chunk:
                if number == stop:
                    raise Killed
                seen.append((name, number))
                yield f"{name} {number}\n"

        write_in_shards(range(3), work, output, job={"name": name})

    for name in ("a", "b"):
        with pytest.raises(Killed):
            run(name, 2)
    for name in ("a", "b"):
        run(name, None)
        assert output.read_text() == "".join(f"{name} {number}\n" for number in range(3))
    assert len(seen) == len(set(seen)) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("error", [RuntimeError("no kernel"), OSError("no recording"), torch.OutOfMemoryError("full")])
def test_errors_of_the_work_are_not_errors_of_writing(error: Exception, tmp_path: Path) -> None:
    def work(chunk: Sequence[int]) -> Iterator[str]:
        yield "a"
        raise error

    with pytest.raises(type(error), match=f"^{error}$"):
        write_in_shards(range(3), work, tmp_path / "t", job={})
    with pytest.raises(FileError, match="must be a file, not a folder"):
        write_in_shards(range(3), work, tmp_path, job={})
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"'.*file.u\.parts' cannot be written: Not a directory"):
        write_in_shards(range(3), work, tmp_path / "file" / "u", job={})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of parts of recordings, one of which is none, and a text that lists the files."""
    folder = tmp_path_factory.mktemp("corpus")
    for index in range(5):
        soundfile.write(folder / f"{index}.wav", tones(0.2 + 0.1 * index, 8000, seed=index).numpy(), 8000)
    (folder / "3.wav").write_bytes(b"no audio at all")
    items = {f"item {index}": {"wav": f"{{data_root}}/{index}.wav", "duration": 0.2} for index in range(5)}
    items["part"] = {"wav": "{data_root}/4.wav", "start": 1000, "stop": 2500}
    (folder / "corpus.json").write_text(json.dumps(items))
    (folder / "files.txt").write_text("".join(f"{folder / str(index)}.wav\n" for index in range(5)))
    return folder


def recogniser(folder: Path) -> Path:
    """A recogniser that has learnt nothing, but writes something."""
    torch.manual_seed(3)
    arguments = {"in_channels": 12, "channels": 8, "strides": [2], "downsampler": "adastride", "layers": 1, "heads": 2}
    modules = {
        "frontend": ("encoders.frontend.LogMel", {"sample_rate": 8000, "bands": 12}),
        "normalize": ("encoders.heads.FeatureNorm", {"channels": 12, "centred": True}),
        "encoder": ("encoders.conformer.ConformerEncoder", arguments),
    }
    description = {
        **{"format": 1, "task": "transcription", "units": {"kind": "chars", "names": [" ", "A", "B"]}},
        **{"sample_rate": 8000, "frame_rate": 100.0, "feature_name": "mel band"},
        "modules": {
            name: {"class": f"seqstride.{kind}", "arguments": words} for name, (kind, words) in modules.items()
        },
    }
    model = Transcriber(description)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    folder.mkdir()
    kept = {name: getattr(model, name) for name in (*modules, "output")}
    save_transcriber(folder, description, kept)
    return folder


@pytest.mark.parametrize("task", ["classify", "transcribe"])
def test_two_ranks_write_the_table_of_one(
    task: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if task == "classify":
        model, reader, flags = saved(resnet("adastride"), tmp_path / "model"), "models.classifier", []
    else:
        model, reader, flags = recogniser(tmp_path / "model"), "models.recogniser", ["--timestamps"]

    def words(name: str) -> list[str]:
        chosen = ["--list", corpus / "corpus.json", "--model", model, "--csv", tmp_path / name, *flags]
        return [task, *map(str, chosen)]

    assert main(words("one.csv")) == 2  # one is no recording
    printed = capsys.readouterr()
    assert "3.wav' cannot be read as audio" in printed.err
    assert len(re.findall("^(item|part)", printed.out, re.MULTILINE)) == 5
    one = (tmp_path / "one.csv").read_bytes()
    with open(tmp_path / "one.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["file"] for row in rows)) == [*(f"item {index}" for index in range(5)), "part"]
    assert [row["file"] for row in rows if row["error"]] == ["item 3"]
    assert len({tuple(row.values())[1:4] for row in rows}) > 3

    # killed at the fourth recording that can be read, and gone on with by two processes
    read, loaded = seqstride.files.loading.open_audio, []

    def killed(rate: int, path: str, *part: Any) -> Any:
        loaded.append(path)
        if len(loaded) == 5:
            raise Killed
        return read(rate, path, *part)

    with monkeypatch.context() as patch:
        patch.setattr(f"seqstride.{reader}.open_audio", killed)
        with pytest.raises(Killed):
            main(words("two.csv"))
    assert not (tmp_path / "two.csv").exists()
    assert len(list((tmp_path / "two.csv.parts").glob("0*[0-9]"))) == 4
    assert ranks.run(ranks.print_to_file, tmp_path, *words("two.csv")) == [2, 0]
    assert (tmp_path / "two.csv").read_bytes() == one
    assert not (tmp_path / "two.csv.parts").exists()
    assert (tmp_path / "printed_0").read_text() == f"seqstride: 1 of 6 cannot be read, see {tmp_path / 'two.csv'}\n"
    assert (tmp_path / "printed_1").read_text() == ""


def test_lists_are_read_and_several_processes_need_a_table(corpus: Path, tmp_path: Path) -> None:
    part = read_list(corpus / "corpus.json", "/elsewhere")[-1]
    assert part == Recording("part", "/elsewhere/4.wav", 1000, 2500)
    files = [str(corpus / f"{index}.wav") for index in range(5)]
    assert read_list(corpus / "files.txt") == [Recording(file, file) for file in files]
    for name, text, message in (
        ("absent", None, "must be a file"),
        ("empty.txt", "\n", "must list at least one recording"),
        ("list.json", "[1]", "must be a manifest of items with `wav` or `features`"),
        ("items.json", '{"a": {"text": "x"}}', "must be a manifest of items with `wav` or `features`"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            read_list(tmp_path / name)
    model = saved(resnet("average"), tmp_path / "model")
    assert ranks.run(ranks.print_to_file, tmp_path, "classify", files[0], "--model", model) == [2, 2]
    printed = (tmp_path / "printed_0").read_text() + (tmp_path / "printed_1").read_text()
    assert printed.count("`--csv` must be given with several processes") == 1


@pytest.mark.parametrize("kind", [FileError, InputError, OSError])
def test_an_error_of_the_first_rank_is_raised_on_all(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """What another rank gets of it, which is sent to it."""
    monkeypatch.setattr(process_group, "run_on_main", lambda act: pickle.loads(pickle.dumps(act())))

    def full() -> None:
        raise kind("no space is left") from OSError(28, "No space left on device")

    with pytest.raises(kind, match=r"^no space is left$"):
        process_group.agreed(full)
    assert process_group.agreed(lambda: "fine") == "fine"


def save_without_room(folder: Path) -> list[str]:
    """The errors of this rank, where the first one cannot write checkpoints, delete them or write the log."""
    join()
    errors = []

    def note(act: Callable[..., object], *arguments: Any, **options: Any) -> None:
        try:
            act(*arguments, **options)
        except OSError as error:
            errors.append(f"{type(error).__name__}: {error}")

    keeper = Checkpointer(folder / "save", {"layer": nn.Linear(100, 100)})
    keeper.save_checkpoint()
    with files_of_at_most(1000) if rank() == 0 else nullcontext():
        note(keeper.save_checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        if rank() == 0:
            patch.setattr(shutil, "rmtree", lambda path: os.rmdir(folder / "save"))
        note(keeper.save_and_keep_only)
    brain = recognition("average")
    brain.hparams.train_logger = FileTrainLogger(folder / "log" if rank() == 0 else "elsewhere")
    os.makedirs(folder / "log", exist_ok=True)
    note(brain._log, {"epoch": 1})
    return errors


def test_a_disk_on_which_the_first_rank_cannot_write_stops_all(tmp_path: Path) -> None:
    first, second = ranks.run(save_without_room, tmp_path)
    assert first == second
    full, kept, log = first
    assert full.startswith(f"FileError: no checkpoint could be written to '{tmp_path}/save'")
    assert "not empty" in kept
    assert log == f"FileError: the log '{tmp_path}/log' cannot be written: Is a directory"
    assert len(list((tmp_path / "save").iterdir())) == 2


def test_a_log_that_the_first_rank_cannot_write_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sb, "create_experiment_directory", lambda *_, **__: None)
    monkeypatch.setattr(run, "of_all_ranks", lambda own: [FileError("'out' cannot be written"), own])
    with pytest.raises(FileError, match="'out' cannot be written"):
        run._log_into(tmp_path)
