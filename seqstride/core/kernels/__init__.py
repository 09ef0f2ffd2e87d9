"""Kernels in Triton: AdaStride (scores → positions → alignment), the spectral crop, pooling and batch normalisation,
forward and backward.

| file | kernels |
|---|---|
| `scores` | scores, with the largest score and the sum of exp of every tile of frames; output lengths |
| `positions` | positions from those numbers, the gap penalty, and the scores' gradient |
| `runs`, `scatter` | the run of input frames that an output frame reads: the band of the matrix method, or a bin |
| `align`, `align_backward` | the resampled signal, and its gradients for the signal and the positions |
| `layer` | all of them in a row |
| `nodes` | the layer, positions and alignment as nodes of autograd |
| `norm`, `norm_node` | batch normalisation over real frames, and it as a node of autograd |
| `pool`, `pool_node` | pooling over real frames, and it as nodes of autograd |
| `regrid` | the grid that items of all lengths share in a spectral crop: how, its size, its tables |
| `spread`, `bins` | frames → grid → frames; the window, and the gradient of its ramp |
| `spectral` | the crop, forward and backward |
| `windows` | stride and lengths → the windows of a crop, and the gradient for the stride |
| `launch` | how a kernel is started, and what a later start of the same kernel need not do again |
| `dispatch` | whether kernels can be used at all; the only file that can be imported without Triton |

Nothing of the size (B, L, T) or of the band is ever written, and nothing waits for the device: the shapes of all
results follow from those of the arguments. There are no atomics: the same batch gives the same bits every time. The
padding is never read.

AdaStride: no sum depends on how many items or how much padding a batch has; only that T is a multiple of 8 or not
decides how wide loads are, and so the order in which scores are summed in double precision. Positions are in double
precision, and so are sums of scores: with peaky scores an error of 3e-6 in a score moves frames by 3e-6 · L.

Spectral crop: the grid follows from the longest item that the batch could have, so an item has other last digits in
another batch (4e-7 of the largest number).
"""
