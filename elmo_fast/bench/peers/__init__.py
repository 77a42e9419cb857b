"""What one could use instead of the native kernels; each is loaded as a function from character ids to vectors.

| name | what it is |
|---|---|
| `reference` | `elmo_fast.reference`, the same arithmetic in plain PyTorch |
| `allennlp` | AllenNLP 2.10.1, float32 |
| `allennlp-bf16` | the same after `.bfloat16()` |
| `allennlp-tf32` | the same on a GPU, with TF32 products allowed |
| `allennlp-fp16` | the same on a GPU, after `.half()` |
| `allennlp-int8` | the same after `torch.ao.quantization.quantize_dynamic` of its linear layers |
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Forward = Callable[[Tensor], Tensor]

PRECISIONS = {
    "reference": "float32",
    "allennlp": "float32",
    "allennlp-bf16": "bfloat16",
    "allennlp-int8": "int8",
    "allennlp-tf32": "tf32",
    "allennlp-fp16": "float16",
}
"""Every peer and the arithmetic of its matrix products."""


def load(name: str, options_file: str, weight_file: str, device: torch.device | str = "cpu") -> Forward:
    """Builds a peer: a whole `Elmo` with one representation, without dropout, its state carried from call to call.

    Args:
        name: one of `PRECISIONS`.
        device: where it runs, and where its character ids must be.
    Returns:
        a function from character ids (batch_size, num_timesteps, 50) int64 to vectors (batch_size, num_timesteps, dim).
    Raises:
        ImportError: the peer, or a part of torch that it needs, cannot be imported.
    """
    if name == "reference":
        from elmo_fast.bench.peers import reference

        return reference.load(options_file, weight_file, device)
    from elmo_fast.bench.peers import allennlp

    return allennlp.load(options_file, weight_file, PRECISIONS[name], device)
