"""Whole models against outputs of AllenNLP 2.10.1 and of the original TensorFlow code."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tolerances import FLOAT64, GOLDEN, GOLDEN_CASE, GOLDEN_GRADIENT

from elmo_fast import Elmo, ElmoBiLm, ElmoCharacterEncoder, ElmoLstm, batch_to_ids

CASES = ("clipping_active", "no_clipping", "relu_2layer", "tanh_3layer_odd")


class Golden:
    """One case: model files, three batches of sentences, AllenNLP's outputs."""

    def __init__(self, folder: Path) -> None:
        self.tolerance = GOLDEN_CASE[folder.name]
        self.gradient_tolerance = GOLDEN_GRADIENT[folder.name]
        self.files = folder / "options.json", folder / "weights.hdf5"
        self.batches = json.loads((folder / "sentences.json").read_text())
        self.expected = h5py.File(folder / "expected.hdf5", "r")
        self.mix = self.expected.attrs["scalar_mix_parameters"].tolist()

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.expected[name][...])


OWN_GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"


@pytest.fixture(params=CASES)
def golden(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    own = OWN_GOLDEN / request.param  # one case is part of the project; the others need the test data
    case = Golden(own if own.is_dir() else request.getfixturevalue("test_data") / "golden" / request.param)
    yield case
    case.expected.close()


@pytest.fixture(params=[False, True], ids=["native", "reference"])
def requires_grad(request: pytest.FixtureRequest) -> bool:
    """A model whose weights need gradients runs on the PyTorch reference."""
    return request.param


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert (actual - expected).abs().max().item() <= tolerance


def test_character_ids(golden: Golden) -> None:
    for i, batch in enumerate(golden.batches):
        assert torch.equal(batch_to_ids(batch), golden.tensor(f"call_{i}/char_ids").long())


def test_layers_with_the_state_carried_over_three_calls(golden: Golden, requires_grad: bool) -> None:
    bilm = ElmoBiLm(*golden.files, requires_grad=requires_grad)
    for i, batch in enumerate(golden.batches):
        output = bilm(batch_to_ids(batch))
        assert torch.equal(output["mask"], golden.tensor(f"call_{i}/mask"))
        assert len(output["activations"]) == bilm.num_layers
        for k, layer in enumerate(output["activations"]):
            assert_close(layer.detach(), golden.tensor(f"call_{i}/layer_{k}"), golden.tolerance)


def test_token_encoder_and_lstm_apart(golden: Golden) -> None:
    bilm = ElmoBiLm(*golden.files)
    encoder = ElmoCharacterEncoder(*golden.files)
    cell = bilm._elmo_lstm.forward_layers[0]
    clips = cell.memory_cell_clip_value, cell.state_projection_clip_value
    lstm = ElmoLstm(
        encoder.get_output_dim(), encoder.get_output_dim(), cell.cell_size, bilm.num_layers - 1, False, 0.0, *clips
    )
    lstm.load_weights(golden.files[1])
    for i, batch in enumerate(golden.batches):
        encoded = encoder(batch_to_ids(batch))
        layers = lstm(encoded["token_embedding"], encoded["mask"])
        for k, layer in enumerate(layers, start=1):
            assert_close(layer, golden.tensor(f"call_{i}/layer_{k}"), golden.tolerance)
        twice = torch.cat([encoded["token_embedding"]] * 2, dim=-1) * encoded["mask"].unsqueeze(-1)
        assert_close(twice, golden.tensor(f"call_{i}/layer_0"), golden.tolerance)


def test_two_representations_with_fixed_mix(golden: Golden, requires_grad: bool) -> None:
    elmo = Elmo(*golden.files, 2, requires_grad=requires_grad, dropout=0.0, scalar_mix_parameters=golden.mix)
    for i, batch in enumerate(golden.batches):
        output = elmo(batch_to_ids(batch))
        assert torch.equal(output["mask"], golden.tensor(f"elmo_{i}/mask"))
        assert len(output["elmo_representations"]) == 2
        for r, representation in enumerate(output["elmo_representations"]):
            assert_close(representation.detach(), golden.tensor(f"elmo_{i}/representation_{r}"), golden.tolerance)


def test_layer_norm_with_sentence_boundaries(golden: Golden, requires_grad: bool) -> None:
    elmo = Elmo(
        *golden.files,
        1,
        requires_grad=requires_grad,
        do_layer_norm=True,
        dropout=0.0,
        keep_sentence_boundaries=True,
        scalar_mix_parameters=golden.mix,
    )
    for i, batch in enumerate(golden.batches):
        output = elmo(batch_to_ids(batch))
        assert torch.equal(output["mask"], golden.tensor(f"layer_norm_{i}/mask"))
        representation = output["elmo_representations"][0].detach()
        assert_close(representation, golden.tensor(f"layer_norm_{i}/representation_0"), golden.tolerance)


def test_gradients_and_state_dict_keys(golden: Golden) -> None:
    elmo = Elmo(*golden.files, 1, requires_grad=True, dropout=0.0)
    keys = golden.expected["state_dict_keys"][()].decode().split("\n")
    assert list(elmo.state_dict()) == keys
    representation = elmo(batch_to_ids(golden.batches[0]))["elmo_representations"][0]
    (representation * golden.tensor("grad_seed_tensor")).sum().backward()
    parameters = dict(elmo.named_parameters())
    assert set(golden.expected["grad"]) == set(parameters)
    for name, parameter in parameters.items():
        expected = golden.tensor(f"grad/{name}")
        assert_close(parameter.grad, expected, golden.gradient_tolerance * expected.abs().max().item())


def test_top_layer_of_the_original_tensorflow_code(test_data: Path, requires_grad: bool) -> None:
    folder = test_data / "data" / "allennlp_fixture"
    bilm = ElmoBiLm(folder / "options.json", folder / "lm_weights.hdf5", requires_grad=requires_grad)
    lists = [[line.split() for line in lines] for lines in json.loads((folder / "sentences.json").read_text())]
    expected = [h5py.File(folder / f"lm_embeddings_{j}.hdf5", "r") for j in range(3)]
    for k, batch in enumerate(zip(*lists, strict=True)):
        top = bilm(batch_to_ids(batch))["activations"][-1].detach().numpy()
        for j, sentence in enumerate(batch):
            forward, backward = np.split(top[j, 1 : len(sentence) + 1], 2, axis=-1)
            assert np.abs(np.stack([forward, backward]) - expected[j][str(k)][...]).max() <= GOLDEN
    for file in expected:
        file.close()


def test_token_embeddings_of_the_original_tensorflow_code(test_data: Path) -> None:
    folder = test_data / "data" / "allennlp_fixture"
    encoder = ElmoCharacterEncoder(folder / "options.json", folder / "lm_weights.hdf5")
    words = (folder / "vocab_test.txt").read_text().split("\n")
    words = [word for word in words if word]
    with h5py.File(folder / "elmo_token_embeddings.hdf5", "r") as file:
        expected = file["embedding"][...]
    # Its first three rows are </S>, <S> and <UNK>, the file's vocabulary.
    actual = encoder(batch_to_ids([words]))["token_embedding"][0, 1:-1].numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= GOLDEN


def test_built_in_model_on_real_text_beside_allennlp(test_data: Path, tiny_model, allennlp) -> None:  # type: ignore[no-untyped-def]
    lines = (test_data / "data" / "ewt_test.txt").read_text(encoding="utf-8").split("\n")[:100]
    sentences = [line.split() for line in lines]
    ours, theirs = ElmoBiLm(*tiny_model), allennlp.ElmoBiLm(*tiny_model)
    for start in range(0, 100, 32):
        char_ids = batch_to_ids(sentences[start : start + 32])
        actual = ours(char_ids)
        with torch.no_grad():
            expected = theirs(char_ids)
        assert torch.equal(actual["mask"], expected["mask"])
        for layer, expected_layer in zip(actual["activations"], expected["activations"], strict=True):
            assert_close(layer, expected_layer, GOLDEN_CASE["tiny"])


def test_equal_to_allennlp_in_float64(golden: Golden, allennlp) -> None:  # type: ignore[no-untyped-def]
    """Where rounding is out of the way the two are the same function: layers, state, mix, layer norm, gradients."""
    options = {"dropout": 0.0, "requires_grad": True, "do_layer_norm": True, "keep_sentence_boundaries": True}
    ours = Elmo(*golden.files, 2, **options).double()
    theirs = allennlp.Elmo(*map(str, golden.files), 2, **options).double()
    for elmo in (ours, theirs):
        outputs = [elmo(batch_to_ids(batch))["elmo_representations"] for batch in golden.batches]
        elmo.outputs = [representation for representations in outputs for representation in representations]
        sum((output**2).sum() for output in elmo.outputs).backward()
    for actual, expected in zip(ours.outputs, theirs.outputs, strict=True):
        assert_close(actual, expected, FLOAT64 * expected.abs().max().item())
    expected_gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = expected_gradients[name].grad
        assert_close(parameter.grad, expected, FLOAT64 * max(1.0, expected.abs().max().item()))
