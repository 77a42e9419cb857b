"""One model used by several threads at once, and several models in one process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.sample_sentences import ALL, ORDINARY

import elmo_fast
from elmo_fast import ElmoEmbedder

CALLERS = 6


def at_once(call: Callable[[int], object], count: int = CALLERS) -> list:  # type: ignore[type-arg]
    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(call, range(count)))


def digest(arrays: list[np.ndarray]) -> bytes:
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.parametrize("state", ["reset", "frozen"])
@pytest.mark.parametrize("threads", [1, 2])
def test_encode_from_several_threads(state: str, threads: int, num_threads: Callable[[int | None], None]) -> None:
    num_threads(threads)
    embedder = elmo_fast.load("tiny", state=state)
    if state == "frozen":
        embedder.warm_up(ORDINARY[:3])
    expected = [digest(embedder.encode(ALL[n:], layers="all")) for n in range(CALLERS)]
    for _ in range(3):
        assert at_once(lambda n: digest(embedder.encode(ALL[n:], layers="all"))) == expected


def test_allennlps_class_from_several_threads(tiny_model: tuple[str, str]) -> None:
    embedder = ElmoEmbedder(*tiny_model, state="reset")
    expected = [digest(embedder.embed_batch(ALL[n:])) for n in range(CALLERS)]
    assert at_once(lambda n: digest(embedder.embed_batch(ALL[n:]))) == expected
    assert at_once(lambda n: digest(list(embedder.embed_sentences(ALL[n:], 4)))) == expected


@pytest.mark.parametrize("kind", ["load", "ElmoEmbedder"])
def test_carried_calls_run_one_after_the_other(kind: str, tiny_model: tuple[str, str]) -> None:
    """Whatever their order, equal calls give together what they give in sequence; batches of one call stay together."""

    def calls() -> Callable[[int], bytes]:
        if kind == "load":
            embedder = elmo_fast.load("tiny", state="carry")
            return lambda n: digest(embedder.encode(ORDINARY, layers="top", batch_size=4))
        embedder = ElmoEmbedder(*tiny_model)
        return lambda n: digest(embedder.embed_batch(ORDINARY))

    in_sequence = [call(n) for call in [calls()] for n in range(CALLERS)]
    assert len(set(in_sequence)) == CALLERS
    assert sorted(at_once(calls())) == sorted(in_sequence)


def test_several_models_at_once(random_model: Callable[..., tuple[Path, Path]]) -> None:
    embedders = [
        elmo_fast.load("tiny"),
        *(elmo_fast.load(random_model(seed=seed, n_layers=seed)) for seed in (1, 2, 3)),
    ]
    expected = [digest(embedder.encode(ALL, layers="all")) for embedder in embedders]
    actual = at_once(lambda n: digest(embedders[n % 4].encode(ALL, layers="all")), 16)
    assert actual == expected * 4


def test_the_number_of_threads_may_change_meanwhile(num_threads: Callable[[int | None], None]) -> None:
    embedder = elmo_fast.load("tiny")
    expected = digest(embedder.encode(ALL, layers="all"))

    def call(n: int) -> bytes:
        num_threads(1 + n % 3)
        return digest(embedder.encode(ALL, layers="all"))

    assert set(at_once(call, 12)) == {expected}


def test_a_thread_that_fails_does_not_block_the_others(tiny_model: tuple[str, str]) -> None:
    embedder = ElmoEmbedder(*tiny_model)

    def call(n: int) -> bool:
        if n % 2:
            with pytest.raises(TypeError):
                embedder.embed_batch([["fine"], "not fine"])
            return True
        return len(embedder.embed_batch(ORDINARY)) == len(ORDINARY)

    assert all(at_once(call, 12))
