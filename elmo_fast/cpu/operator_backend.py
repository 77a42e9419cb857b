"""The operator backend: the native CPU kernels as torch operators.

It is used for gradients, and in programs that torch compiles or exports.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elmo_fast.cpu import ops
from elmo_fast.reference_backend import ReferenceBackend, collect, positions
from elmo_fast.state import StateSlot


class OperatorBackend(ReferenceBackend):
    """See `elmo_fast.dispatch.Backend`."""

    def encode(self, encoder: Any, char_ids: Tensor) -> Tensor:
        table, index = _encode_distinct(encoder, char_ids)
        return nn.functional.embedding(index, table)

    def lstm(self, lstm: Any, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        return _run_lstm(lstm, inputs.flatten(0, 1), positions(inputs), lengths, slot)

    def bilm(
        self, bilm: Any, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot
    ) -> tuple[list[Tensor], Tensor]:
        if word_inputs is None:
            encoder = bilm._token_embedder
            char_ids, mask = encoder.add_markers(inputs)
            table, index = _encode_distinct(encoder, char_ids.flatten(0, 1))
            index = index.view(mask.shape)
            tokens = nn.functional.embedding(index, table)
        else:
            tokens, mask = bilm._embed(inputs, word_inputs)
            table, index = tokens.flatten(0, 1), positions(tokens)
        return collect(tokens, mask, _run_lstm(bilm._elmo_lstm, table, index, mask.sum(dim=1), slot)), mask


def _encode_distinct(encoder: Any, char_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes the distinct words of ids (n, max_characters).

    Returns:
        The table of embeddings, and the row of the table for each word, (n,).
    Raises:
        ValueError: the model does not know an id.
    """
    tensors = encoder._tensors()
    trains = _needs_gradient(tensors)
    convolutions, highways, _ = encoder._linears()
    table, index, _ = ops.encode_tokens(
        char_ids, tensors, len(convolutions), len(highways), encoder._activation,
        "float32" if trains else encoder.precision, encoder._word_cache_size, encoder._packed.key,
        trains and not encoder.checkpointing,
    )  # fmt: skip
    return table, index


def _run_lstm(lstm: Any, table: Tensor, index: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
    """Runs a biLSTM in which position t of row b reads row index[b, t] of `table` (n, input_size)."""
    h, c = (None, None) if slot.initial is None else map(_usable, slot.initial)
    tensors = lstm._tensors()
    trains = _needs_gradient([table, *tensors])
    out, h, c, _ = ops.bilstm(
        table, index, lengths, tensors, h, c, lstm._cell_clip, lstm._proj_clip, lstm.use_skip_connections,
        "float32" if trains else lstm.precision, lstm._packed.key, trains and not lstm.checkpointing,
    )  # fmt: skip
    slot.final = h.detach(), c.detach()
    return out


def _needs_gradient(tensors: list[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _usable(state: Tensor) -> Tensor:
    """Returns a state that autograd accepts. A state that was computed in inference mode has to be copied."""
    if torch.compiler.is_compiling() or not state.is_inference() or torch.is_inference_mode_enabled():
        return state
    return state.clone()
