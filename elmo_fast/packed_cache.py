"""Caches native copies of a module's parameters, which are made on first use and remade when the parameters change."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_fast import native
from elmo_fast.locks import SharedLock

_SAMPLES = 16
_PROGRAMS = 4


class _Seen(NamedTuple):
    """Properties of a parameter at the time of packing, from which later changes are detected."""

    parameter: weakref.ref[Tensor]  # weak: a strong one to a computed tensor would keep its autograd graph
    alias: Tensor  # detached, with the same memory and version counter
    pointer: int
    version: int | None  # None for an inference tensor, which has no version
    # A view, not a copy: it shows later writes, and while it exists no other tensor can be allocated at this address.
    sample: np.ndarray | None  # None unless float32 on the CPU; reading another device would wait for it
    values: bytes


def _see(parameter: Tensor) -> _Seen:
    is_plain = parameter.device.type == "cpu" and parameter.dtype == torch.float32
    sample = _sample(parameter.detach().numpy()) if is_plain else None
    version = None if parameter.is_inference() else parameter._version
    alias = parameter.detach()
    return _Seen(
        weakref.ref(parameter),
        alias,
        parameter.data_ptr(),
        version,
        sample,
        b"" if sample is None else sample.tobytes(),
    )


def _sample(array: np.ndarray) -> np.ndarray:
    if array.flags.c_contiguous:
        return array.reshape(-1)[:: max(1, array.size // _SAMPLES)]
    return array[(slice(None, None, max(1, len(array) // _SAMPLES)), *(0 for _ in array.shape[1:]))]


def _same_layout(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype and a.device == b.device


class _Entry:
    """A native object, and the properties of the parameters from which it was made."""

    __slots__ = ("packed", "seen")

    def __init__(self, seen: list[_Seen], packed: Any) -> None:
        self.seen = seen
        self.packed = packed

    def still(self, parameters: Sequence[Tensor]) -> bool:
        if len(self.seen) != len(parameters):
            return False
        for parameter, (known, alias, pointer, version, sample, values) in zip(parameters, self.seen, strict=True):
            if parameter.data_ptr() != pointer:
                return False
            # Compiled programs and `functional_call` pass the same memory as a different tensor object.
            if parameter is not known() and not _same_layout(parameter, alias):
                return False
            if version is not None and parameter._version != version:
                return False
            # Writes through `.data` (old optimizers, moving averages, AllenNLP itself) do not change the version.
            # Comparing the sample detects those that change the whole tensor, and takes a third of a microsecond.
            if sample is not None and sample.tobytes() != values:
                return False
        return True


class PackedCache:
    """Caches objects that are built from a set of parameters, until the parameters change.

    `get` detects that a parameter has been replaced, or changed in place by an optimizer step, `load_state_dict` or any
    other operation that increments torch's version counter. On the CPU, it also detects a write through `.data` that
    changes a whole tensor, but possibly not one that changes only a few elements. On other devices it detects no write
    through `.data`. Call `clear` after a write that may go undetected.

    There is one object per `form`, all built from the same parameters. Copies and pickles of the cache are empty, and
    filled again on first use.

    Attributes:
        key: an int64 scalar tensor by which `of` finds this cache.
    """

    _by_key: weakref.WeakValueDictionary[int, PackedCache] = weakref.WeakValueDictionary()
    _of_programs: dict[int, PackedCache] = {}  # the most recently used come last

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._entries: dict[Hashable, _Entry] = {}
        number = random.SystemRandom().getrandbits(62)
        with torch.inference_mode(False):
            # A tensor, because a compiler would make a Python integer a constant of the program, and compile again for
            # the next model.
            self.key = torch.tensor(number, dtype=torch.int64, device="cpu")
        PackedCache._by_key[number] = self

    @classmethod
    def of(cls, key: Tensor) -> PackedCache:
        """Returns the cache with this key.

        Creates the cache if there is none, because an exported program can outlive its module. Of the caches created
        here, only the `_PROGRAMS` most recently used are kept.
        """
        number = int(key)
        cache = cls._by_key.get(number)
        if cache is None:
            cache = cls._by_key[number] = cls()
            cls._of_programs[number] = cache
            if len(cls._of_programs) > _PROGRAMS:
                cls._of_programs.pop(next(iter(cls._of_programs)), None)
        elif cls._of_programs.pop(number, None) is not None:
            cls._of_programs[number] = cache
        return cache

    @classmethod
    def peek_at(cls, key: Tensor) -> PackedCache | None:
        """Returns the cache with this key, or None.

        It is also None while a program is being traced, because keys then have no value.
        """
        return cls._by_key.get(int(key)) if type(key) is Tensor else None

    def get(self, parameters: Sequence[Tensor], build: Callable[[list[np.ndarray]], Any], form: Hashable = None) -> Any:
        """Returns the object that `build` makes from these CPU parameters.

        The object is cached for each `form`, and rebuilt only if a parameter has changed.

        Args:
            parameters: dense CPU tensors.
            build: makes the native object from the parameters, given as C-contiguous arrays; keeps no references to
                them.
            form: identifies everything else that the native object depends on.
        """

        def build_of_tensors(tensors: Sequence[Tensor]) -> Any:
            return build([np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors])

        return self.get_of_tensors(parameters, build_of_tensors, form)

    def get_of_tensors(
        self, parameters: Sequence[Tensor], build: Callable[[Sequence[Tensor]], Any], form: Hashable = None
    ) -> Any:
        """Same as `get`, but for parameters on any device; `build` is given the tensors themselves."""
        entry = self._entries.get(form)
        if entry is None or not entry.still(parameters):
            with self._lock:
                entry = self._entries.get(form)
                if entry is None or not entry.still(parameters):
                    with native._cpu.KeepBlocks():  # the new copy reuses the memory of the old one
                        self._entries.pop(form, None)
                        entry = None  # it would keep the old copy alive
                        entry = _Entry([_see(parameter) for parameter in parameters], build(parameters))
                        self._entries[form] = entry
        return entry.packed

    def peek(self, form: Hashable = None) -> Any:
        """Returns the cached object for this form, or None. Does not check whether the parameters have changed."""
        entry = self._entries.get(form)
        return None if entry is None else entry.packed

    def clear(self) -> None:
        """Discards the native copies, which frees their memory."""
        self._entries = {}

    def __reduce__(self) -> tuple[type[PackedCache], tuple[()]]:
        return type(self), ()
