"""`accelerate`: AllenNLP's ELMo inside a built model becomes this package's, around the same parameters."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.parts import LSTM_OF_ELMO, bilm_of, encoder_of, lstm_of
from helpers.processes import ENVIRONMENT
from helpers.tagger import make_tagger, optimizer_of, own_allennlp, train
from tolerances import DIFFERENT, FLOAT64, GOLDEN_CASE, LOSS_CURVE, NATIVE

import elmo_fast
from elmo_fast import accelerate, batch_to_ids, dispatch

BATCHES = [
    [["Hello", "world", "."], ["a"], ["one", "two"]],
    [["A", "longer", "one"], ["x"]],
    [["Hello"], ["again", "."]],
]
WORDS = ["@@pad@@", "Hello", "world", "one"]
PARTS = ["Elmo", "ElmoBiLm", "ElmoCharacterEncoder", "ElmoLstm", "ElmoTokenEmbedder"]


def largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


def quietly(module: torch.nn.Module, **options: Any) -> Any:
    """Accelerates a model; a warning, which means that a part was not replaced, is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return accelerate(module, **options)


def vectors(elmo: Any, batch: list[list[str]]) -> torch.Tensor:
    return torch.cat(elmo(batch_to_ids(batch))["elmo_representations"], dim=-1)


def assert_equal_calls(theirs: Any, ours: Any, tolerance: float = NATIVE) -> None:
    for batch in BATCHES:
        with torch.no_grad():
            expected, actual = vectors(theirs, batch), vectors(ours, batch)
        assert largest(actual - expected) <= tolerance


@pytest.fixture(scope="module")
def allennlp(test_data: Path) -> Iterator[Any]:
    """As that of conftest.py, for these tests alone."""
    with own_allennlp(test_data) as module:
        yield module


@pytest.fixture
def theirs(allennlp, random_model) -> Callable[..., Any]:  # type: ignore[no-untyped-def]
    """Makes an Elmo of AllenNLP's around a random model."""

    def make(n: int = 1, **options: Any) -> Any:
        return allennlp.Elmo(*map(str, random_model()), n, **{"dropout": 0.0, **options})

    return make


class Model(torch.nn.Module):
    """A user's model with an Elmo in several places."""

    def __init__(self, elmo: torch.nn.Module) -> None:
        super().__init__()
        self.elmo = elmo
        self.again = torch.nn.ModuleDict({"elmo": elmo})
        self.layer = torch.nn.Linear(12, 3)
        self.holders = [elmo, {"elmo": (elmo, 1)}]
        self.holders.append(self.holders)  # holds itself

    def forward(self, batch: list[list[str]]) -> torch.Tensor:
        return self.layer(self.elmo(batch_to_ids(batch))["elmo_representations"][0])


@pytest.mark.parametrize(
    "options",
    [{}, {"do_layer_norm": True}, {"keep_sentence_boundaries": True}, {"scalar_mix_parameters": [1.0, 0.5, -1.0]}],
    ids=str,
)
def test_same_vectors_call_after_call(theirs, options: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    before = theirs(2, **options).eval()
    model = torch.nn.Sequential(copy.deepcopy(before)).eval()
    assert quietly(model) is model
    assert type(model[0]) is elmo_fast.Elmo
    assert dispatch.choose(**model[0]._elmo_lstm._call()).name == "cpu"
    assert_equal_calls(before, model[0])


def test_same_vectors_of_the_built_in_model(allennlp, tiny_model) -> None:  # type: ignore[no-untyped-def]
    before = allennlp.Elmo(*tiny_model, 1, dropout=0.0)
    ours = quietly(copy.deepcopy(before))
    assert_equal_calls(before, ours, GOLDEN_CASE["tiny"])


def test_the_carried_state_goes_on(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs()
    vectors(before, BATCHES[0])
    kept = copy.deepcopy(before)
    ours = quietly(before)
    assert ours.state == "carry"
    vectors(before, BATCHES[1])  # the old part, if somebody runs it, has a state of its own
    assert_equal_calls(kept, ours)
    fresh = quietly(theirs())
    assert largest(vectors(quietly(kept), BATCHES[0]) - vectors(fresh, BATCHES[0])) > DIFFERENT


def test_an_lstm_that_does_not_carry(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs()
    lstm_of(before).stateful = False
    ours = quietly(copy.deepcopy(before))
    assert ours.state == "reset"
    assert_equal_calls(before, ours)
    assert quietly(theirs(), state="frozen").state == "frozen"


def test_parameters_are_the_same_objects(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs(2, requires_grad=True)
    before._elmo_lstm._token_embedder.char_conv_1.weight.requires_grad = False
    model = Model(before)
    parameters, state = list(model.named_parameters(remove_duplicate=False)), model.state_dict()
    flags = [parameter.requires_grad for _, parameter in parameters]
    quietly(model)
    after = list(model.named_parameters(remove_duplicate=False))
    assert [name for name, _ in after] == [name for name, _ in parameters]
    assert all(new is old for (_, new), (_, old) in zip(after, parameters, strict=True))
    assert [parameter.requires_grad for _, parameter in after] == flags
    assert list(model.state_dict()) == list(state)


def test_state_dicts_load_both_ways(theirs) -> None:  # type: ignore[no-untyped-def]
    before, other = theirs(), theirs()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    ours = quietly(before)
    vectors(ours, BATCHES[0])  # packs what is about to change
    ours.reset_states()
    ours.load_state_dict(other.state_dict())
    assert_equal_calls(other, ours)
    again = theirs()
    again.load_state_dict(ours.state_dict())
    ours.reset_states()
    assert_equal_calls(again, ours)


def test_an_optimizer_made_before_trains_the_new_parts(theirs) -> None:  # type: ignore[no-untyped-def]
    model = Model(theirs(requires_grad=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    quietly(model)
    expected = Model(theirs(requires_grad=True))
    expected.load_state_dict(model.state_dict())
    other = torch.optim.SGD(expected.parameters(), lr=0.1)
    for one, stepper in ((model, optimizer), (expected, other)):
        one(BATCHES[0]).square().sum().backward()
        stepper.step()
    for (name, new), (_, old) in zip(model.named_parameters(), expected.named_parameters(), strict=True):
        assert new.grad is not None and largest(new.grad - old.grad) <= NATIVE * max(1.0, largest(old.grad)), name
        assert largest(new - old) <= NATIVE * max(1.0, largest(old.grad)), name
    assert_equal_calls(expected.elmo, model.elmo)  # the kernels read the trained parameters


@pytest.mark.parametrize("requires_grad", [False, True])
def test_training_curve(tiny_model, allennlp, one_torch_thread, requires_grad: bool) -> None:  # type: ignore[no-untyped-def]
    expected, model = (make_tagger(tiny_model, requires_grad=requires_grad) for _ in range(2))
    optimizer = optimizer_of(model)
    quietly(model)
    embedder = model.text_field_embedder.token_embedder_elmo
    assert isinstance(embedder, elmo_fast.ElmoTokenEmbedder)
    assert model.text_field_embedder._token_embedders == {"elmo": embedder}
    losses = train(model, optimizer)
    for step, (loss, other) in enumerate(zip(losses, train(expected, optimizer_of(expected)), strict=True)):
        assert abs(loss - other) <= LOSS_CURVE, step
    assert losses[-1] < 0.7 * losses[0]
    assert requires_grad or dispatch.choose(**embedder._elmo._elmo_lstm._call()).name == "cpu"


def test_dropout_is_the_same(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs(2, dropout=0.5).train()
    ours = quietly(copy.deepcopy(before))
    outputs = []
    for elmo in (before, ours):
        torch.manual_seed(3)
        outputs.append(vectors(elmo, BATCHES[0]))
    assert ((outputs[1] == 0) == (outputs[0] == 0)).all()
    assert largest(outputs[1] - outputs[0]) <= NATIVE
    before.eval()
    assert not quietly(copy.deepcopy(before)).training


def test_training_mode_of_every_module(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs().train()
    before._elmo_lstm.eval()
    modes = {name: module.training for name, module in before.named_modules()}
    ours = quietly(before)
    assert {name: module.training for name, module in ours.named_modules()} == modes


@pytest.mark.parametrize("name", PARTS)
def test_a_part_itself(name: str, allennlp, random_model) -> None:  # type: ignore[no-untyped-def]
    files = map(str, random_model())
    if name == "ElmoLstm":
        part = allennlp.ElmoBiLm(*files)._elmo_lstm
    else:
        part = getattr(allennlp, name)(*files, **({"num_output_representations": 1} if name == "Elmo" else {}))
    ours = quietly(part)
    assert isinstance(ours, getattr(elmo_fast, name))
    assert [*ours.state_dict()] == [*part.state_dict()]


@pytest.mark.parametrize("vocab_to_cache", [None, WORDS])
def test_the_parts_have_everything_that_ours_from_files_have(
    allennlp, random_model, vocab_to_cache: list[str] | None
) -> None:  # type: ignore[no-untyped-def]
    """The new parts are made without their constructors, or with the sizes of the old ones."""
    options = {"projection_dim": 3, "vocab_to_cache": vocab_to_cache, "requires_grad": vocab_to_cache is None}
    files = tuple(map(str, random_model()))
    ours = quietly(allennlp.ElmoTokenEmbedder(*files, **options))
    expected = elmo_fast.ElmoTokenEmbedder(*files, **options)
    assert str(ours) == str(expected)
    for (name, one), (_, other) in zip(ours.named_modules(), expected.named_modules(), strict=True):
        assert {*vars(one)} == {*vars(other)}, name
        for key, value in vars(one).items():
            assert type(value) is type(vars(other)[key]), (name, key)
            if isinstance(value, (bool, int, float, str)):
                assert value == vars(other)[key], (name, key)


def test_one_part_in_several_places(theirs) -> None:  # type: ignore[no-untyped-def]
    model = Model(theirs())
    quietly(model)
    elmo = model.elmo
    assert type(elmo) is elmo_fast.Elmo
    assert model.again["elmo"] is model.holders[0] is model.holders[1]["elmo"][0] is elmo
    assert elmo._scalar_mixes[0] is elmo.scalar_mix_0
    assert lstm_of(elmo).forward_layers[1] is lstm_of(elmo).forward_layer_1
    assert encoder_of(elmo)._convolutions[0] is encoder_of(elmo).char_conv_0
    assert not [m for m in model.modules() if type(m).__module__.startswith("allennlp")]


def test_one_bilm_in_two_elmos(theirs, allennlp) -> None:  # type: ignore[no-untyped-def]
    first = theirs()
    second = allennlp.Elmo(None, None, 1, dropout=0.0, module=first._elmo_lstm)
    model = quietly(torch.nn.ModuleList([first, second]))
    assert model[0]._elmo_lstm is model[1]._elmo_lstm
    assert type(model[1]._elmo_lstm) is elmo_fast.ElmoBiLm


def test_again_changes_nothing(theirs) -> None:  # type: ignore[no-untyped-def]
    model = Model(theirs())
    quietly(model)
    parts = list(model.modules())
    quietly(model, precision="int8")
    assert all(new is old for new, old in zip(model.modules(), parts, strict=True))
    assert model.elmo.precision == "float32"
    ours = elmo_fast.ElmoLstm(4, 4, 4, 1)
    assert quietly(ours) is ours


def test_settings(theirs) -> None:  # type: ignore[no-untyped-def]
    elmo = quietly(
        theirs(), precision="bfloat16", word_cache_size=7, state="reset", cuda_graphs=True, checkpointing=True
    )
    bilm = elmo._elmo_lstm
    assert bilm._elmo_lstm.checkpointing
    assert (elmo.precision, bilm._token_embedder.precision, bilm._elmo_lstm.precision) == ("bfloat16",) * 3
    assert (elmo.state, elmo.cache_info().max_size, bilm._cuda_graphs) == ("reset", 7, True)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_cached_words(theirs, requires_grad: bool) -> None:  # type: ignore[no-untyped-def]
    before, other = (theirs(vocab_to_cache=WORDS, requires_grad=requires_grad) for _ in range(2))
    weight = other._elmo_lstm._word_embedding.weight
    ours = quietly(other)
    char_ids = torch.zeros(2, 3, 50, dtype=torch.long)
    known, unknown = torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([[1, 9, 0], [3, 0, 0]])
    with torch.no_grad():
        for words in (known, unknown, known):
            expected = before(char_ids, words)["elmo_representations"][0]
            assert largest(ours(char_ids, words)["elmo_representations"][0] - expected) <= NATIVE
    for _ in range(2 * requires_grad):  # the markers keep no graph, which the first pass would use up
        ours(char_ids, known)["elmo_representations"][0].sum().backward()
    copy.deepcopy(ours)
    shared = ours._elmo_lstm._word_embedding
    assert type(shared) is torch.nn.Embedding and shared.weight is weight


@pytest.mark.parametrize("clips", [(None, None), (0.05, 0.02)])
def test_clipping_and_recurrent_dropout(allennlp, clips: tuple[float | None, float | None]) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    before = allennlp.ElmoLstm(6, 6, 12, 2, True, 0.4, *clips).eval()
    inputs, mask = torch.randn(3, 5, 6), torch.arange(5) < torch.tensor([[5], [2], [3]])
    ours = quietly(copy.deepcopy(before))
    assert ours.recurrent_dropout_probability == ours.forward_layer_0.recurrent_dropout_probability == 0.4
    assert (ours.requires_grad, ours.forward_layer_1.memory_cell_clip_value) == (True, clips[0])
    with torch.no_grad():
        for _ in range(2):
            assert largest(ours(inputs, mask) - before(inputs, mask)) <= NATIVE
        ours.train()
        assert largest(ours(inputs, mask) - ours(inputs, mask)) > DIFFERENT


@pytest.mark.filterwarnings("ignore:elmo_fast. the native kernels are float32")
def test_other_dtypes(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs().double()
    ours = quietly(copy.deepcopy(before))
    assert_equal_calls(before, ours, FLOAT64)
    assert vectors(ours, BATCHES[0]).dtype == torch.float64


def test_parametrized_weights_stay_so(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs(requires_grad=True)
    linear = lstm_of(before).forward_layer_0.state_linearity
    torch.nn.utils.parametrizations.weight_norm(linear)
    with torch.no_grad():
        linear.parametrizations.weight.original0.mul_(1.5)
    ours = quietly(copy.deepcopy(before))
    assert list(ours.state_dict()) == list(before.state_dict())
    assert_equal_calls(before, ours)


def test_a_subclass_with_its_own_forward(theirs, allennlp, random_model) -> None:  # type: ignore[no-untyped-def]
    class Doubled(allennlp.Elmo):
        def forward(self, *args: Any) -> Any:
            output = super().forward(*args)
            return {**output, "elmo_representations": [2 * one for one in output["elmo_representations"]]}

    class Named(allennlp.Elmo):
        def __init__(self, *files: str) -> None:
            super().__init__(*files, 1, dropout=0.0)

    files = tuple(map(str, random_model()))
    model = torch.nn.ModuleDict({"doubled": Doubled(*files, 1, dropout=0.0), "named": Named(*files)})
    with pytest.warns(UserWarning, match="doubled: left as it is, its class Doubled has its own forward") as caught:
        accelerate(model)
    assert len(caught) == 1
    assert type(model["doubled"]) is Doubled
    assert type(model["named"]) is elmo_fast.Elmo
    assert dispatch.choose(**model["doubled"]._elmo_lstm._call()).name == "cpu"  # what is inside of it was replaced
    assert torch.equal(vectors(model["doubled"], BATCHES[0]), 2 * vectors(model["named"], BATCHES[0]))


def _hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
    module.calls = getattr(module, "calls", 0) + 1  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("path", "stay"),
    [
        ("", ["the Elmo itself"]),
        ("_elmo_lstm", ["_elmo_lstm"]),
        ("_elmo_lstm._token_embedder.char_conv_0", ["_elmo_lstm._token_embedder", "_elmo_lstm"]),
        (f"{LSTM_OF_ELMO}.backward_layer_1", [LSTM_OF_ELMO, "_elmo_lstm"]),
        ("scalar_mix_0", []),  # called as it is
        ("_dropout", []),
    ],
)
def test_hooks_go_on(theirs, path: str, stay: list[str]) -> None:  # type: ignore[no-untyped-def]
    before = theirs()
    hooked = before.get_submodule(path)
    hooked.register_forward_hook(_hook)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = accelerate(before)
    assert [str(one.message).split(": ")[1] for one in caught] == stay
    assert not caught or "hooks" in str(caught[0].message)
    assert (type(ours) is elmo_fast.Elmo) == bool(path)
    vectors(ours, BATCHES[0])
    assert ours.get_submodule(path) is hooked
    assert hooked.calls >= 1
    lstm_of(ours).reset_states()
    assert_equal_calls(theirs(), ours)


def replace_forward(elmo: Any) -> str:
    bilm = elmo._elmo_lstm
    bilm.forward = bilm.forward
    return "_elmo_lstm: left as it is, it has its forward replaced"


def compile_in_place(elmo: Any) -> str:
    elmo._elmo_lstm.compile(backend="eager")
    return "_elmo_lstm: left as it is, it is compiled"


def exchange_a_linear(elmo: Any) -> str:
    lstm_of(elmo).forward_layer_0.state_projection = torch.nn.Sequential(torch.nn.Linear(12, 6))
    return "forward_layer_0.state_projection is not a plain Linear with weight"


def exchange_the_encoder(elmo: Any) -> str:
    bilm_of(elmo)._token_embedder = torch.nn.Sequential(encoder_of(elmo))
    return "_elmo_lstm: left as it is, its _token_embedder is not replaced"


def add_a_submodule(elmo: Any) -> str:
    encoder_of(elmo).extra = torch.nn.Identity()
    return "_token_embedder: left as it is, it holds other submodules, parameters or buffers"


def add_a_buffer(elmo: Any) -> str:
    lstm_of(elmo).register_buffer("extra", torch.zeros(1))
    return f"{LSTM_OF_ELMO}: left as it is, it holds other submodules, parameters or buffers"


def take_an_attribute_away(elmo: Any) -> str:
    del lstm_of(elmo).forward_layer_0.go_forward
    return "it is not as AllenNLP 2 makes it: AttributeError"


def another_highway(elmo: Any) -> str:
    encoder_of(elmo)._highways._activation = torch.tanh
    return "its _highways have another activation than relu"


def another_marker(elmo: Any) -> str:
    encoder_of(elmo)._beginning_of_sentence_characters[5] = 3
    return "its _beginning_of_sentence_characters are not the usual ones"


def one_cell_clips_differently(elmo: Any) -> str:
    lstm_of(elmo).forward_layer_0.memory_cell_clip_value = 0.1
    return "its cells differ in"


CHANGES = [
    replace_forward,
    compile_in_place,
    exchange_a_linear,
    exchange_the_encoder,
    add_a_submodule,
    add_a_buffer,
    take_an_attribute_away,
    another_highway,
    another_marker,
    one_cell_clips_differently,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_others_changed_stays(theirs, change: Callable[[Any], str]) -> None:  # type: ignore[no-untyped-def]
    model = Model(theirs())
    expected_warning = change(model.elmo)
    modules = list(model.modules())
    with warnings.catch_warnings(), pytest.raises(UserWarning):
        warnings.simplefilter("error")
        accelerate(model)
    assert all(new is old for new, old in zip(model.modules(), modules, strict=True)), "half done"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        accelerate(model)
    assert any(expected_warning in str(one.message) for one in caught), [str(one.message) for one in caught]
    assert type(model.elmo) is elmo_fast.Elmo  # around what stays


def test_quantised_layers_stay(theirs) -> None:  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(theirs().eval(), {torch.nn.Linear}, dtype=torch.qint8)
    with pytest.warns(UserWarning, match="left as it is") as caught:
        ours = accelerate(copy.deepcopy(quantised))
    assert len(caught) == 3
    assert_equal_calls(quantised, ours)


def test_attributes_that_others_set_go_along(theirs) -> None:  # type: ignore[no-untyped-def]
    before = theirs()
    before.used_by = "the tagger"
    lstm_of(before).owners = [before]
    ours = quietly(before)
    assert (ours.used_by, lstm_of(ours).owners) == ("the tagger", [ours])


def test_a_custom_bilm(theirs, allennlp) -> None:  # type: ignore[no-untyped-def]
    class Wrapped(torch.nn.Module):
        num_layers = 3

        def __init__(self, bilm: torch.nn.Module) -> None:
            super().__init__()
            self.bilm = bilm

        def forward(self, inputs: torch.Tensor, word_inputs: Any = None) -> Any:
            return self.bilm(inputs, word_inputs)

    before = allennlp.Elmo(None, None, 1, dropout=0.0, module=Wrapped(theirs()._elmo_lstm))
    ours = quietly(copy.deepcopy(before))
    assert type(ours._elmo_lstm) is Wrapped
    assert type(ours._elmo_lstm.bilm) is elmo_fast.ElmoBiLm
    assert_equal_calls(before, ours)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(theirs, duplicate: Callable[[Any], Any]) -> None:  # type: ignore[no-untyped-def]
    model = Model(theirs())
    quietly(model)
    model(BATCHES[0])
    other = duplicate(model)
    assert other.holders[0] is other.elmo
    assert torch.equal(other(BATCHES[1]), model(BATCHES[1]))


def test_token_embedder_is_still_allennlps(allennlp, random_model) -> None:  # type: ignore[no-untyped-def]
    from allennlp.modules.token_embedders import TokenEmbedder

    before = allennlp.ElmoTokenEmbedder(*map(str, random_model()), dropout=0.0, projection_dim=5)
    ours = quietly(copy.deepcopy(before))
    assert isinstance(ours, (TokenEmbedder, elmo_fast.ElmoTokenEmbedder))
    for batch in BATCHES:
        assert largest(ours(batch_to_ids(batch)) - before(batch_to_ids(batch))) <= NATIVE
    assert ours.get_output_dim() == 5
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert isinstance(copied, TokenEmbedder)


def test_wrong_arguments(theirs) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError, match="module: expected a torch.nn.Module, got list"):
        accelerate([theirs()])  # type: ignore[arg-type]
    model = Model(theirs())
    parts = list(model.modules())
    for options, message in (
        ({"precision": "float8"}, "precision: expected one of"),
        ({"state": "kept"}, "state: expected one of"),
        ({"word_cache_size": -1}, "word_cache_size: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            accelerate(model, **options)  # type: ignore[arg-type]
    assert all(new is old for new, old in zip(model.modules(), parts, strict=True))


def test_a_model_without_elmo_in_a_process_without_allennlp() -> None:
    code = (
        "import sys, warnings, torch, elmo_fast; "
        "warnings.simplefilter('always'); layer = torch.nn.Linear(2, 2); "
        "assert elmo_fast.accelerate(layer) is layer; "
        "assert elmo_fast.accelerate(elmo_fast.ElmoLstm(4, 4, 4, 1)); "
        "print([name for name in sys.modules if name.startswith('allennlp')])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert result.stderr.count("UserWarning: accelerate: found no ELMo of AllenNLP in this Linear") == 1
    assert result.stderr.count("UserWarning") == 1
