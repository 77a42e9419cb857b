"""The native passes as torch operators, for autograd, `torch.compile` and `torch.export`.

- `elmo_fast::encode_tokens` takes character ids. It returns a table with the embeddings of the distinct words, and the
  table row of each token.
- `elmo_fast::bilstm` takes such a table and rows. It returns the outputs of every layer, and the final state.

Both are functional: a carried state is passed in and returned as tensors, and results depend only on the arguments.
`key` serves only to find the packed copy of the weights that an earlier call made (see `elmo_fast.packed_cache`).
Character ids, indices and lengths have no gradients; all other inputs do.

torch keeps compiled programs on disk across versions of this package, and they refer to operators by name. If the
meaning of an operator's arguments or results changes, it must therefore get a new name, or an old program would call it
incorrectly.
"""

from __future__ import annotations

import torch

from elmo_fast.cpu.ops import bilstm_op, encoder_op  # noqa: F401  # imported to register the operators

encode_tokens = torch.ops.elmo_fast.encode_tokens
bilstm = torch.ops.elmo_fast.bilstm

__all__ = ["bilstm", "encode_tokens"]
