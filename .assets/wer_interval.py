"""The difference of two methods' word error rates with a 95 % interval, from the runs of a comparison.

python .assets/wer_interval.py COMPARISON REFERENCE METHOD

Reads the alignments `wer.txt` of all runs. Bootstrap over the test utterances and over the seeds: each of 10 000 draws
takes as many utterances, and as many seeds, with replacement, the same for both methods.
"""

import re
import sys
from pathlib import Path

import numpy as np

UTTERANCE = re.compile(r"^(\S+), %WER \S+ \[ (\d+) / (\d+),", re.MULTILINE)


def errors(folder):
    """{utterance: (errors, words)} of a run."""
    text = (folder / "wer.txt").read_text(encoding="utf-8")
    return {name: (int(wrong), int(words)) for name, wrong, words in UTTERANCE.findall(text)}


def interval(comparison, reference, method, draws=10_000):
    """The difference in percentage points, its 95 % interval, and the number of seeds."""
    runs = Path(comparison) / "runs"
    finished = [{path.parent.name for path in (runs / name).glob("*/wer.txt")} for name in (reference, method)]
    seeds = sorted(set.intersection(*finished))
    pairs = [(errors(runs / method / seed), errors(runs / reference / seed)) for seed in seeds]
    names = sorted(pairs[0][0])
    words = np.array([pairs[0][0][name][1] for name in names])
    more = np.array([[a[name][0] - b[name][0] for name in names] for a, b in pairs])  # (seeds, utterances)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(draws):
        utterances = rng.integers(len(names), size=len(names))
        chosen = rng.integers(len(seeds), size=len(seeds))
        drawn.append(100 * more[np.ix_(chosen, utterances)].sum(1).mean() / words[utterances].sum())
    return 100 * more.sum(1).mean() / words.sum(), *np.quantile(drawn, [0.025, 0.975]), len(seeds)


if __name__ == "__main__":
    difference, low, high, seeds = interval(*sys.argv[1:])
    print(f"{difference:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}, {seeds} seeds")
