"""The Conformer encoder and CTC: padding, cost, alignability, decoding, whole runs on a toy language."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from an4_release import Spoken, write_release
from conformers import encoder
from helpers import ADAPTIVE, COUNTED, KEYS
from safetensors.torch import load_file
from speechbrain.core import Stage
from speechbrain.decoders.ctc import CTCBeamSearcher
from speechbrain.lobes.models.transformer.Conformer import ConvolutionModule
from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR
from speechbrain.nnet.containers import LengthsCapableSequential
from speechbrain.nnet.linear import Linear
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import seqstride as ss
from recipes import words_for
from seqstride.brains import asr
from seqstride.brains.asr import CTCBrain, Prediction, average_states
from seqstride.brains.augment import Tempo
from seqstride.brains.run import run_recipe
from seqstride.cli import main
from seqstride.encoders.conformer import ConformerEncoder
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.subsampling import Subsampling
from seqstride.experiments.items import unpack_items
from seqstride.lobes import FrontEnd
from seqstride.models.recogniser import transcripts
from seqstride.models.tokens import Units, frames_needed, greedy_decode
from seqstride.plots.strides import plot_strides

RECIPE = "AN4/ASR"
LENGTHS = torch.tensor([60, 41, 17, 1])


# The encoder


def padded(value: float = float("nan")) -> torch.Tensor:
    x = torch.randn(4, 5, 64)
    for item, length in enumerate(LENGTHS):
        x[item, :, length:] = value
    return x


def largest_difference(model: ConformerEncoder) -> float:
    """Between items alone and in a padded batch: features, lengths, and the gradient of the input."""
    x = padded(9.0).requires_grad_()
    batch = model(x, LENGTHS)
    batch.features.square().sum().backward()
    assert (batch.features[1, :, batch.lengths[1] :] == 0).all()
    worst = 0.0
    for item, length in enumerate(LENGTHS):
        own = x.detach()[item : item + 1, :, :length].requires_grad_()
        alone = model(own)
        alone.features.square().sum().backward()
        assert alone.lengths[0] == batch.lengths[item] == alone.features.shape[2]
        features = batch.features.detach()[item, :, : alone.lengths[0]] - alone.features.detach()[0]
        gradient = x.grad[item, :, :length] - own.grad[0]
        worst = max(worst, float(features.abs().max()), float(gradient.abs().max()))
        assert (x.grad[item, :, length:] == 0).all()
    return worst


@pytest.mark.parametrize("key", KEYS)
def test_an_item_alone_is_the_item_in_a_padded_batch(key: str) -> None:
    model = encoder(key)
    assert largest_difference(model) < 1e-5
    x = padded()
    torch.testing.assert_close(model(x, LENGTHS).features, model(x.nan_to_num(3.0), LENGTHS).features)
    if key in COUNTED:
        assert torch.equal(model.output_lengths(LENGTHS), model(x, LENGTHS).lengths)


def test_speechbrains_own_convolution_module_would_leak() -> None:
    model = encoder("average")
    for layer in model.conformer.layers:
        own = ConvolutionModule(16, 7)
        own.load_state_dict(layer.convolution_module.state_dict())
        layer.convolution_module = own.eval()
    assert largest_difference(model) > 1e-3


def test_the_middle_is_the_end_of_an_encoder_of_half_the_layers() -> None:
    model, half = encoder("average").train(), encoder("average").train()
    half.conformer.layers = half.conformer.layers[:1]
    x = padded()
    middle, end = model(x, LENGTHS).middle, half(x, LENGTHS).features
    for item, length in enumerate(model.output_lengths(LENGTHS)):
        torch.testing.assert_close(middle[item, :, :length], end[item, :, :length])
    assert model.eval()(x, LENGTHS).middle is None


@pytest.mark.parametrize(
    ("key", "strides"), [("average", (2, 2)), ("strided", (3, 2)), ("average", (8,)), ("max", (1,))]
)
def test_the_cost_is_what_a_forward_pass_computes(key: str, strides: tuple[float, ...]) -> None:
    model = encoder(key, strides)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, 5, 240))
    assert ss.macs(model, 240) == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": ()}, r"`strides` \(=\(\)\)"),
        ({"channels": 15, "heads": 5}, "must be even"),
        ({"channels": 16, "heads": 3}, r"`heads` \(=3\) must divide `channels` \(=16\)"),
        ({"kernel_size": 4}, r"`kernel_size` \(=4\) must be odd"),
        ({"front_kernel": 0}, r"`kernel_size` \(=0\)"),
        ({"layers": 0}, r"`layers` \(=0\)"),
        ({"downsampler": "mean"}, "must be one of strided"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConformerEncoder(5, **arguments)


# The front end in SpeechBrain's layout


def front_end(key: str, weight: float = 1.0) -> FrontEnd:
    torch.manual_seed(0)
    lobe = FrontEnd(Subsampling(5, 12, (3, 2), key), penalty_weight=weight).eval()
    if key in ADAPTIVE:
        for layer in lobe.subsampling.downsamplers:
            nn.init.normal_(layer.score.weight, std=2.0)
    return lobe


@pytest.mark.parametrize("key", COUNTED)
def test_the_front_end_knows_the_length_of_every_item(key: str) -> None:
    lobe = front_end(key)
    x = padded().transpose(1, 2)
    wav_lens = LENGTHS / 64
    y = lobe(x, wav_lens)
    lengths = (lobe.output_lens(wav_lens, 64) * y.shape[1]).round().long()
    assert torch.equal(lengths, lobe.subsampling.output_lengths(LENGTHS))
    for item, length in enumerate(LENGTHS):
        alone = lobe(x[item : item + 1, :length])
        assert alone.shape[1] == lengths[item]
        torch.testing.assert_close(y[item : item + 1, : lengths[item]], alone, atol=1e-5, rtol=1e-5)
        assert (y[item, lengths[item] :] == 0).all()


def test_the_front_end_trains_with_its_penalty() -> None:
    x = padded(0.0).transpose(1, 2)

    def gradients(weight: float, added: float) -> list[torch.Tensor]:
        lobe = front_end("adastride", weight)
        loss = lobe(x, LENGTHS / 64).square().mean()
        if added:
            _, _, plans = lobe.subsampling(x.transpose(1, 2), LENGTHS)
            penalty = torch.stack([plan.penalty for plan in plans]).sum()
            assert penalty > 0.01
            loss = loss + added * penalty
        loss.backward()
        return [parameter.grad for parameter in lobe.parameters()]

    torch.testing.assert_close(gradients(0.7, 0.0), gradients(0.0, 0.7))
    scores = [gradient for gradient in gradients(0.7, 0.0) if gradient.shape == (1, 12, 1)]
    without = [gradient for gradient in gradients(0.0, 0.0) if gradient.shape == (1, 12, 1)]
    assert any((first - second).abs().max() > 1e-4 for first, second in zip(scores, without, strict=True))


def test_the_front_end_stands_where_speechbrains_stands() -> None:
    chain = LengthsCapableSequential(front_end("adastride"), Linear(7, input_size=12))
    x = padded(0.0).transpose(1, 2)
    assert chain(x, LENGTHS / 64).shape == (4, 10, 7)
    transformer = TransformerASR(
        tgt_vocab=6,
        input_size=12,
        d_model=8,
        nhead=2,
        num_encoder_layers=1,
        num_decoder_layers=0,
        d_ffn=8,
        encoder_module="conformer",
        attention_type="RelPosMHAXL",
        normalize_before=True,
        causal=False,
    )
    lobe = front_end("adastride")
    features, _ = transformer(lobe(x, LENGTHS / 64), tgt=None, wav_len=lobe.output_lens(LENGTHS / 64, 64))
    assert features.shape == (4, 10, 8)
    assert features.isfinite().all()


# Units and decoding


def test_units_there_and_back() -> None:
    chars = Units.of("chars", ["AB  A", "C"])
    assert chars.names == [" ", "A", "B", "C"]
    assert len(chars) == 5
    assert chars.encode(" A  CB ") == [2, 1, 4, 3]
    assert chars.decode([1, 2, 1, 1, 4, 1]) == "A C"
    assert chars.unknown("AXB") == ["X"]
    words = Units.of("words", ["TWO SIX", "SIX GO"])
    assert words.names == ["GO", "SIX", "TWO"]
    assert words.encode("SIX ELEVEN TWO") == [2, 3]
    assert words.decode([2, 3]) == "SIX TWO"
    with pytest.raises(ValueError, match=r"`kind` \(='phones'\) must be one of chars, words, pieces"):
        Units("phones", ["a"])
    with pytest.raises(ValueError, match="`names`"):
        Units.of("words", [" "])


def test_pieces_of_words_are_learnt_once_and_written_back(tmp_path: Path) -> None:
    texts = ["RUBOUT TEN", "RUB OUT", "ABOUT TWENTY TEN", "TWENTY OUT", "BAT TUB"] * 4
    units = Units.pieces(texts, tmp_path / "pieces.model", vocab_size=24, model_type="bpe")
    assert len(units) == 25
    for text in texts:
        indices = units.encode(text)
        assert len(indices) < len(text)
        assert units.decode(indices) == text
    again = Units.pieces(["NOT READ"], tmp_path / "pieces.model", vocab_size=7)
    assert again.names == units.names
    only_names = Units("pieces", units.names)
    assert only_names.decode(units.encode(texts[0])) == texts[0]
    with pytest.raises(ValueError, match="cannot be cut"):
        only_names.encode("TEN")


@pytest.mark.parametrize(
    ("units", "written"),
    [
        (Units("chars", [" ", "A", "B"]), [2, 3, 1, 3]),
        (Units("words", ["AB", "B"]), [1, 2]),
        (Units("pieces", ["▁", "▁A", "B", "▁B"]), [2, 3, 4]),
        (Units("pieces", ["▁", "A", "B"]), [1, 2, 3, 1, 3]),
    ],
)
def test_words_stand_where_their_units_stand(units: Units, written: list[int]) -> None:
    # every third output frame writes; each stands for two input frames, at 50 a second
    path = [unit for index in written for unit in (0, index, 0)]
    log_probs = (nn.functional.one_hot(torch.tensor(path), len(units)) * 9.0).log_softmax(1)[None]
    plan = ss.AvgPool1d(2).plan(torch.zeros(1, 1, 2 * len(path)))
    encoded = Encoded(torch.zeros(1, 1, len(path)), plan.lengths, plan.penalty, [plan])
    (transcript,) = transcripts(units, log_probs, encoded, frame_rate=50.0)
    assert transcript.text == "AB B"
    spikes = [0.04 * (3 * index + 1) for index in range(len(written))]
    assert [token.time for token in transcript.tokens] == pytest.approx([spike + 0.01 for spike in spikes])
    audible = [spike for spike, unit in zip(spikes, written, strict=True) if units.names[unit - 1].strip(" ▁")]
    assert [word.text for word in transcript.words] == ["AB", "B"]
    assert transcript.words[0].start == pytest.approx(audible[0] - 0.01)
    assert transcript.words[1].start == pytest.approx(audible[-1] - 0.01)
    assert transcript.words[1].stop == pytest.approx(audible[-1] + 0.03)


def test_the_frames_that_ctc_needs() -> None:
    assert frames_needed([]) == 0
    assert frames_needed([3]) == 1
    assert frames_needed([1, 2, 2, 2, 1, 1]) == 9
    # that many frames have one path, one less have none
    log_probs = torch.randn(9, 1, 4).log_softmax(2)
    target, count = torch.tensor([[1, 2, 2, 2, 1, 1]]), torch.tensor([6])
    assert nn.functional.ctc_loss(log_probs, target, torch.tensor([9]), count, reduction="none").isfinite()
    assert nn.functional.ctc_loss(log_probs[:8], target, torch.tensor([8]), count, reduction="none").isinf()


def one_hot(path: list[int], strength: list[float]) -> torch.Tensor:
    return (nn.functional.one_hot(torch.tensor(path), 4) * torch.tensor(strength)[:, None]).log_softmax(1)


def test_greedy_decoding_merges_runs_and_finds_their_peaks() -> None:
    path = [0, 2, 2, 2, 0, 2, 1, 1, 0, 3]
    strength = [5.0, 1.0, 3.0, 2.0, 5.0, 1.0, 1.0, 4.0, 5.0, 2.0]
    log_probs = torch.stack([one_hot(path, strength), one_hot(path, strength)])
    whole, cut = greedy_decode(log_probs, torch.tensor([10, 7]))
    assert whole == ([2, 2, 1, 3], [2, 5, 7, 9])
    assert cut == ([2, 2, 1], [2, 5, 6])


def test_averages_are_those_of_floats_only() -> None:
    states = [{"w": torch.tensor([v]), "n": torch.tensor(n)} for v, n in ((1.0, 7), (2.0, 5), (6.0, 6))]
    mean = average_states(iter(states))
    assert mean["w"].item() == 3.0
    assert mean["w"].dtype == torch.float32
    assert mean["n"].item() == 7
    assert states[0]["w"].item() == 1.0


def test_tempo_keeps_what_is_said() -> None:
    x = torch.arange(100.0)[None, :, None].expand(3, 100, 2)
    torch.manual_seed(3)
    sizes = set()
    for _ in range(20):
        y = Tempo(0.8, 1.25)(x)
        sizes.add(y.shape[1])
        assert y.shape[::2] == (3, 2)
        assert 80 <= y.shape[1] <= 125
        ramp = (torch.arange(y.shape[1]) + 0.5) * 100 / y.shape[1] - 0.5
        torch.testing.assert_close(y[1, :, 0], ramp.clamp(0, 99), atol=1e-3, rtol=0)
    assert len(sizes) > 5
    with pytest.raises(ValueError, match=r"`low` \(=1.2\)"):
        Tempo(1.2, 1.1)


# The Brain's parts


def brain(units: Units, model: ConformerEncoder | None = None, searcher: object = None) -> CTCBrain:
    """As much of the Brain as counting and decoding need."""
    bare = object.__new__(CTCBrain)
    bare.units, bare.searcher, bare.device = units, searcher, "cpu"
    bare.modules = {"encoder": model}
    price = {"weight": 0.0}
    bare.hparams = SimpleNamespace(text="words", penalty_weight=1.0, complexity=price)
    bare.start_scores(Stage.TRAIN)
    return bare


def test_items_that_are_too_short_are_found_by_hand() -> None:
    # behind strides 3 and 2, 25 frames are 9 and then 5: enough for 4 different units and one repetition
    data = {
        "fits": {"length": 25, "words": "ABCC"},
        "repeats": {"length": 25, "words": "AABB"},
        "longer": {"length": 30, "words": "AABBC"},
        "unknown": {"length": 25, "words": "ABCAXX"},
    }
    bare = brain(Units("chars", "ABC"), encoder("strided"))
    assert bare.unalignable(SimpleNamespace(data=data)) == [("repeats", 5, 6), ("longer", 5, 7)]
    words = brain(Units("words", ["AABB", "ABCC"]), encoder("strided"))
    assert words.unalignable(SimpleNamespace(data=data)) == []
    # where the content decides, no length tells before the run
    assert brain(Units("chars", "ABC"), encoder("cif")).unalignable(SimpleNamespace(data=data)) == []


def test_an_item_that_is_too_short_has_no_part_in_the_loss() -> None:
    def loss(texts: list[str], lengths: list[int]) -> tuple[float, int]:
        bare = brain(Units("chars", "ABC"))
        encoded = SimpleNamespace(lengths=torch.tensor(lengths), penalty=torch.zeros(()))
        value = bare.compute_objectives(Prediction(log_probs, encoded), SimpleNamespace(text=texts), Stage.TRAIN)
        return float(value), bare.unaligned

    log_probs = torch.randn(2, 6, 4).log_softmax(2)
    both, short = loss(["AB", "CCC"], [6, 4])
    assert short == 1
    by_hand = nn.functional.ctc_loss(
        log_probs[:1].transpose(0, 1), torch.tensor([[1, 2]]), torch.tensor([6]), torch.tensor([2]), reduction="sum"
    )
    assert both == pytest.approx(float(by_hand) / 2, rel=1e-5)
    assert loss(["AB", "CCC"], [6, 5])[1] == 0


def decoders() -> dict[str, CTCBeamSearcher | None]:
    names = ["<blank>", " ", "A", "B", "C"]
    return {"greedy": None, "beam": CTCBeamSearcher(blank_index=0, vocab_list=names, beam_size=10)}


@pytest.mark.parametrize("kind", ["greedy", "beam"])
def test_a_text_alone_is_the_text_in_a_padded_batch(kind: str) -> None:
    bare = brain(Units("chars", " ABC"), searcher=decoders()[kind])
    lengths = torch.arange(1, 50, 3)
    log_probs = (3 * torch.randn(len(lengths), 49, 5)).log_softmax(2)
    # as relative lengths most of these are no whole numbers of frames again
    batch = bare.decode(log_probs, lengths, beam=True)
    assert len(set(batch)) > 10
    for item, length in enumerate(lengths):
        alone = log_probs[item : item + 1, :length]
        assert bare.decode(alone, lengths[item : item + 1], beam=True) == [batch[item]]


ARPA = """
\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>
0\t<s>\t0
-1.0\t</s>
-3.0\tBAD\t0
-0.1\tBED\t0

\\2-grams:
-0.1\t<s> BED
-3.0\t<s> BAD

\\end\\
"""


def test_an_ngram_model_decides_between_words_that_sound_alike(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    pytest.importorskip("pygtrie")
    (tmp_path / "words.arpa").write_text(ARPA.lstrip())
    names = ["<blank>", " ", *"ABDE"]
    path = [3, 0, 2, 0, 4]
    log_probs = (nn.functional.one_hot(torch.tensor(path), 6) * 8.0)[None]
    log_probs[0, 2, 5] = 7.8  # E, nearly as loud as A
    log_probs, lengths = log_probs.log_softmax(2), torch.tensor([5])
    units = Units("chars", names[1:])
    plain = CTCBeamSearcher(blank_index=0, vocab_list=names)
    model = CTCBeamSearcher(blank_index=0, vocab_list=names, kenlm_model_path=str(tmp_path / "words.arpa"))
    assert brain(units).decode(log_probs, lengths, beam=True) == ["BAD"]
    assert brain(units, searcher=plain).decode(log_probs, lengths, beam=True) == ["BAD"]
    assert brain(units, searcher=model).decode(log_probs, lengths, beam=True) == ["BED"]
    assert brain(units, searcher=model).decode(log_probs, lengths) == ["BAD"]


# Whole runs


def utterance(name: str, speaker: str, words: str) -> Spoken:
    """A toy language: each letter is a sound of its own, 12 to 16 frames long, with silence around it."""
    silence, sounds = np.zeros(13), {letter: np.eye(13)[index] * 4 for index, letter in enumerate("ABC")}
    parts = [silence] * 5
    for letter, frames in zip(words, letter_frames(name, words), strict=True):
        parts += [sounds.get(letter, silence)] * frames + [silence] * 8
    content = np.stack(parts) + 0.3 * np.random.default_rng(len(parts)).normal(size=(len(parts), 13))
    return Spoken(name, speaker, words, content.astype(np.float32))


def letter_frames(name: str, words: str) -> list[int]:
    return np.random.default_rng(sum(name.encode())).integers(12, 17, len(words)).tolist()


def word_times(name: str, words: str) -> list[tuple[float, float]]:
    """Start and end of every word, s."""
    times, now, start = [], 5, None
    for letter, frames in zip(words + " ", [*letter_frames(name, words), 0], strict=True):
        if letter == " ":
            times.append((start / 100, (now - 8) / 100))
            start = None
        elif start is None:
            start = now
        now += frames + 8
    return times


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers for training and validation, one for the test; words of one to three letters."""
    generator = np.random.default_rng(0)

    def said(speaker: str, count: int) -> list[Spoken]:
        spoken = []
        for index in range(count):
            words = [
                "".join(generator.choice(list("ABC"), generator.integers(1, 4)))
                for _ in range(generator.integers(1, 4))
            ]
            spoken.append(utterance(f"{index}-{speaker}", speaker, " ".join(words)))
        return spoken

    train = [spoken for speaker in "pqrstu" for spoken in said(speaker, 10)]
    return write_release(tmp_path_factory.mktemp("toy") / "an4", train, said("z", 8))


SMALL = {
    **{"valid_speakers": 1, "width": 24, "layers": 1, "feed_forward": 32, "dropout": 0.0, "batch_size": 10},
    **{"number_of_epochs": 1, "warmup_steps": 5, "average": 2, "lr": 0.01, "device": "cpu"},
    "dynamic_batching": "{max_batch_length: 12, bucket_boundaries: [1.0, 1.5, 3.0]}",
}


def run(method: str, data: Path, output: Path, **overrides: object) -> int:
    """Runs the recipe; the exit status."""
    options = {"data_folder": data, "output_folder": output, **SMALL, **overrides}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return main(["train", *words_for(RECIPE, method), *argv, "--noprogressbar"])


def record(output: Path) -> dict:
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def test_a_debug_run_counts_the_seconds_of_what_it_scored(toy: Path, tmp_path: Path) -> None:
    assert run("average", toy, tmp_path, number_of_epochs=1, debug_batches=1, batch_size=2) == 0
    result = record(tmp_path / "debug")
    assert result["input_frames_per_second"] == pytest.approx(100)
    assert result["figures"]["output frames per s"] == pytest.approx(25, rel=0.1)
    items = unpack_items(result["items"])
    assert len(items.counts) == 8
    assert 100 * items.counts.sum() / items.totals.sum() == pytest.approx(result["test_WER"])


@pytest.mark.parametrize("method", [pytest.param("strided", marks=pytest.mark.long), "adastride"])
def test_a_toy_language_is_learnt_without_an_error(
    method: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(asr, "plot_strides", lambda *args, **words: drawn.append(words) or plot_strides(*args, **words))
    plain = "{min_augmentations: 0, max_augmentations: 0}"
    assert run(method, toy, tmp_path, number_of_epochs=14, fea_augment=plain) == 0
    result = record(tmp_path)
    assert result["test_CER"] == result["test_WER"] == result["metric"]["value"] == 0.0
    assert result["metric"]["lower_is_better"]
    assert result["input_frames_per_second"] == pytest.approx(100)
    assert result["output_frames_per_second"] == pytest.approx(25, rel=0.05)
    assert "%WER 0.00" in (tmp_path / "wer.txt").read_text(encoding="utf-8")
    assert (tmp_path / "strides.png").stat().st_size > (tmp_path / "training.png").stat().st_size / 2 > 1000

    # the picture shows what was said and what was written where; the screen, what to do next
    (picture,) = drawn
    for title, marks in zip(picture["titles"], picture["marks"], strict=True):
        said, written = title.split("\n")
        assert said.removeprefix("said: ") == written.removeprefix("written: ") == "".join(text for text, _ in marks)
    assert capsys.readouterr().out.splitlines()[-1].startswith("next      seqstride transcribe ")

    # the saved model writes the same, and puts every word where it was said
    test = json.loads((tmp_path / "save" / "data" / "test.json").read_text())
    files = [item["features"].format(data_root=tmp_path / "save" / "data") for item in test.values()]
    capsys.readouterr()
    assert main(["transcribe", *files, str(tmp_path / "none.npy"), "--model", str(tmp_path), "--timestamps"]) == 2
    captured = capsys.readouterr()
    assert "none.npy' cannot be read as features" in captured.err
    lines = iter(captured.out.splitlines())
    for file, (name, item) in zip(files, test.items(), strict=True):
        assert next(lines) == f"{file}: {item['words']}"
        for word, (start, stop) in zip(item["words"].split(), word_times(name, item["words"]), strict=True):
            found = next(lines).split()
            assert found[2] == word
            assert float(found[0]) == pytest.approx(start, abs=0.12)
            assert float(found[1]) == pytest.approx(stop, abs=0.12)

    # said in a row, with pauses, for longer than two pieces of a recording, it is still the same and in its place
    pause = np.zeros((17, 13), np.float32)
    spoken, words, starts, now = [pause], [], [], 0.17
    for file, (name, item) in [*zip(files, test.items(), strict=True)] * 8:
        words += item["words"].split()
        starts += [now + start for start, _ in word_times(name, item["words"])]
        spoken += [np.load(file), pause]
        now += (len(spoken[-2]) + len(pause)) / 100
    assert now > 55
    np.save(tmp_path / "long.npy", np.concatenate(spoken))
    assert main(["transcribe", str(tmp_path / "long.npy"), "--model", str(tmp_path), "--timestamps"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split(": ")[1] == " ".join(words)
    assert [float(line.split()[0]) for line in lines] == pytest.approx(starts, abs=0.12)


def test_the_middle_has_its_share_of_the_loss(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, float]] = []
    objectives = CTCBrain.compute_objectives

    def compare(self: CTCBrain, predictions: Prediction, batch: object, stage: Stage) -> torch.Tensor:
        loss = objectives(self, predictions, batch, stage)
        if stage == Stage.TRAIN:
            encoded = predictions.encoded
            middle = self.modules["output"](encoded.middle.transpose(1, 2)).log_softmax(2)
            end, inside = (
                objectives(self, Prediction(log_probs, encoded), batch, stage).item()
                for log_probs in (predictions.log_probs, middle)
            )
            assert loss.item() == pytest.approx(0.7 * end + 0.3 * inside, rel=1e-4)
            seen.append(inside - end)
        else:
            assert predictions.middle is None
        return loss

    monkeypatch.setattr(CTCBrain, "compute_objectives", compare)
    assert run("average", toy, tmp_path, layers=2, intermediate=0.3) == 0
    assert max(map(abs, seen)) > 0.01

    forward = ConformerEncoder.forward
    monkeypatch.setattr(ConformerEncoder, "forward", lambda *args: replace(forward(*args), middle=None))
    assert run("average", toy, tmp_path / "none", intermediate=0.3) == 2
    assert "`intermediate` (=0.3) must be 0 with an encoder without `middle`" in capsys.readouterr().err


def test_units_too_fine_for_the_strides_stop_before_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("average", toy, tmp_path / "chars", strides="[8, 4]") == 2
    message = capsys.readouterr().err
    assert (
        "training items have fewer frames behind strides of 8, 4 than CTC needs for their `units` (='chars')" in message
    )
    assert "`strides` must be smaller, or the units coarser (words)" in message
    assert not list((tmp_path / "chars" / "save").glob("**/encoder.ckpt"))
    assert run("average", toy, tmp_path / "words", strides="[8, 4]", units="words", score="valid") == 0
    result = record(tmp_path / "words")
    assert "validation CER, %" in result["figures"]  # the part that was scored
    assert result["units"] == "words"
    assert result["output_frames_per_second"] == pytest.approx(100 / 32, rel=0.3)


def test_a_resumed_run_equals_one_that_never_stopped(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("diffstride", toy, tmp_path / "whole", number_of_epochs=3) == 0
    end_epoch = CTCBrain._end_epoch

    def stop_after_the_first(self: CTCBrain, epoch: int, stats: dict) -> None:
        end_epoch(self, epoch, stats)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CTCBrain, "_end_epoch", stop_after_the_first)
        assert run("diffstride", toy, tmp_path / "resumed", number_of_epochs=3) == 130
    assert run("diffstride", toy, tmp_path / "resumed", number_of_epochs=3) == 0
    whole, resumed = record(tmp_path / "whole"), record(tmp_path / "resumed")
    for key in ("test_loss", "valid_loss", "test_CER", "epoch", "epochs", "strides", "local_strides"):
        assert resumed[key] == whole[key], key
    assert whole["strides"] != whole["initial_strides"]


@pytest.mark.parametrize(
    "loader", [pytest.param("{batch_size: 10}", marks=pytest.mark.long), "{batch_size: 10, num_workers: 1}"]
)
def test_a_run_resumed_inside_an_epoch_of_dynamic_batches_equals_one_that_never_stopped(
    loader: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"number_of_epochs": 2, "dropout": 0.1, "train_dataloader": loader}
    assert run("adastride", toy, tmp_path / "whole", **options) == 0
    save = CTCBrain._save_intra_epoch_ckpt

    steps = iter((4, 6))

    def save_and_stop(self: CTCBrain) -> None:
        save(self)
        if self.step == stop:
            raise KeyboardInterrupt

    while stop := next(steps, None):
        with monkeypatch.context() as patch:
            patch.setattr(CTCBrain, "_save_intra_epoch_ckpt", save_and_stop)
            assert run("adastride", toy, tmp_path / "resumed", ckpt_interval_steps=2, **options) == 130
    assert run("adastride", toy, tmp_path / "resumed", **options) == 0
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert record(tmp_path / "whole")["test_loss"] == record(tmp_path / "resumed")["test_loss"]


def test_the_scored_model_is_the_mean_of_the_best_epochs(toy: Path, tmp_path: Path) -> None:
    assert run("dct_diffstride", toy, tmp_path, number_of_epochs=3, average=2, stride_lr=0.1) == 0
    folders = list((tmp_path / "save" / "checkpoints").iterdir())
    kept = {}
    for folder in folders:
        last = json.loads((folder / "history.ckpt").read_text())[-1]
        kept[last["epoch"]] = (last["valid"]["WER"], last["strides"])
    best = sorted(kept.items(), key=lambda item: (item[1][0], -item[0]))[:2]
    expected = np.mean([strides for _, (_, strides) in best], axis=0)
    assert record(tmp_path)["strides"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert record(tmp_path)["epoch"] == best[0][0]
    assert best[0][1][1] != best[1][1][1]


def manifests(folder: Path, **changes: dict[str, object]) -> dict[str, object]:
    """Options that train on manifests of three tiny items each, changed by split."""
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((90, 13)).astype(np.float32))
    item = {"features": str(folder / "x.npy"), "length": 90, "frame_rate": 100.0}
    for split in ("train", "valid", "test"):
        texts = {f"{split}-{index}": text for index, text in enumerate(["A B", "B", "BA"])}
        items = {name: {**item, "words": text, **changes.get(split, {})} for name, text in texts.items()}
        (folder / f"{split}.json").write_text(json.dumps(items), encoding="utf-8")
    paths = ", ".join(f"{split}: {folder / split}.json" for split in ("train", "valid", "test"))
    return {"prepare": "null", "manifests": f"{{{paths}}}"}


def test_the_targets_are_those_of_the_key_that_was_asked_for(tmp_path: Path) -> None:
    # a manifest may hold other texts, too, also one that is called as the batches call it
    raw = {split: {"text": "Other words."} for split in ("train", "valid", "test")}
    options = manifests(tmp_path, **raw)
    assert run("average", tmp_path, tmp_path / "out", **options) == 0
    lines = (tmp_path / "out" / "wer.txt").read_text("utf-8")
    assert "A   ;   B" in lines
    assert "Other" not in lines
    seen: list[str] = []

    class Looks(CTCBrain):
        def compute_objectives(self, predictions: Prediction, batch: object, stage: Stage) -> torch.Tensor:
            seen.extend(batch.text)
            return super().compute_objectives(predictions, batch, stage)

    files = {"data_folder": tmp_path, "output_folder": tmp_path / "seen", **SMALL, **options}
    argv = [part for key, value in files.items() for part in (f"--{key}", str(value))]
    run_recipe(Looks, [*words_for(RECIPE, "average"), *argv, "--noprogressbar"])
    assert set(seen) == {"A B", "B", "BA"}


@pytest.mark.parametrize("key", ["signal", "id"])
def test_no_key_of_a_manifest_hides_what_is_computed(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = manifests(tmp_path, valid={key: "other"})
    assert run("average", tmp_path, tmp_path / "out", **options) == 2
    message = capsys.readouterr().err
    assert f"item 'valid-0' must not have the key '{key}'" in message
    assert "valid.json" in message


def test_a_text_of_numbers_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = manifests(tmp_path, test={"words": 12})
    assert run("average", tmp_path, tmp_path / "out", **options) == 2
    assert "`text` (='words') must be a key of every item with words; test: test-0" in capsys.readouterr().err


def test_units_that_leave_out_what_is_said_stop_before_training(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = manifests(tmp_path, valid={"words": "AXB X"})
    assert run("average", tmp_path, tmp_path / "valid", **options) == 0
    expected = "3 of 3 texts of valid have what no unit stands for: 'X' (6×); such as valid-0: 'AXB X'"
    assert expected in "".join(capsys.readouterr()) + caplog.text
    # pieces that were learnt from other texts
    other = Units.pieces(["CD DC", "C D", "DDC"] * 9, tmp_path / "other.model", vocab_size=4, model_type="char")
    monkeypatch.setattr(Units, "pieces", lambda *_, **__: other)
    options |= {"data_folder": tmp_path, "output_folder": tmp_path / "out", "units": "pieces", "sample_rate": 16000}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    assert main(["train", "LJSpeechFormat/ASR", *argv]) == 2
    message = capsys.readouterr().err
    assert "3 of 3 texts of train have what no unit stands for" in message
    assert "such as train-0: 'A B'" in message
    assert not list((tmp_path / "out").glob("**/encoder.ckpt"))


def test_what_is_wrong_is_one_line(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    search = "!name:speechbrain.decoders.ctc.CTCBeamSearcher {kenlm_model_path: words.arpa}"
    for overrides, message in (
        ({"selection": "accuracy"}, "`selection` (='accuracy') must be 'WER' or 'CER'"),
        ({"average": 0}, "`average` (=0) must be a whole number of at least 1"),
        ({"intermediate": 1}, "`intermediate` (=1) must be a number of at least 0 and below 1"),
        ({"units": "phones"}, "`kind` (='phones') must be one of chars, words, pieces"),
        ({"text": "sentence"}, "`text` (='sentence') must be a key of every item with words; train: "),
        ({"beam_search": search}, "To install it: pip install 'seqstride[lm]'"),
    ):
        assert run("average", toy, tmp_path / "out", **overrides) == 2
        assert message in capsys.readouterr().err
