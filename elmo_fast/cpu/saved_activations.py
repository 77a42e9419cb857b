"""Memory for what a forward pass keeps for the backward pass.

A token keeps `saved_size` floats for each layer and direction, 21 thousand in the original model, 336 KB a token in
all; a distinct word keeps `encoder_saved_size`, 57 KB.
"""

from __future__ import annotations

import math
import mmap
import sys

import numpy as np
import torch
from torch import Tensor

from elmo_fast.native import _cpu

_HUGE_PAGES = 4 << 20  # bytes from which on they pay


saved_size = _cpu.saved_size
encoder_saved_size = _cpu.encoder_saved_size


def lazy_zeros(*shape: int) -> Tensor:
    """A float32 tensor of zeros whose memory the system hands out where it is first touched.

    Its size is an upper bound known before the batch is: padding costs nothing.
    """
    nbytes = 4 * math.prod(shape)
    if nbytes < _HUGE_PAGES or not hasattr(mmap, "MAP_PRIVATE"):
        return zeros(*shape)
    # Private, since shared memory has no huge pages; not reserved, since most of it may never be touched.
    not_reserved = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | not_reserved)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.from_numpy(np.frombuffer(memory, dtype=np.float32).reshape(shape))


def array_of(tensor: Tensor, dtype: type = np.float32) -> np.ndarray:
    """A CPU tensor as the native module takes it: C-contiguous, a copy only where that needs one."""
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=dtype)


def zeros(*shape: int) -> Tensor:
    """Zeros as the native module takes them, whatever torch's default dtype and device are."""
    return torch.zeros(shape, dtype=torch.float32, device="cpu")
