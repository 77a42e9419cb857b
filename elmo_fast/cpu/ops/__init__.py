"""The native passes as torch operators, for autograd, `torch.compile` and `torch.export`.

- `elmo_fast::encode_tokens`: character ids -> the distinct words' embeddings, and which word each token is.
- `elmo_fast::bilstm`: those -> every layer's outputs and the final state.

Both are functional: a carried state goes in and comes out as a tensor, and nothing they return depends on anything but
their arguments. `key` only finds the packed copy of the weights that an earlier call made (`elmo_fast.packed_cache`).
Gradients of character ids, indices and lengths do not exist; those of everything else do.

torch keeps compiled programs on disk under the operators' names, across versions of this package: an operator whose
arguments or results change their meaning gets a new name, or an old program would call it wrongly.
"""

from __future__ import annotations

import torch

from elmo_fast.cpu.ops import bilstm_op, encoder_op  # noqa: F401  # they register the operators

encode_tokens = torch.ops.elmo_fast.encode_tokens
bilstm = torch.ops.elmo_fast.bilstm

__all__ = ["bilstm", "encode_tokens"]
