"""The implementations that are timed side by side; each takes character ids and returns the representation."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

import torch
from texts import test_data

Model = Callable[[torch.Tensor], torch.Tensor]


def load_peer(name: str, options_file: str, weight_file: str) -> Model:
    """Builds one whole `Elmo`, dropout off.

    Args:
        name: "elmo_fast"; "reference", this project's plain PyTorch definition; or "allennlp", AllenNLP 2.10.1.
    Raises:
        ImportError: AllenNLP is not installed.
    """
    if name == "allennlp":
        Elmo = _import_allennlp().Elmo
    else:
        from elmo_fast import Elmo
    module = Elmo(options_file, weight_file, 1, dropout=0.0).eval()
    # AllenNLP carries state from call to call; ours is asked to do the same, so that both do the same work.
    if name == "reference":
        # A gradient asked for sends a call to reference.py; the mix does not need it.
        module.requires_grad_(True)
        return lambda ids: module(ids)["elmo_representations"][0].detach()

    def forward(ids: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return module(ids)["elmo_representations"][0]

    return forward


def available(names: list[str]) -> list[str]:
    """Those of the names that can be imported; says which cannot."""
    found = []
    for name in names:
        if name == "allennlp":
            try:
                _import_allennlp()
            except ImportError as error:
                print(f"left out: AllenNLP cannot be imported ({error})", file=sys.stderr)
                continue
        found.append(name)
    return found


def _import_allennlp() -> ModuleType:
    tools = str(test_data() / "tools")
    if tools not in sys.path:
        sys.path.insert(0, tools)
    return importlib.import_module("allennlp_peer")
