"""Registers the operators of this package with torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def define(schema: str) -> None:
    """Defines an operator from its schema, "name(arguments) -> results"."""
    name, bracket, rest = schema.partition("(")
    torch.library.define(f"elmo_fast::{name}", bracket + rest)


def cpu_kernel(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns a decorator that registers a function as the CPU implementation of an operator."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def in_float32(*arguments: Any) -> Any:
            # Autocast would round the products inside, but only `precision=` may request reduced precision.
            with torch.autocast("cpu", enabled=False):
                return run(*arguments)

        torch.library.impl(f"elmo_fast::{name}", "CPU")(in_float32)
        return run

    return register


def refuse_second_derivatives(name: str) -> None:
    """Makes differentiating a backward operator raise an error, instead of giving silently wrong results."""

    def refuse(ctx: Any, *gradients: Any) -> None:
        raise NotImplementedError(
            f"elmo_fast::{name}: second derivatives (create_graph=True) are not native; a model in float64 has them, "
            "on the PyTorch definition: .double()"
        )

    torch.library.register_autograd(f"elmo_fast::{name}", refuse)
