"""Kernels in Triton: AdaStride (scores → positions → alignment) and batch normalisation, forward and backward.

| file | kernels |
|---|---|
| `scores` | scores, with the largest score and the sum of exp of every tile of frames; output lengths |
| `positions` | positions from those numbers, the gap penalty, and the scores' gradient |
| `runs`, `scatter` | the run of input frames that an output frame reads: the band of the matrix method, or a bin |
| `align`, `align_backward` | the resampled signal, and its gradients for the signal and the positions |
| `layer` | all of them in a row |
| `nodes` | the layer, positions and alignment as nodes of autograd |
| `norm`, `norm_node` | batch normalisation over real frames, and it as a node of autograd |
| `launch` | how a kernel is started, and what a later start of the same kernel need not do again |
| `dispatch` | whether kernels can be used at all; the only file that can be imported without Triton |

Nothing of the size (B, L, T) or of the band is ever written, and nothing waits for the device: the shapes of all
results follow from those of the arguments. There are no atomics: the same batch gives the same bits every time. No sum
depends on how many items or how much padding a batch has; only that T is a multiple of 8 or not decides how wide loads
are, and so the order in which scores are summed in double precision. The padding is never read.

Positions are in double precision, and so are sums of scores: with peaky scores an error of 3e-6 in a score moves frames
by 3e-6 · L.
"""
