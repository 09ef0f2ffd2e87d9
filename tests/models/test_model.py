"""Trained classifiers as files: what a real run leaves, loaded by us, by SpeechBrain, elsewhere, and damaged."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.inference.classifiers import EncoderClassifier
from tiny_models import as_older, description, resnet, saved, spectrogram, tones

from recipes import words_for
from seqstride.brains import ClassificationBrain
from seqstride.brains.run import run_recipe
from seqstride.files.loading import load_audio
from seqstride.models.classifier import SequenceClassifier, load_model
from seqstride.models.weights import read_weights, write_weights

PLAIN = {"labels": "[digit]"}
WINDOWED = {"labels": "[speaker, digit]", "window": 0.15}


class Run:
    """A short real training: its folder, the brain at its end, and the data."""

    def __init__(self, data: Path, output: Path, **overrides: Any) -> None:
        class Kept(ClassificationBrain):
            def save(brain, folder: Path, recipe: str, datasets: dict[str, Any]) -> None:
                self.brain, self.datasets = brain, datasets
                super().save(folder, recipe, datasets)

        options = {"data_folder": data, "output_folder": output, "number_of_epochs": 2, "width": 6, **overrides}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        method = words_for("SpokenDigits/classification", "adastride")
        run_recipe(Kept, [*method, *words, "--device", "cpu", "--noprogressbar"])
        self.folder = output

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Test recordings, their lengths, and the brain's logits for them."""
        dataset = self.datasets["test"]
        chosen = range(0, len(dataset), 3)
        batch = PaddedBatch([dataset[index] for index in chosen])
        self.brain.modules.eval()
        with torch.no_grad():
            logits = self.brain.compute_forward(batch, Stage.TEST).logits
        # the brain may have read features of them that were kept
        items = [dataset.data[dataset.data_ids[index]] for index in chosen]
        signal, relative = PaddedBatch([{"signal": load_audio(8000, item["wav"])} for item in items]).signal
        return signal, (relative * signal.shape[1]).round().long(), logits


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two digits of three speakers, 0.1 to 0.4 s: the digit is a pitch, the speaker an overtone."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "recordings").mkdir()
    for s, speaker in enumerate(("anna", "lucas", "theo")):
        for digit in "07":
            for index in range(12):
                t = torch.arange(800 + 200 * index) / 8000
                pitch = 300 if digit == "0" else 900
                wave = torch.sin(2 * torch.pi * pitch * t) + 0.5 * torch.sin(2 * torch.pi * pitch * (s + 2) * t)
                wave = 0.3 * wave * torch.sin(torch.pi * t / t[-1]) + 0.01 * torch.randn(len(t))
                soundfile.write(folder / "recordings" / f"{digit}_{speaker}_{index}.wav", wave.numpy(), 8000)
    return folder


@pytest.fixture(scope="module", params=[PLAIN, WINDOWED], ids=["plain", "windowed"])
def run(request: pytest.FixtureRequest, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(recordings, tmp_path_factory.mktemp("run"), **request.param)


# What a run leaves


def test_a_loaded_model_gives_the_logits_of_the_brain(run: Run) -> None:
    signal, lengths, expected = run.batch()
    model = load_model(run.folder)
    assert not model.training
    assert list(model.labels) == list(expected)
    logits = model(signal, lengths)
    for label, values in expected.items():
        torch.testing.assert_close(logits[label], values)
        assert values.std(0).min() > 1e-3, "the recordings must differ"


def test_speechbrain_loads_and_classifies_the_same(run: Run, recordings: Path, tmp_path: Path) -> None:
    model = load_model(run.folder)
    label, names = next(iter(model.labels.items()))
    classifier = EncoderClassifier.from_hparams(source=str(run.folder), savedir=str(tmp_path / "speechbrain"))
    high = tmp_path / "high.wav"
    soundfile.write(high, tones(0.3, 16000).numpy(), 16000)
    for path in (recordings / "recordings" / "7_theo_4.wav", high):
        waveform = load_audio(8000, path)
        expected = model(waveform[None], torch.tensor([len(waveform)]))[label].softmax(1)
        probabilities, score, index, text = classifier.classify_file(str(path), savedir=str(tmp_path / "files"))
        torch.testing.assert_close(probabilities.exp(), expected)
        assert text == [names[int(expected.argmax())]]
        assert int(index) == int(expected.argmax())
        torch.testing.assert_close(score.exp(), expected.max(1).values)
    signal, lengths, _ = run.batch()
    probabilities, *_ = classifier.classify_batch(signal, lengths / signal.shape[1])
    torch.testing.assert_close(probabilities, model(signal, lengths)[label].log_softmax(1))


def test_a_model_works_wherever_its_folder_goes(run: Run, tmp_path: Path) -> None:
    signal, lengths, expected = run.batch()
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    for name in ("model.json", "model.safetensors", "hyperparams.yaml", "label_encoder.ckpt"):
        shutil.copy(run.folder / name, elsewhere)
    assert str(run.folder) not in "".join(path.read_text(errors="replace") for path in elsewhere.iterdir())
    label = next(iter(expected))
    torch.testing.assert_close(load_model(elsewhere)(signal, lengths)[label], expected[label])
    classifier = EncoderClassifier.from_hparams(source=str(elsewhere), savedir=str(tmp_path / "speechbrain"))
    probabilities, *_ = classifier.classify_batch(signal, lengths / signal.shape[1])
    torch.testing.assert_close(probabilities, expected[label].log_softmax(1))


# The classifier


def test_decisions_are_the_most_probable_classes(run: Run) -> None:
    signal, lengths, expected = run.batch()
    model = load_model(run.folder)
    for item, decisions in enumerate(model.decide(signal, lengths)):
        assert list(decisions) == list(expected)
        for label, (name, probability) in decisions.items():
            shares = expected[label][item].softmax(0)
            assert model.labels[label].index(name) == int(shares.argmax())
            assert probability == pytest.approx(float(shares.max()), rel=1e-5)


def test_an_item_does_not_depend_on_its_batch() -> None:
    for window in (None, 0.2):
        model = resnet("adastride", window=window)
        waves = [tones(seconds, seed=seed) for seed, seconds in enumerate((0.5, 0.13, 0.31))]
        lengths = torch.tensor([len(wave) for wave in waves])
        batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=float("nan"))
        together = model(batch, lengths)["digit"]
        alone = torch.cat([model(wave[None], torch.tensor([len(wave)]))["digit"] for wave in waves])
        torch.testing.assert_close(together, alone)


def test_logits_over_windows_are_their_mean() -> None:
    model, whole = resnet("average", window=0.2), resnet("average")
    wave = tones(0.5)  # windows of 1600 samples that start at 0, 1200 and 2400
    windows = torch.stack([wave[start : start + 1600] for start in (0, 1200, 2400)])
    expected = whole(windows, torch.tensor([1600] * 3))["digit"].mean(0, keepdim=True)
    torch.testing.assert_close(model(wave[None], torch.tensor([4000]))["digit"], expected)


def test_windows_in_groups_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = resnet("adastride", window=0.2)
    waves, lengths = torch.stack([tones(1.1, seed=seed) for seed in range(2)]), torch.tensor([8800, 3000])
    together = model(waves, lengths)["digit"]
    sizes, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda x, n: sizes.append(len(x)) or encode(x, n))
    monkeypatch.setattr("seqstride.models.classifier.FRAMES", 3 * 1600 + 1)
    torch.testing.assert_close(model(waves, lengths)["digit"], together)
    assert sizes == [3, 3, 2]


def test_a_model_of_features_reads_features(tmp_path: Path) -> None:
    model = resnet("diffstride", sample_rate=None)
    features, lengths = torch.randn(3, 30, 12), torch.tensor([30, 12, 25])
    loaded = load_model(saved(model, tmp_path / "model"))
    assert loaded.frame_rate == 100.0
    torch.testing.assert_close(loaded(features, lengths)["digit"], model(features, lengths)["digit"])
    classifier = EncoderClassifier.from_hparams(source=str(tmp_path / "model"), savedir=str(tmp_path / "speechbrain"))
    probabilities, *_ = classifier.classify_batch(features, lengths / 30)
    torch.testing.assert_close(probabilities.exp(), model(features, lengths)["digit"].softmax(1))


@pytest.mark.parametrize("key", ["average", "adastride", "diffstride"])
@pytest.mark.parametrize("make", [resnet, spectrogram])
def test_random_strides_stay_as_they_were_drawn(make: Callable[..., Any], key: str, tmp_path: Path) -> None:
    signal, lengths = tones(0.5)[None], torch.tensor([4000])
    words = make("diffstride").description
    words["modules"]["encoder"]["arguments"].update(downsampler=key, strides="random")
    found = set()
    for seed in range(4):
        torch.manual_seed(seed)
        model = SequenceClassifier(words)
        expected = model(signal, lengths)["digit"]
        folder = saved(model, tmp_path / str(seed))
        torch.manual_seed(100)  # whoever loads it has another seed
        loaded = load_model(folder)
        torch.testing.assert_close(loaded(signal, lengths)["digit"], expected)
        classifier = EncoderClassifier.from_hparams(source=str(folder), savedir=str(tmp_path / f"speechbrain{seed}"))
        probabilities, *_ = classifier.classify_batch(signal)
        torch.testing.assert_close(probabilities, expected.log_softmax(1))
        found.add(tuple(torch.as_tensor(layer.stride).item() for layer in loaded.encoder.downsamplers))
    assert len(found) > 1


@pytest.mark.parametrize(
    "name", ["it's", 'a "quote": #1', "<b>&amp;", "日本語 🎵", "yes", "1e3", "tab\tand\nline", "!new:os"]
)
def test_any_name_of_a_class_survives(name: str, tmp_path: Path) -> None:
    labels = {"label": [name, "zzz"], "!ref <x>": ["a", "b"]}
    folder = saved(resnet("average", labels=labels), tmp_path / "model")
    assert load_model(folder).labels == labels
    classifier = EncoderClassifier.from_hparams(source=str(folder), savedir=str(tmp_path / "speechbrain"))
    _, _, index, text = classifier.classify_batch(tones(0.2)[None])
    assert text == [labels["label"][int(index)]]
    assert classifier.hparams.label_encoder.decode_ndim([0, 1]) == labels["label"]


# Folders from strangers


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(resnet("average"), tmp_path / "model")


def test_a_folder_without_a_model_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`folder` \(='.*nothing'\) must hold a trained model; model.json is missing"):
        load_model(tmp_path / "nothing")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        load_model(folder)


@pytest.mark.parametrize("part", ["frontend", "normalize", "encoder", "head"])
@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.Popen", "builtins.eval", "torch.load", "seqstride.experiments.bench.measure", ""]
)
def test_other_classes_are_refused(folder: Path, part: str, name: str) -> None:
    marker = folder / "marker"
    words = json.loads((folder / "model.json").read_text())
    entry = {"class": name, "arguments": {"command": f"touch {marker}"}}
    if part == "head":
        words["head"] = entry
    else:
        words["modules"][part] = entry
    (folder / "model.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match=rf"model.json' .*`{part}` \(='{name}'\) must be one of seqstride\.ResNet1d"):
        load_model(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "must have format 1"),
        ({"labels": {}}, "`labels`"),
        ({"labels": {"digit": "07"}}, "`labels`"),
        ({"labels": {"digit": [0, 7]}}, "`labels`"),
        ({"labels": {"digit": ["7", "7"]}}, "names differ"),
        ({"modules": {}}, "normalize"),
        ({"modules": []}, "AttributeError"),
        ({"head": None}, "TypeError"),
        ({"head": {"class": "seqstride.encoders.heads.PooledClassifier", "arguments": {"channels": -1}}}, "-1"),
        ({"head": {"class": "seqstride.encoders.heads.PooledClassifier", "arguments": {"os": 1}}}, "os"),
    ],
)
def test_wrong_descriptions_are_explained(folder: Path, changes: dict[str, Any], message: str) -> None:
    words = {**json.loads((folder / "model.json").read_text()), **changes}
    (folder / "model.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match=rf"model\.json' does not describe a model: .*{message}"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"words"', "\x00\x01", "[" * 100_000, '{"format": 1}'])
def test_files_that_do_not_describe_a_model_are_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(ValueError, match="does not describe a model"):
        load_model(folder)
    (folder / "model.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="does not describe a model"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_code_in_the_weights_does_not_run(folder: Path, name: str) -> None:
    marker = folder / "marker"
    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil(marker)}, folder / name)
    with pytest.raises(ValueError, match=rf"{name}' does not hold the model's weights"):
        load_model(folder)
    (folder / name).write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(ValueError, match=rf"{name}' does not hold the model's weights"):
        load_model(folder)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists(), "the bait must work"


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_damaged_weights_are_named(folder: Path, name: str) -> None:
    whole = (as_older(folder) if name == "model.ckpt" else folder / name).read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 10):
        (folder / name).write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf"{name}' does not hold the model's weights"):
            load_model(folder)


def test_folders_of_older_versions_load(folder: Path) -> None:
    weights = load_model(folder).state_dict()
    assert as_older(folder).name == "model.ckpt"
    torch.testing.assert_close(load_model(folder).state_dict(), weights, rtol=0, atol=0)


def test_weights_are_copied_whatever_their_memory_looks_like(tmp_path: Path) -> None:
    """Tensors that share their numbers, or lie in another order, are written as what they are."""
    modules = torch.nn.Linear(3, 2)
    modules.weight = torch.nn.Parameter(torch.randn(3, 2).t())
    modules.register_buffer("same", modules.weight.data)
    modules.register_buffer("none", torch.zeros(0, 3))
    modules.register_buffer("one", torch.tensor(3))
    file = tmp_path / os.fsdecode(b"f\xfc.safetensors")
    write_weights(file, modules)
    torch.testing.assert_close(read_weights(file), dict(modules.state_dict()), rtol=0, atol=0)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(saved(resnet("adastride"), tmp_path / "other") / "model.safetensors", folder)
    with pytest.raises(ValueError, match=r"model\.safetensors' does not hold the model's weights: .*score"):
        load_model(folder)


def test_a_description_is_checked_without_a_file() -> None:
    words = description("ResNet1d", {"in_channels": 12, "channels": [4], "strides": [2], "downsampler": "nothing"})
    with pytest.raises(ValueError, match="nothing"):
        SequenceClassifier(words)
