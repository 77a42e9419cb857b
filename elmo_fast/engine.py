"""The seam between torch and the native engine: which of the two runs a call, and the native forward pass.

`BiLmEngine` is a whole biLM that keeps nothing but its packed native weights; the `nn.Module` classes keep torch
parameters and pack them on first use (see `packed.py`). Both run the functions of this module.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from elmo_fast.characters import marker_char_ids
from elmo_fast.native import (
    build_info,
    get_isa,
    get_num_threads,
    lstm_arguments,
    restore_encoder,
    restore_lstm,
    set_isa,
    set_num_threads,
)
from elmo_fast.packing import pack_files
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.state import SharedLock
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, CacheInfo, WordCached, check_word_cache_size

if TYPE_CHECKING:
    from elmo_fast import _cpu

__all__ = [
    "BiLmEngine",
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


class BiLmEngine(NativePrecision, WordCached):
    """A biLM on the native CPU kernels: character ids in, all layers out. It holds its packed weights and nothing else.

    It has no LSTM state of its own, and threads may share it. It remembers words (`elmo_fast.word_cache`), which shows
    in no result. Pickles carry the weights.

    Attributes:
        num_layers: layers of the output, the token embedding included.
        output_dim: 2 * projection_dim.
        projection_dim, cell_size, max_characters: sizes of the model.
    """

    def __init__(self, encoder: _cpu.TokenEncoder, lstm: _cpu.BiLstm) -> None:
        self._precision = lstm.precision
        self._packed_for = self.precision_in_use
        self._encoder = encoder
        self._lstm = lstm
        self._lock = SharedLock()
        self.num_layers: int = lstm.num_layers + 1
        self.projection_dim: int = lstm.projection_dim
        self.output_dim: int = 2 * lstm.projection_dim
        self.cell_size: int = lstm.cell_size
        self.max_characters: int = encoder.max_characters

    @classmethod
    def from_files(
        cls,
        options_file: str | os.PathLike[str],
        weight_file: str | os.PathLike[str],
        *,
        precision: str = "float32",
        word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
    ) -> BiLmEngine:
        """Reads a model from local files and keeps the packed weights alone; see `elmo_fast.packing.pack_files`.

        Args:
            options_file, weight_file: paths.
            precision: see `elmo_fast.precision`.
            word_cache_size: see `elmo_fast.word_cache`.
        Raises:
            FileNotFoundError: a file is missing.
            WeightsError: a file is wrong or damaged.
            ValueError: an unknown precision, or a wrong cache size.
        """
        check_precision(precision)
        check_word_cache_size(word_cache_size)
        return cls(*pack_files(options_file, weight_file, precision, word_cache_size))

    @property
    def nbytes(self) -> int:
        """Memory of the packed weights, in bytes; that of remembered words is in `cache_info()`."""
        return self._encoder.nbytes + self._lstm.nbytes

    def cache_info(self) -> CacheInfo:
        """Returns what the word cache holds and has done."""
        return CacheInfo(**self._word_cache().cache_info())

    def _word_cache(self) -> _cpu.TokenEncoder:
        return self._encoder

    def forward(self, char_ids: np.ndarray, state: ArrayState | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Computes all layers for a batch.

        Args:
            char_ids: (batch_size, num_timesteps, max_characters) integers without sentence markers, 0 where there is
                no token.
            state: h (n_layers, batch_size, 2 * projection_dim) and c (n_layers, batch_size, 2 * cell_size), float32,
                C-contiguous: the state to start from, overwritten with the final one. None starts from zero.
        Returns:
            activations (num_layers, batch_size, num_timesteps + 2, output_dim) float32, markers included, zero on
            padding; and the mask (batch_size, num_timesteps + 2) bool.
        Raises:
            TypeError, ValueError: an argument has the wrong dtype, shape or values; the message names it.
        """
        char_ids = char_ids_array(char_ids, self.max_characters)
        if state is not None:
            self._check_state(state, len(char_ids))
        self._follow_isa()
        table, index, mask = encode_batch(self._encoder, char_ids)
        activations = np.empty((self.num_layers, *mask.shape, self.output_dim), dtype=np.float32)
        run_bilm(self._lstm, table, index, mask, state, activations)
        return activations, mask

    def zero_state(self, batch_size: int) -> ArrayState:
        """Returns a state of zeros for `forward` to start from and to overwrite."""
        h, c = (
            np.zeros((self.num_layers - 1, batch_size, 2 * size), dtype=np.float32)
            for size in (self.projection_dim, self.cell_size)
        )
        return h, c

    def _check_state(self, state: ArrayState, batch_size: int) -> None:
        for name, part, size in zip("hc", state, (self.projection_dim, self.cell_size), strict=True):
            expected = (self.num_layers - 1, batch_size, 2 * size)
            if part.shape != expected:
                raise ValueError(f"state: {name}: expected shape {expected}, got {part.shape}")
            # Anything that needed a copy would leave the caller's arrays as they were.
            if part.dtype != np.float32 or not part.flags.c_contiguous or not part.flags.writeable:
                raise ValueError(f"state: {name}: expected a writeable, C-contiguous float32 array, got {part.dtype}")

    def _follow_isa(self) -> None:
        """Packs anew if the instruction set chosen since makes the precision run as another one."""
        if self._packed_for != self.precision_in_use:
            with self._lock:
                if self._packed_for != self.precision_in_use:
                    self._encoder = restore_encoder(self._encoder.weights())
                    self._lstm = restore_lstm(lstm_arguments(self._lstm))
                    self._packed_for = self.precision_in_use

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_engine, (self._encoder.weights(), lstm_arguments(self._lstm))

    def __deepcopy__(self, memo: dict[int, Any]) -> BiLmEngine:
        return self  # no result of it ever changes


def _restore_engine(encoder: Any, lstm: Any) -> BiLmEngine:
    return BiLmEngine(restore_encoder(encoder), restore_lstm(lstm))
