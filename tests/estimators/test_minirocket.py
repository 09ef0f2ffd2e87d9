"""MiniRocket features: those of sktime, exact whatever the order of sums, and a calibrated ridge regression on them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from seqstride.errors import InputError
from seqstride.estimators import minirocket
from seqstride.estimators.levels import Levels
from seqstride.estimators.minirocket import KERNELS, MiniRocket, dilations
from seqstride.estimators.preparation import differences
from seqstride.estimators.rocket import Rocket, _closest, _likeliest, _ridge


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
    rocket = Rocket(2, 2, dilations(120, 500), 2, classes=True)
    views = [(item, differences(item)) for item in items]
    rocket.fit(views, torch.eye(2)[torch.tensor([0, 1, 0, 1, 0])], torch.Generator().manual_seed(0))

    def alone() -> torch.Tensor:
        return torch.stack([torch.cat([part(view) for part, view in rocket.pairs(pair)]) for pair in views])

    whole = alone()
    torch.testing.assert_close(rocket._features(views), whole, rtol=0, atol=0)
    monkeypatch.setattr(minirocket, "FRAMES", 16)
    torch.testing.assert_close(alone(), whole, rtol=0, atol=0)


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
    factor, bias, held_out = _ridge(features, targets, weights, weights)
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


def test_the_weight_of_a_regression_makes_held_out_predictions_likely() -> None:
    targets = torch.eye(2).double().repeat(50, 1)
    noise = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)).double()
    alike = torch.ones(100).double()

    def weight(held_out: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> float:
        return float(_likeliest(held_out[None], targets, weights))

    right = targets * 2 - 1
    sure, unsure = (weight(right + noise * size, targets, alike) for size in (0.1, 3))
    assert sure > 2 > 0.5 > unsure > 0
    # all are right: one more item of unknown class, half of 1/101 of every target, keeps the weight finite
    assert weight(right, targets, alike) == pytest.approx(np.log(201) / 2, rel=1e-4)
    assert weight(-right, targets, alike) == 0
    # a weight of 0 leaves an item out
    noisy = right + 3 * noise
    both, weights = torch.cat([noisy, -right]), torch.cat([alike, 0 * alike])
    assert weight(both, targets.repeat(2, 1), weights) == pytest.approx(unsure, rel=0.01)
    assert weight(both, targets.repeat(2, 1), torch.ones(200).double()) < 0.9 * unsure


def test_weights_prefer_the_view_that_tells_more() -> None:
    """Against a search over all pairs on a grid; a view of noise gets the weight 0."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.eye(3)[torch.arange(300) % 3].double()
    alike = torch.ones(300).double()
    sizes = (1.0, 2.0)
    held_out = torch.stack(
        [2 * targets - 1 + size * torch.randn(300, 3, generator=generator).double() for size in sizes]
    )
    mix = _likeliest(held_out, targets, alike)
    grid = torch.cartesian_prod(torch.linspace(0, 4, 81), torch.linspace(0, 4, 81)).double()
    logits = torch.einsum("gv,vnk->gnk", grid, held_out).log_softmax(2)
    goal = 300 / 301 * targets + 1 / 301 / 3
    best = grid[(goal * logits).sum((1, 2)).argmax()]
    torch.testing.assert_close(mix, best, rtol=0, atol=0.05)
    assert mix[0] > 2 * mix[1] > 0
    wrong = torch.stack([held_out[0], held_out[1].roll(1, 1)])
    assert float(_likeliest(wrong, targets, alike)[1]) == 0

    numbers = torch.randn(300, 1, generator=generator).double()
    held_out = torch.stack([numbers + size * torch.randn(300, 1, generator=generator).double() for size in sizes])
    mix = _closest(held_out, numbers, alike)
    expected = torch.linalg.lstsq(held_out.flatten(1).T, numbers).solution.flatten()
    torch.testing.assert_close(mix, expected)
    assert mix[0] > 2 * mix[1] > 0


def test_a_view_that_tells_nothing_has_no_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    waves = [torch.sin(torch.arange(50.0) * (1.0 if label else 1.3))[None].double() for label in labels]
    noises = [torch.randn(2, 1, 50, generator=generator).double() for _ in labels]
    views = [(noise, wave + other) for wave, (noise, other) in zip(waves, noises, strict=True)]
    rocket = Rocket(1, 2, dilations(50, 500), 2, classes=True)
    rocket.fit(views[:40], torch.eye(2)[labels[:40]], torch.Generator().manual_seed(0))
    noise, signal, _ = rocket.head.weight.split(rocket._widths, 1)
    assert float(signal.abs().sum()) > 20 * float(noise.abs().sum())
    right = (rocket.predict(views[40:]).argmax(1) == labels[40:]).double().mean()
    assert float(right) > 0.8


def test_probabilities_leave_a_share_to_every_class_and_sum_to_one() -> None:
    items = [item * (1 + index % 2) for index, item in enumerate(whole_numbers(12, 1, 30))]
    targets = torch.eye(3)[torch.arange(12) % 2]  # no training series of the third class
    views = [[item] for item in items]
    rocket = Rocket(1, 1, dilations(30, 84), 3, classes=True)
    rocket.fit(views, targets, torch.Generator().manual_seed(0))
    shares = rocket.predict(views).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(12).double())
    assert float(shares.min()) >= 1 / 13 / 3 - 1e-12
    numbers = Rocket(1, 1, dilations(30, 84), 1, classes=False)
    values = torch.arange(12.0)[:, None] % 2 - 0.5
    numbers.fit(views, values, torch.Generator().manual_seed(0))
    outputs = numbers.predict(views)
    assert float(((outputs - values) ** 2).mean()) < 0.05


def test_the_level_of_a_series_counts() -> None:
    """The taps of MiniRocket's kernels sum to zero, so that they do not see it; `Levels` do."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(60, 1, generator=generator).double()
    series = [level + 0.5 * torch.randn(1, 40, generator=generator).double() for level in targets]
    views = [[item, differences(item)] for item in series]
    errors = []
    for levels in (True, False):
        rocket = Rocket(1, 2, dilations(40, 500), 1, classes=False, levels=levels)
        rocket.fit(views[:40], targets[:40], torch.Generator().manual_seed(0))
        errors.append(float((rocket.predict(views[40:]) - targets[40:]).square().mean()))
    assert errors[0] < 0.02, "the mean of 40 frames is wrong by 0.08"
    assert errors[1] > 2 * errors[0]
    found = Levels(2)(torch.tensor([[1.0, 3.0], [-2.0, -2.0]]).double())
    torch.testing.assert_close(found, torch.tensor([2.0, -2.0, 1.0, 0.0, 1.0, -2.0, 3.0, -2.0]).double())


def test_levels_end_one_range_beyond_the_training_series() -> None:
    """One that differs between the training series in its last digits alone, as their means do here, is 0."""
    generator = torch.Generator().manual_seed(0)
    shape = torch.tensor([[-1.0, 1.0]]).double()
    levels = Levels(1)
    levels.fit([shape * size + 1e-8 * size for size in (1, 2, 3)], generator)
    torch.testing.assert_close(levels(shape * 2.5), torch.tensor([0, 2.5, -2.5, 2.5]).double())
    torch.testing.assert_close(levels(shape * 100 + 50), torch.tensor([0, 5.0, -5, 5]).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(levels(shape * 0), torch.tensor([0.0, 0, 0, 0]).double(), rtol=0, atol=1e-6)


def test_the_only_series_of_a_class_is_no_witness() -> None:
    """Leaving it out, nothing tells its class: neither penalty nor weights depend on such errors."""
    generator = torch.Generator().manual_seed(0)

    def wave(speed: float) -> list[torch.Tensor]:
        phase = 6 * torch.rand((), generator=generator)
        item = (torch.sin(speed * torch.arange(60.0) + phase) + 0.3 * torch.randn(60, generator=generator))[None]
        return [item.double(), differences(item.double())]

    def right(speeds: list[float], classes: int) -> float:
        rocket = Rocket(1, 2, dilations(60, 500), classes, classes=True)
        labels = torch.arange(len(speeds)) % classes
        rocket.fit([wave(speed) for speed in speeds], torch.eye(classes)[labels], torch.Generator().manual_seed(0))
        found = rocket.predict([wave(speed) for speed in speeds[:classes] * 20]).argmax(1)
        return float((found == torch.arange(classes).repeat(20)).double().mean())

    five = [0.3, 0.6, 0.9, 1.2, 1.5]
    assert right(five, 5) > 0.7
    # one more series of the first four
    assert right(five + five[:4], 5) > 0.9
