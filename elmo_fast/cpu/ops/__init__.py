"""The native passes as torch operators, for autograd, `torch.compile` and `torch.export`.

- `elmo_fast::encode_tokens`: character ids -> the embeddings of the distinct words, and the word of each token.
- `elmo_fast::bilstm`: those -> the outputs of every layer, and the final state.

Both are functional: a carried state goes in and comes out as a tensor, and results depend only on the arguments. `key`
only finds the packed copy of the weights that an earlier call made (`elmo_fast.packed_cache`). Character ids, indices
and lengths have no gradients; everything else does.

torch keeps compiled programs on disk under the operators' names, across versions of this package. An operator whose
arguments or results change their meaning must therefore get a new name, or an old program would call it wrongly.
"""

from __future__ import annotations

import torch

from elmo_fast.cpu.ops import bilstm_op, encoder_op  # noqa: F401  # they register the operators

encode_tokens = torch.ops.elmo_fast.encode_tokens
bilstm = torch.ops.elmo_fast.bilstm

__all__ = ["bilstm", "encode_tokens"]
