"""The share of frames that fall on what decides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from brain import batch, make_brain
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch, PaddedData

import seqstride as ss
from seqstride.brains.events import EventShares, event_times, marked_frames
from seqstride.brains.manifests import labelled_signals
from seqstride.core.plan import DurationPlan, Plan
from seqstride.encoders.encoded import Encoded


def encoded(plan: Plan) -> Encoded:
    return Encoded(torch.zeros(len(plan.lengths), 1, int(plan.lengths.max())), plan.lengths, plan.penalty, [plan])


def test_frames_within_events_are_marked() -> None:
    times = torch.tensor([[[0.2, 0.4], [0.9, 5.0]], [[0.0, 0.1], [0.0, 0.0]]])
    marked = marked_frames(times, 10.0, torch.tensor([12, 5]), 12)
    assert marked[0].nonzero()[:, 0].tolist() == [2, 3, 9, 10, 11]
    assert marked[1].nonzero()[:, 0].tolist() == [0]


def test_uniform_frames_fall_on_an_event_as_often_as_time_does() -> None:
    plan = ss.AvgPool1d(4).plan(torch.randn(2, 1, 80), torch.tensor([80, 40]))
    shares = EventShares()
    shares.count(torch.tensor([[[0.8, 1.6]], [[0.0, 0.0]]]), 10.0, encoded(plan))  # the second item has no event
    assert shares.record() == pytest.approx({"test_event_share": 0.1, "test_event_share_of_time": 0.1})
    assert EventShares().record() == {}


def test_frames_that_move_to_the_event_are_counted() -> None:
    """Four of eight output frames stand for a quarter of the input."""
    plan = DurationPlan(torch.tensor([[3, 3, 1, 1, 1, 1, 3, 3]]), torch.tensor([8]))
    marked = torch.zeros(1, 16, dtype=torch.bool)
    marked[0, 6:10] = True
    assert encoded(plan).share_on(marked).tolist() == [0.5]


def test_padding_and_batch_mates_change_no_share() -> None:
    encoder = ss.ResNet1d(3, (4, 4), (2, 2), "adastride").eval()
    x, lengths = torch.randn(2, 3, 60), torch.tensor([60, 37])
    marked = torch.rand(2, 60) < 0.3
    together = encoder(x, lengths).share_on(marked)
    alone = encoder(x[1:, :, :37], lengths[1:]).share_on(marked[1:, :37])
    assert together[1] == alone[0]


def items(folder: Path, events: list) -> dict[str, Path]:
    np.save(folder / "a.npy", np.zeros((20, 5), dtype=np.float32))
    item = {"features": "{data_root}/a.npy", "length": 20, "frame_rate": 10.0, "kind": "a"}
    content = {str(index): {**item, **({} if own is None else {"events": own})} for index, own in enumerate(events)}
    (folder / "train.json").write_text(json.dumps(content))
    return {"train": folder / "train.json"}


def test_events_of_different_number_make_a_batch(tmp_path: Path) -> None:
    datasets, _ = labelled_signals(items(tmp_path, [[[0.1, 0.5], [1, 1.5]], [], [[0, 0.2]]]), ["kind"])
    times, _ = PaddedBatch([datasets["train"][index] for index in range(3)]).event_times
    assert times.tolist() == [[[0.1, 0.5], [1, 1.5]], [[0, 0], [0, 0]], [[0, 0.2], [0, 0]]]


@pytest.mark.parametrize("events", [None, [[1, 1]], [[-1, 2]], [[1]], "0-1", [[0, "1"]], [[0, float("inf")]]])
def test_wrong_events_are_named(events: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"item '1': `events` \(=.*\) must be a list of \[start, stop\] in seconds"):
        labelled_signals(items(tmp_path, [[], events]), ["kind"])


def test_the_record_of_a_run_has_the_shares() -> None:
    brain, data = make_brain(downsampler="average", signal_rate=10.0), batch()
    data.event_times = PaddedData(torch.stack([event_times([[0.0, 0.8]])] * 4), torch.ones(4))
    brain.on_stage_start(Stage.TEST)
    brain.compute_objectives(brain.compute_forward(data, Stage.TEST), data, Stage.TEST)
    shares = brain.event_shares.record()
    assert 0 < shares["test_event_share_of_time"] < 1
    assert shares["test_event_share"] == pytest.approx(shares["test_event_share_of_time"], abs=0.1)
