"""The seam between torch and the native engine: which of the two runs a call, and the native forward pass.

Both the `nn.Module` classes, which pack their parameters on first use (`packed.py`), and `bilm_engine.py`, which has
packed weights alone, run the functions of this module.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from elmo_fast.characters import marker_char_ids
from elmo_fast.native import (
    build_info,
    get_isa,
    get_num_threads,
    set_isa,
    set_num_threads,
)

if TYPE_CHECKING:
    from elmo_fast import _cpu

__all__ = [
    "add_markers",
    "build_info",
    "char_ids_array",
    "check_char_ids",
    "empty_tensor",
    "encode_batch",
    "encode_rows",
    "get_isa",
    "get_num_threads",
    "is_native_kind",
    "is_transformed",
    "needs_gradient",
    "run_bilm",
    "run_lstm",
    "runs_native",
    "set_isa",
    "set_num_threads",
    "state_arrays",
]

ArrayState = tuple[np.ndarray, np.ndarray]

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


def empty_tensor(*shape: int) -> Tensor:
    """A new float32 CPU tensor for the native kernels to fill, whatever torch's default dtype and device are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def state_arrays(state: tuple[Tensor, Tensor] | None) -> ArrayState | None:
    """A state as NumPy arrays on the same memory."""
    return None if state is None else (state[0].numpy(), state[1].numpy())


def _warn_dtype(dtype: torch.dtype) -> None:
    if dtype not in _warned_dtypes:
        _warned_dtypes.add(dtype)
        message = (
            f"the native kernels are float32; this model or input of {dtype} runs on the slower PyTorch reference "
            '(for speed keep float32 and ask for reduced arithmetic with precision=, such as precision="bfloat16")'
        )
        warnings.warn(f"elmo_fast: {message}", stacklevel=2)


def char_ids_array(char_ids: Tensor | np.ndarray, max_characters: int, n_ids: int | None = None) -> np.ndarray:
    """Checks character ids and returns them as a C-contiguous int64 array, without a copy where they are one.

    Args:
        char_ids: (batch_size, num_timesteps, max_characters), any integer dtype, any strides, on the CPU.
        n_ids: how many ids the model knows; None leaves the values to `encode_batch` to check.
    Raises:
        TypeError: not integers.
        ValueError: another number of dimensions or characters, or an id outside 0 to n_ids - 1.
    """
    array = char_ids.detach().numpy() if isinstance(char_ids, Tensor) else np.asarray(char_ids)
    check_char_ids(array, max_characters)
    array = np.ascontiguousarray(array, dtype=np.int64)
    # Unsigned, a negative id is a huge one.
    if n_ids is not None and array.size and array.view(np.uint64).max() >= n_ids:
        where = tuple(int(i) for i in np.argwhere((array < 0) | (array >= n_ids))[0])
        raise ValueError(f"char_ids: expected ids from 0 to {n_ids - 1}, got {array[where]} at {where}")
    return array


def check_char_ids(char_ids: Tensor | np.ndarray, max_characters: int) -> None:
    """Checks dtype and shape of character ids, wherever they are.

    Raises:
        TypeError: not integers.
        ValueError: another number of dimensions or characters.
    """
    if isinstance(char_ids, Tensor):
        is_integer = not char_ids.dtype.is_floating_point and not char_ids.dtype.is_complex
        is_integer = is_integer and char_ids.dtype != torch.bool
    else:
        is_integer = char_ids.dtype.kind in "iu"
    if not is_integer:
        raise TypeError(f"char_ids: expected integers, got {char_ids.dtype}")
    if char_ids.ndim != 3 or char_ids.shape[2] != max_characters:
        expected = f"(batch_size, num_timesteps, {max_characters})"
        raise ValueError(f"char_ids: expected shape {expected}, got {tuple(char_ids.shape)}")


def add_markers(x: np.ndarray, mask: np.ndarray, bos: np.ndarray, eos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts `<S>` and `</S>` around every row, as `elmo_fast.reference.add_markers` defines it.

    Args:
        x: (batch_size, num_timesteps, ...), zero where `mask` is false.
        mask: (batch_size, num_timesteps) bool.
        bos, eos: what to put at one position.
    Returns:
        (batch_size, num_timesteps + 2, ...) and its mask.
    """
    batch_size, num_timesteps = mask.shape
    rows, end = np.arange(batch_size), mask.sum(axis=1) + 1
    marked = np.zeros((batch_size, num_timesteps + 2, *x.shape[2:]), dtype=x.dtype)
    marked[:, 1:-1] = x
    marked[:, 0], marked[rows, end] = bos, eos
    marked_mask = np.zeros((batch_size, num_timesteps + 2), dtype=bool)
    marked_mask[:, 1:-1] = mask
    marked_mask[:, 0], marked_mask[rows, end] = True, True
    return marked, marked_mask


def encode_batch(encoder: _cpu.TokenEncoder, char_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds the markers and encodes the positions that anything reads, equal ones once.

    Args:
        encoder: the packed token encoder.
        char_ids: (batch_size, num_timesteps, max_characters) as `char_ids_array` returns them.
    Returns:
        table (n_distinct, projection_dim) float32, index (batch_size, num_timesteps + 2) int32 into its rows (0 where
        nothing is read), and the mask with markers.
    Raises:
        ValueError: an id that the model does not know.
    """
    return encoder.encode_batch(char_ids, *marker_char_ids(char_ids.shape[2]), get_num_threads())


def encode_rows(encoder: _cpu.TokenEncoder, char_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encodes (n, max_characters) int64 ids; returns the table of distinct rows and an (n,) int32 index into it."""
    if not len(char_ids):
        return np.zeros((0, encoder.output_dim), dtype=np.float32), np.zeros(0, dtype=np.int32)
    return encoder.encode(char_ids, get_num_threads())


def run_lstm(
    native: _cpu.BiLstm,
    table: np.ndarray,
    index: np.ndarray,
    lengths: np.ndarray,
    state: ArrayState | None,
    out: np.ndarray,
) -> None:
    """Runs the biLSTM over ragged rows; position t of row b reads `table[index[b, t]]`.

    Args:
        table: (n, input_size) float32.
        index: (batch_size, num_timesteps) int32.
        lengths: (batch_size,) int64.
        state: h and c to start from, overwritten with the final ones; None is zero, and no final state is wanted.
        out: (n_layers, batch_size, num_timesteps, 2 * projection_dim) float32, written in full.
    """
    if out.size == 0 or not len(table):
        out[...] = 0.0
        return
    h, c = (None, None) if state is None else state
    native.run(table, index, lengths, h, c, out, get_num_threads())


def run_bilm(
    native: _cpu.BiLstm,
    table: np.ndarray,
    index: np.ndarray,
    mask: np.ndarray,
    state: ArrayState | None,
    out: np.ndarray,
) -> None:
    """Computes all layers from token embeddings; arguments as `run_lstm`.

    Args:
        mask: (batch_size, num_timesteps) bool.
        out: (n_layers + 1, batch_size, num_timesteps, 2 * projection_dim): layer 0 is the token embedding twice, zero
            where the mask is false.
    """
    if out.size == 0:
        return
    tokens = table.take(index, axis=0)
    if not mask.all():
        tokens[~mask] = 0.0
    out[0].reshape(*mask.shape, 2, -1)[...] = tokens[:, :, None]  # both directions' halves
    run_lstm(native, table, index, mask.sum(axis=1, dtype=np.int64), state, out[1:])
