"""What a biLM remembers between calls."""

from __future__ import annotations

import threading

import pytest
import torch
from helpers.parts import lstm_of
from tolerances import FLOAT32

from elmo_fast import Elmo, ElmoBiLm, ElmoTokenEmbedder, batch_to_ids
from elmo_fast.state import STATE_MODES

ONE, TWO = [["one", "sentence", "."]], [["another"], ["two", "words"]]


@pytest.fixture(params=[False, True], ids=["native", "reference"])
def make_bilm(request: pytest.FixtureRequest, random_model):  # type: ignore[no-untyped-def]
    files = random_model()
    return lambda state="carry": ElmoBiLm(*files, requires_grad=request.param, state=state)


def run(bilm: torch.nn.Module, batch: list[list[str]]) -> torch.Tensor:
    """The top layer."""
    return bilm(batch_to_ids(batch))["activations"][-1].detach()


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and (a - b).abs().max().item() <= FLOAT32


def states(bilm: ElmoBiLm) -> tuple[torch.Tensor, torch.Tensor]:
    return bilm._elmo_lstm._states


def test_carry_continues_and_reset_starts_over(make_bilm) -> None:  # type: ignore[no-untyped-def]
    carry, reset = make_bilm(), make_bilm("reset")
    first = run(carry, ONE)
    assert close(run(reset, ONE), first)
    assert close(run(reset, ONE), first)
    assert not close(run(carry, ONE), first)
    carry.reset_states()
    assert close(run(carry, ONE), first)


def test_rows_are_remembered_by_index(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm, alone = make_bilm(), make_bilm()
    run(bilm, ONE)
    run(alone, [["another"]])
    after_two = run(bilm, [["x"], ["another"], ["y"]])  # rows 1 and 2 start from zero
    fresh = make_bilm()
    assert close(after_two[1], run(fresh, [["q"], ["another"]])[1])
    h, c = states(bilm)
    assert h.shape == (2, 3, 12)
    assert c.shape == (2, 3, 24)
    run(bilm, ONE)  # updates the first row only
    assert torch.equal(states(bilm)[0][:, 1:], h[:, 1:])
    assert torch.equal(states(bilm)[1][:, 1:], c[:, 1:])
    assert not torch.equal(states(bilm)[0][:, :1], h[:, :1])


def test_row_without_tokens_still_runs_the_markers(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm = make_bilm()
    run(bilm, [["a"], []])
    assert states(bilm)[0][:, 1].any()


def test_state_tensors_are_snapshots(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm = make_bilm()
    run(bilm, TWO)
    kept = states(bilm)
    copies = tuple(part.clone() for part in kept)
    second = run(bilm, ONE)
    run(bilm, TWO)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    assert not any(part.requires_grad for part in states(bilm))
    bilm._elmo_lstm._states = kept  # scripts save and restore it
    assert close(run(bilm, ONE), second)


def test_reset_of_some_rows(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm = make_bilm()
    bilm.reset_states(torch.tensor([True]))  # nothing to forget
    run(bilm, TWO)
    before = states(bilm)
    bilm.reset_states(torch.tensor([False, True]))
    for part, old in zip(states(bilm), before, strict=True):
        assert torch.equal(part[:, 0], old[:, 0])
        assert not part[:, 1].any()
    with pytest.raises(ValueError, match=r"mask: expected shape \(2,\), the rows of the state, got \(3,\)"):
        bilm.reset_states(torch.tensor([True, False, True]))


def test_reset_clears_a_row_of_nan(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm = make_bilm()
    run(bilm, TWO)
    bilm._elmo_lstm._states = tuple(torch.full_like(part, float("nan")) for part in states(bilm))
    bilm.reset_states(torch.tensor([True, False]))
    assert not states(bilm)[0][:, 0].any()


def test_failed_call_leaves_the_state(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm = make_bilm()
    run(bilm, ONE)
    before = states(bilm)
    bad = batch_to_ids(ONE)
    bad[0, 0, 0] = 300
    with pytest.raises(ValueError, match="char_ids: expected ids from 0 to 261, got 300"):
        bilm(bad)
    assert states(bilm) is before
    run(bilm, ONE)  # and the lock is open


def test_stateful_is_the_mode_under_another_name(make_bilm) -> None:  # type: ignore[no-untyped-def]
    lstm = make_bilm()._elmo_lstm
    assert lstm.stateful
    lstm.stateful = False
    assert lstm.state == "reset"
    lstm.stateful = True
    assert lstm.state == "carry"
    lstm.state = "frozen"
    assert not lstm.stateful


def test_switching_between_carry_and_reset_keeps_the_state(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm, other = make_bilm(), make_bilm()
    run(bilm, ONE)
    run(other, ONE)
    bilm._elmo_lstm.stateful = False
    run(bilm, TWO)
    bilm._elmo_lstm.stateful = True
    assert close(run(bilm, TWO), run(other, TWO))
    bilm.state = "frozen"
    assert states(bilm) is None


def test_frozen_starts_every_row_from_the_warm_state(make_bilm) -> None:  # type: ignore[no-untyped-def]
    frozen, carry, reset = make_bilm("frozen"), make_bilm(), make_bilm("reset")
    assert close(run(frozen, TWO), run(reset, TWO))  # zero before warm_up
    assert states(frozen) is None
    sentences = [["some", "text"], ["and", "more", "."], []]
    for _ in range(2):  # a second warm-up starts over
        frozen.warm_up(sentences)
    for sentence in sentences:
        run(carry, [sentence])
    kept = states(carry)
    for row in ([["two", "words"], ["two", "words"], ["a"]], ONE):
        expected = []
        for sentence in row:
            carry._elmo_lstm._states = kept
            expected.append(run(carry, [sentence])[0])
        for _ in range(2):
            actual = run(frozen, row)
            for got, want in zip(actual, expected, strict=True):
                assert close(got[: len(want)], want)
    assert all(close(a, b) for a, b in zip(states(frozen), kept, strict=True))
    frozen.reset_states()
    assert close(run(frozen, TWO), run(reset, TWO))


def test_warm_up_takes_character_ids(make_bilm) -> None:  # type: ignore[no-untyped-def]
    words, ids = make_bilm("frozen"), make_bilm("frozen")
    words.warm_up([["some", "text"]])
    ids.warm_up(list(batch_to_ids([["some", "text"]]).int()))
    assert close(run(words, ONE), run(ids, ONE))


@pytest.mark.parametrize("state", ["carry", "reset"])
def test_warm_up_needs_frozen(make_bilm, state: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match='warm_up: expected a model with state="frozen", got state='):
        make_bilm(state).warm_up(ONE)


def test_warm_up_needs_a_sentence_and_failing_changes_nothing(make_bilm) -> None:  # type: ignore[no-untyped-def]
    bilm = make_bilm("frozen")
    bilm.warm_up(ONE)
    before = states(bilm)
    with pytest.raises(ValueError, match="sentences: expected at least one, got none"):
        bilm.warm_up([])
    with pytest.raises(TypeError, match="expected a list of tokens"):
        bilm.warm_up([["fine"], "not fine"])
    assert states(bilm) is before


def test_mode_is_checked_first(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="state: expected one of 'carry', 'reset', 'frozen', got 'carried'"):
        ElmoBiLm(tmp_path / "none", tmp_path / "none", state="carried")


@pytest.mark.parametrize("state", STATE_MODES)
def test_state_is_never_in_the_state_dict(random_model, state: str) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state=state)
    keys = list(bilm.state_dict())
    if state == "frozen":
        bilm.warm_up(ONE)
    run(bilm, ONE)
    assert list(bilm.state_dict()) == keys


def test_state_follows_the_dtype(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model())
    other = ElmoBiLm(*random_model())
    run(bilm, ONE)
    run(other, ONE)
    bilm.double()
    assert {part.dtype for part in states(bilm)} == {torch.float64}
    assert close(run(bilm, ONE).float(), run(other, ONE))
    bilm.float()
    assert {part.dtype for part in states(bilm)} == {torch.float32}
    assert close(run(bilm, ONE), run(other, ONE))


def test_inference_mode_does_not_spoil_later_training(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True)
    with torch.inference_mode():
        run(bilm, ONE)
        run(bilm, TWO)
    bilm(batch_to_ids(ONE))["activations"][-1].sum().backward()
    assert bilm._elmo_lstm.forward_layers[0].state_linearity.weight.grad.abs().sum() > 0


def test_concurrent_calls_are_carried_one_after_the_other(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm, expected = ElmoBiLm(*random_model()), ElmoBiLm(*random_model())
    for _ in range(40):
        run(expected, ONE)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(10):
            run(bilm, ONE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A lost update would leave the state of fewer calls; it converges, but not in a few steps to the last bit.
    assert all(torch.equal(a, b) for a, b in zip(states(bilm), states(expected), strict=True))


def test_passes_through_elmo_and_token_embedder(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 1, dropout=0.0, state="frozen")
    embedder = ElmoTokenEmbedder(*random_model(), dropout=0.0, state="frozen")
    for module in (elmo, embedder):
        module.warm_up(ONE)
    assert close(elmo(batch_to_ids(TWO))["elmo_representations"][0], embedder(batch_to_ids(TWO)))
    assert elmo.state == "frozen"
    elmo.state = "carry"
    assert lstm_of(elmo).stateful
    elmo(batch_to_ids(TWO))
    elmo.reset_states()
    embedder.reset_states()
    assert lstm_of(elmo)._states is None
    assert lstm_of(embedder)._states is None
