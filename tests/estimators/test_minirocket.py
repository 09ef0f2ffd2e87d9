"""MiniRocket features: those of sktime, exact whatever the order of sums, and a calibrated ridge regression on them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from seqstride.errors import InputError
from seqstride.estimators import minirocket
from seqstride.estimators.minirocket import KERNELS, MiniRocket, dilations
from seqstride.estimators.rocket import Rocket, _inverse_temperature, _ridge


def whole_numbers(count: int, channels: int, frames: int, seed: int = 0) -> list[torch.Tensor]:
    """Items of whole numbers, with which sktime's sums are exact, too."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(-9, 10, (channels, frames), generator=generator).double() for _ in range(count)]


def fitted(items: list[torch.Tensor], features: int, seed: int = 0) -> MiniRocket:
    transform = MiniRocket(len(items[0]), dilations(max(item.shape[1] for item in items), features))
    transform.fit(items, torch.Generator().manual_seed(seed))
    return transform


@pytest.mark.long  # half a minute of compiling what is not ours
@pytest.mark.parametrize(("length", "features"), [(9, 84), (9, 10_000), (100, 1000), (1460, 10_000), (5000, 84)])
def test_dilations_are_those_of_sktime(length: int, features: int) -> None:
    from sktime.transformations.rocket._minirocket_multi_var_numba import _fit_dilations_multi_var

    theirs = _fit_dilations_multi_var(length, features, 32)
    assert dilations(length, features) == list(zip(*(part.tolist() for part in theirs), strict=True))


@pytest.mark.long
@pytest.mark.parametrize(("channels", "frames"), [(1, 9), (1, 60), (12, 40)])
def test_features_are_those_of_sktime(channels: int, frames: int) -> None:
    from sktime.transformations.rocket._minirocket_multi_var_numba import _transform_multi_var

    items = whole_numbers(6, channels, frames)
    ours = fitted(items, 500)
    ours.scale.fill_(1.0)
    # between whole numbers, where single precision is exact
    ours.thresholds.copy_(ours.thresholds.floor() + 0.5)
    kernels = ours.mixes.flatten(0, 1)
    steps = np.array(ours.steps, dtype=np.int32)
    parameters = (
        kernels.sum(1).int().numpy(),
        kernels.nonzero()[:, 1].int().numpy(),
        np.ascontiguousarray(steps[:, 0]),
        np.ascontiguousarray(steps[:, 1]),
        ours.thresholds.float().numpy(),
    )
    joined = torch.cat(items, 1).float().numpy()
    theirs = _transform_multi_var(joined, np.full(len(items), frames, dtype=np.int32), parameters)
    assert theirs.shape == (6, KERNELS * steps[:, 1].sum())
    np.testing.assert_allclose(torch.stack([ours(item) for item in items]).numpy(), theirs, atol=1e-6)


def test_features_are_shares_of_frames_above_thresholds() -> None:
    items = whole_numbers(4, 3, 30)
    transform = fitted(items, 200)
    expected, start = [], 0
    for step, (dilation, count) in enumerate(transform.steps):
        for kernel, raised in enumerate(combinations(range(9), 3)):
            mixed = (transform.mixes[step, kernel][:, None] * (items[0] * transform.scale[:, None])).sum(0).tolist()
            outputs = [
                sum(
                    (2 if tap in raised else -1) * mixed[frame + (tap - 4) * dilation]
                    for tap in range(9)
                    if 0 <= frame + (tap - 4) * dilation < 30
                )
                for frame in range(30)
            ]
            for threshold in transform.thresholds[start : start + count].tolist():
                expected.append(np.mean([output > threshold for output in outputs]))
            start += count
    np.testing.assert_allclose(transform(items[0]).numpy(), expected, atol=1 / 30 + 1e-9)
    assert np.mean(np.abs(transform(items[0]).numpy() - expected) > 1e-9) < 0.05  # rounding at a threshold


def test_the_order_of_channels_and_their_scale_change_no_feature() -> None:
    items = [torch.randn(9, 50, generator=torch.Generator().manual_seed(seed)).double() for seed in range(4)]
    transform = fitted(items, 500)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    other = MiniRocket(9, transform.steps)
    other.load_state_dict(transform.state_dict())
    # values whose roundings are the same, in another order: every sum is exact
    other.scale.copy_(transform.scale[order])
    other.mixes.copy_(transform.mixes[:, :, order])
    for item in items:
        torch.testing.assert_close(other(item[order]), transform(item), rtol=0, atol=0)
    doubled = fitted([item * 4 for item in items], 500)
    torch.testing.assert_close(doubled(items[0] * 4), transform(items[0]), rtol=0, atol=0)


def test_neither_batches_nor_parts_of_a_series_change_a_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    items = [torch.randn(2, length, generator=generator).double() for length in (40, 7, 40, 40, 120)]
    rocket = Rocket(2, dilations(120, 500), 2, classes=True)
    rocket.fit(items, torch.eye(2)[torch.tensor([0, 1, 0, 1, 0])], torch.Generator().manual_seed(0))
    alone = torch.stack([rocket.transform(item) for item in items])
    torch.testing.assert_close(rocket._features(items), alone, rtol=0, atol=0)
    monkeypatch.setattr(minirocket, "FRAMES", 16)
    torch.testing.assert_close(torch.stack([rocket.transform(item) for item in items]), alone, rtol=0, atol=0)


def test_short_and_constant_series_and_long_dilations_have_features() -> None:
    items = [*whole_numbers(3, 2, 400), torch.ones(2, 30).double()]
    transform = fitted(items, 1000)
    for item in (torch.ones(2, 1), torch.full((2, 8), 1e30), torch.zeros(2, 3)):
        features = transform(item)
        assert features.shape == (transform.features,)
        assert bool(((features >= 0) & (features <= 1)).all())


@pytest.mark.parametrize("steps", [[], [(0, 1)], [(1, 0)], [(1.0, 1)], [(True, 1)], [(1, 2), (-3, 1)], [(10**9, 1)]])
def test_steps_must_be_pairs_of_positive_integers(steps: list[tuple[int, int]]) -> None:
    with pytest.raises(InputError, match="`steps`"):
        MiniRocket(1, steps)


def test_the_ridge_regression_predicts_what_it_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(20, 50, generator=generator).double()
    features[:, 7] = 0.5  # a constant feature
    targets = torch.nn.functional.one_hot(torch.arange(20) % 3, 3).double() * 2 - 1
    weights = torch.ones(20).double()
    factor, bias, held_out = _ridge(features, targets, weights)
    from sklearn.linear_model import Ridge, RidgeCV

    scaled = (features / features.std(0, unbiased=False).clamp_min(1e-12)).numpy()
    scaled[:, 7] = 0.0
    alpha = RidgeCV(np.logspace(-1, 6, 22)).fit(scaled, targets.numpy()).alpha_
    whole = Ridge(alpha).fit(scaled, targets.numpy())
    np.testing.assert_allclose((features @ factor.T + bias).numpy(), whole.predict(scaled), atol=1e-8)
    for item in (0, 13):
        others = np.arange(20) != item
        alone = Ridge(alpha).fit(scaled[others], targets.numpy()[others]).predict(scaled[[item]])[0]
        np.testing.assert_allclose(held_out[item].numpy(), alone, atol=1e-8)


def test_the_temperature_makes_held_out_predictions_likely() -> None:
    targets = torch.eye(2).double().repeat(50, 1)
    noise = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)).double()
    alike = torch.ones(100).double()
    sure, unsure = (_inverse_temperature(targets * 2 - 1 + noise * size, targets, alike) for size in (0.1, 3))
    assert sure > 10 > 1 > unsure
    # a weight of 0 leaves an item out
    right = targets * 2 - 1
    both, weights = torch.cat([right, -right]), torch.cat([alike, 0 * alike])
    alone = _inverse_temperature(right, targets, alike)
    assert _inverse_temperature(both, targets.repeat(2, 1), weights) == alone
    assert _inverse_temperature(both, targets.repeat(2, 1), torch.ones(200).double()) < alone


def test_probabilities_leave_a_share_to_every_class_and_sum_to_one() -> None:
    items = [item * (1 + index % 2) for index, item in enumerate(whole_numbers(12, 1, 30))]
    targets = torch.eye(3)[torch.arange(12) % 2]  # no training series of the third class
    rocket = Rocket(1, dilations(30, 84), 3, classes=True)
    rocket.fit(items, targets, torch.Generator().manual_seed(0))
    shares = rocket.predict(items).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(12).double())
    assert float(shares.min()) >= 1 / 13 / 3 - 1e-12
    numbers = Rocket(1, dilations(30, 84), 1, classes=False)
    values = torch.arange(12.0)[:, None] % 2
    numbers.fit(items, values, torch.Generator().manual_seed(0))
    outputs = numbers.predict(items)
    assert float(((outputs - values) ** 2).mean()) < 0.05
