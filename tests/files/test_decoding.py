"""Recordings are read to their end, whatever their headers say, and what ends early is refused."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from hostile import wav_header
from layouts import write
from seqstride.data_prep.audio_check import check_audio

from seqstride.brains.manifests import open_manifests
from seqstride.files.audio_headers import mpeg_frames
from seqstride.files.loading import load_audio

RATE = 16000
SECONDS = 6


def loudening(seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    """Quiet first, so that an encoder of variable bit rate spends little on its first frames."""
    samples = round(seconds * rate)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, samples)
    noise[: samples // 2] *= 1e-3
    return noise


def mp3(path: Path, mode: str, told: bool, seconds: float = SECONDS) -> Path:
    """An MP3 file, with or without the Info frame that tells how long it is."""
    with soundfile.SoundFile(path, "w", RATE, 1, bitrate_mode=mode, compression_level=0.5) as file:
        file.write(loudening(seconds))
    content = path.read_bytes()
    assert content[:2] == b"\xff\xf3"
    assert b"Info" in content[:40] or b"Xing" in content[:40]
    if not told:
        path.write_bytes(content[content.index(b"\xff\xf3", 2) :])
    return path


def said(path: Path, caplog: pytest.LogCaptureFixture) -> tuple[int, str]:
    """How many samples a preparation finds, and what it says."""
    caplog.clear()
    return check_audio([path], path.parent, path.parent)[path]["samples"], caplog.text


# MP3


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_does_not_tell_its_length_is_read_to_its_end(mode: str, tmp_path: Path) -> None:
    told, bare = mp3(tmp_path / "told.mp3", mode, True), mp3(tmp_path / "bare.mp3", mode, False)
    item = check_audio([bare], tmp_path, tmp_path)[bare]
    assert item["duration"] == pytest.approx(SECONDS, abs=0.15)
    found, expected = load_audio(RATE, bare).numpy(), soundfile.read(told)[0]
    assert len(found) == item["samples"]
    assert len(expected) == SECONDS * RATE
    delay = 576  # of the encoder, which the Info frame tells as well
    np.testing.assert_allclose(found[delay:][: len(expected)], expected, atol=1e-3)


def test_a_part_of_an_mp3_that_does_not_tell_its_length(tmp_path: Path) -> None:
    bare = mp3(tmp_path / "bare.mp3", "VARIABLE", False)
    start, stop = 5 * RATE, 5 * RATE + 4000
    whole = load_audio(RATE, bare)
    np.testing.assert_allclose(load_audio(RATE, bare, start, stop), whole[start:stop], atol=1e-3)
    item = {"wav": str(bare), "duration": 0.25, "start": start, "stop": stop}
    (tmp_path / "train.json").write_text(f'{{"a": {item}}}'.replace("'", '"'))
    assert len(open_manifests({"train": tmp_path / "train.json"}, RATE)["train"]) == 1


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_an_mp3_that_was_cut_is_refused(mode: str, told: bool, share: float, tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3", mode, told)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"a\.mp3' cannot be read as audio: cut short: \d+ of \d+ samples"):
        load_audio(RATE, path)


def test_mp3s_that_were_put_together_are_read_to_the_last(tmp_path: Path) -> None:
    first, second = mp3(tmp_path / "1.mp3", "VARIABLE", True), mp3(tmp_path / "2.mp3", "VARIABLE", True, 2)
    tags = b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
    both = tmp_path / "both.mp3"
    both.write_bytes(first.read_bytes() + tags[0] + tags[1] + second.read_bytes() + tags[0])
    assert len(load_audio(RATE, both)) == pytest.approx((SECONDS + 2) * RATE, abs=0.2 * RATE)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("trailer", [b"TAG" + bytes(125), bytes(5000), b"APETAGEX" + bytes(range(200)) * 20])
def test_what_follows_an_mp3_is_no_sound(trailer: bytes, told: bool, tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3", "VARIABLE", told)
    samples = len(load_audio(RATE, path))
    path.write_bytes(path.read_bytes() + trailer)
    assert len(load_audio(RATE, path)) == samples


def test_a_gap_in_an_mp3_is_named(tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3", "VARIABLE", False)
    content = path.read_bytes()
    place = len(content) // 2
    path.write_bytes(content[:place] + bytes(1000) + content[place + 1000 :])
    with pytest.raises(ValueError, match=r"damaged: at byte \d+ its frames stop and continue later"):
        load_audio(RATE, path)


@pytest.mark.parametrize(
    ("head", "size", "samples"),
    [
        ("fffb9000", 417, 1152),  # MPEG-1, layer III, 128 kbit/s, 44.1 kHz
        ("fffb9200", 418, 1152),  # the same, padded
        ("fffbe4c0", 960, 1152),  # 320 kbit/s, 48 kHz, mono
        ("fff38000", 208, 576),  # MPEG-2, 64 kbit/s, 22.05 kHz
        ("ffe318c0", 72, 576),  # MPEG-2.5, 8 kbit/s, 8 kHz
        ("fffda400", 576, 1152),  # MPEG-1, layer II, 192 kbit/s, 48 kHz
        ("fff5e800", 1440, 1152),  # MPEG-2, layer II, 160 kbit/s, 16 kHz
        ("ffffc000", 416, 384),  # MPEG-1, layer I, 384 kbit/s, 44.1 kHz
    ],
)
def test_sizes_of_mpeg_frames(head: str, size: int, samples: int) -> None:
    frame = bytes.fromhex(head).ljust(size, b"\0")
    found = mpeg_frames(b"ID3\x04\0\0\0\0\0\x05" + bytes(5) + 3 * frame)
    assert found is not None
    assert (found.first, found.number, found.samples, found.told, found.damage) == (15, 3, samples, None, None)
    assert mpeg_frames(3 * frame[:-1] + bytes(9)) != found
    assert mpeg_frames(frame[1:]) is None


# Ogg


@pytest.fixture(params=["VORBIS", "OPUS"])
def ogg(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.ogg", loudening(), RATE, subtype=request.param)
    return tmp_path / "a.ogg"


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_an_ogg_file_that_was_cut_is_refused(share: float, ogg: Path) -> None:
    assert len(load_audio(RATE, ogg)) == SECONDS * RATE
    content = ogg.read_bytes()
    ogg.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"cut short: it ends within a page|cannot be opened"):
        load_audio(RATE, ogg)


def test_an_ogg_file_of_several_streams_is_refused(ogg: Path) -> None:
    content = ogg.read_bytes()
    ogg.write_bytes(content + content)
    with pytest.raises(ValueError, match=r"it holds several streams, one after the other; `ffmpeg -i .*` joins them"):
        load_audio(RATE, ogg)
    ogg.write_bytes(content + bytes(3000))
    assert len(load_audio(RATE, ogg)) == SECONDS * RATE
    place = content.index(b"OggS", len(content) // 2)
    ogg.write_bytes(content[:place] + bytes(30) + content[place:])
    with pytest.raises(ValueError, match=f"damaged: at byte {place} its pages stop"):
        load_audio(RATE, ogg)


def test_an_ogg_file_without_its_last_page_is_remarked_on(ogg: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said(ogg, caplog) == (SECONDS * RATE, "")
    content = ogg.read_bytes()
    ogg.write_bytes(content[: content.rindex(b"OggS")])
    samples, text = said(ogg, caplog)
    assert 0 < samples < SECONDS * RATE
    assert "a.ogg: its stream has no end mark, so it may be cut short" in text


# Headers that do not know the length, or promise more


def at(mark: bytes, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Bytes behind a mark replaced."""

    def change(content: bytes) -> bytes:
        place = content.index(mark) + offset
        return content[:place] + value + content[place + len(value) :]

    return change


def no_total(content: bytes) -> bytes:
    """FLAC: the number of samples is what the last 36 bits of 8 bytes hold."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]


UNKNOWN = {
    "wav, switched off": ("a.wav", {}, at(b"data", 4, bytes(4))),
    "wav, switched off, sizes 0": ("a.wav", {}, lambda c: at(b"RIFF", 4, bytes(4))(at(b"data", 4, bytes(4))(c))),
    "wav, streamed": ("a.wav", {}, at(b"data", 4, b"\xff" * 4)),
    "wav, streamed by sox": ("a.wav", {}, at(b"data", 4, struct.pack("<I", 0x7FFFF000))),
    "extensible wav": ("a.wav", {"format": "WAVEX", "subtype": "PCM_24"}, at(b"data", 4, bytes(4))),
    "float wav": ("a.wav", {"subtype": "FLOAT"}, at(b"data", 4, bytes(4))),
    "rf64": ("a.wav", {"format": "RF64"}, at(b"ds64", 16, bytes(8))),
    "flac": ("a.flac", {}, no_total),
    "au": ("a.au", {}, at(b".snd", 8, b"\xff" * 4)),
    "aiff": ("a.aiff", {}, at(b"SSND", 4, bytes(4))),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_does_not_tell_its_length_is_read_to_the_end_with_a_remark(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, kind, change = UNKNOWN[name]
    path = write(tmp_path / file, 70001, **kind)  # more than a block
    whole = load_audio(8000, path)
    assert said(path, caplog) == (70001, "")
    path.write_bytes(change(path.read_bytes()))
    samples, text = said(path, caplog)
    assert samples == 70001
    assert f"{file}: its header does not give its length; it was read to the end of the file" in text
    np.testing.assert_array_equal(load_audio(8000, path), whole)
    np.testing.assert_array_equal(load_audio(8000, path, 1000, 66000), whole[1000:66000])


def test_a_flac_file_of_unknown_length_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", 70001)
    content = no_total(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cannot be decoded after \d+ samples"):
        load_audio(8000, path)


def test_a_wav_without_samples_is_empty_whatever_follows(tmp_path: Path) -> None:
    path = wav_header(tmp_path / "a.wav", data=b"")
    note = b"LIST" + struct.pack("<I", 13) + b"INFOICMT\x01\0\0\0x\0" + b"id3 " + struct.pack("<I", 6) + b"ID3\0\0\0"
    for trailer in (b"", note):
        path.write_bytes(path.read_bytes() + trailer)
        with pytest.raises(ValueError, match="must have at least one sample"):
            load_audio(8000, path)


def test_samples_behind_those_that_a_header_tells_of_are_remarked_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.wav", 70001)
    path.write_bytes(at(b"data", 4, struct.pack("<I", 8000))(path.read_bytes()))
    samples, text = said(path, caplog)
    assert samples == 4000
    assert "a.wav: it has further bytes behind the samples that its header counts" in text


@pytest.mark.parametrize("kind", ["RF64", "W64", "NIST", "AVR", "VOC", "SVX", "MPC2K", "AU", "AIFF", "CAF", "WAVEX"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_what_ends_before_its_header_says_is_cut(kind: str, share: float, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind.lower()}", 40000, format=kind)
    assert len(load_audio(8000, path)) == 40000
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"cut short|file is malformed"):
        load_audio(8000, path)


# Other codecs


def test_what_only_torchcodec_reads_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.delitem(sys.modules, "torchcodec.decoders", raising=False)
    (tmp_path / "a.M4A").write_bytes(b"\0\0\0\x20ftypM4A ")
    with pytest.raises(ValueError, match=r"m4a needs torchcodec, which is not installed") as error:
        load_audio(RATE, tmp_path / "a.M4A")
    for advice in ("pip install 'seqstride[codecs]'", "ffmpeg -i old.m4a new.wav"):
        assert advice in str(error.value)


def test_missing_libraries_of_ffmpeg_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(file: object) -> None:
        raise RuntimeError("Could not load libtorchcodec. Likely causes:\n 1. FFmpeg is not properly installed …")

    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", ModuleType("torchcodec.decoders"))
    monkeypatch.setattr(sys.modules["torchcodec.decoders"], "AudioDecoder", fails, raising=False)
    (tmp_path / "a.aac").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="aac needs FFmpeg's libraries, which torchcodec does not find; or convert it"):
        load_audio(RATE, tmp_path / "a.aac")


def test_a_container_is_known_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 4000)
    assert len(load_audio(8000, path.rename(tmp_path / "a.mp4"))) == 4000


@pytest.mark.parametrize("kind", ["m4a", "aac", "mka"])
@pytest.mark.parametrize("channels", [1, 2])
def test_torchcodec_reads_what_soundfile_does_not(
    kind: str, channels: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoders = pytest.importorskip("torchcodec.encoders", exc_type=(ImportError, RuntimeError))
    import torch

    time = np.arange(2 * 44100) / 44100
    wave = np.stack([0.5 * np.sin(2 * np.pi * 440 * time)] * channels)
    path = tmp_path / f"ä $1.{kind}"
    encoders.AudioEncoder(torch.from_numpy(wave).float(), sample_rate=44100).to_file(str(path))
    item = check_audio([path], tmp_path, tmp_path)[path]
    assert (item["sample_rate"], item["channels"]) == (44100, channels)
    assert item["duration"] == pytest.approx(2, abs=0.06)
    found = load_audio(44100, path).numpy()
    assert len(found) == item["samples"]
    pitch = np.abs(np.fft.rfft(found[:44100])).argmax()
    assert pitch == 440
    assert np.sqrt(np.mean(found[5000:-5000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    np.testing.assert_array_equal(load_audio(44100, path, 1000, 70000), found[1000:70000])

    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    with pytest.raises(ValueError, match=r"torchcodec cannot decode it|cut short: it holds [\d.]+ of [\d.]+ s"):
        load_audio(44100, path)
    path.write_bytes(b"no sound at all" * 100)
    with pytest.raises(ValueError, match=rf"torchcodec cannot decode it .*ffmpeg -i old\.{kind} new\.wav"):
        load_audio(44100, path)
