"""Positions for a stream, which cannot see the end of the signal: scores → positions, frame by frame.

The positions of a whole signal, p_t = (c_t − c_1) / (c_T − c_1) · (L − 1), need c_T, the sum of all a = exp(score): it
sets the mean step to one output frame per s input frames. While the signal still goes on, two things stand in for it.

The *mean of the steps so far* takes the place of the mean of all. With d_t = score_t − log m_{t−1}, cut off at
log(D / 3), and α_t = 1 / min(t, MEMORY),

    m_t = m_{t−1} · (1 + α_t (e^{d_t} − 1)),        r_t = e^{d_t} m_{t−1} / m_t,

the mean of all steps at first, and one that forgets from `MEMORY` steps on; r is the rate that the scores ask for, 1 on
average. As m is kept as a logarithm and only differences enter, no score overflows, adding a constant to all scores
changes nothing, and r ≤ D / 3: one wild score is one long step, and lifts the mean no more than a step of that length.

The *drift* u_t = s·p_t − t says how many input frames p runs ahead of the line t / s. The step v_t = s (p_t − p_{t−1})
is r_t, held back by the drift where p is ahead, and helped along where it is behind:

    v_t = r_t (1 − (u / D)³)  for u ≥ 0,        v_t = r_t + |u / D|³  for u < 0,        with u = u_{t−1}.

This is integral control of the rate (u sums v − 1) by a gain that is next to nothing while |u| is small, so that local
strides are those of the scores, and as large as it has to be at D. It keeps **|u_t| ≤ D at every t, for any scores**.
By induction, with x = |u| / D ≤ 1, r ≤ D / 3, D ≥ 3 and u_t = u + v_t − 1:

- ahead, upwards: r (1 − x³) = r (1 + x + x²)(1 − x) ≤ 3r (1 − x) ≤ D − u, so u_t ≤ D − 1; downwards: v ≥ 0, u_t ≥ −1;
- behind, downwards: u_t ≥ −D x + x³ − 1, which falls in x as 3x² ≤ D, and is −D at x = 1; upwards: x³ ≤ D x, so
  u_t ≤ r − 1 < D.

So any N consecutive input frames become N / s output frames within 2D / s, and the first N within D / s: with D = 60
and 100 frames per second, the ratio of any 60 s is s within 2 %, that of the first 60 s within 1 %. No step is longer
than (D / 3 + 1) / s output frames. Constant scores have r = 1 and u = 0 exactly: the uniform stride p_t = t / s.

Compared with the positions of the whole signal:
- More than D input frames cannot be saved up: long stretches of low scores take output frames that a whole signal would
  spend elsewhere, so strides contrast within seconds, not over minutes.
- The first steps are compared with few others: until about a second has passed, rates lie nearer to 1.
- Scores that fall by a factor for good look low until the mean has forgotten what was before (`MEMORY` steps for a
  factor of e), and take about even strides meanwhile.
- The last frame comes to stand between two output frames; L = floor(p_T) + 1, which is T / s within (D + s) / s.

Measured with D = 60 and s = 2 on 60 s of spoken digits, and of read sentences, with the scores that the first two
layers of trained encoders gave (100 and 50 frames per second): the logarithms of the local strides correlate with
those of the whole signal by 0.96 to 0.99, |u| is 31 to 48 at most (39 to 125 for the positions of the whole signal,
from which these differ by 20 to 54 output frames at most), and the ratio over all is s within 0.8 %. Slow changes are
what is lost: of scores that alternate between 0 and 1.5 that correlation is 0.8 if they change every 2 s, and 0.2 if
every 10 s.

Source: ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

#: steps that the mean remembers: 10 s of 100 frames per second
MEMORY = 1000


class Pace:
    """Places the frames of one signal as their scores come in; the derivation is that of the module.

    Args:
        stride: s, input frames per output frame.
        drift: D, input frames.
    """

    def __init__(self, stride: float, drift: float) -> None:
        self.stride, self.drift = stride, drift
        self._highest = math.log(drift / 3)
        self._frames = 0
        self._level = 0.0  # log m
        self._ahead = 0.0  # u
        self._position = 0.0

    def place(self, scores: Iterable[float]) -> list[float]:
        """Positions of the next frames, in double precision; finite scores."""
        return [self._step(score) for score in scores]

    def _step(self, score: float) -> float:
        t, u = self._frames, self._ahead
        self._frames += 1
        if t == 0:  # no step leads to the first frame: its score is not looked at
            return 0.0
        if t == 1:
            self._level = score
        growth = math.exp(min(score - self._level, self._highest))
        mean = 1.0 + (growth - 1.0) / min(t, MEMORY)
        self._level += math.log(mean)
        rate, pull = growth / mean, (abs(u) / self.drift) ** 3
        self._ahead = u = u + (rate * (1.0 - pull) if u >= 0 else rate + pull) - 1.0
        # from t and u, as a sum of steps would lose digits in the end; rounding must not take a position back
        self._position = max(self._position, (t + u) / self.stride)
        return self._position
