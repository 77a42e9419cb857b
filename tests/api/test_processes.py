"""Embedders that are copied, pickled, and used in child processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sample_sentences import ALL, ORDINARY
from torch.utils.data import DataLoader, Dataset

import elmo_fast
from elmo_fast import ElmoEmbedder
from elmo_fast.embedder import Embedder

START_METHODS = [
    method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()
]

Any_ = Embedder | ElmoEmbedder


def vectors(embedder: Any_) -> list[np.ndarray]:
    """All layers of all sentences; also what child processes run, so it must be importable."""
    if isinstance(embedder, Embedder):
        return embedder.encode(ALL, layers="all")
    return embedder.embed_batch(ALL)


def make(kind: str, state: str) -> Any_:
    from elmo_fast import models

    embedder = (
        elmo_fast.load("tiny", state=state) if kind == "load" else ElmoEmbedder(*models.resolve("tiny"), state=state)
    )
    if state == "frozen":
        embedder.warm_up(ORDINARY[:2])
    if state == "carry":
        vectors(embedder)
    return embedder


def assert_all_equal(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def through_pickle(embedder: Any_) -> Any_:
    return pickle.loads(pickle.dumps(embedder))


def through_torch_save(embedder: Any_) -> Any_:
    import io

    buffer = io.BytesIO()
    torch.save(embedder, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy, through_torch_save])
@pytest.mark.parametrize("state", ["reset", "carry", "frozen"])
@pytest.mark.parametrize("kind", ["load", "ElmoEmbedder"])
def test_a_copy_goes_on_from_the_same_state(kind: str, state: str, copied: Callable[[Any_], Any_]) -> None:
    embedder = make(kind, state)
    other = copied(embedder)
    expected = vectors(embedder)
    assert_all_equal(vectors(other), expected)
    # From here on they go separate ways.
    vectors(embedder)
    embedder.reset_states()
    assert_all_equal(vectors(copied(other)), vectors(other))


def test_a_pickle_holds_the_weights(tmp_path: Path, tiny_model: tuple[str, str]) -> None:
    """It works where the model's files are not."""
    files = [Path(file).read_bytes() for file in tiny_model]
    paths = tmp_path / "o.json", tmp_path / "w.hdf5"
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    pickled = pickle.dumps(elmo_fast.load(paths)), pickle.dumps(ElmoEmbedder(*paths, state="reset"))
    for path in paths:
        path.unlink()
    expected = vectors(elmo_fast.load("tiny"))
    for data in pickled:
        assert_all_equal(vectors(pickle.loads(data)), expected)


def test_a_pickled_tokenizer_comes_along() -> None:
    embedder = through_pickle(elmo_fast.load("tiny", tokenizer=str.split))
    assert embedder.encode(["a b-c d."])[0].shape == (3, 128)


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("kind", ["load", "ElmoEmbedder"])
def test_child_processes(kind: str, method: str) -> None:
    """The parent's thread pool has run before, and does again after."""
    embedder = make(kind, "reset")
    expected = vectors(embedder)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for actual in pool.map(vectors, [embedder] * 3):
            assert_all_equal(actual, expected)
    assert_all_equal(vectors(embedder), expected)


def put_vectors(embedder: Any_, queue) -> None:  # type: ignore[no-untyped-def]
    queue.put(vectors(embedder))


@pytest.mark.skipif("fork" not in START_METHODS, reason="no fork on this system")
def test_a_forked_child_goes_on_with_the_parents_model() -> None:
    """Not pickled: the child has the parent's memory, but none of its threads."""
    context = multiprocessing.get_context("fork")
    embedder = make("load", "carry")
    queue = context.Queue()
    child = context.Process(target=put_vectors, args=(embedder, queue))
    child.start()
    actual = queue.get(timeout=120)
    child.join(timeout=120)
    assert child.exitcode == 0
    assert_all_equal(actual, vectors(embedder))


class Embedded(Dataset):
    """Embeds in `__getitem__`, that is in the workers."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def __len__(self) -> int:
        return len(ALL)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.embedder.encode([ALL[index]], pooling="mean")[0])


@pytest.mark.parametrize("method", [method for method in START_METHODS if method != "forkserver"])
def test_data_loader_workers(method: str) -> None:
    embedder = elmo_fast.load("tiny")
    expected = embedder.encode(ALL, pooling="mean")
    loader = DataLoader(Embedded(embedder), batch_size=4, num_workers=2, multiprocessing_context=method)
    np.testing.assert_array_equal(torch.cat(list(loader)).numpy(), expected)
