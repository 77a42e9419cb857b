"""Long input: it works, its memory is bounded, and cutting it changes nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from helpers.sample_sentences import ORDINARY

import elmo_fast
from elmo_fast import ElmoEmbedder, batching
from elmo_fast.embedder import Embedder

LENGTH = 100_000


@pytest.fixture(scope="module")
def long_sentence() -> list[str]:
    words = [word for sentence in ORDINARY for word in sentence]
    return [words[(i * i + i // 7) % len(words)] for i in range(LENGTH)]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return elmo_fast.load("tiny")


@pytest.fixture
def cells(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Padded tokens of every call of the biLM."""
    seen: list[int] = []
    forward = embedder._bilm.forward

    def counting(char_ids: np.ndarray) -> object:
        seen.append(char_ids.shape[0] * (char_ids.shape[1] + 2))
        return forward(char_ids)

    monkeypatch.setattr(embedder._bilm, "forward", counting)
    yield seen


def test_a_sentence_of_100_000_tokens(embedder: Embedder, long_sentence: list[str], cells: list[int]) -> None:
    short = ORDINARY[:3]
    vectors = embedder.encode([short[0], long_sentence, *short[1:]], layers="top")
    assert [len(x) for x in vectors] == [len(short[0]), LENGTH, len(short[1]), len(short[2])]
    assert np.isfinite(vectors[1]).all()
    assert cells == [LENGTH + 2, 3 * (max(map(len, short)) + 2)]  # alone: nothing is padded to its length
    for sentence, vector in zip(short, [vectors[0], *vectors[2:]], strict=True):
        np.testing.assert_array_equal(vector, embedder.encode([sentence], layers="top")[0])
    # The backward direction starts at the end, so at the last token it has not seen the rest.
    np.testing.assert_array_equal(vectors[1][-1:, 64:], embedder.encode([long_sentence[-1:]], layers="top")[0][:, 64:])


def test_a_text_of_100_000_tokens_through_allennlps_class(
    tiny_model: tuple[str, str], long_sentence: list[str]
) -> None:
    embedder = ElmoEmbedder(*tiny_model)
    arrays = list(embedder.embed_sentences([["a"], long_sentence, []], batch_size=3))
    assert [x.shape for x in arrays] == [(3, 1, 128), (3, LENGTH, 128), (3, 0, 128)]
    assert embedder.elmo_bilm._elmo_lstm._states[0].shape[1] == 3


def test_many_sentences_run_within_the_token_budget(embedder: Embedder, cells: list[int]) -> None:
    sentences = [["word"] * length for length in range(0, 900, 3)]
    embedder.encode(sentences, pooling="mean", batch_size=1000)
    assert max(cells) <= batching.MAX_BATCH_TOKENS
    assert sum(cells) < 1.2 * sum(length + 2 for length in range(0, 900, 3))  # and with little padding


def test_memory_of_pooled_vectors_is_that_of_one_batch(embedder: Embedder) -> None:
    """All activations of these texts are 185 MB; three layers of one batch of 8,192 tokens are 12.6 MB."""
    texts = [["word"] * 400] * 300
    tracemalloc.start()
    try:
        embedder.encode(texts, pooling="mean", batch_size=300)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 80e6


@pytest.mark.parametrize("state", ["carry", "reset"])
def test_memory_of_a_generator_is_bounded(tiny_model: tuple[str, str], state: str) -> None:
    """All results of these sentences are 185 MB; a window of 16,384 tokens is 25 MB, beside its batch."""
    embedder = ElmoEmbedder(*tiny_model, state=state)
    tracemalloc.start()
    try:
        for array in embedder.embed_sentences((["word"] * 400 for _ in range(300)), batch_size=300):
            assert array.shape == (3, 400, 128)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
