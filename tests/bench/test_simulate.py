"""The simulated arithmetic: what docs/accuracy.md says of precisions that this processor may not run."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.precision_cases import CASES, error_of, expected_layers, files_of, sentences_of
from hypothesis import given
from hypothesis import strategies as st
from simulate import ARITHMETICS, product, quantise_rows, round_to_bfloat16, split
from tolerances import FLOAT64, PRECISION
from vectors import layers_of, simulated_vectors

pytestmark = pytest.mark.usefixtures("one_torch_thread")

# Where the third term is a normal number too: the floor of the format is not what is tested.
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda x: x == 0 or abs(x) > 2.0**-100)


@given(FLOATS)
def test_three_terms_hold_a_float32_and_two_hold_16_bits(x: float) -> None:
    array = np.array([x], np.float32)
    assert sum(split(array, 3)) == array
    assert abs(sum(term.astype(np.float64) for term in split(array, 2)) - array)[0] <= 2.0**-17 * abs(x)
    assert all((term.view(np.uint32) & 0xFFFF == 0).all() for term in split(array, 3))


def test_bfloat16_rounds_to_nearest_and_ties_to_even() -> None:
    step = 2.0**-7  # of bfloat16 between 1 and 2
    x = np.array([1 + 0.4 * step, 1 + 0.5 * step, 1 + 0.6 * step, 1 + 1.5 * step, -1 - 1.5 * step, 0.0], np.float32)
    assert round_to_bfloat16(x).tolist() == [1, 1, 1 + step, 1 + 2 * step, -1 - 2 * step, 0]


def test_int8_rows_are_symmetric_and_of_their_own_scale() -> None:
    q, scale = quantise_rows(np.array([[2.54, -1.27, 0.011, 0.0], [0.0, 0.0, 0.0, 0.0]], np.float32))
    assert q.tolist() == [[127, -64, 1, 0], [0, 0, 0, 0]]  # -63.5 to even
    assert scale[0, 0] == pytest.approx(0.02)
    assert np.isfinite(scale).all()


@pytest.mark.parametrize("bounded", [False, True])
def test_int8_product_by_hand(bounded: bool) -> None:
    x, weight = np.array([[0.5, -0.25]], np.float32), np.array([[2.0, 1.0], [0.0, -3.0]], np.float32)
    q_x, x_scale = ([64, -32], 1 / 127) if bounded else ([127, -64], 0.5 / 127)
    want = [(q_x[0] * 127 + q_x[1] * 64) * x_scale * 2 / 127, q_x[1] * -127 * x_scale * 3 / 127]
    assert product(weight, "int8", bounded_input=bounded)(x)[0] == pytest.approx(want, rel=1e-6)


def test_unknown_arithmetic_is_refused() -> None:
    with pytest.raises(ValueError, match="arithmetic: expected one of .*int8.*, got 'int4'"):
        product(np.zeros((1, 1), np.float32), "int4")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_error_of_a_whole_model(arithmetic: str, case: str) -> None:
    layers = layers_of(simulated_vectors(files_of(case), arithmetic, sentences_of(case)))
    rms, largest = error_of(layers, case)
    if arithmetic == "float64":  # without rounding it is the reference: the simulated model itself is right
        assert layers.dtype == np.float64
        assert largest <= FLOAT64 * np.abs(expected_layers(case)).max()
        return
    assert layers.dtype == np.float32
    rms_bound, bound = PRECISION[arithmetic.split()[0]][case]
    assert rms <= rms_bound
    assert largest <= bound


@pytest.mark.parametrize("case", CASES)
def test_three_terms_are_no_worse_than_float32(case: str) -> None:
    rms = {
        arithmetic: error_of(layers_of(simulated_vectors(files_of(case), arithmetic, sentences_of(case))), case)[0]
        for arithmetic in ("float32", "bf16x3")
    }
    assert rms["bf16x3"] <= rms["float32"]
