"""A whole biLM on CUDA: character ids in, all layers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elmo_fast import reference
from elmo_fast.characters import marker_char_ids
from elmo_fast.cuda.device import CudaDevice
from elmo_fast.cuda.encoder import encode_tokens
from elmo_fast.cuda.lstm import run_bilstm
from elmo_fast.cuda.pack import CudaEncoder, CudaLstm
from elmo_fast.cuda.plan import plan_batch, plan_padded
from elmo_fast.native import _cpu as cpu
from elmo_fast.state import State


@dataclass(frozen=True)
class CudaBiLm:
    """The packed weights of a biLM on one device."""

    gpu: CudaDevice
    encoder: CudaEncoder
    lstm: CudaLstm

    @property
    def num_layers(self) -> int:
        return len(self.lstm.layers) + 1

    def zero_state(self, batch_size: int) -> State:
        """Returns a float32 state of zeros, which `forward` can start from and overwrite."""
        sizes = (2 * self.lstm.projection_dim, 2 * self.lstm.cell_size)
        return tuple(self.gpu.zeros(self.num_layers - 1, batch_size, size) for size in sizes)

    def forward(self, char_ids: np.ndarray, state: State | None) -> tuple[Tensor, Tensor]:
        """Computes all layers. Each distinct word is encoded once, and padding is not computed.

        The batch is planned on the host.

        Args:
            char_ids: (batch_size, num_timesteps, max_characters), the result of `elmo_fast.characters.char_ids_array`.
            state: see `elmo_fast.cuda.lstm.run_bilstm`.
        Returns:
            The activations, (num_layers, batch_size, num_timesteps + 2, 2 * projection_dim) in the storage dtype,
            markers included, zero on padding; and the mask, (batch_size, num_timesteps + 2) bool.
        Raises:
            ValueError: the model does not know an id.
        """
        distinct, index, mask = cpu.distinct_tokens(char_ids, self.encoder.n_ids)
        plan = plan_batch(self.gpu, index, mask.sum(axis=1, dtype=np.int64))
        there = torch.from_numpy(mask).to(self.gpu.device)
        tokens = torch.from_numpy(index).to(self.gpu.device)
        with self.gpu.guard():
            table = encode_tokens(self.gpu, self.encoder, torch.from_numpy(distinct).to(self.gpu.device))
            out = self._outputs(there)
            if len(table):
                self._duplicate(table.index_select(0, tokens.flatten()), there, out)
            run_bilstm(self.gpu, self.lstm, table, plan, state, out[1:])
        return out, there

    def markers(self) -> tuple[Tensor, Tensor]:
        """Returns the character ids of `<S>` and `</S>` on the device, int32."""
        ids = marker_char_ids(self.encoder.max_characters)
        return tuple(torch.tensor(marker, dtype=torch.int32, device=self.gpu.device) for marker in ids)

    def forward_padded(
        self, char_ids: Tensor, markers: tuple[Tensor, Tensor], state: State | None
    ) -> tuple[Tensor, Tensor]:
        """Same as `forward`, but runs entirely on the device, so that a CUDA graph can capture it.

        Nothing is read back. Every position is encoded, and every step runs all rows. The results are the same.

        Args:
            char_ids: (batch_size, num_timesteps, max_characters) int32 on the device. An unknown id gives NaN.
            markers: the result of `self.markers()`.
            state: see `elmo_fast.cuda.lstm.run_bilstm`.
        """
        ids, mask = reference.add_markers(char_ids, (char_ids > 0).any(dim=-1), *markers)
        with self.gpu.guard():
            plan = plan_padded(self.gpu, mask.sum(dim=1, dtype=torch.int32), mask.shape[1])
            table = encode_tokens(self.gpu, self.encoder, ids.flatten(0, 1).contiguous())
            out = self._outputs(mask)
            self._duplicate(table, mask, out)
            run_bilstm(self.gpu, self.lstm, table, plan, state, out[1:])
        return out, mask

    def _outputs(self, mask: Tensor) -> Tensor:
        return self.gpu.zeros(self.num_layers, *mask.shape, 2 * self.lstm.projection_dim, dtype=self.lstm.dtype)

    def _duplicate(self, tokens: Tensor, mask: Tensor, out: Tensor) -> None:
        """Fills layer 0: the token embedding once per direction, zero where the mask is false."""
        halves = out[0].unflatten(-1, (2, self.lstm.projection_dim))
        halves.copy_(tokens.view(*mask.shape, 1, self.lstm.projection_dim).expand_as(halves))
        halves.masked_fill_(~mask[:, :, None, None], 0.0)
