"""How far a ratio follows from the content: half of the items pure noise, half with a burst of 20 frames in 200.

    python .assets/content_ratio.py --seeds 1,2,3

trains an encoder of two blocks to name the code of the burst, or that there is none, and prints accuracies on 4000 new
items, the output frames of both kinds, and those of items that are bursts throughout, which were never trained on. The
bursts are those of `recipes/Synthetic/bursts`. `--method adastride_softpool` has a fixed ratio. Three minutes a run.
"""

from __future__ import annotations

import argparse
import math

import torch
from seqstride.data_prep.bursts import BURST, CHANNELS, CODES, templates
from torch import Tensor, nn

import seqstride as ss
from seqstride.encoders.heads import PooledClassifier

FRAMES, BATCH, LR = 200, 48, 0.003
COLUMNS = (
    *("seed", "bursts right, %", "noise right, %", "frames in one"),
    *("frames of a burst's item", "of noise", "of bursts throughout"),
)
OPTIONS = {"adastride_content": {"scorer": "context", "pooling": "softmax", "start": 8.0}}


def items(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Signals (count, 8, 200) and their classes, the last of which is noise: every other item."""
    x = torch.randn(count, FRAMES, CHANNELS, generator=generator)
    codes = torch.randint(CODES, (count,), generator=generator)
    first = torch.randint(FRAMES - BURST + 1, (count,), generator=generator)
    noise = torch.arange(count) % 2 == 1
    bursts = 2.0 * templates()[codes] * ~noise[:, None, None]
    x.scatter_add_(1, (first[:, None] + torch.arange(BURST))[..., None].expand_as(bursts), bursts)
    return x.transpose(1, 2), codes.masked_fill(noise, CODES)


def dense(count: int, generator: torch.Generator) -> Tensor:
    """Signals (count, 8, 200) of one burst behind another."""
    x = torch.randn(count, FRAMES, CHANNELS, generator=generator)
    codes = torch.randint(CODES, (count, FRAMES // BURST), generator=generator)
    return (x + 2.0 * templates()[codes].reshape(count, FRAMES, CHANNELS)).transpose(1, 2)


def trained(method: str, stride: float, seed: int, steps: int) -> nn.ModuleList:
    """An encoder and its head, trained at a mean ratio of `stride`."""
    torch.manual_seed(seed)
    options = OPTIONS.get(method, {})
    encoder = ss.ResNet1d(CHANNELS, [24, 24], [stride, 1], downsampler=method, downsampler_options=options)
    net = nn.ModuleList([encoder, PooledClassifier(24, CODES + 1, pool="max")])
    optimizer = torch.optim.AdamW(net.parameters(), LR, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        ss.anneal(net, step / steps)
        for group in optimizer.param_groups:
            group["lr"] = LR * (1 + math.cos(math.pi * step / steps)) / 2
        x, y = items(BATCH, generator)
        encoded = encoder(x)
        loss = nn.functional.cross_entropy(net[1](encoded.features, encoded.lengths), y) + encoded.penalty
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
    return net.eval()


@torch.no_grad()
def row(net: nn.ModuleList) -> list[float]:
    """Both accuracies in %, the mean ratio, and the output frames of the three kinds of items."""
    encoder, head = net
    right: dict[bool, list[Tensor]] = {True: [], False: []}
    frames: dict[bool, list[Tensor]] = {True: [], False: []}
    generator = torch.Generator().manual_seed(1_000_000)
    for _ in range(20):
        x, y = items(200, generator)
        encoded = encoder(x)
        hit = head(encoded.features, encoded.lengths).argmax(1) == y
        for burst in (True, False):
            right[burst].append(hit[(y < CODES) == burst])
            frames[burst].append(encoded.lengths[(y < CODES) == burst])
    throughout = encoder(dense(200, generator)).lengths.double().mean()
    means = [torch.cat(parts).double().mean().item() for parts in (*right.values(), *frames.values())]
    stride = FRAMES / (sum(means[2:]) / 2)
    return [100 * means[0], 100 * means[1], stride, *means[2:], throughout.item()]


def main() -> None:
    """Prints a row for every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="adastride_content")
    parser.add_argument("--stride", type=float, default=48.0, help="the mean ratio aimed at")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=3000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    for seed in map(int, asked.seeds.split(",")):
        figures = row(trained(asked.method, asked.stride, seed, asked.steps))
        print(f"| {seed} |", " | ".join(f"{figure:.1f}" for figure in figures), "|", flush=True)


if __name__ == "__main__":
    main()
