"""`elmo_fast.load` and `Embedder.encode`."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from helpers.sample_sentences import ALL, ORDINARY
from tolerances import FLOAT32

import elmo_fast
from elmo_fast import ElmoEmbedder, Embedder, argument_types, batching, models
from elmo_fast.embedder import POOLINGS
from elmo_fast.layer_combination import LAYERS
from elmo_fast.tokenize import tokenize

Model = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return elmo_fast.load("tiny")


@pytest.fixture(scope="module")
def layers(tiny_model: tuple[str, str]) -> list[np.ndarray]:
    """(num_layers, length, dim) of all sentences, each from a zero state."""
    return list(ElmoEmbedder(*tiny_model, state="reset").embed_sentences(ALL))


def assert_all_equal(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)


def test_layers(embedder: Embedder, layers: list[np.ndarray]) -> None:
    assert_all_equal(embedder.encode(ALL, layers="all"), layers)
    assert_all_equal(embedder.encode(ALL, layers="top"), [x[-1] for x in layers])
    assert_all_equal(embedder.encode(ALL, layers="average"), [x.mean(axis=0) for x in layers])
    assert_all_equal(embedder.encode(ALL), [x.mean(axis=0) for x in layers])
    assert_all_equal(embedder.encode(ALL, layers=[0, 0, 1]), [x[-1] for x in layers])
    weighted = embedder.encode(ALL, layers=np.array([0.5, -1.0, 3.0]))  # not normalised
    for actual, x in zip(weighted, layers, strict=True):
        np.testing.assert_allclose(actual, 0.5 * x[0] - x[1] + 3.0 * x[2], rtol=0, atol=20 * FLOAT32)


@pytest.mark.parametrize("choice", ["average", "all", "top", [0.2, 0.3, 0.5]])
def test_pooling_leaves_out_markers_and_padding(embedder: Embedder, choice: str | list[float]) -> None:
    tokens = embedder.encode(ALL, layers=choice)
    mean, largest = (embedder.encode(ALL, pooling=pooling, layers=choice) for pooling in ("mean", "max"))
    leading = (3,) if choice == "all" else ()
    assert mean.shape == largest.shape == (*leading, len(ALL), 128)
    assert mean.dtype == largest.dtype == np.float32
    for number, x in enumerate(tokens):
        if x.shape[-2] == 0:
            assert not mean[..., number, :].any() and not largest[..., number, :].any()
        else:
            np.testing.assert_allclose(mean[..., number, :], x.mean(axis=-2), rtol=0, atol=20 * FLOAT32)
            np.testing.assert_array_equal(largest[..., number, :], x.max(axis=-2))


def test_texts_are_tokenised_and_token_lists_are_not(embedder: Embedder) -> None:
    texts = ["I can't say.", "", "  ", "Two words"]
    assert_all_equal(embedder.encode(texts), embedder.encode([tokenize(text) for text in texts]))
    assert [len(x) for x in embedder.encode(texts)] == [5, 0, 0, 2]
    assert [len(x) for x in embedder.encode([["I can't say."], ["Two words"]])] == [1, 1]


def test_iterables_of_many_kinds(embedder: Embedder) -> None:
    expected = embedder.encode(["One text.", "Another"])
    assert_all_equal(embedder.encode(iter(["One text.", "Another"])), expected)
    assert_all_equal(embedder.encode(np.array(["One text.", "Another"])), expected)
    assert_all_equal(embedder.encode((("One", "text", "."), np.array(["Another"]))), expected)


def test_nothing_to_encode(embedder: Embedder) -> None:
    assert embedder.encode([]) == []
    assert embedder.encode([], pooling="mean").shape == (0, 128)
    assert embedder.encode([], pooling="max", layers="all").shape == (3, 0, 128)
    assert [x.shape for x in embedder.encode([[], []], layers="all")] == [(3, 0, 128)] * 2
    assert embedder.encode(["", ""], pooling="mean", layers="all").shape == (3, 2, 128)


@pytest.mark.parametrize("state", ["reset", "carry", "frozen"])
@pytest.mark.parametrize("budget", [8192, 60])
def test_embed_sentences_is_that_of_allennlps_class(
    tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch, state: str, budget: int
) -> None:
    monkeypatch.setattr(batching, "MAX_BATCH_TOKENS", budget)
    mine, other = elmo_fast.load("tiny", state=state), ElmoEmbedder(*tiny_model, state=state)
    if state == "frozen":
        mine.warm_up(ORDINARY[:2])
        other.warm_up(ORDINARY[:2])
    assert_all_equal(list(mine.embed_sentences(ALL, batch_size=5)), list(other.embed_sentences(ALL, batch_size=5)))


@pytest.mark.parametrize(("state", "ahead"), [("carry", 4), ("reset", 64)])
def test_embed_sentences_is_lazy(state: str, ahead: int) -> None:
    read: list[int] = []

    def endless() -> Iterator[list[str]]:
        for number in itertools.count():
            read.append(number)
            yield ["sentence", str(number)]

    vectors = elmo_fast.load("tiny", state=state).embed_sentences(endless(), batch_size=4)
    assert read == []
    assert [next(vectors).shape for _ in range(4)] == [(3, 2, 128)] * 4
    assert len(read) == ahead


def test_embed_sentences_checks_its_arguments(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        embedder.embed_sentences(ORDINARY, batch_size=0)  # at once, not at the first sentence
    with pytest.raises(TypeError, match="batch_size: expected an int, got str"):
        embedder.embed_sentences(ORDINARY, batch_size="all")  # type: ignore[arg-type]
    vectors = embedder.embed_sentences([["fine"], "a text"], batch_size=1)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="sentence 1: expected a list of tokens, got the str 'a text'"):
        list(vectors)


def test_the_state_can_be_switched(embedder: Embedder, tiny_model: tuple[str, str]) -> None:
    fresh, carrying = embedder.encode(ORDINARY), elmo_fast.load("tiny", state="carry")
    assert carrying.state == "carry"
    assert_all_equal(carrying.encode(ORDINARY), fresh)
    assert not np.array_equal(carrying.encode(ORDINARY)[0], fresh[0])
    carrying.state = "reset"
    assert carrying.state == "reset"
    assert_all_equal([*carrying.encode(ORDINARY), *carrying.encode(ORDINARY)], [*fresh, *fresh])
    carrying.state = "frozen"
    carrying.warm_up(ORDINARY[:2])
    assert not np.array_equal(carrying.encode(ORDINARY)[0], fresh[0])
    with pytest.raises(ValueError, match="state: expected one of 'carry', 'reset', 'frozen', got 'keep'"):
        carrying.state = "keep"
    assert carrying.state == "frozen"
    other = Embedder(elmo_fast.ElmoBiLm(*tiny_model, state="carry"))  # what other devices run
    other.state = "reset"
    assert (other.state, other._bilm.state) == ("reset", "reset")


def test_repr(tmp_path: Path) -> None:
    sizes = "num_layers=3, output_dim=128"
    embedder = elmo_fast.load("tiny")
    assert repr(embedder) == f"Embedder(model='tiny', {sizes}, state='reset', precision='float32', device='cpu')"
    embedder.state = "carry"
    assert "state='carry'" in repr(embedder) and repr(pickle.loads(pickle.dumps(embedder))) == repr(embedder)
    files = [tmp_path / "options.json", tmp_path / "weights.hdf5"]
    for file, packaged in zip(files, models.resolve("tiny"), strict=True):
        file.symlink_to(packaged)
    other = f"{sizes}, state='reset', precision='bfloat16', device='cpu')"
    assert repr(elmo_fast.load(tmp_path, precision="bfloat16")) == f"Embedder(model={str(tmp_path)!r}, {other}"
    expected = f"Embedder(model={str(files[1])!r}, {other}"
    assert repr(elmo_fast.load((files[0], str(files[1])), precision="bfloat16")) == expected


def test_repr_shows_what_a_precision_runs_as(every_isa: list[str]) -> None:
    elmo_fast.set_isa("generic")
    text = repr(elmo_fast.load("tiny", precision="bf16x3"))
    assert "precision='bf16x3' (runs as 'float32'), device='cpu'" in text


def test_types_of_choices_are_those_of_the_checks() -> None:
    assert get_args(argument_types.Pooling) == POOLINGS
    assert get_args(argument_types.LayerChoice) == LAYERS


def test_results_do_not_depend_on_batches(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = embedder.encode(ALL, pooling="mean")
    for batch_size, budget in ((1, 8192), (3, 8192), (64, 30), (64, 300)):
        monkeypatch.setattr(batching, "MAX_BATCH_TOKENS", budget)
        np.testing.assert_array_equal(embedder.encode(ALL, pooling="mean", batch_size=batch_size), expected)


def test_results_own_their_memory(embedder: Embedder) -> None:
    for choice in ("average", "all", "top", [1, 1, 1]):
        for array in embedder.encode(ALL, layers=choice):
            assert array.base is None and array.flags.writeable


def test_carried_state_is_that_of_allennlps_class(tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(ElmoEmbedder(*tiny_model).embed_sentences(ALL, batch_size=5))
    for budget in (8192, 60):
        monkeypatch.setattr(batching, "MAX_BATCH_TOKENS", budget)
        carrying = elmo_fast.load("tiny", state="carry")
        assert_all_equal(carrying.encode(ALL, layers="all", batch_size=5), expected)
        assert not np.array_equal(carrying.encode(ALL, layers="all", batch_size=5)[0], expected[0])
        carrying.reset_states()
        assert_all_equal(carrying.encode(ALL, layers="all", batch_size=5), expected)


def test_frozen_state_is_that_of_allennlps_class(tiny_model: tuple[str, str]) -> None:
    texts = [" ".join(sentence) for sentence in ORDINARY[:4]]
    frozen, other = elmo_fast.load("tiny", state="frozen"), ElmoEmbedder(*tiny_model, state="frozen")
    cold = frozen.encode(ALL, layers="all")
    frozen.warm_up([tokenize(text) for text in texts])
    other.warm_up([tokenize(text) for text in texts])
    warm = frozen.encode(ALL, layers="all")
    assert_all_equal(warm, other.embed_batch(ALL))
    assert not np.array_equal(warm[0], cold[0])
    frozen.warm_up(texts)
    assert_all_equal(frozen.encode(ALL, layers="all"), warm)  # texts are tokenised, and it starts over
    frozen.reset_states()
    assert_all_equal(frozen.encode(ALL, layers="all"), cold)
    with pytest.raises(ValueError, match="at least one"):
        frozen.warm_up([])


def test_warm_up_needs_the_frozen_state(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match='state="frozen", got state=.reset'):
        embedder.warm_up(["A text."])


def test_a_tokenizer_of_the_callers(embedder: Embedder) -> None:
    expected = embedder.encode([["a", "b-c"]])
    strings = elmo_fast.load("tiny", tokenizer=str.split)
    objects = elmo_fast.load("tiny", tokenizer=lambda text: (SimpleNamespace(text=t) for t in text.split()))
    for other in (strings, objects):
        assert_all_equal(other.encode(["a b-c"]), expected)
        assert_all_equal(other.encode([["a", "b-c"]]), expected)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (lambda text: None, "tokenizer: expected a list of tokens, got NoneType for text 0"),
        (lambda text: text, "tokenizer: expected a list of tokens, got str for text 0"),
        (lambda text: [1], "sentence 0, token 0: expected a string, got int"),
    ],
)
def test_a_wrong_tokenizer(tokenizer: Callable[[str], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        elmo_fast.load("tiny", tokenizer=tokenizer).encode(["A text."])
    with pytest.raises(TypeError, match="tokenizer: expected a callable, got str"):
        elmo_fast.load("tiny", tokenizer="spacy")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("One text.", "got one string; use encode"),
        (b"One text.", "got one string; use encode"),
        (["A text.", ["a", "list"]], "not both; item 0 is of type str, item 1 of type list"),
        ([["a", "list"], "A text."], "not both; item 0 is of type list, item 1 of type str"),
        ([["a", None]], "sentence 0, token 1: expected a string, got NoneType"),
        ([["a"], 3], "sentence 1: expected a list of tokens, got the int"),
        ([[["a"]]], "sentence 0, token 0: expected a string, got list"),
        ([b"bytes"], "sentence 0: expected a list of tokens, got the bytes"),
    ],
)
def test_wrong_texts(embedder: Embedder, texts: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        embedder.encode(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "sum"}, "pooling: expected one of 'tokens', 'mean', 'max', got 'sum'"),
        ({"layers": "first"}, "layers: expected one of 'average', 'all', 'top' or weights, got 'first'"),
        ({"layers": [1.0, 2.0]}, "layers: expected 3 weights, one per layer, got 2"),
        ({"layers": [1.0, float("nan"), 0.0]}, "layers: expected finite weights"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments(embedder: Embedder, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embedder.encode(["A text."], **arguments)  # type: ignore[arg-type]


def test_layers_of_a_wrong_type(embedder: Embedder) -> None:
    with pytest.raises(TypeError, match="layers: expected a name or a list of weights, got int"):
        embedder.encode(["A text."], layers=2)  # type: ignore[arg-type]


def test_progress(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.encode(ALL)
    assert capsys.readouterr().err == ""
    embedder.encode(ORDINARY, show_progress=True)
    assert f"{len(ORDINARY)}/{len(ORDINARY)}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state": "keep"}, "state: expected one of 'carry', 'reset', 'frozen', got 'keep'"),
        ({"device": "quantum"}, "device: expected a torch device"),
    ],
)
def test_wrong_ways_to_load(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elmo_fast.load("tiny", **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_cuda_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
        elmo_fast.load("tiny", device="cuda")


@pytest.mark.parametrize("state", ["reset", "carry", "frozen"])
def test_on_a_cuda_device(state: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here, there = (elmo_fast.load("tiny", state=state, device=device) for device in ("cpu", "cuda"))
    for embedder in (here, there):
        if state == "frozen":
            embedder.warm_up(ORDINARY[:2])
    for a, b in zip(here.encode(ALL, layers="all"), there.encode(ALL, layers="all"), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(1.0, np.abs(a).max(initial=0.0)))


def test_the_torch_path_of_other_devices_agrees(tiny_model: tuple[str, str], layers: list[np.ndarray]) -> None:
    """What `device="cuda"` runs, here on the CPU."""
    embedder = Embedder(elmo_fast.ElmoBiLm(*tiny_model, state="reset"))
    assert_all_equal(embedder.encode(ALL, layers="all"), layers)
    assert (embedder.num_layers, embedder.output_dim, embedder.state) == (3, 128, "reset")


def test_a_model_with_other_sizes(random_model: Model) -> None:
    embedder = elmo_fast.load(random_model(n_layers=3, projection_dim=5, max_characters=20))
    assert (embedder.num_layers, embedder.output_dim) == (4, 10)
    assert embedder.encode([["incomprehensibilities", "a"]], layers="all")[0].shape == (4, 2, 10)
    assert embedder.encode([["a"]], layers=[1, 2, 3, 4])[0].shape == (1, 10)
