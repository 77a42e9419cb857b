"""Words remembered from call to call: they show in the counters and in no result."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sample_sentences import ALL, ORDINARY

import elmo_fast
from elmo_fast import ElmoBiLm, ElmoEmbedder, batch_to_ids
from elmo_fast.cli import main
from elmo_fast.cpu.bilm import CpuBiLm
from elmo_fast.cpu.stateful_bilm import StatefulCpuBiLm
from elmo_fast.precision import PRECISIONS

Model = Callable[..., tuple[Path, Path]]
SENTENCE = [["A", "cat", "and", "a", "dog", "and", "a", "cat"]]
MARKERS, WORDS = 2, 5
CHAR_IDS = batch_to_ids(SENTENCE)

# Every class that encodes words, and how it encodes SENTENCE.
CLASSES: dict[str, tuple[Callable[..., object], Callable[..., object]]] = {
    "Elmo": (lambda files, **o: elmo_fast.Elmo(*files, 1, dropout=0.0, **o), lambda x: x(CHAR_IDS)),
    "ElmoBiLm": (lambda files, **o: ElmoBiLm(*files, **o), lambda x: x(CHAR_IDS)),
    "ElmoTokenEmbedder": (lambda files, **o: elmo_fast.ElmoTokenEmbedder(*files, **o), lambda x: x(CHAR_IDS)),
    "ElmoCharacterEncoder": (lambda files, **o: elmo_fast.ElmoCharacterEncoder(*files, **o), lambda x: x(CHAR_IDS)),
    "ElmoEmbedder": (lambda files, **o: ElmoEmbedder(*files, **o), lambda x: x.embed_batch(SENTENCE)),
    "load": (lambda files, **o: elmo_fast.load(files, **o), lambda x: x.encode(SENTENCE)),
    "CpuBiLm": (lambda files, **o: CpuBiLm.from_files(*files, **o), lambda x: x.forward(CHAR_IDS.numpy())),
    "StatefulCpuBiLm": (
        lambda files, **o: StatefulCpuBiLm(CpuBiLm.from_files(*files, **o), "reset"),
        lambda x: x(CHAR_IDS.numpy()),
    ),
}
every_class = pytest.mark.parametrize(("make", "run"), CLASSES.values(), ids=CLASSES.keys())


def vectors(embedder: object) -> bytes:
    return b"".join(array.tobytes() for array in embedder.encode(ALL, layers="all"))


@every_class
def test_counters_and_clear(make: Callable[..., object], run: Callable[..., object], random_model: Model) -> None:
    module = make(random_model())
    assert module.cache_info() == (0, 0, 0, 32768, module.cache_info().nbytes)
    module.clear_cache()
    run(module)
    info = module.cache_info()
    assert (info.hits, info.misses, info.size, info.max_size) == (0, WORDS + MARKERS, WORDS + MARKERS, 32768)
    assert info.nbytes >= info.size * 6 * 4
    run(module)
    assert module.cache_info() == info._replace(hits=WORDS + MARKERS)
    module.clear_cache()
    assert module.cache_info()[:4] == (0, 0, 0, 32768)
    assert module.cache_info().nbytes < info.nbytes
    run(module)
    assert module.cache_info() == info


@every_class
def test_sizes(make: Callable[..., object], run: Callable[..., object], random_model: Model) -> None:
    for size in (0, 1, 3):
        module = make(random_model(), word_cache_size=size)
        for each in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            run(each)
            assert (each.cache_info().size, each.cache_info().max_size) == (size, size)
        if size:
            copied = pickle.loads(pickle.dumps(module))
            assert copied.cache_info()[:3] == (0, 0, 0)  # the words stay behind


@pytest.mark.parametrize("wrong", [-1, 1.5, "10", None, True, 2**63])
@every_class
def test_wrong_size(
    make: Callable[..., object], run: Callable[..., object], wrong: object, random_model: Model
) -> None:
    with pytest.raises(ValueError, match="word_cache_size: expected an integer of 0 or more, got ") as error:
        make(random_model(), word_cache_size=wrong)
    assert repr(wrong) in str(error.value)


def test_not_beside_another_bilm(random_model: Model) -> None:
    bilm = ElmoBiLm(*random_model(), word_cache_size=7)
    with pytest.raises(ValueError, match="word_cache_size: applies to the biLM read from files"):
        elmo_fast.Elmo(None, None, 1, module=bilm, word_cache_size=8)
    assert elmo_fast.Elmo(None, None, 1, module=bilm).cache_info().max_size == 7


@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bits_with_and_without(precision: str, random_model: Model, every_isa: list[str]) -> None:
    """Words found, words computed, both in a call, after others were evicted, and after `set_isa`."""
    files = random_model(projection_dim=19, cell_size=37, filters=((1, 20), (2, 33), (3, 40)))
    plain = elmo_fast.load(files, precision=precision, word_cache_size=0)
    cached = [elmo_fast.load(files, precision=precision, word_cache_size=size) for size in (1, 20, 32768)]
    for isa in [*every_isa, *reversed(every_isa)]:
        elmo_fast.set_isa(isa)
        expected = vectors(plain)
        for embedder in cached:
            embedder.encode(ORDINARY[3:9])
            assert vectors(embedder) == expected
            assert vectors(embedder) == expected
    assert plain.cache_info() == (0, 0, 0, 0, plain.cache_info().nbytes)
    assert all(embedder.cache_info().hits for embedder in cached[1:])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_words_kept_when_the_instruction_set_changes(precision: str, tiny_model: Model, every_isa: list[str]) -> None:
    """float32 has the same bits on all of them; what another precision computed on one must not enter the next."""
    embedder = elmo_fast.load(tiny_model, precision=precision)
    for isa in every_isa:
        elmo_fast.set_isa(isa)
        embedder.encode(SENTENCE)
    calls = len(every_isa) if precision != "float32" else 1
    assert embedder.cache_info().misses == calls * (WORDS + MARKERS)


def test_holes_and_empty_sentences(random_model: Model) -> None:
    char_ids = batch_to_ids([["a", "hole", "here", "b"], [], ["one"]])
    char_ids[0, 1] = 0
    plain, cached = (ElmoBiLm(*random_model(), state="reset", word_cache_size=size) for size in (0, 100))
    for _ in range(2):
        for a, b in zip(plain(char_ids)["activations"], cached(char_ids)["activations"], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("by_data", [False, True])
def test_forgotten_when_a_weight_changes(by_data: bool, random_model: Model) -> None:
    bilm = ElmoBiLm(*random_model(), state="reset")
    before = bilm(CHAR_IDS)["activations"][0]
    weight = bilm._token_embedder.char_conv_0.weight
    with torch.no_grad():
        if by_data:
            weight.data.mul_(1.5)
        else:
            weight.mul_(1.5)
    after = bilm(CHAR_IDS)["activations"][0]
    assert not torch.equal(after, before)
    assert bilm.cache_info()[:3] == (0, WORDS + MARKERS, WORDS + MARKERS)
    fresh = ElmoBiLm(*random_model(), state="reset", word_cache_size=0)
    fresh.load_state_dict(bilm.state_dict())
    assert torch.equal(fresh(CHAR_IDS)["activations"][0], after)


def test_lstm_weights_do_not_matter(random_model: Model) -> None:
    bilm = ElmoBiLm(*random_model(), state="reset")
    bilm(CHAR_IDS)
    with torch.no_grad():
        bilm._elmo_lstm.forward_layer_0.state_linearity.bias.add_(1.0)
    bilm(CHAR_IDS)
    assert bilm.cache_info().hits == WORDS + MARKERS


def test_nothing_is_remembered_where_the_kernels_do_not_run(random_model: Model) -> None:
    elmo = elmo_fast.Elmo(*random_model(), 1, requires_grad=True)
    elmo(CHAR_IDS)
    assert elmo.cache_info()[:4] == (0, 0, 0, 32768)
    elmo.clear_cache()


def test_vocab_to_cache(random_model: Model) -> None:
    """The table of precomputed words is right whatever the cache had, and does not change when it is cleared."""
    vocabulary = ["@@pad@@", *dict.fromkeys(SENTENCE[0])]
    indices = torch.tensor([[vocabulary.index(word) for word in SENTENCE[0]]])
    expected = ElmoBiLm(*random_model(), state="reset", word_cache_size=0)(CHAR_IDS)["activations"]
    for size in (0, 2, 100):
        bilm = ElmoBiLm(*random_model(), state="reset", vocab_to_cache=vocabulary, word_cache_size=size)
        for _ in range(2):
            actual = bilm(torch.zeros_like(CHAR_IDS), indices)["activations"]
            assert all(map(torch.equal, actual, expected))
            bilm.clear_cache()
        bilm.create_cached_cnn_embeddings(vocabulary)
        assert all(map(torch.equal, bilm(torch.zeros_like(CHAR_IDS), indices)["activations"], expected))


@pytest.mark.parametrize("size", [1, 30, 32768])
def test_threads_share_it(size: int) -> None:
    plain = elmo_fast.load("tiny", word_cache_size=0)
    embedder = elmo_fast.load("tiny", word_cache_size=size)

    def call(embedder: object, n: int) -> bytes:
        if n % 5 == 4:
            embedder.clear_cache()
        return b"".join(x.tobytes() for x in embedder.encode(ALL[n % 4 :], batch_size=3, layers="all"))

    expected = [call(plain, n) for n in range(4)]
    with ThreadPoolExecutor(6) as pool:
        for n, actual in enumerate(pool.map(lambda n: call(embedder, n), range(24))):
            assert actual == expected[n % 4]
    assert embedder.cache_info().size <= size


def _report(embedder: object, queue) -> None:  # type: ignore[no-untyped-def]
    before = embedder.cache_info()
    output = vectors(embedder)
    queue.put((before, output, embedder.cache_info()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_forked_child_while_other_threads_use_it() -> None:
    embedder = elmo_fast.load("tiny")
    expected = vectors(embedder)
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            embedder.encode(ORDINARY[:2])

    context = multiprocessing.get_context("fork")
    thread = threading.Thread(target=use)
    thread.start()
    try:
        for _ in range(3):
            queue = context.Queue()
            child = context.Process(target=_report, args=(embedder, queue), daemon=True)
            child.start()
            before, output, after = queue.get(timeout=120)
            child.join(timeout=60)
            assert child.exitcode == 0
            assert output == expected
            assert after.misses == before.misses  # it has its parent's words
            assert after.hits > before.hits
    finally:
        stop.set()
        thread.join()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "in.txt"
    text.write_text("a b a\nb a b\n")
    outputs = []
    for size in ("0", "1", "100"):
        outputs.append(tmp_path / f"{size}.hdf5")
        arguments = ["embed", str(text), str(outputs[-1]), "--model", "tiny", "--batch-size", "1"]
        assert main([*arguments, "--word-cache-size", size]) == 0
    import h5py

    for key in ("0", "1"):
        arrays = [h5py.File(path)[key][()] for path in outputs]
        for array in arrays[1:]:
            np.testing.assert_array_equal(array, arrays[0])
    with pytest.raises(SystemExit):
        main(["embed", str(text), "x.hdf5", "--word-cache-size", "-1"])
    assert "--word-cache-size: expected a number of at least 0, got '-1'" in capsys.readouterr().err


def test_a_long_run_grows_no_further_than_its_size() -> None:
    embedder = elmo_fast.load("tiny", word_cache_size=50)
    embedder.encode([[f"word{i}" for i in range(60)]])
    full = embedder.cache_info()
    embedder.encode([[f"word{i}" for i in range(1000, 1300)]])
    info = embedder.cache_info()
    assert info.size == full.size == 50
    assert info.nbytes <= full.nbytes + 50 * sys.getsizeof("word1000")
