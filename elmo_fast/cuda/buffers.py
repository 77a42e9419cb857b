"""The memory of a layer while it runs: its state in the order of the plan's rows, and scratch memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elmo_fast.cuda.device import CudaDevice
from elmo_fast.cuda.pack import TILE, CudaLstm, padded
from elmo_fast.cuda.plan import BatchPlan
from elmo_fast.state import State


class LayerBuffers:
    """The state of a layer, zero-padded, and the outputs of its cells.

    Attributes:
        h, c, m: (2, n_rows, padded size) float32; m is read by the step kernels alone.
        stored_h: h in the storage dtype, which the other kernels multiply.
        partials: scratch memory of the persistent kernel, or None.
    """

    def __init__(
        self, gpu: CudaDevice, weights: CudaLstm, plan: BatchPlan, state: State | None, number: int, persistent: Any
    ) -> None:
        self._gpu, self._weights, self._plan = gpu, weights, plan
        n, projection_dim, cell_size = plan.n_rows, weights.projection_dim, weights.cell_size
        size = -(-projection_dim // TILE) * TILE
        self.h = gpu.zeros(2, n, padded(projection_dim))
        self.c = gpu.zeros(2, n, cell_size)
        self.m = (
            gpu.empty(2, n, cell_size, dtype=torch.float32)
            if cell_size == padded(cell_size)
            else gpu.zeros(2, n, padded(cell_size))
        )
        self.stored_h = gpu.zeros(2, n, size, dtype=weights.dtype)
        self.partials: Tensor | None = None
        if persistent is not None:
            shape = 2, gpu.kernels.PERSISTENT_ROWS, persistent.blocks, size
            self.partials = gpu.empty(*shape, dtype=torch.float32)
        if state is not None:
            for buffer, part in ((self.h, state[0]), (self.stored_h, state[0]), (self.c, state[1])):
                rows = part[number].index_select(0, plan.rows)
                buffer[:, :, : part.shape[2] // 2] = rows.view(n, 2, -1).transpose(0, 1)

    def store(self, state: State, number: int) -> None:
        """Writes a layer's final state into its place in `state`."""
        rows = self._plan.rows.long()
        for buffer, part in zip((self.h, self.c), state, strict=True):
            size = part.shape[2] // 2
            part[number].index_copy_(0, rows, buffer[:, :, :size].transpose(0, 1).reshape(len(rows), 2 * size))

    def params(self, out: Tensor, below: Tensor | None, above: Tensor | None) -> Any:
        """Returns the kernels' parameters, without the inputs' products and the weights."""
        gpu, weights, plan = self._gpu, self._weights, self._plan
        params = gpu.kernels.LstmLayerParams()
        params.out = gpu.address(
            "out", out, weights.dtype, plan.batch_size, plan.num_timesteps, 2 * weights.projection_dim
        )
        for name, tensor in (("below", below), ("above", above)):
            if tensor is not None:
                setattr(params, name, tuple(direction.data_ptr() for direction in tensor))
        params.lengths = gpu.address("lengths", plan.lengths, torch.int32, plan.n_rows)
        params.rows = gpu.address("rows", plan.rows, torch.int32, plan.n_rows)
        params.h, params.c, params.m = self.h.data_ptr(), self.c.data_ptr(), self.m.data_ptr()
        params.stored_h = self.stored_h.data_ptr()
        if self.partials is not None:
            params.partials = self.partials.data_ptr()
        if plan.device_n_steps is not None:
            params.n_steps = gpu.address("n_steps", plan.device_n_steps, torch.int32)
        params.cell_clip, params.proj_clip = weights.cell_clip, weights.proj_clip
        params.n_rows, params.num_timesteps = plan.n_rows, plan.num_timesteps
        params.projection_dim, params.cell_size = weights.projection_dim, weights.cell_size
        return params
