"""The `repr` of the public classes."""

from __future__ import annotations

import torch

from elmo_fast import models
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.precision import CUDA_PRECISIONS, NativePrecision


def summary_of(
    model: str | None, num_layers: int, output_dim: int, state: str, precision: NativePrecision, device: torch.device
) -> str:
    """Describes a model in one line.

    Args:
        model: `elmo_fast.models.describe` of it; None where it is unknown.
        num_layers, output_dim: its sizes.
        state: its state mode.
        precision: the object that has its precision.
        device: where it runs.
    Returns:
        "name=value" items, separated by commas.
    """
    items = [
        *([] if model is None else [f"model={model!r}"]),
        f"num_layers={num_layers}",
        f"output_dim={output_dim}",
        f"state={state!r}",
        f"precision={_precision(precision, device)}",
        f"device={str(device)!r}",
    ]
    return ", ".join(items)


def summary_of_bilm(bilm: ElmoBiLm, model: str | None = None) -> str:
    """Describes a biLM module in one line; `model` is that of `summary_of`, its weights file if None."""
    weight_file = getattr(bilm._token_embedder, "_weight_file", None)
    if model is None and weight_file is not None:
        model = models.describe(weight_file)
    parameter = next(bilm.parameters(), torch.empty(0))
    return summary_of(model, bilm.num_layers, bilm.get_output_dim(), bilm.state, bilm, parameter.device)


def _precision(precision: NativePrecision, device: torch.device) -> str:
    asked = precision.precision
    if device.type == "cpu":
        in_use = precision.precision_in_use
    else:
        in_use = asked if device.type == "cuda" and asked in CUDA_PRECISIONS else "float32"
    return repr(asked) if in_use == asked else f"{asked!r} (runs as {in_use!r})"
