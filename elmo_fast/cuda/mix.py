"""The scalar mix on CUDA: all layers in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elmo_fast import dispatch
from elmo_fast.cuda.backend import Backend, choose

MOST_LAYERS = 8


def mix_backend(layers: Sequence[Tensor], parameters: Sequence[Tensor]) -> Backend | None:
    """Returns the kernels that can mix these layers by these parameters now, or None: see `backend.choose`."""
    if len(layers) > MOST_LAYERS or dispatch.needs_gradient((*layers, *parameters)):
        return None
    choice = choose(layers, "float32")
    return None if choice is None or any(p.device != layers[0].device for p in parameters) else choice.backend


def mix_layers(backend: Backend, layers: Sequence[Tensor], weights: Tensor, mask: Tensor) -> Tensor:
    """Mixes layers, without their sentence markers.

    Args:
        backend: the device's kernels.
        layers: each (batch_size, num_timesteps + 2, dim), float32, float16 or bfloat16, contiguous.
        weights: (n_layers,) float32: what each layer is multiplied by.
        mask: (batch_size, num_timesteps) bool, without markers.
    Returns:
        (batch_size, num_timesteps, dim) in the layers' dtype, zero where the mask is false.
    Raises:
        ValueError: a tensor has the wrong device, dtype or shape.
    """
    batch_size, num_timesteps = mask.shape
    dtype, dim = layers[0].dtype, layers[0].shape[-1]
    out = backend.empty(batch_size, num_timesteps, dim, dtype=dtype)
    if out.numel() == 0:
        return out
    shape = (batch_size, num_timesteps + 2, dim)
    addresses = [backend.address(f"layers[{k}]", layer, dtype, *shape) for k, layer in enumerate(layers)]
    mask = mask.contiguous()
    params = backend.kernels.ScalarMixParams()
    params.weights = backend.address("weights", weights, torch.float32, len(layers))
    params.mask = backend.address("mask", mask, torch.bool, batch_size, num_timesteps)
    params.out = out.data_ptr()
    params.batch_size, params.num_timesteps, params.dim = batch_size, num_timesteps, dim
    backend.kernels.scalar_mix(
        device=backend.number,
        storage=backend.storage(dtype),
        params=params,
        layers=addresses,
        stream=backend.stream(),
    )
    return out
