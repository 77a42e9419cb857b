"""The forward pass on CUDA: torch's matrix products, and the native kernels of the module `_cuda` for all else.

`backend` finds the module and the device, `pack` lays a model out the way the kernels read it, `plan` orders a batch's
tokens on the host, `encoder`, `lstm` and `mix` run the kernels, `bilm` puts them together, and `graphs` replays a whole
pass as one CUDA graph.

**None of this has been run on a GPU yet**: the tests run it over an emulator.
"""
