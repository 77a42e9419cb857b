"""The token encoder on CUDA: the char-CNN kernel, torch's matrix products, and the highway kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from elmo_fast.cuda.device import CudaDevice
from elmo_fast.cuda.pack import CudaEncoder


def encode_tokens(gpu: CudaDevice, weights: CudaEncoder, char_ids: Tensor) -> Tensor:
    """Encodes tokens.

    Args:
        gpu: the kernels of the device.
        weights: the packed weights, on that device.
        char_ids: (n, max_characters) int32 on that device. A row with an unknown id gives NaN.
    Returns:
        The token embeddings, (n, output_dim) in the storage dtype.
    Raises:
        ValueError: a tensor has the wrong device, dtype or shape.
    """
    n = len(char_ids)
    if n == 0:
        return gpu.empty(0, weights.output_dim, dtype=weights.dtype)
    x = _char_cnn(gpu, weights, char_ids)
    for weight, bias in weights.highways:
        gates = torch.addmm(bias, x, weight.t())
        # In place, which is safe because each thread reads only the element of x that it writes.
        gpu.kernels.highway(
            device=gpu.number,
            storage=gpu.storage(weights.dtype),
            gates=gpu.address("gates", gates, weights.dtype, n, 2 * x.shape[1]),
            x=x.data_ptr(),
            out=x.data_ptr(),
            n=n,
            size=x.shape[1],
            stream=gpu.stream(),
        )
    return x if weights.projection is None else torch.addmm(weights.projection[1], x, weights.projection[0].t())


def _char_cnn(gpu: CudaDevice, weights: CudaEncoder, char_ids: Tensor) -> Tensor:
    n, n_filters = len(char_ids), sum(weights.n_filters)
    out = gpu.empty(n, n_filters, dtype=weights.dtype)
    params = gpu.kernels.CharCnnParams()
    params.char_ids = gpu.address("char_ids", char_ids, torch.int32, n, weights.max_characters)
    params.tables = gpu.address("tables", weights.tables, weights.dtype, weights.tables.numel())
    params.bias = gpu.address("bias", weights.bias, torch.float32, n_filters)
    params.out = out.data_ptr()
    params.n, params.max_characters, params.n_ids = n, weights.max_characters, weights.n_ids
    params.is_tanh = weights.activation == "tanh"
    gpu.kernels.char_cnn(
        device=gpu.number,
        storage=gpu.storage(weights.dtype),
        params=params,
        widths=weights.widths,
        n_filters=weights.n_filters,
        stream=gpu.stream(),
    )
    return out
