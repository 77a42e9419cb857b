"""Parameters of torch modules: made from given weights, and looked up quickly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")  # tensors, or their arrays


def uninitialised(kind: type[M], *args: Any, **kwargs: Any) -> M:
    """Makes a torch module on the CPU with uninitialised parameters.

    Like `torch.nn.utils.skip_init`, which however uses the meta device and so imports sympy: 40 MB, 0.4 s.
    """
    without = type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})
    module = without(*args, device="cpu", **kwargs)
    module.__class__ = kind
    return module


def adopt(parameter: nn.Parameter, array: np.ndarray) -> None:
    """Makes an array the values of a parameter, without a copy unless the parameter has another dtype."""
    parameter.data = torch.from_numpy(array).to(parameter.dtype)


def parameter_of(module: nn.Module, name: str) -> Tensor:
    """`getattr(module, name)` for a parameter, several times faster: a model has dozens, looked up at every call."""
    found = module._parameters.get(name)
    return getattr(module, name) if found is None else found


def child_of(module: nn.Module, name: str) -> nn.Module:
    """`getattr(module, name)` for a submodule, several times faster."""
    found = module._modules.get(name)
    return getattr(module, name) if found is None else found


def is_plain(module: nn.Module, kind: type[M]) -> TypeGuard[M]:
    """Returns whether a part is of this very class and has no hooks, so that its `forward` may be bypassed."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module) is kind and not any(hooks)


def lstm_layers(flat: Sequence[T]) -> list[tuple[tuple[T, ...], tuple[T, ...]]]:
    """Splits a biLSTM's flat list of weights: for each layer, the four weights of the (forward, backward) direction."""
    cells = [tuple(flat[i : i + 4]) for i in range(0, len(flat), 4)]
    return list(zip(cells[0::2], cells[1::2], strict=True))


def encoder_parts(
    flat: Sequence[T], n_convolutions: int, n_highways: int
) -> tuple[T, list[tuple[T, T]], list[tuple[T, T]], tuple[T, T] | None]:
    """Splits a token encoder's flat list: embedding, then (weight, bias) of convolutions, highways and projection."""
    pairs = list(zip(flat[1::2], flat[2::2], strict=True))
    n = n_convolutions + n_highways
    return flat[0], pairs[:n_convolutions], pairs[n_convolutions:n], pairs[n] if len(pairs) > n else None
