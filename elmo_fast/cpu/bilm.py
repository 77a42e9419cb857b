"""A whole biLM that keeps nothing but its packed native weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from elmo_fast.characters import char_ids_array
from elmo_fast.cpu.forward import ArrayState, encode_batch, run_bilm
from elmo_fast.cpu.pack import lstm_arguments, pack_files, restore_encoder, restore_lstm
from elmo_fast.locks import SharedLock
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, CacheInfo, WordCached, check_word_cache_size

if TYPE_CHECKING:
    from elmo_fast import _cpu


class CpuBiLm(NativePrecision, WordCached):
    """A biLM on the native CPU kernels: character ids in, all layers out. It holds its packed weights and nothing else.

    It has no LSTM state of its own, and threads may share it. It remembers words (`elmo_fast.word_cache`), which shows
    in no result. Pickles carry the weights.

    Attributes:
        num_layers: layers of the output, the token embedding included.
        output_dim: 2 * projection_dim.
        projection_dim, cell_size, max_characters: sizes of the model.
    """

    def __init__(self, encoder: _cpu.CachedTokenEncoder, lstm: _cpu.BiLstm) -> None:
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
    ) -> CpuBiLm:
        """Reads a model from local files and keeps the packed weights alone; see `elmo_fast.cpu.pack.pack_files`.

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

    def _word_cache(self) -> _cpu.CachedTokenEncoder:
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
        return _restore, (self._encoder.weights(), lstm_arguments(self._lstm))

    def __deepcopy__(self, memo: dict[int, Any]) -> CpuBiLm:
        return self  # no result of it ever changes


def _restore(encoder: Any, lstm: Any) -> CpuBiLm:
    return CpuBiLm(restore_encoder(encoder), restore_lstm(lstm))
