"""Learned mixes of a biLM's layers into one vector per token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elmo_fast.parameters import parameter_of


class _Mix(nn.Module):
    """The base class of the mixes: the number of layers, and their normalisation."""

    def __init__(self, mixture_size: int, do_layer_norm: bool) -> None:
        super().__init__()
        self.mixture_size = mixture_size
        self.do_layer_norm = do_layer_norm

    def _prepare(self, tensors: Sequence[Tensor], mask: Tensor | None) -> Sequence[Tensor]:
        if len(tensors) != self.mixture_size:
            raise ValueError(f"tensors: expected {self.mixture_size} of them, got {len(tensors)}")
        if not self.do_layer_norm:
            return tensors
        if mask is None:
            raise ValueError("mask: required, because do_layer_norm=True; got None")
        return [layer_norm(tensor, mask) for tensor in tensors]


class ScalarMix(_Mix):
    """`gamma * sum_k softmax(w)_k * x_k`, with learned scalars w and gamma.

    Args:
        mixture_size: number of tensors.
        do_layer_norm: first normalise each tensor by `layer_norm`.
        initial_scalar_parameters: w before the softmax; None is all zero, that is the average.
        trainable: whether w and gamma get gradients.
    Raises:
        ValueError: `initial_scalar_parameters` has another length than `mixture_size`.
    Source: Peters et al. 2018, arXiv:1802.05365, equation 1.
    """

    def __init__(
        self,
        mixture_size: int,
        do_layer_norm: bool = False,
        initial_scalar_parameters: Sequence[float] | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(mixture_size, do_layer_norm)
        initial = [0.0] * mixture_size if initial_scalar_parameters is None else initial_scalar_parameters
        self.scalar_parameters: nn.ParameterList = _parameters(
            "initial_scalar_parameters", initial, mixture_size, 1, trainable
        )
        self.gamma: nn.Parameter = nn.Parameter(torch.tensor([1.0]), requires_grad=trainable)

    def forward(self, tensors: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Mixes `mixture_size` tensors of one shape (..., dim).

        Args:
            tensors: the layers.
            mask: (...) bool, false on padding; needed with `do_layer_norm`, else ignored.
        Returns:
            (..., dim).
        """
        tensors = self._prepare(tensors, mask)
        first, *rest = [weight * tensor for weight, tensor in zip(self._softmax().split(1), tensors, strict=True)]
        mixed: Tensor = self.gamma * sum(rest, first)
        return mixed

    def weights(self) -> Tensor:
        """Returns the factor of each tensor, `gamma * softmax(w)`: (mixture_size,)."""
        return self.gamma * self._softmax()

    def _softmax(self) -> Tensor:
        scalars = [parameter_of(self.scalar_parameters, str(k)) for k in range(self.mixture_size)]
        return torch.softmax(torch.cat(scalars), dim=0)


class AdditiveMix(_Mix):
    """`x_0 + sum_k c_k * x_k` over k >= 1, with learned c_k: the token's own vector plus as much context as helps.

    Unlike in `ScalarMix` the layers do not compete, and the context-independent layer is always passed on in full.

    Args:
        mixture_size: number of tensors, x_0 included.
        dim: None for one scalar c_k per layer, or the tensors' last size for one c_k per dimension.
        do_layer_norm: first normalise each tensor by `layer_norm`.
        initial_coefficients: c_1, c_2, ... (`mixture_size - 1` numbers); None is all 1, the plain sum of the layers.
        trainable: whether c gets gradients.
    Raises:
        ValueError: `initial_coefficients` has another length than `mixture_size - 1`.
    """

    def __init__(
        self,
        mixture_size: int,
        dim: int | None = None,
        do_layer_norm: bool = False,
        initial_coefficients: Sequence[float] | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(mixture_size, do_layer_norm)
        self.dim = dim
        initial = [1.0] * (mixture_size - 1) if initial_coefficients is None else initial_coefficients
        self.coefficients: nn.ParameterList = _parameters(
            "initial_coefficients", initial, mixture_size - 1, dim or 1, trainable
        )

    def forward(self, tensors: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Mixes `mixture_size` tensors of one shape (..., dim); arguments as `ScalarMix.forward`."""
        first, *rest = self._prepare(tensors, mask)
        mixed: Tensor = first + sum(c * tensor for c, tensor in zip(self.coefficients, rest, strict=True))
        return mixed


def _parameters(name: str, values: Sequence[float], expected: int, dim: int, trainable: bool) -> nn.ParameterList:
    if len(values) != expected:
        raise ValueError(f"{name}: expected {expected} numbers, got {len(values)}: {values}")
    return nn.ParameterList(nn.Parameter(torch.full((dim,), float(value)), requires_grad=trainable) for value in values)


def layer_norm(tensor: Tensor, mask: Tensor) -> Tensor:
    """Normalises by one mean and one variance over all elements of all unmasked positions of the whole batch.

    A sentence's result therefore depends on the others in the batch, and padding becomes non-zero, as in AllenNLP.

    Args:
        tensor: (..., dim).
        mask: (...) bool.
    """
    broadcast_mask = mask.unsqueeze(-1)
    num_elements = mask.sum() * tensor.shape[-1]
    mean = (tensor * broadcast_mask).sum() / num_elements
    variance = (((tensor - mean) * broadcast_mask) ** 2).sum() / num_elements
    epsilon = 1e-4 if tensor.dtype == torch.float16 else 1e-13  # 1e-13 is zero in float16
    return (tensor - mean) / torch.sqrt(variance + epsilon)
