"""The CUDA backend: inference in float32, float16 or bfloat16 with the native CUDA kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elmo_fast.characters import char_ids_array, check_char_ids
from elmo_fast.cuda.bilm import CudaBiLm
from elmo_fast.cuda.device import CudaDevice, cuda_device, storage_for
from elmo_fast.cuda.encoder import encode_tokens
from elmo_fast.cuda.lstm import run_bilstm
from elmo_fast.cuda.mix import MOST_LAYERS, mix_layers
from elmo_fast.cuda.pack import CudaEncoder, CudaLstm
from elmo_fast.cuda.plan import plan_batch
from elmo_fast.parameters import lstm_layers
from elmo_fast.reference_backend import ReferenceBackend
from elmo_fast.scalar_mix import ScalarMix
from elmo_fast.state import State, StateSlot


class CudaBackend(ReferenceBackend):
    """See `elmo_fast.dispatch.Backend`."""

    def encode(self, encoder: Any, char_ids: Tensor) -> Tensor:
        gpu, weights = packed_encoder(encoder)
        with gpu.guard():
            tokens = encode_tokens(gpu, weights, char_ids.int().contiguous())
        return tokens.to(encoder._char_embedding_weights.dtype)

    def lstm(self, lstm: Any, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        gpu, weights = packed_lstm(lstm)
        batch_size, num_timesteps, _ = inputs.shape
        index = np.arange(batch_size * num_timesteps, dtype=np.int32).reshape(batch_size, num_timesteps)
        plan = plan_batch(gpu, index, lengths.cpu().numpy())
        with gpu.guard():
            table = inputs.detach().to(weights.dtype).reshape(-1, lstm.input_size).contiguous()
            out = gpu.zeros(lstm.num_layers, batch_size, num_timesteps, 2 * lstm.hidden_size, dtype=weights.dtype)
            state = _own_state(lstm, slot, batch_size, gpu.device)
            run_bilstm(gpu, weights, table, plan, state, out)
        slot.final = state
        return out.to(inputs.dtype)

    def bilm(
        self, bilm: Any, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot
    ) -> tuple[list[Tensor], Tensor]:
        packed = packed_bilm(bilm) if word_inputs is None else None
        if packed is None:
            return super().bilm(bilm, inputs, word_inputs, slot)
        if bilm._cuda_graphs:
            check_char_ids(inputs, packed.encoder.max_characters)
            activations, mask, state = bilm._graphs.get(packed).forward(inputs, slot.initial, slot.keep)
        else:
            state = _own_state(bilm._elmo_lstm, slot, len(inputs), packed.gpu.device)
            # The only point that waits for the device: the host plans the batch, so it needs the ids.
            activations, mask = packed.forward(char_ids_array(inputs.cpu(), packed.encoder.max_characters), state)
        slot.final = state
        return list(activations.to(bilm._token_embedder._char_embedding_weights.dtype).unbind(0)), mask

    def mix(self, mix: Any, layers: Sequence[Tensor], mask: Tensor, tokens: Tensor) -> Tensor:
        gpu = cuda_device(layers[0].device)
        elsewhere = any(parameter.device != layers[0].device for parameter in mix.parameters())
        if gpu is None or type(mix) is not ScalarMix or mix.do_layer_norm or len(layers) > MOST_LAYERS or elsewhere:
            return super().mix(mix, layers, mask, tokens)
        with gpu.guard():
            return mix_layers(gpu, layers, mix.weights().float(), tokens)


def packed_encoder(encoder: Any) -> tuple[CudaDevice, CudaEncoder]:
    """Returns the kernels and the packed parameters of a token encoder."""
    tensors = encoder._tensors()
    storage = storage_for(tensors, encoder.precision)
    assert storage is not None

    def pack(tensors: Sequence[Tensor]) -> CudaEncoder:
        embedding, convolutions, highways, projection = encoder._structure(tensors)
        with storage.gpu.guard():
            packed = CudaEncoder.pack(
                storage.dtype, embedding, convolutions, encoder._activation, highways, projection,
                encoder._max_characters,
            )  # fmt: skip
            storage.gpu.finish()
        return packed

    return storage.gpu, encoder._packed.get_of_tensors(tensors, pack, storage)


def packed_lstm(lstm: Any) -> tuple[CudaDevice, CudaLstm]:
    """Returns the kernels and the packed parameters of a biLSTM."""
    tensors = lstm._tensors()
    storage = storage_for(tensors, lstm.precision)
    assert storage is not None

    def pack(tensors: Sequence[Tensor]) -> CudaLstm:
        with storage.gpu.guard():
            groups = storage.gpu.persistent_groups(storage.dtype, lstm.hidden_size, lstm.cell_size)
            packed = CudaLstm.pack(
                storage.dtype, lstm_layers(tensors), lstm._cell_clip, lstm._proj_clip, lstm.use_skip_connections, groups
            )
            storage.gpu.finish()
        return packed

    return storage.gpu, lstm._packed.get_of_tensors(tensors, pack, storage)


def packed_bilm(bilm: Any) -> CudaBiLm | None:
    """Returns the packed parameters of a whole biLM, or None if its two parts are stored in different dtypes."""
    gpu, encoder = packed_encoder(bilm._token_embedder)
    _, lstm = packed_lstm(bilm._elmo_lstm)
    return CudaBiLm(gpu, encoder, lstm) if encoder.dtype == lstm.dtype else None


def _own_state(lstm: Any, slot: StateSlot, batch_size: int, device: torch.device) -> State | None:
    """Returns a copy of the slot's state for the kernels to overwrite; None if it is zero and not read afterwards."""
    if slot.initial is not None:
        # Copied, because the call must not write into a state to which others may hold references.
        return tuple(part.to(device, torch.float32, copy=True).contiguous() for part in slot.initial)
    if not slot.keep:
        return None
    sizes = (2 * lstm.hidden_size, 2 * lstm.cell_size)
    return tuple(torch.zeros(lstm.num_layers, batch_size, size, dtype=torch.float32, device=device) for size in sizes)
