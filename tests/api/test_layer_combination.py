"""`elmo_fast.layer_combination`: the same numbers for arrays on the host and for tensors on a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elmo_fast.layer_combination import LayerCombination


@pytest.mark.parametrize("layers", ["average", "top", [0.25, -1.5, 3.0]], ids=str)
def test_tensors_give_what_arrays_give(layers: str | list[float]) -> None:
    given = [torch.randn(2, 5, 7) for _ in range(3)]
    combination = LayerCombination(layers, 3)
    same, combine = combination.of_batch(given)
    assert same is given  # on the host, nothing is combined beforehand
    expected = combine([layer.numpy() for layer in given])
    np.testing.assert_array_equal(combination.of_tensors(given).numpy(), expected)
    assert combination.of_tensors([layer.bfloat16() for layer in given]).dtype == torch.float32


@pytest.mark.parametrize(("layers", "copied"), [("average", 1), ("top", 1), ([1, 2, 3], 1), ("all", 3)], ids=str)
def test_what_a_device_copies_to_the_host(layers: str | list[float], copied: int) -> None:
    given = [torch.empty(2, 5, 7, device="meta") for _ in range(3)]
    to_copy, combine = LayerCombination(layers, 3).of_batch(given)
    assert [tuple(layer.shape) for layer in to_copy] == [(2, 5, 7)] * copied
    array = np.ones((4, 7), np.float32)
    result = combine([array] * copied)
    assert result.shape == ((3, 4, 7) if copied == 3 else (4, 7))
    assert not np.shares_memory(result, array)
