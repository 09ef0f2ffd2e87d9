"""The log-mel front end and the windows of recordings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import tones

from seqstride.encoders.frontend import FLOOR, LogMel
from seqstride.models.windows import all_windows, mean_by_owner, random_windows

# Log-mel frames


def librosa_log_mel(frontend: LogMel, waveform: np.ndarray) -> np.ndarray:
    """(bands, T) by librosa, brought to the level of white noise of variance 1."""
    import librosa

    taper = np.hanning(frontend.window + 1)[:-1]
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=frontend.sample_rate,
        n_fft=2 * (len(frontend.filters) - 1),
        hop_length=frontend.hop,
        win_length=frontend.window,
        window="hann",
        center=True,
        pad_mode="constant",
        power=2.0,
        n_mels=frontend.bands,
        fmin=frontend.low_hz,
        fmax=frontend.high_hz,
        htk=True,
        norm=None,
    )
    return np.log(np.maximum(power / (taper**2).sum(), FLOOR))


SETTINGS: list[tuple[int, dict[str, float]]] = [
    (8000, {"bands": 40}),
    (16000, {"bands": 80}),
    (44100, {"bands": 64, "window_ms": 40, "hop_ms": 12.5, "low_hz": 50, "high_hz": 15000}),
    (8000, {"bands": 5, "low_hz": 0, "high_hz": 500}),
]


@pytest.mark.parametrize(("rate", "options"), SETTINGS)
def test_its_filters_are_those_of_librosa(rate: int, options: dict[str, float]) -> None:
    import librosa

    frontend = LogMel(rate, **options)
    expected = librosa.filters.mel(
        sr=rate,
        n_fft=2 * (len(frontend.filters) - 1),
        n_mels=frontend.bands,
        fmin=frontend.low_hz,
        fmax=frontend.high_hz,
        htk=True,
        norm=None,
    )
    np.testing.assert_allclose(frontend.filters.T.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("rate", "options"), SETTINGS)
@pytest.mark.parametrize("kind", ["noise", "sine", "sweep"])
def test_it_agrees_with_librosa(rate: int, options: dict[str, float], kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(rate // 2 + 7) / rate
    waveform = {
        "noise": 0.3 * torch.randn(len(t), generator=generator),
        "sine": 0.5 * torch.sin(2 * torch.pi * 440 * t) + 1e-3 * torch.randn(len(t), generator=generator),
        "sweep": tones(0.5, rate),
    }[kind]
    frontend = LogMel(rate, **options)
    x, lengths = frontend(waveform[None], torch.tensor([len(t)]))
    expected = librosa_log_mel(frontend, waveform.double().numpy())
    assert x.shape[1:] == expected.shape
    assert lengths.tolist() == [expected.shape[1]]
    # float32 against float64: where a band has 80 dB less than its neighbours, rounding shows
    loud = expected > expected.max() - 14
    assert loud.mean() > 0.1
    np.testing.assert_allclose(x[0].numpy()[loud], expected[loud], atol=2e-3)
    np.testing.assert_allclose(x[0].numpy(), expected, atol=0.3)


def test_noise_has_the_level_of_its_variance() -> None:
    noise = 0.1 * torch.randn(1, 80_000)
    for window_ms in (16.0, 25.0, 50.0):
        frontend = LogMel(8000, bands=20, window_ms=window_ms)
        power = frontend(noise, torch.tensor([80_000]))[0][0].exp().mean(1)
        expected = 0.01 * frontend.filters.sum(0)
        torch.testing.assert_close(power, expected, rtol=0.1, atol=0)


def test_silence_is_the_floor() -> None:
    x, _ = LogMel(8000)(torch.zeros(1, 800), torch.tensor([800]))
    torch.testing.assert_close(x, torch.full_like(x, np.log(FLOOR)))


def test_a_tone_is_loudest_in_the_band_at_its_frequency() -> None:
    frontend = LogMel(16000, bands=30)
    centres = frontend.centres_hz()
    assert (centres.diff() > 0).all()
    mels = 2595 * torch.log10(1 + centres / 700)
    torch.testing.assert_close(mels.diff(), mels.diff()[:1].expand(29), rtol=1e-9, atol=0)
    t = torch.arange(8000) / 16000
    for band in (4, 11, 20, 29):
        x, lengths = frontend(torch.sin(2 * torch.pi * centres[band] * t).float()[None], torch.tensor([8000]))
        assert (x[0, :, 3:-3].argmax(0) == band).all()
        assert lengths.tolist() == [51]


LENGTHS = [1, 79, 80, 81, 1599, 1600, 1999]


def test_an_item_alone_is_the_item_in_a_padded_batch() -> None:
    frontend = LogMel(8000, bands=24)
    waves = [tones(length / 8000, seed=length) for length in LENGTHS]
    batch = torch.full((len(LENGTHS), 2100), float("nan"))
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    x, lengths = frontend(batch, torch.tensor(LENGTHS))
    assert lengths.tolist() == [length // 80 + 1 for length in LENGTHS]
    assert torch.equal(lengths, frontend.output_lengths(torch.tensor(LENGTHS)))
    for item, wave in enumerate(waves):
        alone, frames = frontend(wave[None], torch.tensor([len(wave)]))
        assert frames.tolist() == [alone.shape[2]] == [int(lengths[item])]
        torch.testing.assert_close(x[item, :, : frames[0]], alone[0])
        assert (x[item, :, frames[0] :] == 0).all()


def test_frames_stand_every_hop_on_their_sample() -> None:
    frontend = LogMel(8000, bands=20)
    assert frontend.frame_rate == 100.0
    assert LogMel(44100, hop_ms=10).frame_rate == pytest.approx(100.0, rel=1e-3)
    click = torch.zeros(1, 4000)
    click[0, 80 * 17] = 1.0
    x, _ = frontend(click, torch.tensor([4000]))
    assert x[0].sum(0).argmax() == 17


def test_half_precision_does_not_reach_the_powers() -> None:
    frontend, wave = LogMel(8000), tones(0.2)[None]
    expected, _ = frontend(wave, torch.tensor([1600]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x, _ = frontend(wave, torch.tensor([1600]))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, expected)


def test_narrow_bands_get_a_longer_transform() -> None:
    assert len(LogMel(8000, bands=20).filters) == 129
    for bands in (100, 128):
        filters = LogMel(8000, bands=bands).filters
        assert (filters.amax(0) > 0).all()
        assert len(filters) > 129
    assert LogMel(8000).state_dict() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_ms": 0.01}, r"`hop_ms` \(=0\.01\) must be at least one sample and at most `window_ms` \(=25\.0\)"),
        ({"hop_ms": 30}, r"`hop_ms` \(=30\)"),
        ({"low_hz": -1}, r"`low_hz` \(=-1\)"),
        ({"low_hz": 4000}, r"`low_hz` \(=4000\) must lie below `high_hz` \(=4000\.0\)"),
        ({"high_hz": 4001}, r"`high_hz` \(=4001\), and that in 0 … 4000\.0 Hz"),
        ({"bands": 2000}, r"`bands` \(=2000\) must be fewer"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogMel(8000, **options)


def test_wrong_waveforms_are_named() -> None:
    frontend = LogMel(8000)
    with pytest.raises(ValueError, match=r"`waveforms` \(shape \(1, 1, 800\)\) must have shape \(B, S\)"):
        frontend(torch.zeros(1, 1, 800), torch.tensor([800]))
    with pytest.raises(ValueError, match=r"`lengths` \(dtype torch\.float32\)"):
        frontend(torch.zeros(1, 800), torch.tensor([1.0]))
    with pytest.raises(ValueError, match=r"`lengths` \(shape \(2,\)\)"):
        frontend(torch.zeros(1, 800), torch.tensor([800, 800]))


# Windows


def batch_of(lengths: list[int], channels: int | None) -> torch.Tensor:
    """Every real frame has a number of its own; the padding is NaN."""
    x = torch.full((len(lengths), max(lengths) + 2), float("nan"))
    for item, length in enumerate(lengths):
        x[item, :length] = 1000 * item + torch.arange(length)
    return x if channels is None else x[..., None] + 1e6 * torch.arange(channels)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("size", [1, 4, 7, 10, 25, 40])
def test_windows_cover_every_item(size: int, channels: int | None) -> None:
    items = [1, 4, 7, 8, 23, 25]
    x = batch_of(items, channels)
    windows, lengths, owners = all_windows(x, torch.tensor(items), size)
    assert windows.shape[1] == min(size, x.shape[1])
    expected, expected_owners = [], []
    for item, length in enumerate(items):
        count = -(-length // size)
        assert count == 1 or (count - 1) * size < length <= count * size
        for index in range(count):
            # evenly spread from the first window, at the start, to the last, at the end
            start = 0 if count == 1 else index * (length - size) // (count - 1)
            expected.append(x[item, start : start + min(size, length)])
            expected_owners.append(item)
    assert owners.tolist() == expected_owners
    assert lengths.tolist() == [len(window) for window in expected]
    for window, length, wanted in zip(windows, lengths.tolist(), expected, strict=True):
        assert torch.equal(window[:length], wanted)
    for item, length in enumerate(items):
        mine = [window[:n] for window, n, owner in zip(windows, lengths, owners, strict=True) if owner == item]
        assert torch.equal(torch.cat(mine).unique(dim=0), x[item, :length].unique(dim=0)), "every frame is heard"


def test_means_are_those_of_each_item() -> None:
    values, owners = torch.randn(6, 4), torch.tensor([2, 0, 0, 1, 2, 2])
    expected = torch.stack([values[owners == item].mean(0) for item in range(3)])
    torch.testing.assert_close(mean_by_owner(values, owners, 3), expected)


@pytest.mark.parametrize("channels", [None, 2])
def test_random_windows_lie_inside_their_items(channels: int | None) -> None:
    items = [3, 6, 8, 20]
    x = batch_of(items, channels)
    starts = []
    for _ in range(300):
        windows, lengths = random_windows(x, torch.tensor(items), 6)
        assert lengths.tolist() == [3, 6, 6, 6]
        first = [
            int(window[0] if channels is None else window[0, 0]) - 1000 * item for item, window in enumerate(windows)
        ]
        for item, start in enumerate(first):
            assert torch.equal(windows[item, : lengths[item]], x[item, start : start + int(lengths[item])])
        starts.append(first)
    assert [sorted(set(column)) for column in zip(*starts, strict=True)] == [[0], [0], [0, 1, 2], list(range(15))]
    shares = torch.bincount(torch.tensor([first[2] for first in starts])) / 300
    assert shares.min() > 0.2, "every start is as likely as another"


def test_random_windows_follow_the_seed() -> None:
    x, lengths = batch_of([50, 50], None), torch.tensor([50, 50])
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(random_windows(x, lengths, 10)[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_window_longer_than_the_batch_is_the_batch() -> None:
    x, lengths = batch_of([5, 3], None), torch.tensor([5, 3])
    for windows, kept in (random_windows(x, lengths, 100), all_windows(x, lengths, 100)[:2]):
        assert torch.equal(windows.nan_to_num(), x.nan_to_num())
        assert torch.equal(kept, lengths)
