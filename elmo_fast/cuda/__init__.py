"""The forward pass on CUDA: torch's matrix products, and the native kernels of the module `_cuda` for all else.

`backend` runs the modules; `device` finds the kernels of a device; `pack` lays weights out as the kernels read them;
`plan` orders the tokens of a batch, on the host; `encoder`, `lstm` and `mix` run the kernels; `bilm` joins them;
`graphs` replays a whole pass as one CUDA graph.

**None of this has been run on a GPU yet**: the tests run it on an emulator.
"""
