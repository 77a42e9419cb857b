"""The biLM module and the native engine behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, NATIVE

from elmo_fast import ElmoBiLm, _ElmoBiLm, batch_to_ids
from elmo_fast.cpu.bilm import CpuBiLm

BATCH = [["Hello", "world", "."], [], ["one"]]
WORDS = ["@@pad@@", "Hello", "world", "one", "two"]

OPTIONS = [
    {"use_skip_connections": False},
    {"n_layers": 1, "cell_clip": None, "proj_clip": 0.0},
    {"n_layers": 4, "activation": "tanh", "n_highway": 0},
    {"projection_dim": 15, "cell_size": 7, "scale": 3.0},
    {"filters": ((1, 1),), "char_embedding_dim": 1, "projection_dim": 1, "cell_size": 1},
    {"projection_dim": 33, "cell_size": 65, "filters": ((1, 3), (2, 30)), "char_embedding_dim": 17},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_native_equals_the_float64_reference(random_model, options: dict) -> None:  # type: ignore[no-untyped-def]
    files = random_model(**options)
    native, reference = ElmoBiLm(*files), ElmoBiLm(*files).double()
    for batch in (BATCH, [["a"]], [["b", "c"], ["d"]]):
        actual, expected = native(batch_to_ids(batch)), reference(batch_to_ids(batch))
        assert torch.equal(actual["mask"], expected["mask"])
        assert len(actual["activations"]) == native.num_layers
        for layer, expected_layer in zip(actual["activations"], expected["activations"], strict=True):
            assert layer.dtype == torch.float32
            scale = max(1.0, expected_layer.abs().max().item())
            assert (layer - expected_layer).abs().max().item() <= NATIVE * scale


def test_engine_is_the_same_as_the_module(random_model) -> None:  # type: ignore[no-untyped-def]
    engine, bilm = CpuBiLm.from_files(*random_model()), ElmoBiLm(*random_model())
    assert (engine.num_layers, engine.output_dim, engine.projection_dim) == (3, 12, 6)
    assert (engine.cell_size, engine.max_characters) == (12, 50)
    assert engine.nbytes > 0
    state = None
    for _ in range(2):
        before = None if state is None else [part.copy() for part in state]
        activations, mask, after = engine.forward(batch_to_ids(BATCH).numpy(), state, keep_state=True)
        if state is not None and before is not None:
            assert all(np.array_equal(a, b) for a, b in zip(state, before, strict=True))  # it is only read
        state = after
        expected = bilm(batch_to_ids(BATCH))
        assert np.array_equal(mask, expected["mask"].numpy())
        assert np.array_equal(activations, torch.stack(expected["activations"]).numpy())
        assert all(np.array_equal(a, b) for a, b in zip(state, bilm._elmo_lstm._states, strict=True))
    again, _, state = engine.forward(batch_to_ids(BATCH).numpy())
    assert state is None
    bilm.reset_states()
    assert np.array_equal(again, torch.stack(bilm(batch_to_ids(BATCH))["activations"]).numpy())


def test_engine_checks_its_state(random_model) -> None:  # type: ignore[no-untyped-def]
    engine = CpuBiLm.from_files(*random_model())
    char_ids = batch_to_ids(BATCH).numpy()
    h, c = np.zeros((2, 3, 12), np.float32), np.zeros((2, 3, 24), np.float32)
    with pytest.raises(ValueError, match=r"c: expected shape \(2, 3, 24\), got \(2, 2, 24\)"):
        engine.forward(char_ids, (h, c[:, :2].copy()))
    for bad in (h.astype(np.float64), np.asfortranarray(h), np.broadcast_to(h[:, :1], h.shape)):
        with pytest.raises(ValueError, match="h: expected a C-contiguous array of float32"):
            engine.forward(char_ids, (bad, c))
    with pytest.raises(TypeError, match="char_ids: expected integers, got float64"):
        engine.forward(char_ids.astype(float))


@pytest.mark.parametrize("double", [False, True], ids=["native", "reference"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_batches(random_model, double: bool, shape: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model())
    bilm = bilm.double() if double else bilm
    output = bilm(torch.zeros(*shape, 50, dtype=torch.long))
    assert output["mask"].shape == (shape[0], shape[1] + 2)
    assert output["mask"].sum() == 2 * shape[0]
    assert {layer.shape for layer in output["activations"]} == {(shape[0], shape[1] + 2, 12)}


def test_mask_holes_as_in_allennlp(random_model, allennlp) -> None:  # type: ignore[no-untyped-def]
    files = random_model()
    char_ids = batch_to_ids([["a", "b", "c", "d"], ["e", "f"], ["g"]])
    char_ids[0, 1] = 0
    char_ids[1, 0] = 0
    char_ids[2, 0, :3] = 0  # ids of 0 inside a token
    theirs = allennlp.ElmoBiLm(*map(str, files))
    for bilm in (ElmoBiLm(*files), ElmoBiLm(*files, requires_grad=True)):
        theirs._elmo_lstm.reset_states()
        for _ in range(2):
            actual, expected = bilm(char_ids), theirs(char_ids)
            assert torch.equal(actual["mask"], expected["mask"])
            for layer, expected_layer in zip(actual["activations"], expected["activations"], strict=True):
                assert (layer - expected_layer).abs().max().item() <= NATIVE


def test_outputs_are_fresh(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")
    first = bilm(batch_to_ids(BATCH))
    kept = [layer.clone() for layer in first["activations"]]
    second = bilm(batch_to_ids([["other", "words", "here"]] * 3))
    assert all(torch.equal(a, b) for a, b in zip(first["activations"], kept, strict=True))
    for layer in second["activations"]:
        layer.fill_(7.0)
    third = bilm(batch_to_ids(BATCH))
    assert all(torch.equal(a, b) for a, b in zip(third["activations"], kept, strict=True))


def test_torch_defaults_do_not_reach_the_native_kernels(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="carry")
    expected = ElmoBiLm(*random_model(), state="carry")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            outputs = [bilm(batch_to_ids(BATCH).cpu())["activations"][-1] for _ in range(2)]
    finally:
        torch.set_default_dtype(torch.float32)
    for output in outputs:
        assert torch.equal(output, expected(batch_to_ids(BATCH))["activations"][-1])


def test_threads_and_instruction_sets_give_the_same_bits(random_model, every_isa, num_threads) -> None:  # type: ignore[no-untyped-def]
    from elmo_fast import set_isa

    bilm = ElmoBiLm(*random_model(projection_dim=33, cell_size=65), state="reset")
    outputs = []
    for isa in every_isa:
        for threads in (1, 2, 5):
            set_isa(isa)
            num_threads(threads)
            outputs.append(torch.stack(bilm(batch_to_ids(BATCH))["activations"]))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


class TestCachedWords:
    """`vocab_to_cache` and `word_inputs`."""

    @pytest.fixture(params=["native", "reference", "double"])
    def bilm(self, random_model, request: pytest.FixtureRequest) -> ElmoBiLm:  # type: ignore[no-untyped-def]
        bilm = ElmoBiLm(
            *random_model(), requires_grad=request.param == "reference", vocab_to_cache=WORDS, state="reset"
        )
        return bilm.double() if request.param == "double" else bilm

    @staticmethod
    def batch(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        words = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        return batch_to_ids([[WORDS[i] for i in row] for row in rows]), words

    def test_same_as_characters(self, bilm: ElmoBiLm) -> None:
        char_ids, words = self.batch([1, 2, 4], [3], [2, 2])
        expected, actual = bilm(char_ids), bilm(torch.zeros_like(char_ids), words)
        assert torch.equal(actual["mask"], expected["mask"])
        for layer, expected_layer in zip(actual["activations"], expected["activations"], strict=True):
            assert (layer - expected_layer).abs().max().item() <= FLOAT32
        for layer, other in zip(bilm(char_ids, words.int())["activations"], actual["activations"], strict=True):
            assert torch.equal(layer, other)

    def test_entry_0_is_masked_also_inside_a_row(self, bilm: ElmoBiLm) -> None:
        char_ids, words = self.batch([1, 2, 4], [3])
        words[0, 1] = 0
        output = bilm(char_ids, words)
        assert output["mask"].tolist() == [[True, True, False, True, False], [True, True, True, False, False]]
        assert not output["activations"][0][0, 2].any()  # the hole: a position, of zeros
        assert output["activations"][1][0, 2].any()
        assert not output["activations"][1][0, 3].any()

    def test_one_index_out_of_range_sends_the_batch_to_characters(self, bilm: ElmoBiLm) -> None:
        char_ids, words = self.batch([1, 2, 4], [3])
        expected = bilm(char_ids)["activations"]
        for bad in (5, 1000, -1):
            words[1, 0] = bad
            for layer, expected_layer in zip(bilm(char_ids, words)["activations"], expected, strict=True):
                assert torch.equal(layer, expected_layer)

    def test_attributes_and_state_dict(self, bilm: ElmoBiLm) -> None:
        assert "_word_embedding.weight" in bilm.state_dict()
        assert bilm._word_embedding.weight.shape == (5, 6)
        assert not bilm._word_embedding.weight[0].any()
        assert bilm._word_embedding.weight.requires_grad == bilm._requires_grad
        encoded = bilm._token_embedder(batch_to_ids([["Hello"]]))["token_embedding"][0].detach()
        assert torch.allclose(bilm._bos_embedding, encoded[0], atol=FLOAT32)
        assert torch.allclose(bilm._word_embedding.weight[1], encoded[1], atol=FLOAT32)
        assert torch.allclose(bilm._eos_embedding, encoded[2], atol=FLOAT32)

    def test_changed_embedding_is_used(self, bilm: ElmoBiLm) -> None:
        char_ids, words = self.batch([1, 2])
        with torch.no_grad():
            bilm._word_embedding.weight[1] = bilm._word_embedding.weight[3]
        other_ids, _ = self.batch([3, 2])
        actual, expected = bilm(char_ids, words), bilm(other_ids)
        assert (actual["activations"][-1] - expected["activations"][-1]).abs().max().item() <= FLOAT32

    @pytest.mark.parametrize("words", [torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)])
    def test_wrong_indices_are_named(self, bilm: ElmoBiLm, words: torch.Tensor) -> None:
        with pytest.raises(ValueError, match=r"word_inputs: expected integers of shape \(batch_size, num_timesteps\)"):
            bilm(torch.zeros(2, 3, 50, dtype=torch.long), words)

    def test_many_words_are_encoded_in_chunks(self, random_model, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
        whole = ElmoBiLm(*random_model(), vocab_to_cache=WORDS)
        monkeypatch.setattr("elmo_fast.bilm._CACHE_CHUNK", 2)
        chunked = ElmoBiLm(*random_model(), vocab_to_cache=WORDS)
        assert torch.equal(whole._word_embedding.weight, chunked._word_embedding.weight)


def test_cached_words_as_in_allennlp(random_model, allennlp) -> None:  # type: ignore[no-untyped-def]
    files = random_model(projection_dim=24, cell_size=16)
    ours = ElmoBiLm(*files, vocab_to_cache=WORDS)
    theirs = allennlp.ElmoBiLm(*map(str, files), vocab_to_cache=WORDS)
    words = torch.tensor([[1, 2, 4, 0], [3, 0, 2, 0], [4, 3, 2, 1]])
    char_ids = batch_to_ids([[WORDS[i] for i in row] for row in words.tolist()])
    for indices in (words, words, words + 1):  # the last is out of range: characters
        actual, expected = ours(char_ids, indices), theirs(char_ids, indices)
        assert torch.equal(actual["mask"], expected["mask"])
        for layer, expected_layer in zip(actual["activations"], expected["activations"], strict=True):
            assert (layer - expected_layer).abs().max().item() <= NATIVE


def test_forward_hooks_on_the_parts_are_called(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")
    expected = bilm(batch_to_ids(BATCH))["activations"]
    seen = []
    for part in (bilm._token_embedder, bilm._elmo_lstm):
        handle = part.register_forward_hook(lambda module, inputs, output: seen.append(type(module).__name__))
        for layer, expected_layer in zip(bilm(batch_to_ids(BATCH))["activations"], expected, strict=True):
            assert (layer - expected_layer).abs().max().item() <= FLOAT32
        handle.remove()
    assert seen == ["ElmoCharacterEncoder", "ElmoLstm"]


def test_part_that_was_put_in_place_is_used(random_model) -> None:  # type: ignore[no-untyped-def]
    class Doubled(torch.nn.Module):
        def __init__(self, encoder: torch.nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            output = self.encoder(inputs)
            return {**output, "token_embedding": 2 * output["token_embedding"]}

    bilm = ElmoBiLm(*random_model(), state="reset")
    before = bilm(batch_to_ids(BATCH))["activations"][0]
    bilm._token_embedder = Doubled(bilm._token_embedder)
    assert torch.equal(bilm(batch_to_ids(BATCH))["activations"][0], 2 * before)


def test_allennlps_name(random_model) -> None:  # type: ignore[no-untyped-def]
    assert _ElmoBiLm is ElmoBiLm
    bilm = ElmoBiLm(*random_model())
    assert bilm.num_layers == 3
    assert bilm.get_output_dim() == 12


def test_a_hook_on_the_cached_words_is_called(random_model) -> None:  # type: ignore[no-untyped-def]
    plain, hooked = (ElmoBiLm(*random_model(), vocab_to_cache=["<pad>", "word"]) for _ in range(2))
    hooked._word_embedding.register_forward_hook(lambda module, inputs, output: 2 * output)
    ids, words = batch_to_ids([["word"]]), torch.tensor([[1]])
    actual, expected = (bilm(ids, words)["activations"][0][0, 1] for bilm in (hooked, plain))
    assert torch.equal(actual, 2 * expected)
