"""Native copies of a module's parameters, made on first use and again when the parameters change."""

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
    """The observable properties of one parameter when it was packed."""

    parameter: weakref.ref[Tensor]  # weak: a computed one would keep its autograd graph
    alias: Tensor  # its memory and version
    pointer: int
    version: int | None  # an inference tensor has none
    # A view, not a copy: it follows writes, and while it exists no other tensor can get this address.
    sample: np.ndarray | None  # None on other devices, where reading it would wait for the device
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
    """A native object and the parameters it was made from."""

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
            # Compiled programs and `functional_call` pass the same memory as a different object.
            if parameter is not known() and not _same_layout(parameter, alias):
                return False
            if version is not None and parameter._version != version:
                return False
            # Writes through `.data` (old optimizers, moving averages, AllenNLP itself) do not change the version; the
            # sample detects those that change a whole tensor, and costs a third of a microsecond.
            if sample is not None and sample.tobytes() != values:
                return False
        return True


class PackedCache:
    """Holds objects built from some parameters for as long as these do not change.

    The next `get` notices when a parameter was replaced, or changed in place by an optimizer step, `load_state_dict` or
    any operation that torch counts. It also notices a write through `.data` that changes a whole tensor, but perhaps
    not one that changes a few elements, and on devices other than the CPU none at all: call `clear` after it.

    It holds one object per `form`, all of the same parameters. Copies and pickles of it are empty and rebuilt on first
    use.

    Attributes:
        key: an int64 number that `of` finds it by.
    """

    _by_key: weakref.WeakValueDictionary[int, PackedCache] = weakref.WeakValueDictionary()
    _of_programs: dict[int, PackedCache] = {}  # the last ones used come last

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._entries: dict[Hashable, _Entry] = {}
        number = random.SystemRandom().getrandbits(62)
        with torch.inference_mode(False):
            # A tensor, because compilers would make a number a constant of the program and compile again for the next
            # model.
            self.key = torch.tensor(number, dtype=torch.int64, device="cpu")
        PackedCache._by_key[number] = self

    @classmethod
    def of(cls, key: Tensor) -> PackedCache:
        """Returns the cache with this key, or a new one if there is none, because an exported program outlives its
        module.

        New ones are kept while they are among the `_PROGRAMS` most recently used.
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
        """Returns the cache with this key, or None; also None while a program is traced, when keys have no value."""
        return cls._by_key.get(int(key)) if type(key) is Tensor else None

    def get(self, parameters: Sequence[Tensor], build: Callable[[list[np.ndarray]], Any], form: Hashable = None) -> Any:
        """Returns `build(arrays)` for these CPU parameters, called again only if one of them or `form` has changed.

        Args:
            parameters: dense CPU tensors.
            build: makes the native object from the parameters as C-contiguous arrays, and keeps none of these.
            form: what else the native object depends on.
        """

        def build_of_tensors(tensors: Sequence[Tensor]) -> Any:
            return build([np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors])

        return self.get_of_tensors(parameters, build_of_tensors, form)

    def get_of_tensors(
        self, parameters: Sequence[Tensor], build: Callable[[Sequence[Tensor]], Any], form: Hashable = None
    ) -> Any:
        """As `get`, on any device: `build` takes the tensors themselves."""
        entry = self._entries.get(form)
        if entry is None or not entry.still(parameters):
            with self._lock:
                entry = self._entries.get(form)
                if entry is None or not entry.still(parameters):
                    with native._cpu.KeepBlocks():  # the new copy takes the memory of the old one
                        self._entries.pop(form, None)
                        entry = None  # or it would hold the old copy
                        entry = _Entry([_see(parameter) for parameter in parameters], build(parameters))
                        self._entries[form] = entry
        return entry.packed

    def peek(self, form: Hashable = None) -> Any:
        """Returns what the last `get` with this form returned, or None."""
        entry = self._entries.get(form)
        return None if entry is None else entry.packed

    def clear(self) -> None:
        """Forgets the native copies and their memory."""
        self._entries = {}

    def __reduce__(self) -> tuple[type[PackedCache], tuple[()]]:
        return type(self), ()
