"""Combines a model's layers into what `Embedder.encode` returns: their average, a weighted sum, the top one, or all."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elmo_fast.argument_types import FloatArray
from elmo_fast.runner import Layers

LAYERS = ("average", "all", "top")
_Combine = Callable[[Sequence[FloatArray]], FloatArray]


class LayerCombination:
    """What to make of the layers of a batch. Element by element, so that a result depends on nothing else in the batch.

    Args:
        layers: "average", "top", "all" or one weight per layer.
        num_layers: number of layers.
    Raises:
        TypeError, ValueError: `layers` is neither a known name nor finite weights, one per layer.
    """

    def __init__(self, layers: str | Iterable[float], num_layers: int) -> None:
        self._weights: list[float] | None = None
        if isinstance(layers, str):
            functions: dict[str, _Combine] = {"average": _average, "all": np.stack, "top": _top}
            if layers not in functions:
                raise ValueError(f"layers: expected one of {', '.join(map(repr, LAYERS))} or weights, got {layers!r}")
            self._combine = functions[layers]
            return
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers: expected a name or a list of weights, got {type(layers).__name__}")
        weights = [float(weight) for weight in layers]
        if len(weights) != num_layers:
            raise ValueError(f"layers: expected {num_layers} weights, one per layer, got {len(weights)}")
        if not all(map(math.isfinite, weights)):
            raise ValueError(f"layers: expected finite weights, got {weights}")
        self._weights = weights
        self._combine = lambda arrays: _weighted(arrays, list(map(np.float32, weights)))

    def of_batch(self, layers: Layers) -> tuple[Layers, _Combine]:
        """Returns the layers to copy to the host, and what makes a sentence's vectors of its rows of them.

        Layers on another device are combined there, unless all are wanted, so that one vector per token is copied.

        Args:
            layers: each (batch_size, longest + 2, dim).
        Returns:
            Layers, and a function from arrays of one sentence (length, dim) to (length, dim) or, for "all",
            (num_layers, length, dim): new memory in each case.
        """
        first = layers[0]
        if not isinstance(first, Tensor) or first.device.type == "cpu" or self._combine is np.stack:
            return layers, self._combine
        tensors = [torch.as_tensor(layer).detach() for layer in layers]
        with contextlib.suppress(torch.cuda.OutOfMemoryError):
            return [self.of_tensors(tensors)], _top
        return layers, self._combine

    def of_tensors(self, layers: Sequence[Tensor]) -> Tensor:
        """Returns what the function of `of_batch` would, for whole layers as tensors, not for "all": float32."""
        if self._combine is _top:
            return layers[-1].float()
        layers = [layer.float() for layer in layers]
        combined: Tensor = _average(layers) if self._weights is None else _weighted(layers, self._weights)
        return combined


def _top(arrays: Sequence[FloatArray]) -> FloatArray:
    return arrays[-1].copy()


def _average(arrays: Sequence[Any]) -> Any:
    """`np.mean(arrays, axis=0)`, bit for bit, without stacking the arrays first."""
    total = sum(arrays[1:], arrays[0])
    if isinstance(total, Tensor):
        # By a tensor: on CUDA, torch multiplies by the reciprocal of a plain number.
        return total / torch.full((), len(arrays), dtype=total.dtype, device=total.device)
    return total / np.float32(len(arrays))


def _weighted(arrays: Sequence[Any], weights: Sequence[Any]) -> Any:
    total = weights[0] * arrays[0]
    for weight, array in zip(weights[1:], arrays[1:], strict=True):
        total += weight * array
    return total
