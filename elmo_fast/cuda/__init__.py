"""The forward pass on CUDA: torch computes the matrix products, and the native kernels of `_cuda` everything else.

- `backend` runs the modules.
- `device` finds the kernels for a device.
- `pack` arranges weights in the layout that the kernels read.
- `plan` orders the tokens of a batch, on the host.
- `encoder`, `lstm` and `mix` run the kernels, and `bilm` combines them.
- `graphs` replays a whole forward pass as one CUDA graph.

**None of this has been run on a GPU yet**: the tests run it on an emulator.
"""
