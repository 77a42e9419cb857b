"""`Elmo` and `ElmoTokenEmbedder` as scripts written for AllenNLP use them."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys

import pytest
import torch
from helpers.parts import encoder_of, lstm_of
from tolerances import FLOAT32, NATIVE

import elmo_fast
from elmo_fast import AdditiveMix, Elmo, ElmoBiLm, ElmoTokenEmbedder, ScalarMix, batch_to_ids, models

BATCH = [["Hello", "world", "."], [], ["one"]]
WORDS = ["@@pad@@", "Hello", "world", "one"]


def largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


def signature(function) -> list[tuple[str, object]]:  # type: ignore[no-untyped-def]
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values() if p.kind in positional]


@pytest.mark.parametrize("name", ["Elmo", "ElmoTokenEmbedder", "ElmoBiLm", "ElmoCharacterEncoder", "ElmoLstm"])
def test_signatures_are_allennlps(name: str, allennlp) -> None:  # type: ignore[no-untyped-def]
    for method in ("__init__", "forward"):
        assert signature(getattr(getattr(elmo_fast, name), method)) == signature(
            getattr(getattr(allennlp, name), method)
        )


def test_default_files_are_the_original_model() -> None:
    defaults = dict(signature(ElmoTokenEmbedder.__init__))
    assert defaults["options_file"] == models.ORIGINAL_OPTIONS_URL
    assert defaults["weight_file"] == models.ORIGINAL_WEIGHTS_URL


def test_shapes_dtypes_and_masks(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 2, dropout=0.0)
    output = elmo(batch_to_ids(BATCH))
    assert set(output) == {"elmo_representations", "mask"}
    assert [r.shape for r in output["elmo_representations"]] == [(3, 3, 12)] * 2
    assert {r.dtype for r in output["elmo_representations"]} == {torch.float32}
    assert output["mask"].dtype == torch.bool
    assert output["mask"].tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert not output["elmo_representations"][0][~output["mask"]].any()
    assert elmo.get_output_dim() == 12


def test_kept_boundaries(random_model) -> None:  # type: ignore[no-untyped-def]
    keep = Elmo(*random_model(), 1, dropout=0.0, keep_sentence_boundaries=True)(batch_to_ids(BATCH))
    drop = Elmo(*random_model(), 1, dropout=0.0)(batch_to_ids(BATCH))
    assert keep["mask"].sum(dim=1).tolist() == [5, 2, 3]
    kept, dropped = keep["elmo_representations"][0], drop["elmo_representations"][0]
    assert kept.shape == (3, 5, 12)
    assert torch.equal(kept[0, 1:-1], dropped[0])
    assert torch.equal(kept[2, 1:2], dropped[2, :1])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("double", [False, True], ids=["native", "reference"])
def test_more_dimensions(random_model, keep: bool, double: bool) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 2, dropout=0.0, keep_sentence_boundaries=keep, state="reset")
    elmo = elmo.double() if double else elmo
    char_ids = batch_to_ids([["a"], ["b", "c"], [], ["d", "e", "f"], ["g"], ["h", "i"]])
    flat = elmo(char_ids)
    for leading in ((2, 3), (3, 1, 2), (1, 6)):
        output = elmo(char_ids.view(*leading, 3, 50))
        assert output["mask"].shape == (*leading, 5 if keep else 3)
        assert torch.equal(output["mask"].flatten(0, -2), flat["mask"])
        for representation, expected in zip(output["elmo_representations"], flat["elmo_representations"], strict=True):
            assert representation.shape == (*leading, 5 if keep else 3, 12)
            assert torch.equal(representation.flatten(0, -3), expected)


def test_mask_holes_and_layer_norm_as_in_allennlp(random_model, allennlp) -> None:  # type: ignore[no-untyped-def]
    char_ids = batch_to_ids([["a", "b", "c", "d"], ["e", "f"], ["g"]])
    char_ids[0, 1] = 0
    char_ids[1, 0] = 0
    for options in ({}, {"do_layer_norm": True}, {"keep_sentence_boundaries": True, "do_layer_norm": True}):
        ours = Elmo(*random_model(), 1, dropout=0.0, **options)
        theirs = allennlp.Elmo(*map(str, random_model()), 1, dropout=0.0, **options)
        actual, expected = ours(char_ids), theirs(char_ids)
        assert torch.equal(actual["mask"], expected["mask"])
        assert largest(actual["elmo_representations"][0] - expected["elmo_representations"][0]) <= NATIVE


def test_dropout_in_training_only(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 2, state="reset")
    a, b = elmo(batch_to_ids(BATCH))["elmo_representations"]
    assert 0.2 < (a[0] == 0).float().mean() < 0.8
    assert not torch.equal(a, b)
    a, b = elmo.eval()(batch_to_ids(BATCH))["elmo_representations"]
    assert torch.equal(a, b)


def test_additive_mix(random_model) -> None:  # type: ignore[no-untyped-def]
    layers = ElmoBiLm(*random_model())(batch_to_ids(BATCH))["activations"]
    options = {"dropout": 0.0, "keep_sentence_boundaries": True, "mix": "additive"}
    elmo = Elmo(*random_model(), 1, **options)
    assert isinstance(elmo.scalar_mix_0, AdditiveMix)
    assert largest(elmo(batch_to_ids(BATCH))["elmo_representations"][0] - sum(layers)) <= FLOAT32
    elmo = Elmo(*random_model(), 1, scalar_mix_parameters=[0.5, -2.0], **options)
    expected = layers[0] + 0.5 * layers[1] - 2.0 * layers[2]
    assert largest(elmo(batch_to_ids(BATCH))["elmo_representations"][0] - expected) <= FLOAT32
    assert not any(p.requires_grad for p in elmo.parameters())
    elmo = Elmo(*random_model(), 1, mix_per_dimension=True, **options)
    assert [tuple(c.shape) for c in elmo.scalar_mix_0.coefficients] == [(12,), (12,)]


def test_module_in_place_of_the_bilm(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model())
    elmo = Elmo(None, None, 1, dropout=0.0, module=bilm)
    assert elmo._elmo_lstm is bilm
    expected = Elmo(*random_model(), 1, dropout=0.0)(batch_to_ids(BATCH))
    assert torch.equal(elmo(batch_to_ids(BATCH))["elmo_representations"][0], expected["elmo_representations"][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module": torch.nn.Identity()}, "module: expected options_file=None and weight_file=None"),
        ({"mix": "sum"}, "mix: expected one of 'scalar', 'additive', got 'sum'"),
        ({"mix_per_dimension": True}, 'mix_per_dimension: expected mix="additive"'),
        ({"scalar_mix_parameters": [1.0]}, "initial_scalar_parameters: expected 3 numbers, got 1"),
        ({"state": "no"}, "state: expected one of"),
    ],
)
def test_contradicting_arguments_are_named(random_model, options: dict, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        Elmo(*random_model(), 1, **options)


def test_missing_files_are_named(random_model) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="options_file and weight_file: expected both"):
        Elmo(random_model()[0], None, 1)
    with pytest.raises(ValueError, match="state: applies to the biLM read from files"):
        Elmo(None, None, 1, module=ElmoBiLm(*random_model()), state="reset")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Elmo("nowhere/options.json", "nowhere/weights.hdf5", 1)


def test_two_dimensions_are_refused(random_model) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"inputs: expected shape .*, got \(3, 50\)"):
        Elmo(*random_model(), 1)(batch_to_ids(BATCH)[0])


def test_cached_words(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 1, dropout=0.0, vocab_to_cache=WORDS, state="reset")
    words = torch.tensor([[1, 2, 0], [3, 0, 0]])
    char_ids = batch_to_ids([["Hello", "world"], ["one"]])
    output = elmo(torch.zeros(2, 3, 50, dtype=torch.long), words)
    assert output["mask"].tolist() == [[True, True, False], [True, False, False]]
    expected = elmo(char_ids)["elmo_representations"][0]
    assert largest(output["elmo_representations"][0][:, :2] - expected) <= FLOAT32
    deep = elmo(torch.zeros(2, 1, 3, 50, dtype=torch.long), words.unsqueeze(1))
    assert deep["mask"].shape == (2, 1, 3)
    assert torch.equal(deep["elmo_representations"][0].squeeze(1), output["elmo_representations"][0])
    assert "_elmo_lstm._word_embedding.weight" in elmo.state_dict()


def test_words_without_a_cache_are_ignored_with_a_warning(random_model, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 1, dropout=0.0, state="reset")
    expected = elmo(batch_to_ids(BATCH))["elmo_representations"][0]
    with caplog.at_level(logging.WARNING):
        actual = elmo(batch_to_ids(BATCH), torch.ones(3, 3, dtype=torch.long))["elmo_representations"][0]
    assert torch.equal(actual, expected)
    assert "word_inputs: ignored" in caplog.text


def test_attributes_that_scripts_reach_into(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 2)
    lstm = lstm_of(elmo)
    assert lstm.stateful is True
    assert lstm._states is None
    lstm.reset_states()
    assert elmo._scalar_mixes == [elmo.scalar_mix_0, elmo.scalar_mix_1]
    assert isinstance(elmo.scalar_mix_0, ScalarMix)
    assert lstm.forward_layer_0.input_linearity.weight.shape == (48, 6)
    assert encoder_of(elmo).get_output_dim() == 6
    assert elmo._elmo_lstm._word_embedding is elmo._elmo_lstm._bos_embedding is elmo._elmo_lstm._eos_embedding is None
    assert elmo._elmo_lstm.num_layers == 3
    assert elmo._dropout.p == 0.5


def test_state_dict_of_allennlp_loads(random_model, allennlp, tmp_path) -> None:  # type: ignore[no-untyped-def]
    theirs = allennlp.Elmo(*map(str, random_model(seed=1)), 1, dropout=0.0)
    with torch.no_grad():
        theirs.scalar_mix_0.gamma.fill_(2.0)
    torch.save(theirs.state_dict(), tmp_path / "saved.pt")
    ours = Elmo(*random_model(seed=2), 1, dropout=0.0)
    ours(batch_to_ids(BATCH))  # packs the weights that are about to change
    ours.reset_states()
    ours.load_state_dict(torch.load(tmp_path / "saved.pt", weights_only=True))
    expected = theirs(batch_to_ids(BATCH))["elmo_representations"][0]
    assert largest(ours(batch_to_ids(BATCH))["elmo_representations"][0] - expected) <= NATIVE


class TestTokenEmbedder:
    def test_is_the_first_representation(self, random_model) -> None:  # type: ignore[no-untyped-def]
        embedder = ElmoTokenEmbedder(*random_model(), dropout=0.0)
        elmo = Elmo(*random_model(), 1, dropout=0.0)
        expected = elmo(batch_to_ids(BATCH))["elmo_representations"][0]
        assert torch.equal(embedder(batch_to_ids(BATCH)), expected)
        assert embedder.get_output_dim() == embedder.output_dim == 12

    def test_projection(self, random_model) -> None:  # type: ignore[no-untyped-def]
        embedder = ElmoTokenEmbedder(*random_model(), dropout=0.0, projection_dim=5)
        assert embedder.get_output_dim() == 5
        assert embedder(batch_to_ids(BATCH)).shape == (3, 3, 5)
        assert embedder(batch_to_ids(BATCH).unsqueeze(1)).shape == (3, 1, 3, 5)
        assert "_projection.weight" in embedder.state_dict()

    def test_same_as_allennlp(self, random_model, allennlp) -> None:  # type: ignore[no-untyped-def]
        options = {"dropout": 0.0, "do_layer_norm": True, "scalar_mix_parameters": [1.0, 0.0, -1.0]}
        options["vocab_to_cache"] = WORDS
        ours = ElmoTokenEmbedder(*random_model(), **options)
        theirs = allennlp.ElmoTokenEmbedder(*map(str, random_model()), **options)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        words = torch.tensor([[1, 2, 0], [3, 0, 0]])
        for inputs in ((batch_to_ids(BATCH),), (torch.zeros(2, 3, 50, dtype=torch.long), words)):
            assert largest(ours(*inputs) - theirs(*inputs)) <= NATIVE


def test_import_stays_light() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import elmo_fast; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} & {'h5py', 'tqdm', 'scipy', 'pandas'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_everything_named_is_there() -> None:
    for name in elmo_fast.__all__:
        assert getattr(elmo_fast, name) is not None
    info = elmo_fast.build_info()
    assert info["version"] == elmo_fast.__version__ == "0.2.0"
    assert info["isa"] in info["isas_available"]
    assert set(info["isas_available"]) <= set(info["isas_built"])
    assert info["cuda_built"] in (False, True) and info["cuda_devices"] >= 0


def test_number_of_threads(num_threads) -> None:  # type: ignore[no-untyped-def]
    assert elmo_fast.get_num_threads() == torch.get_num_threads()
    num_threads(3)
    assert elmo_fast.get_num_threads() == 3 == elmo_fast.build_info()["num_threads"]
    for bad in (0, -1, 1.0, True, "2"):
        with pytest.raises(ValueError, match="num_threads: expected an integer of 1 or more, or None"):
            num_threads(bad)
    assert elmo_fast.get_num_threads() == 3
