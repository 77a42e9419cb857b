"""The CPU backend: inference on float32 tensors with the native CPU kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from elmo_fast.characters import char_ids_array
from elmo_fast.cpu.words import look_up
from elmo_fast.native import _cpu, get_num_threads
from elmo_fast.reference_backend import ReferenceBackend
from elmo_fast.state import State, StateSlot

ArrayState = tuple[np.ndarray, np.ndarray]


class CpuBackend(ReferenceBackend):
    """See `elmo_fast.dispatch.Backend`. PyTorch runs the scalar mixes, which are elementwise and may be trained."""

    def encode(self, encoder: Any, char_ids: Tensor) -> Tensor:
        packed = encoder.packed()
        if not len(char_ids):
            return empty_tensor(0, packed.output_dim)
        table, index = packed.encode(char_ids.contiguous().numpy(), get_num_threads())
        return torch.from_numpy(table[index])

    def lstm(self, lstm: Any, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        batch_size, num_timesteps, _ = inputs.shape
        out = empty_tensor(lstm.num_layers, batch_size, num_timesteps, 2 * lstm.hidden_size)
        index = np.arange(batch_size * num_timesteps, dtype=np.int32).reshape(batch_size, num_timesteps)
        table = inputs.detach().reshape(-1, lstm.input_size).contiguous().numpy()
        h = c = None
        if slot.keep:
            h = empty_tensor(lstm.num_layers, batch_size, 2 * lstm.hidden_size)
            c = empty_tensor(lstm.num_layers, batch_size, 2 * lstm.cell_size)
            slot.final = h, c
            h, c = h.numpy(), c.numpy()
        lstm.packed().run(
            table, index, lengths.numpy(), out.numpy(), get_num_threads(), *arrays_of_state(slot.initial), h, c
        )
        return out

    def bilm(
        self, bilm: Any, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot
    ) -> tuple[list[Tensor], Tensor]:
        options = *arrays_of_state(slot.initial), slot.keep, get_num_threads()
        if word_inputs is None:
            packed = bilm.packed()
            activations, mask, h, c = packed.forward(char_ids_array(inputs, packed.max_characters), *options)
        else:
            table, index, mask = look_up(bilm, word_inputs)
            activations, h, c = _cpu.forward_embedded(bilm._elmo_lstm.packed(), table, index, mask, *options)
        if slot.keep:
            slot.final = torch.from_numpy(h), torch.from_numpy(c)
        return list(torch.from_numpy(activations).unbind(0)), torch.from_numpy(mask)


def arrays_of_state(state: State | None) -> ArrayState | tuple[None, None]:
    """Returns a state as C-contiguous float32 arrays, copied only if necessary. Callers must not write to them."""
    if state is None:
        return None, None
    h, c = (part.detach().to("cpu", torch.float32).contiguous().numpy() for part in state)
    return h, c


def empty_tensor(*shape: int) -> Tensor:
    """Returns an uninitialised float32 CPU tensor for the kernels to fill.

    It does not depend on torch's default dtype and device.
    """
    return torch.empty(shape, dtype=torch.float32, device="cpu")
