"""The compiled CPU module: its import, its settings for the whole process, and packing weights for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from elmo_fast._version import __version__
from elmo_fast.cuda import backend
from elmo_fast.parallel import run_tasks

try:
    from elmo_fast import _cpu
except ImportError as error:
    raise ImportError(
        f"elmo_fast._cpu, the compiled part of elmo_fast, is missing or does not load ({error}); install the package "
        "with `pip install .`, which compiles it: a source folder on the path is not enough"
    ) from error

ArrayPair = tuple[np.ndarray, np.ndarray]
LstmArrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

PRECISIONS = ("float32", "bf16x3", "bf16x2", "bfloat16", "int8")
"""What the native kernels can be asked to compute in; see `elmo_fast.precision`."""

_settings_lock = threading.Lock()
_num_threads: int | None = None


def set_num_threads(num_threads: int | None) -> None:
    """Sets how many threads the native engine uses, in this process, from the next call on.

    Results do not depend on it.

    Args:
        num_threads: 1 or more; None follows `torch.get_num_threads()`, the default.
    Raises:
        ValueError: less than 1, or not an integer.
    """
    if num_threads is not None and (
        not isinstance(num_threads, int) or isinstance(num_threads, bool) or num_threads < 1
    ):
        raise ValueError(f"num_threads: expected an integer of 1 or more, or None, got {num_threads!r}")
    global _num_threads
    with _settings_lock:
        _num_threads = num_threads


def get_num_threads() -> int:
    """Returns how many threads the native engine uses: what `set_num_threads` said, else `torch.get_num_threads()`."""
    return _num_threads or torch.get_num_threads()


def set_isa(name: str) -> None:
    """Chooses the instruction set of the native kernels, for tests and measurements.

    Results in precision "float32" do not depend on it.

    Args:
        name: one of `build_info()["isas_available"]`, such as "generic" or "avx2".
    Raises:
        ValueError: unknown, or this machine does not have it.
    """
    _cpu.set_isa(name)


def get_isa() -> str:
    """Returns the name of the instruction set in use."""
    return _cpu.get_isa()


def precision_in_use(precision: str) -> str:
    """Returns what a model of this precision runs as with the instruction set in use: itself, or "float32"."""
    return _cpu.precision_in_use(precision)


def build_info() -> dict[str, Any]:
    """Describes this installation.

    Returns:
        version, isas_built and isas_available (lists of instruction set names), isa (the one in use), precisions (for
        each that can be asked for, what it runs as with this instruction set), cuda_built (whether native CUDA kernels
        are built in), cuda_devices (how many they see), num_threads, compiler, and the versions torch and numpy.
    """
    return {
        "version": __version__,
        "isas_built": list(_cpu.isas_built()),
        "isas_available": list(_cpu.isas_available()),
        "isa": _cpu.get_isa(),
        "precisions": {precision: precision_in_use(precision) for precision in PRECISIONS},
        "cuda_built": backend.is_built(),
        "cuda_devices": backend.device_count(),
        "num_threads": get_num_threads(),
        "compiler": _cpu.compiler(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def pack_encoder(
    char_embedding: np.ndarray,
    convolutions: Sequence[ArrayPair],
    activation: str,
    highways: Sequence[ArrayPair],
    projection: ArrayPair | None,
    max_characters: int,
    precision: str = "float32",
    word_cache_size: int = 0,
) -> _cpu.TokenEncoder:
    """Packs a token encoder; shapes as in `elmo_fast.weights.EncoderWeights`, float32, C-contiguous."""
    return _cpu.TokenEncoder(
        char_embedding, list(convolutions), activation, list(highways), projection, max_characters, precision,
        word_cache_size, get_num_threads(),
    )  # fmt: skip


def pack_lstm(
    layers: Sequence[tuple[LstmArrays, LstmArrays]],
    cell_clip: float,
    proj_clip: float,
    use_skip_connections: bool,
    precision: str = "float32",
) -> _cpu.BiLstm:
    """Packs a biLSTM; shapes as in `elmo_fast.weights.LstmWeights`, float32, C-contiguous; a clip of 0 is none."""
    tasks = [partial(_cpu.LstmLayer, *arrays, precision) for pair in layers for arrays in pair]
    packed = run_tasks(tasks, get_num_threads())
    return _cpu.BiLstm(list(zip(packed[0::2], packed[1::2], strict=True)), cell_clip, proj_clip, use_skip_connections)


def pack_backward(
    state_weights: Sequence[np.ndarray], projections: Sequence[np.ndarray], cell_clip: float, proj_clip: float
) -> list[_cpu.LstmBackward]:
    """Packs the backward passes of layer 0's two directions, then of layer 1's, and so on; arguments as `pack_lstm`."""
    pairs = zip(state_weights, projections, strict=True)
    return run_tasks([partial(_cpu.LstmBackward, *pair, cell_clip, proj_clip) for pair in pairs], get_num_threads())


def restore_encoder(arguments: Sequence[Any]) -> _cpu.TokenEncoder:
    """Rebuilds a token encoder from its `weights()`."""
    return _cpu.TokenEncoder(*arguments)


def lstm_arguments(lstm: _cpu.BiLstm) -> tuple[Any, ...]:
    """What `restore_lstm` makes the biLSTM of, as plain arrays and numbers."""
    layers, *options = lstm.arguments()
    return [tuple(layer.weights() for layer in pair) for pair in layers], *options


def restore_lstm(arguments: Sequence[Any]) -> _cpu.BiLstm:
    """Rebuilds a biLSTM from its `lstm_arguments`."""
    layers, *options = arguments
    return _cpu.BiLstm([tuple(_cpu.LstmLayer(*weights) for weights in pair) for pair in layers], *options)
