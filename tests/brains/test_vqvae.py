"""VQ-VAEs: durations there and back, padding, rates, whole runs, units and resynthesis from files."""

from __future__ import annotations

import copy
import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import ADAPTIVE, CONTENT, KEYS
from layouts import write
from tiny_models import tones
from torch.testing import assert_close

import seqstride as ss
from recipes import words_for
from seqstride.brains.losses import MaskedL1, SpectralL1
from seqstride.brains.probe import code_shares, probe_accuracy
from seqstride.brains.vqvae import VQVAEBrain, entropy
from seqstride.cli import main
from seqstride.core.lengths import Frames
from seqstride.core.plan import DurationPlan
from seqstride.core.positions import frame_counts
from seqstride.encoders.frontend import LogMel
from seqstride.encoders.heads import FeatureNorm
from seqstride.encoders.vqvae import ExpandDecoder, Quantizer, TransposedDecoder, decode_vectors, duration_plan
from seqstride.encoders.waveform import Samples, WaveDecoder, WaveEncoder
from seqstride.errors import InputError
from seqstride.experiments.items import unpack_items
from seqstride.experiments.recipe import list_recipes
from seqstride.models.griffin_lim import waveform_of
from seqstride.models.reconstruction import undo_norm
from seqstride.models.vqvae import Coded, from_json, load_coder, to_json, unit_edges

LENGTHS = torch.tensor([37, 20, 5, 1])
OPTIONS = {"kmeans_init": True, "decay": 0.8, "threshold_ema_dead_code": 1.0, "rotation_trick": False}


# Durations


def test_durations_say_where_frames_are() -> None:
    durations = torch.tensor([[2, 0, 1, 4], [3, 2, 0, 0]])
    plan = DurationPlan(durations, torch.tensor([4, 2]))
    first = [-0.25, 0.25, 2.0, 2.625, 2.875, 3.125, 3.375]
    second = [-1 / 3, 0.0, 1 / 3, 0.75, 1.25, 0.0, 0.0]
    assert_close(plan.positions, torch.tensor([first, second], dtype=torch.float64))
    assert plan.input_lengths.tolist() == [7, 5]
    assert torch.equal(plan.durations(), durations)
    z = torch.tensor([[[10.0, 20.0, 30.0, 40.0]], [[1.0, 2.0, 9.0, 9.0]]])
    read = [[10.0, 12.5, 30.0, 36.25, 38.75, 40.0, 40.0], [1.0, 1.0, 4 / 3, 1.75, 2.0, 0.0, 0.0]]
    assert_close(plan.expand(z)[:, 0], torch.tensor(read))


@pytest.mark.parametrize("key", KEYS)
def test_every_method_can_be_told_by_its_durations(key: str) -> None:
    encoded = encoder(key)(batch(), LENGTHS)
    plan = duration_plan(encoded)
    assert torch.equal(plan.durations(), encoded.durations())
    assert torch.equal(plan.input_lengths, LENGTHS)
    # a frame stays with its output frame, and so is at most one away from where it was
    assert (plan.positions - encoded.positions).abs().max() <= 1.0
    again = DurationPlan(encoded.durations(), encoded.lengths)
    assert torch.equal(again.positions, plan.positions)
    frames = Frames(len(LENGTHS), 37, encoded.plans[-1].frames.output_width, LENGTHS.device, LENGTHS, encoded.lengths)
    assert torch.equal(frame_counts(again.positions, frames), encoded.durations())


@pytest.mark.parametrize(
    ("durations", "lengths", "message"),
    [
        (torch.ones(2, 3), torch.tensor([3, 3]), "must be int64, of shape"),
        (torch.ones(2, 3, dtype=torch.int64), torch.tensor([3, 2]), "behind the item's 2 output frames"),
        (torch.zeros(1, 3, dtype=torch.int64), torch.tensor([3]), "at least one frame in all"),
        (torch.tensor([[3, -1]]), torch.tensor([2]), "must not be negative"),
        (torch.ones(1, 3, dtype=torch.int64), torch.tensor([4]), r"`lengths` \(=\[4\]\)"),
    ],
)
def test_wrong_durations_are_named(durations: torch.Tensor, lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DurationPlan(durations, lengths)


# Padding


def batch(value: float = 0.0, channels: int = 5, lengths: torch.Tensor = LENGTHS) -> torch.Tensor:
    x = torch.randn(len(lengths), channels, int(lengths.max()), generator=torch.Generator().manual_seed(3))
    for item, length in enumerate(lengths):
        x[item, :, length:] = value
    return x


def encoder(key: str) -> ss.ResNet1d:
    """Scores, where it has them, are far from uniform."""
    torch.manual_seed(0)
    small = ss.ResNet1d(5, (8, 8), (2, 2), key)
    if key in ADAPTIVE:
        for layer in small.downsamplers:
            torch.nn.init.normal_(layer.score.weight, std=0.5)
    return small.eval()


def autoencoder(key: str, quantizers: int = 1) -> tuple[ss.ResNet1d, Quantizer, torch.nn.Module]:
    """With a codebook that has seen some frames."""
    front, quantizer = encoder(key), Quantizer(8, 6, 4, quantizers, OPTIONS)
    decoder = TransposedDecoder(8, 5, (2, 2), 8) if key == "strided" else ExpandDecoder(8, 5, 8)
    encoded = front(batch(), LENGTHS)
    with torch.no_grad():
        quantizer(encoded.features, encoded.lengths)
    return front, quantizer.eval(), decoder.eval()


@torch.no_grad()
def run_model(model: tuple, x: torch.Tensor, lengths: torch.Tensor) -> tuple:
    front, quantizer, decoder = model
    encoded = front(x, lengths)
    quantized = quantizer(encoded.features, encoded.lengths)
    y = decode_vectors(decoder, quantized.features, duration_plan(encoded), lengths, x.shape[2])
    return encoded, quantized, y


@pytest.mark.parametrize("key", KEYS)
def test_an_item_alone_is_the_item_in_a_padded_batch(key: str) -> None:
    model = autoencoder(key, quantizers=2)
    encoded, quantized, y = run_model(model, batch(float("nan")), LENGTHS)
    distances = []
    for item, length in enumerate(LENGTHS.tolist()):
        own, own_quantized, own_y = run_model(model, batch()[item : item + 1, :, :length], LENGTHS[item : item + 1])
        count = int(own.lengths)
        assert encoded.lengths[item] == count
        assert torch.equal(quantized.codes[item, :count], own_quantized.codes[0])
        assert (quantized.codes[item, count:] == -1).all()
        assert_close(y[item, :, :length], own_y[0], atol=1e-5, rtol=1e-5)
        assert (y[item, :, length:] == 0).all()
        distances.append((count, float(own_quantized.commitment)))
    # so the batch's losses are the items' own, weighted by their frames
    commitment = sum(count * distance for count, distance in distances) / sum(count for count, _ in distances)
    assert float(quantized.commitment) == pytest.approx(commitment, rel=1e-4)
    x = batch()
    items = sum(float((y[i, :, :n] - x[i, :, :n]).abs().sum()) for i, n in enumerate(LENGTHS.tolist()))
    assert float(MaskedL1()(y, batch(float("nan")), LENGTHS)) == pytest.approx(items / (5 * 63), rel=1e-5)


@pytest.mark.parametrize("start", ["untrained", "trained"])
def test_padding_does_not_enter_the_codebook(start: str) -> None:
    lengths = torch.tensor([7, 3, 1])
    features = batch(1e3, 8, lengths)
    torch.manual_seed(1)
    padded = Quantizer(8, 6, 4, 2, OPTIONS)
    if start == "trained":
        padded(torch.randn(2, 8, 9), torch.tensor([9, 9]))
    alone = copy.deepcopy(padded)
    real = torch.cat([item[:, :length] for item, length in zip(features, lengths, strict=True)], 1)[None]
    for step in range(3):
        torch.manual_seed(step)
        first = padded(features, lengths)
        torch.manual_seed(step)
        second = alone(real, torch.tensor([11]))
        assert_close(first.commitment, second.commitment)
    assert first.commitment > 0
    for name, buffer in padded.state_dict().items():
        assert_close(buffer, alone.state_dict()[name], msg=name)
    assert padded.vq.codebooks.abs().max() < 100


def test_gradients_reach_the_scores_through_the_way_back_alone() -> None:
    front, _, decoder = autoencoder("adastride")
    encoded = front(batch(), LENGTHS)
    decoder(torch.randn(4, 8, int(encoded.lengths.max())), duration_plan(encoded)).square().sum().backward()
    for layer in front.downsamplers:
        assert layer.score.weight.grad.abs().max() > 1e-4


# Quantiser and decoders


def test_commitment_is_the_distance_to_the_codes() -> None:
    quantizer = Quantizer(3, 4, None, 2, {"rotation_trick": False}).eval()
    features, lengths = batch(9.0, 3, torch.tensor([4, 2])), torch.tensor([4, 2])
    quantized = quantizer(features, lengths)
    books = quantizer.vq.codebooks
    total = 0.0
    for item, length in enumerate(lengths.tolist()):
        for frame in range(length):
            left = features[item, :, frame].clone()
            for book, code in zip(books, quantized.codes[item, frame], strict=True):
                assert code == (book - left).square().sum(1).argmin()
                left -= book[code]
                total += float(left.square().mean())
            assert_close(quantized.features[item, :, frame], features[item, :, frame] - left)
    assert float(quantized.commitment) == pytest.approx(total / 6, rel=1e-5)
    assert_close(quantizer.decode(quantized.codes), quantized.features)


@pytest.mark.parametrize("strides", [(2, 2), (3, 4), (5,)])
def test_transposed_convolutions_come_back_to_every_length(strides: tuple[int, ...]) -> None:
    front = ss.ResNet1d(5, (8,) * len(strides), strides, "strided").eval()
    decoder = TransposedDecoder(8, 5, strides, 8).eval()
    for frames in range(1, 20):
        encoded = front(torch.randn(1, 5, frames), torch.tensor([frames]))
        assert decoder(encoded.features, duration_plan(encoded)).shape == (1, 5, frames)
    with pytest.raises(ValueError, match="the same fixed whole strides"):
        TransposedDecoder(8, 5, (2,), 8)(
            encoded.features[..., :1], DurationPlan(torch.tensor([[9]]), torch.tensor([1]))
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quantizer(8, 0), r"`size` \(=0\)"),
        (lambda: Quantizer(8, 4, quantizers=1.5), r"`quantizers` \(=1.5\)"),
        (lambda: TransposedDecoder(8, 5, (1.5,)), r"`strides` \(=\(1.5,\)\)"),
        (lambda: WaveEncoder((5, 4), (8,)), "`front_channels`"),
        (lambda: WaveEncoder((5, 0.5), (8, 8)), "`front_strides`"),
        (lambda: WaveDecoder(8, kernel_size=4), r"`kernel_size` \(=4\)"),
        (lambda: Samples(8000, 0), r"`hop` \(=0\)"),
        (lambda: SpectralL1((2,)), r"`sizes` \(=\(2,\)\)"),
        (lambda: undo_norm(FeatureNorm(2, centred=True), torch.ones(1, 2, 3), torch.tensor([3])), "`centred`"),
    ],
)
def test_wrong_arguments_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# Waveforms


def test_a_waveform_alone_is_the_waveform_in_a_padded_batch() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([330, 201, 60, 1])
    front = WaveEncoder((5, 4), (6, 8), (8, 8), (2, 2), "average").eval()
    decoder = WaveDecoder(8, (5, 4), 8).eval()
    x = batch(7.0, 1, lengths)
    encoded = front(x, lengths)
    assert encoded.input_lengths.tolist() == [17, 11, 3, 1]
    y = decode_vectors(decoder, encoded.features, duration_plan(encoded), lengths, 330)
    for item, length in enumerate(lengths.tolist()):
        own = front(x[item : item + 1, :, :length], lengths[item : item + 1])
        assert_close(encoded.features[item, :, : int(own.lengths)], own.features[0], atol=1e-5, rtol=1e-5)
        own_y = decode_vectors(decoder, own.features, duration_plan(own), lengths[item : item + 1], length)
        assert_close(y[item, :, :length], own_y[0], atol=1e-5, rtol=1e-5)


def test_the_spectral_loss_hears_level_and_not_padding() -> None:
    loss = SpectralL1((32, 64), floor=1e-6)
    waves = torch.stack([tones(0.05), tones(0.05, seed=1)])[:, None]
    lengths = torch.tensor([400, 250])
    assert float(loss(waves, waves, lengths)) == 0
    # half the magnitude is log 2 apart everywhere, and half of the sum
    assert float(loss(0.5 * waves, waves, lengths)) == pytest.approx(np.log(2) + 0.5, abs=0.01)
    wide = torch.nn.functional.pad(waves, (0, 300), value=3.0)
    noise = waves + 0.1 * torch.randn_like(waves)
    wide_noise = torch.nn.functional.pad(noise, (0, 300), value=float("nan"))
    assert_close(loss(wide_noise, wide, lengths), loss(noise, waves, lengths))
    noise.requires_grad_()
    loss(noise, torch.zeros_like(waves), lengths).backward()
    assert noise.grad.isfinite().all()


def test_a_waveform_has_the_spectrogram_it_was_made_for() -> None:
    frontend = LogMel(8000, 40)
    wave = tones(0.6)
    spectrogram, _ = frontend(wave[None], torch.tensor([len(wave)]))
    found = waveform_of(frontend, spectrogram[0], len(wave))
    assert found.shape == wave.shape
    assert torch.equal(found, waveform_of(frontend, spectrogram[0], len(wave)))
    again, _ = frontend(found[None], torch.tensor([len(wave)]))
    loud = spectrogram > spectrogram.max() - 5
    assert (again - spectrogram)[loud].abs().mean() < 0.35  # 1.5 dB
    assert waveform_of(frontend, spectrogram[0, :, :1], 1).shape == (1,)


# Rates and probes


def test_entropies_and_probes() -> None:
    assert entropy(torch.tensor([[1, 1, 2], [5, 0, 0], [0, 0, 0]])).tolist() == [1.5, 0.0, 0.0]
    shares = code_shares(np.array([[0, 1], [0, 0], [2, 1], [2, 1]]), 3)
    assert shares.tolist() == [0.5, 0.0, 0.5, 0.25, 0.75, 0.0]
    generator = np.random.default_rng(0)
    train, scored = generator.normal(size=(60, 4)), generator.normal(size=(40, 4))
    names = [["low", "high"][int(value > 0)] for value in np.concatenate([train, scored])[:, 2]]
    assert probe_accuracy(train, names[:60], scored, names[60:]) > 0.9
    with pytest.raises(ValueError, match=r"others are \['middle'\]"):
        probe_accuracy(train, names[:60], scored, ["middle"] * 40)


@pytest.mark.parametrize("front", [LogMel(8000, 12), Samples(8000, 80)])
def test_units_tile_the_recording(front: torch.nn.Module) -> None:
    edges = unit_edges(torch.tensor([0, 2, 1, 0, 3]), front, 0.055)
    centred = [0.0, 0.0, 0.015, 0.025, 0.025, 0.055]
    assert edges == pytest.approx(centred if isinstance(front, LogMel) else [0.0, 0.0, 0.02, 0.03, 0.03, 0.055])


# Whole runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two digits, low and rising tones; three speakers, eight recordings each."""
    folder = tmp_path_factory.mktemp("digits")
    for speaker in ("anna", "lucas", "theo"):
        for digit in "07":
            for index in range(8):
                path = write(folder / "recordings" / f"{digit}_{speaker}_{index}.wav")
                wave = tones(0.2 + 0.01 * index, seed=index + 20 * int(digit))
                soundfile.write(path, wave.numpy(), 8000)
    return folder


SMALL = {
    **{"number_of_epochs": 1, "width": 8, "codebook": 12, "batch_size": 8, "device": "cpu", "fold": "theo"},
    "quantizer": "{dimension: 4}",
}


def run(method: str, data: Path, output: Path, recipe: str = "SpokenDigits", **overrides: object) -> dict:
    """Trains, and gives the record."""
    options = {"data_folder": data, "output_folder": output, **SMALL, **overrides}
    if recipe != "SpokenDigits":
        del options["fold"]
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    assert main(["train", *words_for(f"{recipe}/VQVAE", method), *argv, "--noprogressbar"]) == 0
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("adastride")
    run("adastride", digits, output, number_of_epochs=2, quantizers=2)
    return output


def test_a_run_leaves_what_is_compared(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((trained / "results.json").read_text(encoding="utf-8"))
    assert record["metric"]["name"] == "log-mel L1"
    assert record["metric"]["unit"] == "dB"
    assert 0 < record["metric"]["value"] == record["test_L1"] < 30
    assert record["codebook"] == [2, 12]
    assert 1 <= record["test_perplexity"] <= 12
    assert record["codes_per_second"] == pytest.approx(25, rel=0.2)
    # two quantisers and the durations, none of which can cost more than a fixed number of bits
    assert 0 < record["code_bits_per_second"] <= 2 * np.log2(12) * record["codes_per_second"]
    assert 0 < record["duration_bits_per_second"] < 5 * record["codes_per_second"]
    alone = record["bits_per_second_without_contexts"]
    assert 0 < alone["codes"] <= 2 * np.log2(12) * record["codes_per_second"]
    assert 0 < alone["durations"] < 5 * record["codes_per_second"]
    items = unpack_items(record["items"])
    assert items.counts.sum() / items.totals.sum() == pytest.approx(record["test_L1"], rel=1e-6)
    figures = record["figures"]
    assert figures["bits/s"] == record["bits_per_second"]
    assert figures["bits/s"] == record["code_bits_per_second"] + record["duration_bits_per_second"]
    assert set(record["probes"]) == {"digit", "speaker"}
    for name in ("units.png", "training.png"):
        assert (trained / name).stat().st_size > 10_000
    assert main(["table", str(trained)]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[:3]
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert float(cells["bits/s"]) == pytest.approx(figures["bits/s"], rel=0.01)


def test_fixed_strides_have_no_price_for_durations(digits: Path, tmp_path: Path) -> None:
    # a test speaker whom training does not know: that probe is left out
    record = run("transposed", digits, tmp_path, window=0.1, probes="{digit: test, speaker: test}")
    assert set(record["probes"]) == {"digit"}
    assert record["duration_bits_per_second"] == 0
    assert record["code_bits_per_second"] > 0
    assert load_coder(tmp_path).encode(tones(0.3)).codes.shape == (8, 1)


def test_sentences_at_a_learnt_rate(tmp_path: Path) -> None:
    lines = []
    for index in range(10):
        path = write(tmp_path / "data" / "wavs" / f"{index}.wav")
        soundfile.write(path, tones(0.4, 16000, seed=index).numpy(), 16000)
        lines.append(f"{index}|number {index}")
    (tmp_path / "data" / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    options = {"window": 0.2, "ratio": 8, "stride_lr": 0.1}
    record = run("dct_diffstride", tmp_path / "data", tmp_path / "out", "LJSpeechFormat", **options)
    assert record["initial_strides"] == pytest.approx([2.2, 4.4])
    assert record["strides"] != record["initial_strides"]
    assert record["duration_bits_per_second"] == 0
    assert record["probes"] == {}
    assert load_coder(tmp_path / "out").sample_rate == 16000


@pytest.mark.parametrize("recipe", ["SpokenDigits", "LJSpeechFormat"])
def test_every_method_and_variant_is_there(recipe: str) -> None:
    codebooks = {f"{method}_{size}" for method in ("strided", "adastride") for size in (32, 512)}
    own = codebooks if recipe == "LJSpeechFormat" else set()
    assert {*KEYS, "transposed", "waveform"} | own == set(list_recipes()[f"{recipe}/VQVAE"])


@pytest.mark.parametrize("key", CONTENT)
def test_fixed_strides_do_not_lead_back_from_lengths_of_the_content(key: str) -> None:
    modules = {"encoder": encoder(key), "decoder": TransposedDecoder(8, 5, (2, 2), 8)}
    with pytest.raises(InputError, match=r"`decoder` \(a TransposedDecoder\) must be an ExpandDecoder"):
        VQVAEBrain.load_data({"modules": modules})


def test_units_are_what_the_decoder_needs(
    digits: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = digits / "recordings" / "7_theo_3.wav"
    model = load_coder(trained)
    wave = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
    assert main(["units", str(file), "--model", str(trained), "--json"]) == 0
    text = capsys.readouterr().out
    coded = from_json(model, text)
    assert torch.equal(coded.codes, model.encode(wave).codes)
    assert_close(model.decode(coded), model.reconstruct(wave))
    assert to_json(model, coded) == text

    assert main(["units", str(file), "--model", str(trained)]) == 0
    title, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert title == [f"{file}:", str(len(lines)), "units"]
    assert [[int(code) for code in line[2:]] for line in lines] == coded.codes.tolist()
    assert float(lines[0][0]) == 0
    assert float(lines[-1][1]) == pytest.approx(len(wave) / 8000, abs=1e-3)
    assert all(before[1] == behind[0] for before, behind in pairwise(lines))

    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "files.txt").write_text(f"{file}\nbroken.wav\n{file}\n", encoding="utf-8")
    table = tmp_path / "units.csv"
    assert main(["units", "--list", str(tmp_path / "files.txt"), "--model", str(trained), "--csv", str(table)]) == 2
    with open(table, encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))
    once = [[str(file), *line[:2], " ".join(line[2:]), ""] for line in lines]
    assert rows[: len(once) + 1] == [["file", "start", "end", "codes", "error"], *once]
    assert "broken.wav" in rows[len(once) + 1][4]
    assert rows[len(once) + 2 :] == once
    capsys.readouterr()
    assert main(["units", str(file), str(file), "--model", str(trained), "--json"]) == 2
    assert "`--json` must be used with one recording" in capsys.readouterr().err

    (tmp_path / "units.json").write_text(text, encoding="utf-8")
    for source, name in ((tmp_path / "units.json", "a.wav"), (file, "b.wav")):
        assert main(["resynth", str(source), "--model", str(trained), "-o", str(tmp_path / name)]) == 0
    first, second = (soundfile.read(tmp_path / name) for name in ("a.wav", "b.wav"))
    assert first[1] == 8000
    assert len(first[0]) == len(wave)
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[0]).max() > 0.001


def test_from_waveform_to_waveform(digits: Path, tmp_path: Path) -> None:
    record = run("waveform", digits, tmp_path / "out", front_strides="[10, 8]", encoder="{front_channels: [6, 8]}")
    assert 0 < record["metric"]["value"] < 60
    model = load_coder(tmp_path / "out")
    wave = tones(0.25)
    coded = from_json(model, to_json(model, model.encode(wave)))
    assert int(coded.durations.sum()) == 25
    assert_close(model.synthesise(coded), model.reconstruct(wave)[0])
    assert len(model.synthesise(coded)) == len(wave)


def test_a_resumed_run_equals_one_that_never_stopped(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("adastride_f", digits, tmp_path / "whole", number_of_epochs=2)
    end_epoch = VQVAEBrain._end_epoch

    def stop_after_the_first(self: VQVAEBrain, epoch: int, stats: dict) -> None:
        end_epoch(self, epoch, stats)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VQVAEBrain, "_end_epoch", stop_after_the_first)
        with pytest.raises(AssertionError, match="130"):
            run("adastride_f", digits, tmp_path / "resumed", number_of_epochs=2)
    resumed = run("adastride_f", digits, tmp_path / "resumed", number_of_epochs=2)
    for key in ("metric", "test_loss", "valid_loss", "figures", "epoch", "local_strides"):
        assert resumed[key] == whole[key], key


def test_what_is_wrong_with_units_is_one_line(
    digits: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_coder(trained)
    good = json.loads(to_json(model, model.encode(tones(0.2))))
    unit = good["units"][0]
    for change, message in (
        ({"format": 2}, "`format` (=2) must be 1"),
        ({"sample_rate": 16000}, "`sample_rate` (=16000) must be the model's, 8000 Hz"),
        ({"samples": 9000}, "must add up to 113, the frames of 9000 samples at 8000 Hz"),
        ({"units": []}, "it must have at least one unit"),
        ({"units": [{**unit, "frames": -1}]}, "its numbers must be whole and not negative"),
        ({"units": [{**unit, "codes": [12, 0], "frames": 21}]}, "this model's codebook"),
        ({"units": [{**unit, "codes": [1], "frames": 21}]}, "one for each quantiser of this model"),
        ({"units": [{"codes": [1, 1]}]}, "it lacks 'frames'"),
    ):
        path = tmp_path / "wrong.json"
        path.write_text(json.dumps({**good, **change}), encoding="utf-8")
        assert main(["resynth", str(path), "--model", str(trained), "-o", str(tmp_path / "x.wav")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x.wav").exists()
    (tmp_path / "good.json").write_text(json.dumps(good), encoding="utf-8")
    for place, message in (
        (tmp_path / "nowhere" / "x.wav", "'{}' could not be written: No such file or directory"),
        (tmp_path / "x.sound", "`--output` (='{}') cannot be written"),
    ):
        assert main(["resynth", str(tmp_path / "good.json"), "--model", str(trained), "-o", str(place)]) == 2
        assert message.format(place) in capsys.readouterr().err
    with pytest.raises(ValueError, match="must add up to"):
        model.decode(Coded(100, torch.zeros(2, 2, dtype=torch.int64), torch.tensor([1, 2, 3])))
    description = json.loads((trained / "model.json").read_text(encoding="utf-8"))
    description["modules"]["decoder"]["class"] = "torch.nn.Identity"
    (tmp_path / "model.json").write_text(json.dumps(description), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"module `decoder` \(='torch.nn.Identity'\) must be one of"):
        load_coder(tmp_path)
    file = tmp_path / "recipe"
    options = {"data_folder": digits, "output_folder": file, **SMALL, "probes": "{digit: dev}"}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    assert main(["train", *words_for("SpokenDigits/VQVAE", "average"), *argv]) == 2
    assert "`probes` (digit: 'dev') must name one of the splits train, valid, test" in capsys.readouterr().err
