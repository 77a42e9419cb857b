"""Each precision that this processor runs: its error, its dtypes, and that nothing but the text changes its bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.precision_cases import CASES, error_of, expected_layers, files_of, native, sentences_of
from helpers.sample_sentences import ORDINARY
from simulate import ARITHMETICS
from tolerances import FLOAT32, PRECISION, REDUCED, SIMULATED
from vectors import layers_of, simulated_vectors

import elmo_fast
from elmo_fast import Elmo, ElmoBiLm, batch_to_ids
from elmo_fast.precision import PRECISIONS

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    return native(request.param)


@pytest.fixture(params=sorted(REDUCED))
def reduced(request: pytest.FixtureRequest) -> str:
    return native(request.param)


def all_layers(precision: str, case: str, **options: object) -> np.ndarray:
    """(num_layers, tokens, output_dim) of the case's sentences."""
    embedder = elmo_fast.load(files_of(case), precision=precision)
    return np.concatenate(embedder.encode(sentences_of(case), layers="all", **options), axis=1)


@pytest.mark.parametrize("case", CASES)
def test_error_against_float64(precision: str, case: str) -> None:
    rms, largest = error_of(all_layers(precision, case), case)
    rms_bound, bound = PRECISION[precision][case]
    assert rms <= rms_bound
    assert largest <= bound


@pytest.mark.parametrize("case", CASES)
def test_arithmetic_is_the_documented_one(precision: str, case: str) -> None:
    """The simulation rounds as the kernels do: what is left between them is far below the error of both."""
    actual = all_layers(precision, case)
    error, _ = error_of(actual, case)
    files, sentences = files_of(case), sentences_of(case)
    simulated = [a for a in ARITHMETICS if a.split()[0] == precision]  # with AMX and without
    differences = [actual - layers_of(simulated_vectors(files, a, sentences)) for a in simulated]
    assert min(np.sqrt(np.mean(difference**2)) for difference in differences) <= SIMULATED[precision] * error


def test_elmo_has_the_same_error(precision: str) -> None:
    elmo = Elmo(*files_of("tiny"), 1, dropout=0.0, precision=precision, state="reset")
    assert (elmo.precision, elmo.precision_in_use) == (precision, precision)
    output = elmo(batch_to_ids(ORDINARY))
    actual = output["elmo_representations"][0][output["mask"]].detach().numpy()
    mean_layer = all_layers(precision, "tiny").mean(axis=0)
    assert np.abs(actual - mean_layer).max() <= FLOAT32 * np.abs(mean_layer).max()
    assert np.abs(actual - expected_layers("tiny").mean(axis=0)).max() <= PRECISION[precision]["tiny"][1]


@pytest.mark.parametrize("case", CASES)
def test_reduced_precision_is_not_float32_under_another_name(reduced: str, case: str) -> None:
    difference = all_layers(reduced, case) - all_layers("float32", case)
    for layer in difference:
        assert np.sqrt(np.mean(layer**2)) >= REDUCED[reduced]


def test_cell_state_and_layer_outputs_are_float32(reduced: str) -> None:
    bilm = ElmoBiLm(*files_of("tiny"), state="carry", precision=reduced)
    layers = bilm(batch_to_ids(ORDINARY))["activations"]
    hidden, cells = bilm._elmo_lstm._states
    for tensor in (*layers, hidden, cells):
        assert tensor.dtype == torch.float32
        # More digits than bfloat16 has: rounded to it, most values are others.
        assert (tensor.bfloat16().float() != tensor)[tensor != 0].float().mean() > 0.9


def test_batch_and_threads_do_not_change_a_bit(precision: str, num_threads: Callable[[int], None]) -> None:
    embedder = elmo_fast.load("tiny", precision=precision, word_cache_size=0)
    sentences = [sentence[:8] for sentence in (ORDINARY * 4)[:64]]
    num_threads(1)
    want = embedder.encode(sentences, layers="all", batch_size=64)
    for threads in (1, 2):
        num_threads(threads)
        for batch_size in (1, 3, 64):
            got = embedder.encode(sentences, layers="all", batch_size=batch_size)
            same = [a.tobytes() == b.tobytes() for a, b in zip(got, want, strict=True)]
            assert all(same), f"{threads} threads, batch_size {batch_size}, sentence {same.index(False)}"


def test_padding_does_not_change_a_bit(precision: str) -> None:
    bilm = ElmoBiLm(*files_of("tiny"), state="reset", precision=precision)
    ids = batch_to_ids(ORDINARY[:5])
    wider = torch.nn.functional.pad(ids, (0, 0, 0, 11, 0, 2))
    for narrow, wide in zip(bilm(ids)["activations"], bilm(wider)["activations"], strict=True):
        assert torch.equal(wide[:5, : narrow.shape[1]], narrow)
        assert not wide[:5, narrow.shape[1] :].any()
