"""Memory for the activations that a forward pass saves for the backward pass.

The biLSTM saves `saved_size` floats per token, layer and direction. In the original model that is 21 thousand floats,
and 336 KB per token in total. The token encoder saves `encoder_saved_size` floats per distinct word: 57 KB.
"""

from __future__ import annotations

import math
import mmap
import sys

import numpy as np
import torch
from torch import Tensor

from elmo_fast.native import _cpu

_HUGE_PAGES = 4 << 20  # size in bytes from which huge pages are worthwhile


saved_size = _cpu.saved_size
encoder_saved_size = _cpu.encoder_saved_size


def lazy_zeros(*shape: int) -> Tensor:
    """Returns a float32 tensor of zeros whose pages the operating system allocates only when they are first touched.

    `shape` may therefore be an upper bound, which is known in advance of the batch, and padding uses no memory.
    """
    nbytes = 4 * math.prod(shape)
    if nbytes < _HUGE_PAGES or not hasattr(mmap, "MAP_PRIVATE"):
        return zeros(*shape)
    # Private, because shared memory does not get huge pages. Not reserved, because most of it may never be touched.
    not_reserved = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | not_reserved)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.from_numpy(np.frombuffer(memory, dtype=np.float32).reshape(shape))


def array_of(tensor: Tensor, dtype: type = np.float32) -> np.ndarray:
    """Returns a CPU tensor as a C-contiguous array for the native module, copied only if necessary."""
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=dtype)


def zeros(*shape: int) -> Tensor:
    """Returns float32 zeros on the CPU, regardless of torch's default dtype and device."""
    return torch.zeros(shape, dtype=torch.float32, device="cpu")
