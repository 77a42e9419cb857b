"""Copies of models: pickle, deepcopy, torch.save, worker processes, fork while another thread computes."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
import threading

import numpy as np
import pytest
import torch

from elmo_fast import Elmo, ElmoBiLm, batch_to_ids
from elmo_fast.cpu.bilm import CpuBiLm

BATCH = [["Hello", "world", "."], [], ["one"]]
WORDS = ["@@pad@@", "Hello", "world", "one"]


def through_pickle(module):  # type: ignore[no-untyped-def]
    return pickle.loads(pickle.dumps(module))


def through_torch_save(module):  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def run(bilm: ElmoBiLm) -> torch.Tensor:
    return torch.stack(bilm(batch_to_ids(BATCH))["activations"])


@pytest.mark.parametrize("duplicate", [through_pickle, through_torch_save, copy.deepcopy])
@pytest.mark.parametrize("state", ["carry", "reset", "frozen"])
def test_copy_has_the_weights_and_the_state(random_model, duplicate, state: str) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state=state, vocab_to_cache=WORDS)
    if state == "frozen":
        bilm.warm_up(BATCH)
    run(bilm)  # packs, and carries
    other = duplicate(bilm)
    assert other.state == state
    assert torch.equal(run(other), run(bilm))
    words = torch.tensor([[1, 2], [3, 0]])
    char_ids = torch.zeros(2, 2, 50, dtype=torch.long)
    assert torch.equal(other(char_ids, words)["activations"][-1], bilm(char_ids, words)["activations"][-1])
    if state == "carry":
        run(other)
        assert not torch.equal(other._elmo_lstm._states[0], bilm._elmo_lstm._states[0])  # separate from here on


@pytest.mark.parametrize("duplicate", [through_pickle, through_torch_save, copy.deepcopy])
def test_copies_do_not_share_weights(random_model, duplicate) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")
    before = run(bilm)
    other = duplicate(bilm)
    assert other._elmo_lstm.forward_layers[0] is other._elmo_lstm.forward_layer_0
    assert other._token_embedder._convolutions[0] is other._token_embedder.char_conv_0
    with torch.no_grad():
        other._elmo_lstm.forward_layer_0.state_linearity.bias += 1.0
    assert not torch.equal(run(other), before)
    assert torch.equal(run(bilm), before)


def test_pickle_does_not_hold_the_native_copy(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")
    size = len(pickle.dumps(bilm))
    run(bilm)
    assert len(pickle.dumps(bilm)) == size


@pytest.mark.parametrize("duplicate", [through_pickle, copy.deepcopy, copy.copy])
def test_engine(random_model, duplicate) -> None:  # type: ignore[no-untyped-def]
    engine = CpuBiLm.from_files(*random_model())
    other = duplicate(engine)
    char_ids = batch_to_ids(BATCH).numpy()
    assert np.array_equal(other.forward(char_ids)[0], engine.forward(char_ids)[0])
    assert (other.num_layers, other.output_dim, other.max_characters) == (3, 12, 50)


def _in_child(elmo: Elmo, queue) -> None:  # type: ignore[no-untyped-def]
    queue.put(elmo(batch_to_ids(BATCH))["elmo_representations"][0].detach().numpy())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_process(random_model, method: str) -> None:  # type: ignore[no-untyped-def]
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    elmo = Elmo(*random_model(), 1, dropout=0.0, state="reset")
    expected = elmo(batch_to_ids(BATCH))["elmo_representations"][0]  # the parent's threads are up before the fork
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=_in_child, args=(elmo, queue)) for _ in range(2)]
    for child in children:
        child.start()
    outputs = [queue.get(timeout=120) for _ in children]
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0
    assert all(np.array_equal(output, expected.detach().numpy()) for output in outputs)


def _states_in_child(bilm: ElmoBiLm, queue) -> None:  # type: ignore[no-untyped-def]
    queue.put(run(bilm).shape)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_fork_while_a_thread_holds_the_lock(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model())
    run(bilm)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with bilm._elmo_lstm._state_lock:
            held.set()
            done.wait(timeout=120)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_states_in_child, args=(bilm, queue), daemon=True)
    child.start()
    try:
        assert queue.get(timeout=60) == (3, 3, 5, 12)
    finally:
        done.set()
        thread.join()
        child.join(timeout=10)
        child.kill()


class Sentences(torch.utils.data.Dataset):
    """Computes vectors in the loader's worker, as some scripts do."""

    def __init__(self, elmo: Elmo) -> None:
        self.elmo = elmo

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.elmo(batch_to_ids([["word"] * (i + 1) + ["pad"] * (3 - i)]))["elmo_representations"][0].detach()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(random_model, method: str) -> None:  # type: ignore[no-untyped-def]
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    data = Sentences(Elmo(*random_model(), 1, dropout=0.0, state="reset"))
    expected = torch.cat([data[i] for i in range(4)])
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context=method)
    actual = torch.cat([batch.flatten(0, 1) for batch in loader])
    assert torch.equal(actual, expected)
