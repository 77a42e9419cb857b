"""Looks up `word_inputs`: indices into `vocab_to_cache`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_BOS, _EOS = -2, -1


def look_up(bilm: Any, word_inputs: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Looks up cached words, and adds sentence markers to every row.

    Args:
        bilm: an `ElmoBiLm` with cached words.
        word_inputs: (batch_size, num_timesteps) indices into `vocab_to_cache`, 0 where there is no token.
    Returns:
        table, (n_distinct, projection_dim) float32, the embeddings of the distinct words; index, (batch_size,
        num_timesteps + 2) int32, the row of the table for each position; and the mask, (batch_size, num_timesteps + 2)
        bool, false on padding.
    """
    indices = word_inputs.numpy().astype(np.int64)
    words, mask = _add_markers(indices, indices > 0)
    distinct, index = np.unique(words, return_inverse=True)
    with torch.no_grad():
        rows = bilm._word_embedding.weight[torch.from_numpy(np.maximum(distinct, 0))].numpy()
    for marker, embedding in ((_BOS, bilm._bos_embedding), (_EOS, bilm._eos_embedding)):
        rows[distinct == marker] = embedding.numpy()
    return rows, index.reshape(words.shape).astype(np.int32), mask


def _add_markers(words: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adds both sentence markers to every row, as defined by `elmo_fast.reference.add_markers`."""
    batch_size, num_timesteps = mask.shape
    rows, end = np.arange(batch_size), mask.sum(axis=1) + 1
    marked = np.zeros((batch_size, num_timesteps + 2), dtype=words.dtype)
    marked[:, 1:-1] = words
    marked[:, 0], marked[rows, end] = _BOS, _EOS
    marked_mask = np.zeros(marked.shape, dtype=bool)
    marked_mask[:, 1:-1] = mask
    marked_mask[:, 0], marked_mask[rows, end] = True, True
    return marked, marked_mask
