"""LibriSpeech and the format of LJSpeech: from the official layouts to manifests, and to runs of the recipes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import soundfile
from seqstride.data_prep.librispeech import prepare_librispeech
from seqstride.data_prep.ljspeech_format import plain_words, prepare_ljspeech_format
from speech_layouts import SENTENCES, WORDS, librispeech, sentences

from recipes import words_for
from seqstride.cli import main


def manifests(folder: Path) -> dict[str, dict]:
    return {split: json.loads((folder / f"{split}.json").read_text("utf-8")) for split in ("train", "valid", "test")}


def test_librispeech_by_its_parts(tmp_path: Path) -> None:
    data = librispeech(tmp_path / "LibriSpeech")
    prepare_librispeech(data, tmp_path / "out")
    parts = manifests(tmp_path / "out")
    speakers = {split: {item["speaker"] for item in items.values()} for split, items in parts.items()}
    assert speakers == {"train": {"19", "26"}, "valid": {"84"}, "test": {"61"}}
    for items in parts.values():
        for name, item in items.items():
            path = item["wav"].format(data_root=data)
            assert Path(path).stem == name
            assert item["samples"] == soundfile.info(path).frames == round(16000 * item["duration"])
            speaker, _, index = name.split("-")
            assert item["words"] == WORDS[(int(speaker) + int(index)) % len(WORDS)]
    os.utime(tmp_path / "out" / "train.json", (1, 1))
    prepare_librispeech(data, tmp_path / "out")
    assert (tmp_path / "out" / "train.json").stat().st_mtime == 1
    prepare_librispeech(data, tmp_path / "out", train=["test-clean"], test="train-clean-100")
    assert set(manifests(tmp_path / "out")["train"]) == set(parts["test"])


def test_what_is_wrong_with_librispeech_is_named(tmp_path: Path) -> None:
    data = librispeech(tmp_path / "LibriSpeech")
    with pytest.raises(ValueError, match=r"`valid` \(='dev'\)"):
        prepare_librispeech(data, tmp_path / "out", valid="dev")
    with pytest.raises(ValueError, match="must be different ones of"):
        prepare_librispeech(data, tmp_path / "out", test="dev-clean")
    with pytest.raises(ValueError, match=r"must hold test-other/<speaker>"):
        prepare_librispeech(data, tmp_path / "out", test="test-other")
    transcripts = data / "dev-clean" / "84" / "70" / "84-70.trans.txt"
    transcripts.write_text(transcripts.read_text().splitlines()[0])
    with pytest.raises(ValueError, match=r"must have words for 84-70-0001\.flac"):
        prepare_librispeech(data, tmp_path / "out")
    transcripts.unlink()
    with pytest.raises(ValueError, match=r"84-70\.trans\.txt must exist"):
        prepare_librispeech(data, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sie wüssten, nichts -- von „Weißenburg-Süd“!", "SIE WÜSSTEN NICHTS VON WEIßENBURG SÜD"),
        ("don’t 'quote' 3.5_x", "DON'T QUOTE 3 5 X"),
        ("u\u0308ber", "ÜBER"),
        (" … ' ", ""),
        ("नमस्ते दुनिया!", "नमस्ते दुनिया"),  # vowel signs and virama are marks
        ("ọ̀rẹ́ mi", "Ọ̀RẸ́ MI"),  # tone marks that no single letter has
        ("முதல் பக்கம்", "முதல் பக்கம்"),
        ("می\u200cخواهم", "میخواهم"),  # joiners are not heard, and end no word
        ("क्\u200dष", "क्ष"),
        ("Donau\u00addampf", "DONAUDAMPF"),
        ("ក\u200bខ", "ក ខ"),  # stands where other scripts have a space
    ],
)
def test_plain_words(text: str, words: str) -> None:
    assert plain_words(text) == words


def test_sentences_in_the_format_of_ljspeech(tmp_path: Path) -> None:
    data = sentences(tmp_path / "data")
    prepare_ljspeech_format(data, tmp_path / "out", valid_share=0.2)
    parts = manifests(tmp_path / "out")
    everything = {name: item for items in parts.values() for name, item in items.items()}
    assert len(everything) == 11
    assert everything["s-06"]["words"] == "DER FUß SO IST ES LIEF 6 METER"
    assert everything["s-06"]["text"] == SENTENCES[6]
    assert {name.split("-")[1] for name in everything} == {f"{index:02d}" for index in range(11)}
    homes = {split: {item["words"] for item in items.values()} for split, items in parts.items()}
    assert {split: len(words) for split, words in homes.items()} == {"train": 7, "valid": 2, "test": 1}
    # each sentence, also the one that is said twice, is in one part only
    assert len(set.union(*homes.values())) == 10
    prepare_ljspeech_format(data, tmp_path / "other", valid_share=0.2, seed=1)
    assert manifests(tmp_path / "other")["test"] != parts["test"]


def test_what_is_wrong_with_a_table_is_named(tmp_path: Path) -> None:
    data = sentences(tmp_path / "data")
    table = data / "metadata.csv"
    whole = table.read_text(encoding="utf-8")
    for line, message in (
        ("s-01", r"line 12 \(='s-01'\) must be id\|text"),
        ("s-01|!", "with words"),
        ("s-01|Hallo|hallo|1.50", r"line 12 .* must be id\|text or id\|text\|normalised text"),
        ("s-01|Hallo|hallo|x|y", r"line 12 .* must be id\|text or id\|text\|normalised text"),
        ("s-01|Hallo Welt|1.50", "line 12 .* third column must be the normalised text, and '1.50' has no letters"),
        ("s-99|Hallo", "line 12: wavs/ must have a recording named s-99"),
        ("s-01|Hallo", "line 12: s-01 must occur once"),
    ):
        table.write_text(whole + line + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            prepare_ljspeech_format(data, tmp_path / "out")
    table.write_text(whole, encoding="utf-8")
    with pytest.raises(ValueError, match=r"`valid_share` \(=0\)"):
        prepare_ljspeech_format(data, tmp_path / "out", valid_share=0)
    with pytest.raises(ValueError, match=r"more sentences \(=10\) than 5 for the test and 5"):
        prepare_ljspeech_format(data, tmp_path / "out", valid_share=0.49, test_share=0.49)
    table.unlink()
    with pytest.raises(ValueError, match=r"must hold metadata\.csv"):
        prepare_ljspeech_format(data, tmp_path / "out")


def test_a_line_ends_where_the_file_ends_it(tmp_path: Path) -> None:
    data = sentences(tmp_path / "data")
    text = (data / "metadata.csv").read_text(encoding="utf-8").replace("Der Igel", "Der\u2028Igel")
    (data / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    prepare_ljspeech_format(data, tmp_path / "out")
    everything = {name: item for items in manifests(tmp_path / "out").values() for name, item in items.items()}
    assert everything["s-03"]["words"].startswith("DER IGEL ")
    assert len(everything) == 11


SMALL = {
    **{"number_of_epochs": 1, "width": 16, "layers": 1, "feed_forward": 16, "average": 1, "device": "cpu"},
    "dynamic_batching": "{max_batch_length: 6}",
    "threads": 1,
}


def test_all_of_librispeech(tmp_path: Path) -> None:
    data = librispeech(tmp_path / "LibriSpeech", more=("train-clean-360", "train-other-500"))
    options = {"data_folder": data, "output_folder": tmp_path / "out", **SMALL, "pieces": "{vocab_size: 26}"}
    options |= {"downsampler": "adastride", "strides": "[2, 1.5]"}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    assert main(["train", "recipes/LibriSpeech/ASR/hparams/960h.yaml", *argv, "--noprogressbar"]) == 0
    assert len(manifests(tmp_path / "out" / "save" / "data")["train"]) == 8
    assert json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["unit_count"] == 27


@pytest.mark.parametrize(
    ("recipe", "layout", "keys"),
    [
        ("LibriSpeech", librispeech, {"pieces": "{vocab_size: 24}", "strides": "[2, 1.5]", "kernel_size": 7}),
        ("LJSpeechFormat", sentences, {"units": "chars", "strides": "[1.5, 1.5]"}),
    ],
)
def test_from_the_layout_to_text(
    recipe: str, layout, keys: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = layout(tmp_path / "data"), tmp_path / "out"
    options = {"data_folder": data, "output_folder": output, **SMALL, **keys}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    assert main(["train", *words_for(f"{recipe}/ASR", "adastride"), *argv, "--noprogressbar"]) == 0
    record = json.loads((output / "results.json").read_text("utf-8"))
    assert record["recipe"] == f"{recipe}/ASR"
    assert record["metric"]["name"] == "WER"
    assert record["unit_count"] == (25 if recipe == "LibriSpeech" else record["unit_count"])
    # what was scored is the transcription that was trained on
    references = {name: item["words"] for name, item in manifests(output / "save" / "data")["test"].items()}
    for line in (output / "wer.txt").read_text("utf-8").split("=" * 80)[2:]:
        title, reference = line.strip().splitlines()[:2]
        words = [word.strip() for word in reference.split(" ; ")]
        assert " ".join(word for word in words if word != "<eps>") == references.pop(title.split(",")[0])
    assert not references
    recording = sorted(data.rglob("*.flac"))[0]
    capsys.readouterr()
    assert main(["transcribe", str(recording), "--model", str(output), "--timestamps"]) == 0
    assert capsys.readouterr().out.startswith(f"{recording}: ")
    assert main(["classify", str(recording), "--model", str(output)]) == 2
    assert "a model for transcription, where one for classification is needed" in capsys.readouterr().err
