"""The biLSTM on CUDA: which kernels compute which steps.

torch multiplies the inputs of many steps at once by the input weights. Of the steps themselves,

- those of many rows are torch's products, with two kernels around them,
- those of few rows are the persistent kernel's, if it can run, else the step kernels'.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elmo_fast.cuda.buffers import LayerBuffers
from elmo_fast.cuda.device import CudaDevice
from elmo_fast.cuda.inputs import LayerInputs
from elmo_fast.cuda.pack import CudaLstm, LayerWeights
from elmo_fast.cuda.plan import BatchPlan
from elmo_fast.state import State

ROWS_FOR_PRODUCTS = {2: 16, 4: 48}
"""From this many rows on, torch's products are faster than the step kernels, by the bytes of a weight (on an H200)."""
ROWS_FOR_PRODUCTS_OVER_PERSISTENT = 48
"""The same for the persistent kernel."""


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
    if weights.layers[0].fragments is not None:
        persistent = gpu.persistent_plan(weights.dtype, weights.projection_dim, weights.cell_size, plan.n_rows)
    enough = ROWS_FOR_PRODUCTS_OVER_PERSISTENT if persistent else ROWS_FOR_PRODUCTS[weights.dtype.itemsize]
    for number, layer in enumerate(weights.layers):
        above = None
        if number + 1 < len(weights.layers):
            # Zeros, because when only the device knows the lengths, positions beyond them are included in the next
            # layer's product, although the result is never used.
            above = gpu.zeros(2, plan.n_tokens, weights.projection_dim, dtype=weights.dtype)
        buffers = LayerBuffers(gpu, weights, plan, state, number, persistent)
        params = buffers.params(out[number], below if weights.use_skip_connections else None, above)
        inputs = LayerInputs(gpu, layer, plan, table if below is None else below, from_table=below is None)
        for first_step, last_step in inputs.chunks():
            xw = inputs.product(first_step, last_step)  # kept alive until the kernels are launched
            inputs.describe(params, xw, first_step)
            middle = first_step
            while middle < last_step and plan.n_active(middle) >= enough:
                _product_step(gpu, weights, layer, params, buffers.stored_h, plan, middle)
                middle += 1
            if middle < last_step and not _launch(gpu, weights, params, plan, persistent, middle, last_step):
                persistent = None  # stored_h is no longer that of the last step
        if state is not None:
            buffers.store(state, number)
        below = above


def _product_step(
    gpu: CudaDevice, weights: CudaLstm, layer: LayerWeights, params: Any, h: Tensor, plan: BatchPlan, step: int
) -> None:
    """Runs one step of both directions.

    Args:
        h: (2, n_rows, padded projection_dim) in the storage dtype, the state that the step reads and overwrites.
    """
    n_active = plan.n_active(step)
    common = {
        "device": gpu.number,
        "storage": gpu.storage(weights.dtype),
        "layer": params,
        "step": step,
        "n_active": n_active,
        "first_token": plan.first_of_step[step],
        "stream": gpu.stream(),
    }
    gates = gpu.product(h[:, :n_active, : weights.projection_dim], layer.state[:, :, : weights.projection_dim])
    m = gpu.empty(2, n_active, weights.cell_size, dtype=weights.dtype)
    in_float = gates.dtype == torch.float32
    gpu.kernels.lstm_product_cells(values=gates.data_ptr(), m=m.data_ptr(), in_float=in_float, **common)
    outputs = gpu.product(m, layer.projection[:, :, : weights.cell_size])
    gpu.kernels.lstm_product_outputs(values=outputs.data_ptr(), m=0, in_float=in_float, **common)


def _launch(
    gpu: CudaDevice, weights: CudaLstm, params: Any, plan: BatchPlan, persistent: Any, first: int, last: int
) -> bool:
    """Runs steps [first, last); returns whether the kernel that was wanted ran them."""
    common = {"device": gpu.number, "storage": gpu.storage(weights.dtype), "layer": params}
    steps = {"first_step": first, "last_step": last, "stream": gpu.stream()}
    if persistent is not None:
        offsets = plan.device_first_of_step.data_ptr()
        try:
            gpu.kernels.lstm_persistent(**common, plan=persistent, first_of_step=offsets, **steps)
            return True
        except RuntimeError as error:
            # Room for all blocks at once can vanish after it was found: another process may take multiprocessors.
            if "CooperativeLaunchTooLarge" not in str(error):
                raise
    gpu.kernels.lstm_steps(**common, first_of_step=plan.first_of_step, **steps)
    return persistent is None
