"""The forward pass on CUDA: torch computes the matrix products, and the native kernels of `_cuda` everything else.

- `backend` runs the modules.
- `device` finds the kernels for a device.
- `pack` arranges weights in the layout that the kernels read.
- `plan` orders the tokens of a batch, on the host.
- `encoder`, `lstm` (with its `inputs` and `buffers`) and `mix` run the kernels, and `bilm` combines them.
- `graphs` replays a whole forward pass as one CUDA graph.
- `streams` orders calls on several streams that hand a state on.

Continuous integration runs it on an emulator, `tests/cuda/test_cuda_gpu.py` on a GPU.
"""
