"""The scalar mix on CUDA: all layers in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elmo_fast.cuda.device import CudaDevice

MOST_LAYERS = 8


def mix_layers(gpu: CudaDevice, layers: Sequence[Tensor], weights: Tensor, mask: Tensor) -> Tensor:
    """Mixes layers, leaving out their sentence markers.

    Args:
        gpu: the kernels of the device.
        layers: each (batch_size, num_timesteps + 2, dim), float32, float16 or bfloat16, contiguous.
        weights: (n_layers,) float32, the factor for each layer.
        mask: (batch_size, num_timesteps) bool, without markers.
    Returns:
        (batch_size, num_timesteps, dim) in the layers' dtype, zero where the mask is false.
    Raises:
        ValueError: a tensor has the wrong device, dtype or shape.
    """
    batch_size, num_timesteps = mask.shape
    dtype, dim = layers[0].dtype, layers[0].shape[-1]
    out = gpu.empty(batch_size, num_timesteps, dim, dtype=dtype)
    if out.numel() == 0:
        return out
    shape = (batch_size, num_timesteps + 2, dim)
    addresses = [gpu.address(f"layers[{k}]", layer, dtype, *shape) for k, layer in enumerate(layers)]
    mask = mask.contiguous()
    params = gpu.kernels.ScalarMixParams()
    params.weights = gpu.address("weights", weights, torch.float32, len(layers))
    params.mask = gpu.address("mask", mask, torch.bool, batch_size, num_timesteps)
    params.out = out.data_ptr()
    params.batch_size, params.num_timesteps, params.dim = batch_size, num_timesteps, dim
    gpu.kernels.scalar_mix(
        device=gpu.number,
        storage=gpu.storage(dtype),
        params=params,
        layers=addresses,
        stream=gpu.stream(),
    )
    return out
