"""The products of a layer's inputs and input weights, one chunk of steps at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elmo_fast.cuda.device import CudaDevice
from elmo_fast.cuda.pack import LayerWeights
from elmo_fast.cuda.plan import CHUNK_TOKENS, BatchPlan


class LayerInputs:
    """Computes the products of both directions for a chunk of steps, and describes them to the kernels.

    Args:
        gpu, layer, plan: the kernels of the device, the layer's weights, the plan of the batch.
        rows: the layer's input: the table of tokens (n, input_size), or the layer below (2, n_tokens, input_size).
        from_table: which of the two.
    """

    def __init__(
        self, gpu: CudaDevice, layer: LayerWeights, plan: BatchPlan, rows: Tensor, *, from_table: bool
    ) -> None:
        self._gpu = gpu
        self._layer = layer
        self._plan = plan
        self._rows = rows
        self._from_table = from_table
        # Multiplying the whole table lets equal words share a row of the product.
        self._whole_table = from_table and len(rows) <= min(CHUNK_TOKENS, plan.n_tokens)

    def chunks(self) -> list[tuple[int, int]]:
        """Returns (first step, step after the last) for each chunk."""
        return [(0, self._plan.n_steps)] if self._whole_table else list(self._plan.chunks())

    def product(self, first_step: int, last_step: int) -> list[Tensor]:
        """Returns the product for each direction, (rows, 4 * cell_size), bias included."""
        first, last = self._plan.first_of_step[first_step], self._plan.first_of_step[last_step]
        products = []
        for direction, (weight, bias) in enumerate(zip(self._layer.input, self._layer.bias, strict=True)):
            if self._whole_table:
                x = self._rows
            elif self._from_table:
                x = self._rows.index_select(0, self._plan.slots[direction, first:last])
            else:
                x = self._rows[direction, first:last]
            products.append(torch.addmm(bias, x, weight.t()))
        return products

    def describe(self, params: Any, products: list[Tensor], first_step: int) -> None:
        """Sets the addresses of the products and weights in the kernels' parameters."""
        dtype = self._layer.state.dtype
        params.xw = tuple(self._gpu.address("xw", product, dtype, *product.shape) for product in products)
        params.first_token = self._plan.first_of_step[first_step]
        if self._whole_table:
            params.slots = tuple(slots.data_ptr() for slots in self._plan.slots)
        params.state_weights = tuple(weight.data_ptr() for weight in self._layer.state)
        params.projection_weights = tuple(weight.data_ptr() for weight in self._layer.projection)
        if self._layer.fragments is not None:
            params.fragments = tuple(weight.data_ptr() for weight in self._layer.fragments)
