"""The biLSTM on CUDA.

torch multiplies the inputs of many steps at once by the input weights. Either the step kernels or the persistent kernel
then compute the steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elmo_fast.cuda.device import CudaDevice
from elmo_fast.cuda.pack import TILE, CudaLstm, DirectionWeights, padded
from elmo_fast.cuda.plan import CHUNK_TOKENS, BatchPlan
from elmo_fast.state import State


def run_bilstm(
    gpu: CudaDevice, weights: CudaLstm, table: Tensor, plan: BatchPlan, state: State | None, out: Tensor
) -> None:
    """Runs all layers over ragged rows.

    Args:
        gpu: the kernels of the device.
        weights: the packed weights, on that device.
        table: (n, input_size) in the storage dtype; the plan's slots refer to its rows.
        plan: the plan of the batch.
        state: the initial state, overwritten with the final state: h (n_layers, batch_size, 2 * projection_dim) and c
            (n_layers, batch_size, 2 * cell_size), float32. With None, the initial state is zero, and the final state is
            not stored.
        out: (n_layers, batch_size, num_timesteps, 2 * projection_dim) in the storage dtype, filled with zeros. Only
            positions within the rows' lengths are written.
    """
    if plan.n_rows == 0:
        return
    below: Tensor | None = None
    persistent = None
    if weights.layers[0][0].fragments is not None:
        persistent = gpu.persistent_plan(weights.dtype, weights.projection_dim, weights.cell_size, plan.n_rows)
    for number, layer in enumerate(weights.layers):
        above = None
        if number + 1 < len(weights.layers):
            # Zeros, because when only the device knows the lengths, positions beyond them are included in the next
            # layer's product, although the result is never used.
            above = gpu.zeros(2, plan.n_tokens, weights.projection_dim, dtype=weights.dtype)
        buffers = _Buffers(gpu, weights, plan, state, number, persistent)
        params = buffers.params(out[number], below if weights.use_skip_connections else None, above)
        inputs = _Inputs(gpu, layer, plan, table if below is None else below, from_table=below is None)
        for first_step, last_step in inputs.chunks():
            xw = inputs.product(first_step, last_step)  # kept alive until the kernels are launched
            inputs.describe(params, xw, first_step)
            _launch(gpu, weights, params, plan, persistent, first_step, last_step)
        if state is not None:
            buffers.store(state, number)
        below = above


def _launch(
    gpu: CudaDevice, weights: CudaLstm, params: Any, plan: BatchPlan, persistent: Any, first: int, last: int
) -> None:
    common = {"device": gpu.number, "storage": gpu.storage(weights.dtype), "layer": params}
    steps = {"first_step": first, "last_step": last, "stream": gpu.stream()}
    if persistent is None:
        gpu.kernels.lstm_steps(**common, first_of_step=plan.first_of_step, **steps)
    else:
        offsets = plan.device_first_of_step.data_ptr()
        gpu.kernels.lstm_persistent(**common, plan=persistent, first_of_step=offsets, **steps)


class _Inputs:
    """The products of a layer's inputs and input weights in both directions, one chunk of steps at a time."""

    def __init__(
        self,
        gpu: CudaDevice,
        layer: tuple[DirectionWeights, DirectionWeights],
        plan: BatchPlan,
        rows: Tensor,
        *,
        from_table: bool,
    ) -> None:
        self._gpu = gpu
        self._layer = layer
        self._plan = plan
        self._rows = rows
        self._from_table = from_table
        # Multiplying the whole table lets equal words share a row of the product.
        self._whole_table = from_table and len(rows) <= min(CHUNK_TOKENS, plan.n_tokens)

    def chunks(self) -> list[tuple[int, int]]:
        return [(0, self._plan.n_steps)] if self._whole_table else list(self._plan.chunks())

    def product(self, first_step: int, last_step: int) -> list[Tensor]:
        """Returns the product for each direction, (rows, 4 * cell_size), bias included."""
        first, last = self._plan.first_of_step[first_step], self._plan.first_of_step[last_step]
        products = []
        for direction, weights in enumerate(self._layer):
            if self._whole_table:
                x = self._rows
            elif self._from_table:
                x = self._rows.index_select(0, self._plan.slots[direction, first:last])
            else:
                x = self._rows[direction, first:last]
            products.append(torch.addmm(weights.bias, x, weights.input.t()))
        return products

    def _address(self, product: Tensor) -> int:
        return self._gpu.address("xw", product, self._layer[0].state.dtype, *product.shape)

    def describe(self, params: Any, products: list[Tensor], first_step: int) -> None:
        """Sets the addresses of the products and weights in the kernels' parameters."""
        params.xw = tuple(map(self._address, products))
        params.first_token = self._plan.first_of_step[first_step]
        if self._whole_table:
            params.slots = tuple(slots.data_ptr() for slots in self._plan.slots)
        first, second = self._layer
        params.state_weights = first.state.data_ptr(), second.state.data_ptr()
        params.projection_weights = first.projection.data_ptr(), second.projection.data_ptr()
        if first.fragments is not None and second.fragments is not None:
            params.fragments = first.fragments.data_ptr(), second.fragments.data_ptr()


class _Buffers:
    """The state of a layer in the order of the plan's rows, and the outputs of its cells: float32, zero-padded.

    The persistent kernel has h in the storage dtype, too, and scratch memory for partial sums.
    """

    def __init__(
        self, gpu: CudaDevice, weights: CudaLstm, plan: BatchPlan, state: State | None, number: int, persistent: Any
    ) -> None:
        self._gpu, self._weights, self._plan = gpu, weights, plan
        n, projection_dim, cell_size = plan.n_rows, weights.projection_dim, weights.cell_size
        self.h = gpu.zeros(2, n, padded(projection_dim))
        self.c = gpu.zeros(2, n, cell_size)
        self.m = gpu.zeros(2, n, padded(cell_size))
        self.stored_h = self.partials = None
        if state is not None:
            for buffer, part, size in ((self.h, state[0], projection_dim), (self.c, state[1], cell_size)):
                rows = part[number].index_select(0, plan.rows)
                buffer[:, :, :size] = rows.view(n, 2, size).transpose(0, 1)
        if persistent is not None:
            size = -(-projection_dim // TILE) * TILE
            self.stored_h = gpu.zeros(2, n, size, dtype=weights.dtype)
            if state is not None:
                self.stored_h[:, :, :projection_dim] = self.h[:, :, :projection_dim]
            rows_at_once = gpu.kernels.PERSISTENT_ROWS
            self.partials = gpu.empty(2, rows_at_once, persistent.blocks, size, dtype=torch.float32)

    def store(self, state: State, number: int) -> None:
        rows = self._plan.rows.long()
        for buffer, part in zip((self.h, self.c), state, strict=True):
            size = part.shape[2] // 2
            part[number].index_copy_(0, rows, buffer[:, :, :size].transpose(0, 1).reshape(len(rows), 2 * size))

    def params(self, out: Tensor, below: Tensor | None, above: Tensor | None) -> Any:
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
        if self.stored_h is not None and self.partials is not None:
            params.stored_h, params.partials = self.stored_h.data_ptr(), self.partials.data_ptr()
            if plan.device_n_steps is not None:
                params.n_steps = gpu.address("n_steps", plan.device_n_steps, torch.int32)
        params.cell_clip, params.proj_clip = weights.cell_clip, weights.proj_clip
        params.n_rows, params.num_timesteps = plan.n_rows, plan.num_timesteps
        params.projection_dim, params.cell_size = weights.projection_dim, weights.cell_size
        return params
