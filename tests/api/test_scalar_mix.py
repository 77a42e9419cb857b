"""The layer mixes."""

from __future__ import annotations

import pytest
import torch
from tolerances import FLOAT32, FLOAT64

from elmo_fast import AdditiveMix, ScalarMix


def tensors(*shape: int, n: int = 3, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(n)]


def largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


def test_scalar_mix_starts_as_the_average() -> None:
    layers = tensors(2, 4, 5)
    mix = ScalarMix(3).double()
    assert [name for name, _ in mix.named_parameters()] == [
        "gamma",
        "scalar_parameters.0",
        "scalar_parameters.1",
        "scalar_parameters.2",
    ]
    assert largest(mix(layers) - sum(layers) / 3) <= FLOAT64


def test_scalar_mix_with_given_parameters_is_frozen() -> None:
    layers = tensors(2, 4, 5)
    mix = ScalarMix(3, initial_scalar_parameters=[1.0, -2.0, 0.5], trainable=False).double()
    assert not any(parameter.requires_grad for parameter in mix.parameters())
    with torch.no_grad():
        mix.gamma.fill_(2.0)
    weights = torch.softmax(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), dim=0)
    expected = 2.0 * sum(weight * layer for weight, layer in zip(weights, layers, strict=True))
    assert largest(mix(layers) - expected) <= FLOAT64


@pytest.mark.parametrize("mask", [None, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)])
@pytest.mark.parametrize("do_layer_norm", [False, True])
def test_same_as_allennlp(do_layer_norm: bool, mask: torch.Tensor | None, allennlp) -> None:  # type: ignore[no-untyped-def]
    from allennlp.modules.scalar_mix import ScalarMix as Theirs

    if do_layer_norm and mask is None:
        with pytest.raises(ValueError, match="mask: required"):
            ScalarMix(3, do_layer_norm=True)(tensors(2, 4, 5))
        return
    arguments = (3, do_layer_norm, [0.3, -1.0, 2.0])
    layers = tensors(2, 4, 5, dtype=torch.float32)
    assert largest(ScalarMix(*arguments)(layers, mask) - Theirs(*arguments)(layers, mask)) <= FLOAT32


def test_layer_norm_runs_over_the_whole_batch_without_padding() -> None:
    layers, mask = tensors(2, 4, 5, n=1), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    mixed = ScalarMix(1, do_layer_norm=True).double()(layers, mask)
    assert abs(mixed[mask].mean().item()) <= FLOAT64
    assert abs(mixed[mask].var(correction=0).item() - 1) <= FLOAT64
    padding = layers[0].clone()
    padding[~mask] = 1e6
    assert torch.equal(ScalarMix(1, do_layer_norm=True).double()([padding], mask)[mask], mixed[mask])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_norm_of_equal_values_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    mask = torch.ones(2, 4, dtype=torch.bool)
    mixed = ScalarMix(1, do_layer_norm=True).to(dtype)([torch.ones(2, 4, 5, dtype=dtype)], mask)
    assert not mixed.any()


def test_additive_mix_starts_as_the_sum() -> None:
    layers = tensors(2, 4, 5)
    mix = AdditiveMix(3).double()
    assert [name for name, _ in mix.named_parameters()] == ["coefficients.0", "coefficients.1"]
    assert largest(mix(layers) - sum(layers)) <= FLOAT64


def test_additive_mix_coefficients() -> None:
    layers = tensors(2, 4, 5)
    mix = AdditiveMix(3, initial_coefficients=[0.25, -1.0]).double()
    assert largest(mix(layers) - (layers[0] + 0.25 * layers[1] - layers[2])) <= FLOAT64


def test_additive_mix_per_dimension_learns() -> None:
    layers = tensors(2, 4, 5)
    mix = AdditiveMix(3, dim=5).double()
    mix(layers).sum().backward()
    for coefficient, layer in zip(mix.coefficients, layers[1:], strict=True):
        assert coefficient.shape == (5,)
        assert largest(coefficient.grad - layer.sum(dim=(0, 1))) <= FLOAT64
    assert not any(p.requires_grad for p in AdditiveMix(3, dim=5, trainable=False).parameters())


def test_additive_mix_of_one_layer_is_that_layer() -> None:
    layers = tensors(2, 3, n=1)
    assert torch.equal(AdditiveMix(1)(layers), layers[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScalarMix(3, initial_scalar_parameters=[1.0]), "initial_scalar_parameters: expected 3 numbers, got 1"),
        (lambda: AdditiveMix(3, initial_coefficients=[1.0] * 3), "initial_coefficients: expected 2 numbers, got 3"),
        (lambda: ScalarMix(3)(tensors(2, n=2)), "tensors: expected 3 of them, got 2"),
        (lambda: AdditiveMix(3)(tensors(2, n=4)), "tensors: expected 3 of them, got 4"),
    ],
)
def test_wrong_numbers_are_named(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)
