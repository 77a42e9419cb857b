"""This package's own definition in plain PyTorch, as a peer."""

from __future__ import annotations

import torch
from torch import Tensor

from elmo_fast import dispatch
from elmo_fast.bench.peers import Forward
from elmo_fast.elmo import Elmo


def load(options_file: str, weight_file: str, device: torch.device | str = "cpu") -> Forward:
    """Builds it; see `elmo_fast.bench.peers.load`."""
    module = Elmo(options_file, weight_file, 1, dropout=0.0).eval().to(device)

    def forward(char_ids: Tensor) -> Tensor:
        # Otherwise the reference runs only with autograd on, in another dtype or on another device: slower ways.
        with torch.inference_mode(), dispatch.only("reference"):
            return module(char_ids)["elmo_representations"][0]

    return forward
