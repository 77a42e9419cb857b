"""A whole biLM that holds only its packed native weights."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from elmo_fast.characters import char_ids_array
from elmo_fast.cpu.backend import ArrayState
from elmo_fast.cpu.pack import lstm_arguments, pack_files, restore_encoder, restore_lstm
from elmo_fast.locks import SharedLock
from elmo_fast.native import _cpu, get_num_threads
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, CacheInfo, WordCached, check_word_cache_size


class CpuBiLm(NativePrecision, WordCached):
    """A biLM that runs on the native CPU kernels, from character ids to all layers, and holds only its packed weights.

    It keeps no LSTM state, and threads may share it. It remembers words (see `elmo_fast.word_cache`), which does not
    affect results. Pickles contain the weights.

    Attributes:
        num_layers: number of layers in the output, including the token embedding.
        output_dim: 2 * projection_dim.
        projection_dim, cell_size, max_characters: sizes of the model.
    """

    def __init__(self, encoder: _cpu.CachedTokenEncoder, lstm: _cpu.BiLstm) -> None:
        self._precision = lstm.precision
        self._packed_for = self.precision_in_use
        self._encoder = encoder
        self._lstm = lstm
        self._packed = _cpu.BiLm(encoder, lstm)
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
        """Reads a model from local files and keeps only the packed weights; see `elmo_fast.cpu.pack.pack_files`.

        Args:
            options_file, weight_file: paths.
            precision: see `elmo_fast.precision`.
            word_cache_size: see `elmo_fast.word_cache`.
        Raises:
            FileNotFoundError: a file is missing.
            WeightsError: a file is invalid or damaged.
            ValueError: the precision is unknown, or the cache size is invalid.
        """
        check_precision(precision)
        check_word_cache_size(word_cache_size)
        return cls(*pack_files(options_file, weight_file, precision, word_cache_size))

    @property
    def nbytes(self) -> int:
        """Memory used by the packed weights, in bytes. `cache_info()` reports the memory used by remembered words."""
        return self._encoder.nbytes + self._lstm.nbytes

    def cache_info(self) -> CacheInfo:
        """Returns the contents and counters of the word cache."""
        return CacheInfo(**self._word_cache().cache_info())

    def _word_cache(self) -> _cpu.CachedTokenEncoder:
        return self._encoder

    def forward(
        self, char_ids: np.ndarray, state: ArrayState | None = None, *, keep_state: bool = False
    ) -> tuple[np.ndarray, np.ndarray, ArrayState | None]:
        """Computes all layers for a batch.

        Args:
            char_ids: (batch_size, num_timesteps, max_characters) integers without sentence markers, 0 where there is
                no token.
            state: the initial state: h (n_layers, batch_size, 2 * projection_dim) and c (n_layers, batch_size,
                2 * cell_size), float32, C-contiguous. It is not modified. None starts from zero.
            keep_state: whether to return the final state.
        Returns:
            The activations, (num_layers, batch_size, num_timesteps + 2, output_dim) float32, markers included, zero on
            padding; the mask, (batch_size, num_timesteps + 2) bool; and the final state, or None without `keep_state`.
        Raises:
            TypeError, ValueError: an argument has the wrong dtype, shape or values; the message names it.
        """
        char_ids = char_ids_array(char_ids, self.max_characters)
        h, c = (None, None) if state is None else state
        activations, mask, h, c = self._packed_now().forward(char_ids, h, c, keep_state, get_num_threads())
        return activations, mask, (h, c) if keep_state else None

    def _packed_now(self) -> _cpu.BiLm:
        """Returns the packed weights for the precision in use.

        Packs them again if a change of the instruction set has changed that precision.
        """
        if self._packed_for != self.precision_in_use:
            with self._lock:
                if self._packed_for != self.precision_in_use:
                    self._encoder = restore_encoder(self._encoder.weights())
                    self._lstm = restore_lstm(lstm_arguments(self._lstm))
                    self._packed = _cpu.BiLm(self._encoder, self._lstm)
                    self._packed_for = self.precision_in_use
        return self._packed

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._encoder.weights(), lstm_arguments(self._lstm))

    def __deepcopy__(self, memo: dict[int, Any]) -> CpuBiLm:
        return self  # safe to share, because its results never change


def _restore(encoder: Any, lstm: Any) -> CpuBiLm:
    return CpuBiLm(restore_encoder(encoder), restore_lstm(lstm))
