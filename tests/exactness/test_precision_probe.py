"""The cost of a precision for a task: UPOS tags predicted by a linear probe on the built-in model's vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.precision_cases import files_of, native
from tolerances import PROBE

# precision_cases puts the benchmarks on the path.
import linear_probe  # isort: skip
from upos import UposData  # isort: skip
from vectors import native_vectors, simulated_vectors  # isort: skip

from elmo_fast.precision import PRECISIONS  # isort: skip

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TRAINING_SENTENCES = 1_000
TEST_SENTENCES = 500

Accuracy = Callable[[Callable[[list[list[str]]], list]], float]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def accuracy(test_data: Path, one_torch_thread: None) -> Accuracy:
    """The accuracy, on a function's vectors, of one probe trained on float32's."""
    data = UposData.read(test_data)
    assert data is not None
    names = sorted({tag for sentence in data.train[1] for tag in sentence})
    _, encode = native_vectors(files_of("tiny"), "float32")

    def tokens(part: tuple[list[list[str]], list[list[str]]], encode, rows: list[int]):  # type: ignore[no-untyped-def]
        sentences, tags = ([half[i] for i in rows] for half in part)
        return linear_probe.features(encode(sentences)), linear_probe.tag_numbers(tags, names)

    train = tokens(data.train, encode, linear_probe.sample_of(len(data.train[0]), 0, TRAINING_SENTENCES))
    dev = tokens(data.dev, encode, list(range(500)))
    classifier = linear_probe.train(*train, dev, epochs=6)
    rows = linear_probe.sample_of(len(data.test[0]), 0, TEST_SENTENCES)
    return lambda encode: linear_probe.accuracy(classifier, *tokens(data.test, encode, rows))


def test_float32_vectors_are_as_good_as_documented(accuracy: Accuracy) -> None:
    """With an eighth of the documented training sentences it is near the documented 91.8%; random weights give 71%."""
    assert accuracy(native_vectors(files_of("tiny"), "float32")[1]) >= 0.87


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_native_precision(precision: str, accuracy: Accuracy) -> None:
    _, encode = native_vectors(files_of("tiny"), native(precision))
    assert accuracy(encode) >= accuracy(native_vectors(files_of("tiny"), "float32")[1]) - PROBE[precision]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_simulated_precision(precision: str, accuracy: Accuracy) -> None:
    simulated = accuracy(lambda sentences: simulated_vectors(files_of("tiny"), precision, sentences))
    assert simulated >= accuracy(native_vectors(files_of("tiny"), "float32")[1]) - PROBE[precision]
