"""The reference backend: plain PyTorch, one part of the model at a time.

It defines the correct results, and runs every call that the native backends cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elmo_fast import reference
from elmo_fast.state import StateSlot


class ReferenceBackend:
    """See `elmo_fast.dispatch.Backend`."""

    def encode(self, encoder: Any, char_ids: Tensor) -> Tensor:
        embedding, convolutions, highways, projection = encoder._structure(encoder._tensors())
        return reference.encode_tokens(char_ids, embedding, convolutions, encoder._activation, highways, projection)

    def lstm(self, lstm: Any, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        initial = slot.initial
        if initial is not None:
            initial = tuple(part.to(inputs) for part in initial)
        cells = lstm._cells()
        masks = None
        if lstm._has_dropout():
            masks = [tuple(cell.dropout_mask(inputs, len(inputs)) for cell in pair) for pair in cells]
        output, final = reference.bilstm(
            inputs,
            lengths,
            [tuple(cell.parameter_tuple() for cell in pair) for pair in cells],
            state=initial,
            cell_clip=lstm._cell_clip,
            proj_clip=lstm._proj_clip,
            use_skip_connections=lstm.use_skip_connections,
            dropout_masks=masks,
        )
        slot.final = tuple(part.detach() for part in final)
        return output

    def bilm(
        self, bilm: Any, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot
    ) -> tuple[list[Tensor], Tensor]:
        # Each part chooses its own backend, because one of them may still be able to use native kernels.
        tokens, mask = bilm._embed(inputs, word_inputs)
        return collect(tokens, mask, bilm._elmo_lstm.run(tokens, mask.sum(dim=1), slot)), mask

    def mix(self, mix: Any, layers: Sequence[Tensor], mask: Tensor, tokens: Tensor) -> Tensor:
        # Without markers, the position of </S> is padding. Layer norm makes padding nonzero, so it is zeroed here.
        return mix(layers, mask).narrow(1, 1, tokens.shape[1]).masked_fill(~tokens.unsqueeze(-1), 0.0)


def collect(tokens: Tensor, mask: Tensor, layers: Tensor) -> list[Tensor]:
    """Returns all activations: layer 0, with the token embeddings once per direction, then the LSTM layers."""
    return [reference.duplicate_tokens(tokens, mask), *layers.unbind(0)]


def positions(inputs: Tensor) -> Tensor:
    """Returns each position's index after the first two dimensions are flattened: (batch_size, num_timesteps) int32."""
    batch_size, num_timesteps = inputs.shape[:2]
    return torch.arange(batch_size * num_timesteps, dtype=torch.int32).view(batch_size, num_timesteps)
