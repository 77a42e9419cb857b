"""The native forward pass on the CPU, from checked NumPy arrays to filled ones.

Both the `nn.Module` classes, which pack their parameters on first use (`elmo_fast.packed_cache`), and
`elmo_fast.cpu.bilm`, which has packed weights alone, run the functions of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from elmo_fast.characters import marker_char_ids
from elmo_fast.native import get_num_threads

if TYPE_CHECKING:
    from elmo_fast import _cpu

ArrayState = tuple[np.ndarray, np.ndarray]


def empty_tensor(*shape: int) -> Tensor:
    """A new float32 CPU tensor for the native kernels to fill, whatever torch's default dtype and device are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def state_arrays(state: tuple[Tensor, Tensor] | None) -> ArrayState | None:
    """A state as NumPy arrays on the same memory."""
    return None if state is None else (state[0].numpy(), state[1].numpy())


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


def encode_batch(encoder: _cpu.CachedTokenEncoder, char_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def encode_rows(encoder: _cpu.CachedTokenEncoder, char_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
