"""The skeleton of all estimators: they keep their arguments, train a network, and survive a fit that fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from joblib import Parallel, delayed
from torch import Tensor

from seqstride.errors import InputError
from seqstride.estimators.cpu_threads import cpu_threads
from seqstride.estimators.network import Model, Network, strides
from seqstride.estimators.settings import Settings, integer
from seqstride.estimators.trainer import train

MOST_THREADS = 1024
"""The process ends without a message where the system has no memory for all threads."""


class NetworkEstimator:
    """Base class of the estimators for series and for tables.

    Every estimator lists its arguments in its own `__init__`, because scikit-learn and sktime read names and defaults
    from that signature. What the arguments mean is the same everywhere.
    """

    warm_start: bool
    n_threads: int
    device: str
    random_state: Any
    verbose: bool
    model_: Model

    def _keep(self, arguments: Mapping[str, Any]) -> None:
        """Sets the arguments of `__init__` (its `locals()`) as attributes, unchanged, as `clone` expects them."""
        vars(self).update({name: value for name, value in arguments.items() if name not in ("self", "__class__")})

    @contextmanager
    def _fitting(self) -> Iterator[Mapping[str, Any]]:
        """Surrounds a fit: sets the CPU threads and enables gradients, whatever the caller has switched off.

        Yields:
            The attributes before the fit. If the fit raises, the estimator gets them back and has no others.
        """
        before = vars(self).copy()
        try:
            with self._cpu_threads(), torch.inference_mode(False), torch.enable_grad():
                yield before
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _cpu_threads(self) -> AbstractContextManager[None]:
        count = integer("n_threads", self.n_threads)
        if count > MOST_THREADS:
            raise InputError(f"`n_threads` (={count}) must be at most {MOST_THREADS}")
        return cpu_threads(count)

    def _train_model(
        self,
        model: Model,
        items: Sequence[Tensor],
        targets: Tensor,
        settings: Settings,
        *,
        classes: bool,
        generator: torch.Generator,
        device: torch.device,
        weight: Tensor | None = None,
        n_jobs: int | None = None,
    ) -> None:
        """Trains `model` on items (C, T) and sets the fitted attributes.

        Args:
            model: its networks are replaced by trained ones.
            items, targets, settings, classes, generator, device, weight: as in `train`.
            n_jobs: processes for several networks, as joblib takes their number.
        """
        self.initial_strides_ = strides(model.network)
        arguments = {
            **{"items": model.prepare(items), "targets": targets, "settings": settings, "classes": classes},
            **{"weight": weight, "device": device, "verbose": self.verbose},
        }
        pairs = zip(model.members, _generators(generator, len(model.members)), strict=True)
        # a single network would gain nothing from a process of its own
        jobs = n_jobs if len(model.members) > 1 else 1
        trained = Parallel(n_jobs=jobs)(delayed(_trained)(*pair, self.n_threads, arguments) for pair in pairs)
        model.members = [network for network, _ in trained]
        self.history_ = [
            {"member": number, **record} for number, (_, history) in enumerate(trained, 1) for record in history
        ]
        if model.rocket is not None:
            model.rocket.fit(model.views(items), targets, generator, weight)
        self.model_ = model
        self.strides_ = strides(model.network)


def _generators(generator: torch.Generator, count: int) -> list[torch.Generator]:
    """Returns a generator for every network, so that none depends on when another is trained."""
    if count == 1:
        return [generator]
    seeds = torch.randint(2**63 - 1, (count,), generator=generator)
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


def _trained(
    network: Network, generator: torch.Generator, threads: int, arguments: dict[str, Any]
) -> tuple[Network, list[dict[str, Any]]]:
    """Trains a network, perhaps in a process of its own, and returns it with its history: `train` of `arguments`."""
    with cpu_threads(threads), torch.inference_mode(False), torch.enable_grad():
        return network, train(network, generator=generator, **arguments)
