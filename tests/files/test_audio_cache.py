"""Decoded recordings that are kept: the same bits, damaged entries, changed recordings, full disks, several writers."""

from __future__ import annotations

import logging
import os
import pickle
from collections import Counter
from pathlib import Path

import pytest
import soundfile
import torch
from full_disks import files_of_at_most
from tiny_models import tones
from torch.utils.data import DataLoader

from seqstride.encoders.frontend import LogMel
from seqstride.errors import InputError
from seqstride.files import audio_cache
from seqstride.files.audio_cache import AudioCache
from seqstride.files.loading import load_audio
from seqstride.files.remarks import remark, remarks

RATE = 8000


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """Two channels at 11025 Hz, in a compressed format."""
    wave = tones(0.4, rate=11025)
    path = tmp_path / "a.ogg"
    soundfile.write(path, torch.stack([wave, wave.flip(0)], 1).numpy(), 11025)
    return str(path)


@pytest.fixture
def kept(tmp_path: Path) -> AudioCache:
    return AudioCache(tmp_path / "decoded")


def entries(kept: AudioCache) -> list[Path]:
    return sorted(kept.folder.iterdir()) if kept.folder.is_dir() else []


@pytest.mark.parametrize("part", [(), (1000,), (1000, 3000)])
@pytest.mark.parametrize("rate", [RATE, 11025])
def test_the_same_bits_and_only_one_decoding(
    part: tuple[int, ...], rate: int, recording: str, kept: AudioCache, decoded: Counter
) -> None:
    expected = load_audio(rate, recording, *part)
    for again in (kept, kept, AudioCache(kept.folder), pickle.loads(pickle.dumps(kept))):
        found = again.load(rate, recording, *part)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)
        found.zero_()  # belongs to the caller
    assert decoded == {recording: 1}


def test_parts_rates_and_files_have_entries_of_their_own(recording: str, kept: AudioCache, tmp_path: Path) -> None:
    other = tmp_path / "b.ogg"
    other.write_bytes(Path(recording).read_bytes())
    arguments = [(RATE, recording), (9000, recording), (RATE, recording, 5), (RATE, recording, 0, 50)]
    for each in (*arguments, (RATE, str(other))):
        assert torch.equal(kept.load(*each), load_audio(*each))
    assert len(entries(kept)) == 5


@pytest.mark.parametrize("same_time", [False, True])
def test_a_recording_that_changes_is_decoded_again(
    same_time: bool, recording: str, kept: AudioCache, tmp_path: Path
) -> None:
    """Also one of the same size and the same time of modification, as archives unpack them."""
    wav = tmp_path / "a.wav"
    for seed in (0, 1):
        soundfile.write(wav, tones(0.2, seed=seed).numpy(), RATE)
        if same_time:
            os.utime(wav, (1e9, 1e9))
        assert torch.equal(kept.load(RATE, str(wav)), load_audio(RATE, str(wav)))


def test_a_recording_that_changes_while_it_is_decoded_is_not_kept(
    recording: str, kept: AudioCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: object) -> torch.Tensor:
        waveform = load_audio(*arguments)  # type: ignore[arg-type]
        os.utime(recording, (1, 1))
        return waveform

    monkeypatch.setattr(audio_cache, "load_audio", slow)
    kept.load(RATE, recording)
    assert not entries(kept)


DAMAGES = {
    "a bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "the check": lambda content: bytes(4) + content[4:],
    "zeros": lambda content: bytes(len(content)),
    "cut": lambda content: content[:-4],
    "cut within a sample": lambda content: content[:-3],
    "longer": lambda content: content + bytes(4),
    "the check alone": lambda content: content[:4],
    "three bytes": lambda content: content[:3],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_noticed_and_made_anew(
    damage: str, recording: str, kept: AudioCache, decoded: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    expected = kept.load(RATE, recording)
    (entry,) = entries(kept)
    whole = entry.read_bytes()
    entry.write_bytes(DAMAGES[damage](whole))
    assert torch.equal(kept.load(RATE, recording), expected)
    assert entry.read_bytes() == whole
    assert [record.getMessage() for record in caplog.records] == [f"{entry} is damaged. The recording is decoded again"]
    assert torch.equal(kept.load(RATE, recording), expected)
    assert decoded == {recording: 2}


def test_features_are_those_of_the_recording_alone(recording: str, kept: AudioCache, decoded: Counter) -> None:
    kept.front = LogMel(RATE, 8)
    waveform = load_audio(RATE, recording, 100)
    expected, frames = kept.front(waveform[None], torch.tensor([len(waveform)]))
    for again in (kept, pickle.loads(pickle.dumps(kept))):
        found = again.load(RATE, recording, 100)
        assert found.shape == (frames.item(), 8)
        assert torch.equal(found, expected[0].T)
        found.zero_()  # belongs to the caller
    assert decoded == {recording: 1}


@pytest.mark.parametrize(
    "other", [{"bands": 9}, {"window_ms": 30.0}, {"hop_ms": 5.0}, {"low_hz": 30.0}, {"high_hz": 3e3}]
)
def test_every_front_end_has_entries_of_its_own(other: dict[str, float], recording: str, kept: AudioCache) -> None:
    for front in (None, LogMel(RATE, bands=8), LogMel(RATE, **{"bands": 8, **other})):
        kept.front = front
        fresh = AudioCache(kept.folder.parent / "fresh")
        fresh.front = front
        assert torch.equal(kept.load(RATE, recording), fresh.load(RATE, recording))
    assert len(entries(kept)) == 3


def test_without_a_folder_there_are_waveforms_for_the_front_end(recording: str) -> None:
    cache = AudioCache(None)
    cache.front = LogMel(RATE, 8)
    assert torch.equal(cache.load(RATE, recording), load_audio(RATE, recording))


def test_damaged_features_are_made_anew(recording: str, kept: AudioCache) -> None:
    kept.front = LogMel(RATE, 8)
    expected = kept.load(RATE, recording)
    (entry,) = entries(kept)
    entry.write_bytes(DAMAGES["a bit"](entry.read_bytes()))
    assert torch.equal(kept.load(RATE, recording), expected)


def test_an_entry_under_the_name_of_another_is_noticed(recording: str, kept: AudioCache) -> None:
    kept.load(RATE, recording)
    (first,) = entries(kept)
    content = first.read_bytes()
    expected = kept.load(RATE, recording, 100)
    (second,) = set(entries(kept)) - {first}
    second.write_bytes(content)
    assert torch.equal(kept.load(RATE, recording, 100), expected)


def test_a_full_disk_is_said_once_and_costs_nothing_but_time(
    recording: str, kept: AudioCache, decoded: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    with files_of_at_most(100):
        waves = [kept.load(RATE, recording, start) for start in (0, 0, 7)]
    for wave, start in zip(waves, (0, 0, 7), strict=True):
        assert torch.equal(wave, load_audio(RATE, recording, start))
    assert decoded == {recording: 3}
    assert not entries(kept)
    (record,) = caplog.records
    assert record.getMessage().startswith("Further recordings are decoded in every epoch, because ")
    assert "File too large" in record.getMessage()


def test_the_last_space_of_a_disk_is_left_to_checkpoints(
    recording: str, kept: AudioCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audio_cache, "SPARED", 2**60)
    assert len(kept.load(RATE, recording)) == len(kept.load(RATE, recording)) > 0
    assert not entries(kept)
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_made_is_said_once(
    recording: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    kept = AudioCache(tmp_path / "file" / "decoded")
    assert torch.equal(kept.load(RATE, recording), kept.load(RATE, recording))
    assert len(caplog.records) == 1


def test_errors_are_those_of_the_decoding(kept: AudioCache, tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"no sound")
    for path, message in ((tmp_path / "b.wav", "cannot be opened"), (tmp_path / "c.wav", "there is no such file")):
        for _ in range(2):
            with pytest.raises(ValueError, match=message):
                kept.load(RATE, str(path))
    assert not entries(kept)


def test_processes_that_write_at_once_lose_nothing(recording: str, kept: AudioCache) -> None:
    """The workers of a loader get the same items at the same time."""
    starts = [index // 2 % 40 for index in range(160)]
    loader = DataLoader(starts, batch_size=1, num_workers=2, collate_fn=lambda item: kept.load(RATE, recording, *item))
    for found, start in zip(loader, starts, strict=True):
        assert torch.equal(found, load_audio(RATE, recording, start))
    assert len(entries(kept)) == 40
    assert {path.suffix for path in entries(kept)} == {".f32"}


def test_the_check_of_a_recording_is_shared_with_its_remarks(
    recording: str, kept: AudioCache, caplog: pytest.LogCaptureFixture
) -> None:
    decoded = []

    def decode() -> tuple[int, int, int]:
        decoded.append(recording)
        remark("it is unusual", recording)
        return 4410, 11025, 2

    for cache in (kept, AudioCache(kept.folder), AudioCache(None)):
        with remarks():
            assert cache.checked(recording, decode) == (4410, 11025, 2)
    assert len(decoded) == 2
    assert [record.getMessage() for record in caplog.records] == [f"{recording}: it is unusual"] * 3
    (entry,) = entries(kept)
    entry.write_bytes(entry.read_bytes().replace(b"4410", b"4411"))
    assert kept.checked(recording, decode) == (4410, 11025, 2)
    os.utime(recording, (5, 5))
    assert kept.checked(recording, decode) == (4410, 11025, 2)
    assert len(decoded) == 4


def test_no_check_is_kept_of_a_damaged_recording(recording: str, kept: AudioCache) -> None:
    def decode() -> tuple[int, int, int]:
        raise InputError("cut short")

    for _ in range(2):
        with pytest.raises(InputError, match="cut short"):
            kept.checked(recording, decode)
    assert not entries(kept)


def test_where_a_run_keeps_its_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(audio_cache.ENVIRONMENT, raising=False)
    own = AudioCache.of_run(tmp_path)
    assert own.folder == tmp_path / "decoded"
    assert own.begin(0) == ""
    assert own.begin(2**28) == f"decoded once, 1024 MiB of samples at most in {own.folder} until the run ends"
    own.folder.mkdir()
    own.clear()
    assert not own.folder.exists()

    monkeypatch.setenv(audio_cache.ENVIRONMENT, str(tmp_path))
    shared = AudioCache.of_run(tmp_path / "save")
    assert shared.begin(2**28) == f"decoded once, 1024 MiB of samples at most in {tmp_path}"
    shared.clear()
    assert tmp_path.exists()

    monkeypatch.setenv(audio_cache.ENVIRONMENT, "off")
    off = AudioCache.of_run(tmp_path)
    assert off.folder is None
    assert off.begin(2**28) == ""


def test_more_than_the_limit_is_not_kept(recording: str, kept: AudioCache, caplog: pytest.LogCaptureFixture) -> None:
    assert kept.begin(10**10) == "decoded in every epoch: 38147 MiB of samples are more than the 8192 MiB that are kept"
    with caplog.at_level(logging.INFO):
        assert len(kept.load(RATE, recording))
    assert not caplog.records
