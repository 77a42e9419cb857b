"""`ElmoEmbedder`: AllenNLP 0.9's methods, its state, and the policies for what crashes there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sample_sentences import ALL, ORDINARY
from tolerances import GOLDEN, HALF

from elmo_fast import ElmoBiLm, ElmoEmbedder, batch_to_ids, batching

Model = Callable[..., tuple[Path, Path]]


@pytest.fixture
def embedder(tiny_model: tuple[str, str]) -> ElmoEmbedder:
    return ElmoEmbedder(*tiny_model)


@pytest.fixture
def stateless(tiny_model: tuple[str, str]) -> ElmoEmbedder:
    return ElmoEmbedder(*tiny_model, state="reset")


def assert_all_equal(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def by_hand(bilm: ElmoBiLm, sentences: list[list[str]], batch_size: int) -> Iterator[np.ndarray]:
    """What AllenNLP 0.9 does, on any biLM: whole batches in their order, markers and padding cut off."""
    for start in range(0, len(sentences), batch_size):
        batch = sentences[start : start + batch_size]
        with torch.no_grad():
            layers = torch.stack(bilm(batch_to_ids(batch))["activations"], dim=1).numpy()
        yield from (layers[row, :, 1 : len(sentence) + 1] for row, sentence in enumerate(batch))


def test_batches_carry_the_state_as_allennlp_does(allennlp, random_model: Model) -> None:  # type: ignore[no-untyped-def]
    files = random_model(n_highway=2)
    sentences = [[token for token in sentence if token] for sentence in ALL]  # there "" in a batch is no exception
    expected = list(by_hand(allennlp.ElmoBiLm(*map(str, files)), sentences, 5))
    actual = list(ElmoEmbedder(*files).embed_sentences(sentences, batch_size=5))
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=GOLDEN)


@pytest.mark.parametrize("budget", [1, 40, 150, 8192])
def test_carried_state_does_not_depend_on_the_token_budget(
    tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    expected = list(by_hand(ElmoBiLm(*tiny_model), ALL, 7))
    monkeypatch.setattr(batching, "MAX_BATCH_TOKENS", budget)
    assert_all_equal(list(ElmoEmbedder(*tiny_model).embed_sentences(ALL, 7)), expected)
    embedder = ElmoEmbedder(*tiny_model)
    batches = [ALL[i : i + 7] for i in range(0, len(ALL), 7)]
    assert_all_equal([array for batch in batches for array in embedder.embed_batch(batch)], expected)


def test_row_groups_extend_and_keep_the_state(tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that grow and shrink: rows never seen start from zero, rows left out stay as they were."""
    plain, cut = ElmoEmbedder(*tiny_model), ElmoEmbedder(*tiny_model)
    for rows in (3, 9, 2, 9, 1, 12):
        expected = plain.embed_batch(ORDINARY[:rows])
        with monkeypatch.context() as patch:
            patch.setattr(batching, "MAX_BATCH_TOKENS", 60)
            assert_all_equal(cut.embed_batch(ORDINARY[:rows]), expected)
        for a, b in zip(plain.elmo_bilm._elmo_lstm._states, cut.elmo_bilm._elmo_lstm._states, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_failed_row_group_leaves_the_state(embedder: ElmoEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder.embed_batch(ORDINARY[:4])
    monkeypatch.setattr(batching, "MAX_BATCH_TOKENS", 1)
    forward, calls = embedder.elmo_bilm.forward, itertools.count()

    def failing(char_ids: torch.Tensor) -> dict[str, object]:
        if next(calls) == 1:
            raise MemoryError
        return forward(char_ids)

    monkeypatch.setattr(embedder.elmo_bilm, "forward", failing)
    before = embedder.elmo_bilm._elmo_lstm._states
    with pytest.raises(MemoryError):
        embedder.embed_batch(ORDINARY[4:8])
    after = embedder.elmo_bilm._elmo_lstm._states
    assert after[0].shape == before[0].shape
    assert not torch.equal(after[0][:, 0], before[0][:, 0])  # row 0 had run
    torch.testing.assert_close(after[0][:, 1:], before[0][:, 1:], rtol=0, atol=0)


def test_the_same_sentence_differs_only_when_carried(embedder: ElmoEmbedder, stateless: ElmoEmbedder) -> None:
    first, second = (embedder.embed_sentence(ORDINARY[0]) for _ in range(2))
    assert not np.array_equal(first, second)
    embedder.reset_states()
    np.testing.assert_array_equal(embedder.embed_sentence(ORDINARY[0]), first)
    for _ in range(2):
        np.testing.assert_array_equal(stateless.embed_sentence(ORDINARY[0]), first)


def test_without_carried_state_all_ways_agree(stateless: ElmoEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [stateless.embed_sentence(sentence) for sentence in ALL]
    assert_all_equal(stateless.embed_batch(ALL), expected)
    assert_all_equal(list(stateless.embed_sentences(iter(ALL), batch_size=3)), expected)
    monkeypatch.setattr(batching, "MAX_WINDOW_TOKENS", 50)
    monkeypatch.setattr(batching, "MAX_BATCH_TOKENS", 50)
    assert_all_equal(list(stateless.embed_sentences(iter(ALL))), expected)


def test_shapes_and_dtypes(embedder: ElmoEmbedder) -> None:
    sentence = embedder.embed_sentence(["Two", "words"])
    assert (type(sentence), sentence.shape, sentence.dtype) == (np.ndarray, (3, 2, 128), np.float32)
    for array, tokens in zip(embedder.embed_batch(ALL), ALL, strict=True):
        assert (array.shape, array.dtype) == ((3, len(tokens), 128), np.float32)
        assert array.base is None and array.flags.c_contiguous  # it does not keep its batch in memory
        assert np.isfinite(array).all()


def test_batch_to_embeddings(embedder: ElmoEmbedder, tiny_model: tuple[str, str]) -> None:
    batch = [["One", "two", "three"], [], ["One"]]
    embeddings, mask = embedder.batch_to_embeddings(batch)
    assert (embeddings.shape, embeddings.dtype) == ((3, 3, 3, 128), torch.float32)
    assert mask.tolist() == [[True, True, True], [False, False, False], [True, False, False]]
    expected = ElmoEmbedder(*tiny_model).embed_batch(batch)
    for row, array in enumerate(expected):
        np.testing.assert_array_equal(embeddings[row, :, : array.shape[1]].numpy(), array)
    assert not embeddings.transpose(1, 2)[~mask].any()


@pytest.mark.parametrize("batch", [[], [[]], [[], []]])
def test_batches_without_tokens(embedder: ElmoEmbedder, batch: list[list[str]]) -> None:
    embedder.embed_batch(ORDINARY[:2])
    states = embedder.elmo_bilm._elmo_lstm._states
    arrays = embedder.embed_batch(batch)
    assert [(a.shape, a.dtype) for a in arrays] == [((3, 0, 128), np.float32)] * len(batch)
    assert [a.shape for a in embedder.embed_sentences(batch)] == [(3, 0, 128)] * len(batch)
    embeddings, mask = embedder.batch_to_embeddings(batch)
    assert (embeddings.shape, mask.shape) == ((len(batch), 3, 0, 128), (len(batch), 0))
    assert embedder.elmo_bilm._elmo_lstm._states is states  # as in AllenNLP, which does not run them


def test_an_empty_sentence_among_others_moves_its_rows_state(embedder: ElmoEmbedder) -> None:
    embedder.embed_batch([["a"], ["b"]])
    before = embedder.elmo_bilm._elmo_lstm._states[0]
    assert embedder.embed_batch([["a"], []])[1].shape == (3, 0, 128)
    assert not torch.equal(embedder.elmo_bilm._elmo_lstm._states[0][:, 1], before[:, 1])


def test_the_generator_is_lazy_and_reads_one_batch(embedder: ElmoEmbedder) -> None:
    read: list[int] = []

    def endless() -> Iterator[list[str]]:
        for number in itertools.count():
            read.append(number)
            yield ["sentence", str(number)]

    embeddings = embedder.embed_sentences(endless(), batch_size=4)
    assert read == []
    next(embeddings)
    assert read == [0, 1, 2, 3]
    for _ in range(4):
        next(embeddings)
    assert len(read) == 8


def test_the_generator_without_carried_state_reads_one_window(stateless: ElmoEmbedder) -> None:
    source = iter([["a", "b"], ["c"]] * 1000)
    embeddings = stateless.embed_sentences(source, batch_size=2)
    assert [next(embeddings).shape[1] for _ in range(3)] == [2, 1, 2]
    assert len(list(source)) == 2000 - 32


def test_an_abandoned_generator_leaves_a_working_embedder(embedder: ElmoEmbedder) -> None:
    embeddings = embedder.embed_sentences(ORDINARY, batch_size=4)
    next(embeddings)
    embeddings.close()
    embedder.reset_states()
    assert len(embedder.embed_batch(ORDINARY)) == len(ORDINARY)


def test_frozen_state(tiny_model: tuple[str, str]) -> None:
    carried, frozen = ElmoEmbedder(*tiny_model), ElmoEmbedder(*tiny_model, state="frozen")
    for sentence in ORDINARY[:5]:
        carried.embed_sentence(sentence)
    frozen.warm_up(iter(ORDINARY[:5]))
    expected = carried.embed_sentence(ORDINARY[6])
    assert_all_equal(frozen.embed_batch([ORDINARY[6]] * 3), [expected] * 3)
    assert_all_equal([frozen.embed_sentence(ORDINARY[6])], [expected])
    with pytest.raises(ValueError, match="frozen"):
        carried.warm_up(ORDINARY[:1])
    with pytest.raises(ValueError, match="at least one"):
        frozen.warm_up([])


def test_the_state_can_be_switched(embedder: ElmoEmbedder, stateless: ElmoEmbedder) -> None:
    assert (embedder.state, stateless.state) == ("carry", "reset")
    fresh = embedder.embed_sentence(ORDINARY[0])
    assert not np.array_equal(embedder.embed_sentence(ORDINARY[0]), fresh)
    embedder.state = "reset"
    assert (embedder.state, embedder.elmo_bilm.state) == ("reset", "reset")
    np.testing.assert_array_equal(embedder.embed_sentence(ORDINARY[0]), fresh)
    embedder.elmo_bilm.state = "frozen"
    assert embedder.state == "frozen"
    with pytest.raises(ValueError, match="state: expected one of 'carry', 'reset', 'frozen', got 'keep'"):
        embedder.state = "keep"


def test_repr(embedder: ElmoEmbedder, random_model: Model) -> None:
    assert repr(embedder) == (
        "ElmoEmbedder(model='tiny', num_layers=3, output_dim=128, state='carry', precision='float32', device='cpu')"
    )
    options, weights = random_model(n_layers=3, projection_dim=5)
    other = ElmoEmbedder(options, str(weights), state="reset", precision="int8")
    assert repr(other) == (
        f"ElmoEmbedder(model={str(weights)!r}, num_layers=4, output_dim=10, state='reset', "
        "precision='int8', device='cpu')"
    )
    other.elmo_bilm.to("meta")
    assert "precision='int8' (runs as 'float32'), device='meta'" in repr(other)


def test_attributes_that_scripts_reach_into(embedder: ElmoEmbedder) -> None:
    assert isinstance(embedder.elmo_bilm, ElmoBiLm)
    assert embedder.cuda_device == -1
    first = embedder.embed_sentence(ORDINARY[0])
    embedder.elmo_bilm._elmo_lstm.reset_states()
    embedder.elmo_bilm._elmo_lstm.stateful = False
    assert_all_equal([embedder.embed_sentence(ORDINARY[0]) for _ in range(2)], [first, first])


@pytest.mark.filterwarnings("ignore:elmo_fast. the native kernels are float32")
def test_another_dtype_still_gives_float32_arrays(stateless: ElmoEmbedder) -> None:
    expected = stateless.embed_sentence(ORDINARY[0])
    stateless.elmo_bilm.bfloat16()
    actual = stateless.embed_sentence(ORDINARY[0])
    assert actual.dtype == np.float32
    assert np.abs(actual - expected).max() < HALF * np.abs(expected).max()
    assert stateless.batch_to_embeddings([["a"]])[0].dtype == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_cuda_device_that_is_not_there(tiny_model: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cuda_device"):
        ElmoEmbedder(*tiny_model, cuda_device=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device(tiny_model: tuple[str, str]) -> None:
    embedder = ElmoEmbedder(*tiny_model, cuda_device=0)
    assert embedder.batch_to_embeddings(ORDINARY[:2])[0].is_cuda
    embedder.reset_states()
    expected = ElmoEmbedder(*tiny_model).embed_batch(ALL)
    for a, b in zip(embedder.embed_batch(ALL), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(1.0, np.abs(b).max(initial=0.0)))


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a plain string", "sentence 1: expected a list of tokens, got the str 'a plain string'"),
        ("", "sentence 1: expected a list of tokens"),
        (["a", 7], "sentence 1, token 1: expected a string, got int"),
        (None, "sentence 1: expected a list of tokens"),
    ],
)
def test_wrong_sentences_leave_the_state(embedder: ElmoEmbedder, sentence: object, message: str) -> None:
    calls = [
        lambda batch: embedder.embed_batch(batch),
        lambda batch: list(embedder.embed_sentences(batch)),
        lambda batch: embedder.batch_to_embeddings(batch),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call([["fine"], sentence])
    assert embedder.elmo_bilm._elmo_lstm._states is None


def test_wrong_arguments(embedder: ElmoEmbedder, tiny_model: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        embedder.embed_sentences(ORDINARY, batch_size=0)  # at once, not at the first sentence
    with pytest.raises(ValueError, match="state: expected one of 'carry', 'reset', 'frozen', got 'keep'"):
        ElmoEmbedder(*tiny_model, state="keep")


def test_a_model_with_other_sizes(random_model: Model) -> None:
    files = random_model(n_layers=3, projection_dim=5, max_characters=20)
    embedder = ElmoEmbedder(*files, state="reset")
    assert embedder.embed_sentence(["incomprehensibilities", "a"]).shape == (4, 2, 10)
    assert embedder.embed_sentence([]).shape == (4, 0, 10)


@pytest.mark.parametrize("state", ["carry", "reset"])
def test_out_of_gpu_memory_halves_the_batch(tiny_model, monkeypatch, state: str) -> None:  # type: ignore[no-untyped-def]
    """Whole batches, then halves, until they fit: the same numbers, the carried state included."""
    sentences = [["word"] * n for n in (3, 1, 4, 1, 5)]
    expected_embedder, embedder = (ElmoEmbedder(*tiny_model, state=state) for _ in range(2))
    expected = [expected_embedder.embed_batch(sentences) for _ in range(2)]
    forward, sizes = embedder._forward, []

    def limited(batch):  # type: ignore[no-untyped-def]
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("no memory")
        return forward(batch)

    monkeypatch.setattr(embedder, "_forward", limited)
    for wanted in expected:
        for mine, theirs in zip(embedder.embed_batch(sentences), wanted, strict=True):
            assert np.array_equal(mine, theirs)
    assert sizes[:5] == [5, 2, 3, 1, 2]
    monkeypatch.setattr(embedder, "_forward", lambda batch: limited(["one"] * 3))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        embedder.embed_batch([["alone"]])
