"""Gradients through the native kernels: against the float64 reference, in every shape of batch, deterministic."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from helpers.parts import lstm_of
from tolerances import GRADIENT, NATIVE
from torch import Tensor

from elmo_fast import Elmo, ElmoBiLm, ElmoLstm, batch_to_ids, set_isa
from elmo_fast.cpu import bilstm_training, encoder_training
from elmo_fast.packed_cache import PackedCache

pytestmark = pytest.mark.usefixtures("one_torch_thread")

BATCH = [["Hello", "world", ".", "Hello"], [], ["one"], ["a", "few", "words", "more", "than", "the", "others", "world"]]


def check_gradients(actual: torch.nn.Module, expected: torch.nn.Module) -> None:
    """Every parameter's gradient, as a part of its largest entry."""
    expected_gradients = {name: parameter.grad for name, parameter in expected.named_parameters()}
    for name, parameter in actual.named_parameters():
        wanted = expected_gradients[name]
        assert (parameter.grad is None) == (wanted is None), name
        if wanted is not None:
            scale = wanted.abs().max().item()
            assert scale > 0, f"{name}: a gradient of zero tests nothing"
            assert (parameter.grad.double() - wanted).abs().max().item() <= GRADIENT * scale, name


def twice(module: torch.nn.Module, run: Callable[[torch.nn.Module], Tensor]) -> tuple[Tensor, Tensor, torch.nn.Module]:
    """Runs a module and its float64 copy, on the reference, back too; returns both outputs and the copy."""
    copied = copy.deepcopy(module).double()
    outputs = []
    for each in (module, copied):
        output = run(each)
        generator = torch.Generator().manual_seed(3)
        seed = torch.randn(output.shape, generator=generator)
        (output * seed.to(output)).sum().backward()
        outputs.append(output.detach())
    return outputs[0], outputs[1], copied


def layers(bilm: ElmoBiLm, batch: list[list[str]] = BATCH) -> Tensor:
    return torch.stack(bilm(batch_to_ids(batch))["activations"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "tanh", "n_layers": 3, "n_highway": 2},
        {"cell_clip": 0.05, "proj_clip": 0.02},
        {"cell_clip": 0.0, "proj_clip": 0.0, "use_skip_connections": False},
        {"cell_size": 19, "projection_dim": 5},
        {"n_layers": 1, "n_highway": 0},
    ],
    ids=repr,
)
def test_gradients_of_the_bilm(random_model, options: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(**options), requires_grad=True, state="reset")
    actual, expected, reference = twice(bilm, layers)
    assert (actual.double() - expected).abs().max().item() <= NATIVE
    check_gradients(bilm, reference)


def test_training_and_inference_have_the_same_bits(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    with torch.no_grad():
        expected = layers(bilm)
    assert torch.equal(layers(bilm).detach(), expected)


def test_clips_bite_in_these_tests(random_model) -> None:  # type: ignore[no-untyped-def]
    with torch.no_grad():
        clipped, free = (
            layers(ElmoBiLm(*random_model(cell_clip=c, proj_clip=p), state="reset")) for c, p in ((0.05, 0.02), (0, 0))
        )
    assert ((clipped[1].abs() == 0.02) & (free[1].abs() > 0.02)).any()


def test_carried_state_is_a_constant(random_model) -> None:  # type: ignore[no-untyped-def]
    """As in AllenNLP: the second call starts from the first one's state, and no gradient goes back into that."""

    def two_calls(bilm: ElmoBiLm) -> Tensor:
        with torch.no_grad():
            layers(bilm, [["some", "words", "before"]])
        return layers(bilm)

    bilm = ElmoBiLm(*random_model(), requires_grad=True)
    actual, expected, reference = twice(bilm, two_calls)
    assert (actual.double() - expected).abs().max().item() <= NATIVE
    check_gradients(bilm, reference)


@pytest.mark.parametrize("lengths", [[3, 0, 7, 1], [1], [0, 0], [5] * 9])
def test_gradients_of_the_lstm_and_its_input(lengths: list[int]) -> None:
    torch.manual_seed(0)
    lstm = ElmoLstm(6, 6, 11, 2, memory_cell_clip_value=0.2, state_projection_clip_value=0.3, state="reset")
    x = torch.randn(len(lengths), max(max(lengths), 1), 6)
    mask = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
    inputs = []

    def run(module: ElmoLstm) -> Tensor:
        inputs.append(x.detach().clone().to(next(module.parameters()).dtype).requires_grad_())
        return module(inputs[-1], mask)

    actual, expected, reference = twice(lstm, run)
    assert (actual.double() - expected).abs().max().item() <= NATIVE
    assert (inputs[0].grad.double() - inputs[1].grad).abs().max().item() <= GRADIENT * max(
        inputs[1].grad.abs().max(), 1
    )
    if max(lengths) > 1:  # one step from a zero state leaves the recurrent weights without a gradient
        check_gradients(lstm, reference)


@pytest.mark.parametrize(
    "trained", ["_token_embedder", "_elmo_lstm", "_elmo_lstm.backward_layer_1", "_elmo_lstm.forward_layer_0"]
)
def test_a_part_that_trains_alone(random_model, trained: str) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")
    bilm.get_submodule(trained).requires_grad_(True)
    _, _, reference = twice(bilm, layers)
    check_gradients(bilm, reference)
    for name, parameter in bilm.named_parameters():
        assert (parameter.grad is not None) == name.startswith(trained), name


def test_a_frozen_encoder_remembers_its_words_while_the_lstm_trains(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")
    bilm._elmo_lstm.requires_grad_(True)
    layers(bilm)
    before = bilm.cache_info()
    layers(bilm)
    assert before.size > 0
    assert bilm.cache_info().misses == before.misses


def gradients(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def test_checkpointing_keeps_nothing_and_gives_the_same(random_model, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(bilstm_training, "_TOKENS_AGAIN", 9)  # several groups of rows
    monkeypatch.setattr(encoder_training, "_WORDS_AGAIN", 5)
    kept, computed = (
        ElmoBiLm(*random_model(), requires_grad=True, state="reset", checkpointing=again) for again in (False, True)
    )
    outputs = [layers(bilm) for bilm in (kept, computed)]
    assert torch.equal(*outputs)
    for operator, place in (("bilstm", 6), ("encode_tokens", 2)):
        kept_floats, none = (saved_by(operator, output)[place].numel() for output in outputs)
        assert kept_floats > 0 and none == 0
    for output in outputs:
        output.square().sum().backward()
    for actual, expected in zip(gradients(computed), gradients(kept), strict=True):
        assert (actual - expected).abs().max() <= GRADIENT * expected.abs().max()


def saved_by(operator: str, output: Tensor) -> tuple[Tensor, ...]:
    """What an operator's node in the autograd graph of an output keeps."""
    nodes = [output.grad_fn]
    for node in nodes:
        if f"elmo_fast_{operator}_" in type(node).__name__:
            return node.saved_tensors
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    raise AssertionError(f"no {operator} among {[type(node).__name__ for node in nodes]}")


def test_the_same_bits_every_time_and_on_every_thread_count(random_model, num_threads) -> None:  # type: ignore[no-untyped-def]
    results = []
    for n in (1, 2, 2, 3):
        num_threads(n)
        bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
        layers(bilm).square().sum().backward()
        results.append(gradients(bilm))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_every_instruction_set(random_model, every_isa) -> None:  # type: ignore[no-untyped-def]
    results = []
    for isa in every_isa:
        set_isa(isa)
        bilm = ElmoBiLm(*random_model(cell_clip=0.1), requires_grad=True, state="reset")
        layers(bilm).square().sum().backward()
        results.append(gradients(bilm))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_an_optimizer_step_is_followed(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    optimizer = torch.optim.SGD(bilm.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        _, _, reference = twice(bilm, layers)
        check_gradients(bilm, reference)
        optimizer.step()


def test_repack_follows_a_write_through_data(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 1, dropout=0.0, state="reset")
    before = layers(elmo._elmo_lstm)
    weight = lstm_of(elmo).forward_layer_0.state_linearity.weight
    weight.data[0, 1] += 100.0  # one element: no version, and no sample shows it
    assert torch.equal(layers(elmo._elmo_lstm), before)
    elmo.repack()
    assert not torch.equal(layers(elmo._elmo_lstm), before)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_gradients_are_float32_in_every_precision(random_model, precision: str) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset", precision=precision)
    with torch.no_grad():
        rounded = layers(bilm)
    actual, expected, reference = twice(bilm, layers)
    assert (actual.double() - expected).abs().max().item() <= NATIVE
    check_gradients(bilm, reference)
    with torch.no_grad():
        assert torch.equal(layers(bilm), rounded)


def test_more_rows_than_walk_together(random_model) -> None:  # type: ignore[no-untyped-def]
    """Rows run in groups of 512."""
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    batch = [["word", str(i % 7)][: 1 + i % 2] for i in range(520)]
    _, _, reference = twice(bilm, lambda module: layers(module, batch))
    check_gradients(bilm, reference)


def test_a_weight_written_between_forward_and_backward_is_an_error(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    output = layers(bilm)
    with torch.no_grad():
        bilm._elmo_lstm.forward_layer_0.state_linearity.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_padding_may_hold_anything() -> None:
    torch.manual_seed(0)
    lstm = ElmoLstm(6, 6, 11, 2, state="reset")
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    results = []
    for padding in (0.0, float("nan")):
        lstm.zero_grad()
        x = torch.ones(2, 4, 6).masked_fill(~mask.unsqueeze(-1), padding).requires_grad_()
        lstm(x, mask).square().sum().backward()
        results.append([x.grad, *gradients(lstm)])
    assert all(map(torch.equal, *results))


def test_default_dtype_and_device_of_others_do_not_matter(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    ids = batch_to_ids(BATCH)
    torch.set_default_dtype(torch.float64)
    try:
        torch.stack(bilm(ids)["activations"]).square().sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(gradient.dtype == torch.float32 for gradient in gradients(bilm))


def test_a_graph_outlives_its_module_and_no_longer(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    caches = [weakref.ref(part._packed) for part in (bilm._token_embedder, bilm._elmo_lstm)]
    keys = [int(cache().key) for cache in caches]
    loss = layers(bilm).square().sum()
    del bilm
    loss.backward()
    del loss
    gc.collect()
    assert [cache() for cache in caches] == [None, None]
    assert not {*keys} & {*PackedCache._by_key, *PackedCache._of_programs}


def test_computed_weights_keep_no_graph_alive(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    leaf = torch.ones((), requires_grad=True)
    weights = {name: leaf * parameter.detach() for name, parameter in bilm.named_parameters()}
    output = torch.func.functional_call(bilm, weights, (batch_to_ids(BATCH),))["activations"][1]
    output.square().sum().backward()
    assert leaf.grad.abs() > 0
    seen = weakref.ref(leaf)
    del leaf, weights, output
    gc.collect()
    assert seen() is None


def test_packing_in_a_backward_pass_leaves_the_word_cache(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    output = layers(bilm)
    bilm.repack()
    output.sum().backward()
    with torch.no_grad():
        layers(bilm)
    assert bilm.cache_info().size > 0
