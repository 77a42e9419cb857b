"""Native copies of a module's parameters, made on first use and again when the parameters change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_fast import engine
from elmo_fast.state import SharedLock

_SAMPLES = 16


class _Seen(NamedTuple):
    """What one parameter looked like when it was packed."""

    parameter: Tensor
    pointer: int
    version: int | None  # an inference tensor has none
    # A view, not a copy: it follows writes, and while it lives no other tensor can come to lie at this address.
    sample: np.ndarray | None  # on another device than the CPU reading it would wait for that
    values: bytes


def _see(parameter: Tensor) -> _Seen:
    is_plain = parameter.device.type == "cpu" and parameter.dtype == torch.float32
    sample = _sample(parameter.detach().numpy()) if is_plain else None
    version = None if parameter.is_inference() else parameter._version
    return _Seen(parameter, parameter.data_ptr(), version, sample, b"" if sample is None else sample.tobytes())


def _sample(array: np.ndarray) -> np.ndarray:
    if array.flags.c_contiguous:
        return array.reshape(-1)[:: max(1, array.size // _SAMPLES)]
    return array[(slice(None, None, max(1, len(array) // _SAMPLES)), *(0 for _ in array.shape[1:]))]


class _Entry:
    """A native object and what it was made of."""

    __slots__ = ("form", "packed", "seen")

    def __init__(self, seen: list[_Seen], form: Hashable, packed: Any) -> None:
        self.seen = seen
        self.form = form
        self.packed = packed

    def still(self, parameters: Sequence[Tensor], form: Hashable) -> bool:
        if self.form != form or len(self.seen) != len(parameters):
            return False
        for parameter, (known, pointer, version, sample, values) in zip(parameters, self.seen, strict=True):
            if parameter is not known or parameter.data_ptr() != pointer:
                return False
            if version is not None and parameter._version != version:
                return False
            # Writes through `.data` (old optimizers, moving averages, AllenNLP itself) leave the version as it is; the
            # sample finds those that touch a tensor as a whole, and costs a third of a microsecond.
            if sample is not None and sample.tobytes() != values:
                return False
        return True


class PackedCache:
    """Holds what a builder made of some parameters for as long as they stay the same.

    A parameter that was replaced, or changed in place by an optimizer step, `load_state_dict` or any operation that
    torch counts, is noticed at the next `get`. So is a write through `.data` that changes the tensor as a whole; one
    that changes a few single elements may not be, and on another device than the CPU none is: call `clear` after it.

    Copies and pickles of it are empty, and so are rebuilt on first use.
    """

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._entry: _Entry | None = None

    def get(self, parameters: Sequence[Tensor], build: Callable[[list[np.ndarray]], Any], form: Hashable = None) -> Any:
        """Returns `build(arrays)` of these CPU parameters, called anew only when one of them or `form` has changed.

        Args:
            parameters: dense CPU tensors.
            build: makes the native object of the parameters as C-contiguous arrays, and keeps none of these.
            form: what else the native object depends on.
        """

        def build_of_tensors(tensors: Sequence[Tensor]) -> Any:
            return build([np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors])

        return self.get_of_tensors(parameters, build_of_tensors, form)

    def get_of_tensors(
        self, parameters: Sequence[Tensor], build: Callable[[Sequence[Tensor]], Any], form: Hashable = None
    ) -> Any:
        """As `get`, on any device: `build` takes the tensors themselves."""
        entry = self._entry
        if entry is None or not entry.still(parameters, form):
            with self._lock:
                entry = self._entry
                if entry is None or not entry.still(parameters, form):
                    self._entry = None  # free the old copy before making the new one
                    seen = [_see(parameter) for parameter in parameters]
                    entry = _Entry(seen, form, build(parameters))
                    self._entry = entry
        return entry.packed

    def get_if_native(
        self, parameters: Sequence[Tensor], build: Callable[[list[np.ndarray]], Any], form: Hashable = None
    ) -> Any:
        """As `get`, or None where the native kernels cannot run with these parameters: `engine.runs_native`."""
        entry = self._entry
        if entry is not None and entry.still(parameters, form):  # then it was packed of the right kind of tensors
            return None if engine.needs_gradient(parameters) else entry.packed
        return self.get(parameters, build, form) if engine.runs_native(parameters) else None

    def peek(self) -> Any:
        """Returns what the last `get` returned, or None."""
        entry = self._entry
        return None if entry is None else entry.packed

    def clear(self) -> None:
        """Forgets the native copy and its memory."""
        self._entry = None

    def __reduce__(self) -> tuple[type[PackedCache], tuple[()]]:
        return type(self), ()
