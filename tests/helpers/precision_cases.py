"""Two models with sentences and their float64 layers, to measure the precisions on; needs no test data."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import elmo_fast
from elmo_fast import models
from helpers.sample_sentences import ORDINARY

PROJECT = Path(__file__).resolve().parents[2]
sys.path.append(str(PROJECT / "benchmarks"))

from vectors import layers_of, reference_vectors  # noqa: E402

CASES = ("relu_2layer", "tiny")


def native(precision: str) -> str:
    """Returns a precision that this processor runs, and skips the test where it may run another one instead."""
    in_use = elmo_fast.load("tiny", precision=precision).precision_in_use
    if in_use != precision and precision in ("bf16x3", "bf16x2") and elmo_fast.get_isa() != "amx":
        pytest.skip(f"no AMX in use: {precision} runs as {in_use}; its arithmetic is tested in test_simulate.py")
    assert in_use == precision
    return precision


def files_of(case: str) -> tuple[str, str]:
    """Options and weights."""
    if case == "tiny":
        return models.resolve("tiny")
    folder = PROJECT / "tests" / "data" / "golden" / case
    return str(folder / "options.json"), str(folder / "weights.hdf5")


def sentences_of(case: str) -> list[list[str]]:
    """Sentences of at least one token."""
    if case == "tiny":
        return ORDINARY
    batches = json.loads((Path(files_of(case)[0]).parent / "sentences.json").read_text(encoding="utf-8"))
    return [sentence for batch in batches for sentence in batch if sentence]


@functools.cache
def expected_layers(case: str) -> np.ndarray:
    """All layers of all tokens by the float64 reference, (num_layers, tokens, output_dim)."""
    return layers_of(reference_vectors(files_of(case), sentences_of(case)))


def error_of(layers: np.ndarray, case: str) -> tuple[float, float]:
    """The rms and the largest absolute difference from the float64 reference."""
    difference = layers - expected_layers(case)
    return float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max())
