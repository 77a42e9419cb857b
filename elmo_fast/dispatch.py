"""Which implementation runs a call: the native kernels, torch operators made of them, or the PyTorch reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd import forward_ad

_warned_dtypes: set[torch.dtype] = set()


def runs_native(tensors: Iterable[Tensor]) -> bool:
    """Whether the native kernels can run with these parameters and inputs: float32, on the CPU, no gradient needed.

    A CPU model of another dtype runs on the reference, with one warning for each dtype.
    """
    tensors = list(tensors)
    if not all(map(is_native_kind, tensors)):
        if all(tensor.device.type == "cpu" for tensor in tensors):
            _warn_dtype(next(tensor.dtype for tensor in tensors if tensor.dtype != torch.float32))
        return False
    return not needs_gradient(tensors)


def needs_gradient(tensors: Iterable[Tensor]) -> bool:
    """Whether autograd would record an operation on these tensors, or another transform must see it."""
    return is_transformed() or torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def is_transformed() -> bool:
    """Whether `torch.func` or forward-mode AD is at work: these follow torch's own operations alone."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def is_native_kind(tensor: Tensor) -> bool:
    """Whether the native kernels can read this tensor: float32 on the CPU."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _warn_dtype(dtype: torch.dtype) -> None:
    if dtype not in _warned_dtypes:
        _warned_dtypes.add(dtype)
        message = (
            f"the native kernels are float32; this model or input of {dtype} runs on the slower PyTorch reference "
            '(for speed keep float32 and ask for reduced arithmetic with precision=, such as precision="bfloat16")'
        )
        warnings.warn(f"elmo_fast: {message}", stacklevel=2)
