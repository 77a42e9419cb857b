"""Imports the compiled CPU module, and holds its process-wide settings."""

from __future__ import annotations

import threading

import torch

try:
    from elmo_fast import _cpu as _cpu  # so that type checkers let other modules import it from here
except ImportError as error:
    raise ImportError(
        f"elmo_fast._cpu, the compiled part of elmo_fast, is missing or does not load ({error}); install the package "
        "with `pip install .`, which compiles it: a source folder on the path is not enough"
    ) from error

_settings_lock = threading.Lock()
_num_threads: int | None = None


def set_num_threads(num_threads: int | None) -> None:
    """Sets the number of threads that the native kernels use in this process, starting with the next call.

    Results do not depend on the number of threads.

    Args:
        num_threads: 1 or more. None, the default, follows `torch.get_num_threads()`.
    Raises:
        ValueError: `num_threads` is less than 1, or not an integer.
    """
    if num_threads is not None and (
        not isinstance(num_threads, int) or isinstance(num_threads, bool) or num_threads < 1
    ):
        raise ValueError(f"num_threads: expected an integer of 1 or more, or None, got {num_threads!r}")
    global _num_threads
    with _settings_lock:
        _num_threads = num_threads


def get_num_threads() -> int:
    """Returns the number of threads that the native kernels use.

    This is the number passed to `set_num_threads` or, by default, `torch.get_num_threads()`.
    """
    return _num_threads or torch.get_num_threads()


def set_isa(name: str) -> None:
    """Selects the instruction set of the native kernels, for tests and benchmarks.

    Results in precision "float32" do not depend on the instruction set.

    Args:
        name: one of `build_info()["isas_available"]`, such as "generic" or "avx2".
    Raises:
        ValueError: the name is unknown, or this machine does not support it.
    """
    _cpu.set_isa(name)


def get_isa() -> str:
    """Returns the name of the instruction set in use."""
    return _cpu.get_isa()


def precision_in_use(precision: str) -> str:
    """Returns the precision that runs with the instruction set in use: the requested one, or "float32"."""
    return _cpu.precision_in_use(precision)
