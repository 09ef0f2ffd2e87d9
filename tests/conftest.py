"""Settings that make every run of the tests the same run."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

# Workers share the cores: a thread that waits for another one sleeps. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

# Triton decides when it is imported whether kernels run in its interpreter, and other libraries import it.
if find_spec("triton") is not None and not torch.cuda.is_available():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        import seqstride.core.kernels.nodes
        import seqstride.core.kernels.norm_node
        import seqstride.core.kernels.pool_node
        import seqstride.core.kernels.spectral
        import seqstride.core.kernels.windows  # noqa: F401

from hypothesis import HealthCheck, settings
from quick import forget_pip_and_disk
from serving import Server, serving
from speechbrain.utils.importutils import LazyModule

# derandomize: the same examples on every machine; too_slow speaks of the machine, not of the code.
settings.register_profile(
    "seqstride",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("seqstride")

# hypothesis asks every loaded module for its file, and SpeechBrain's stand-ins for optional modules would import those.
LazyModule.__file__ = None

# The tensors are small: threads would only wait for one another.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of commands that tests start


@pytest.fixture(autouse=True, scope="session")
def _quick_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        forget_pip_and_disk(patch)
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine, for downloads."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.content = bytes(range(256)) * 2735
        yield server


@pytest.fixture(autouse=True)
def _seed():
    if torch.cuda.is_available():
        torch.manual_seed(0)
    else:  # the same without the stack traces that torch writes down for a GPU which may come later
        torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A run points the root logger and the exception hook at its own output; the next test starts without that."""
    root = logging.getLogger()
    hook, level, handlers = sys.excepthook, root.level, list(root.handlers)
    yield
    sys.excepthook = hook
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts how often each recording is decoded."""
    from seqstride.files import audio_cache
    from seqstride.files.loading import load_audio

    counts: Counter = Counter()

    def counted(rate: int, path: str, *part: int | None) -> torch.Tensor:
        counts[path] += 1
        return load_audio(rate, path, *part)

    monkeypatch.setattr(audio_cache, "load_audio", counted)
    return counts
