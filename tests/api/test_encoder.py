"""The token encoder module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import NATIVE

from elmo_fast import ElmoCharacterEncoder, _cpu, batch_to_ids, dispatch, reference
from elmo_fast.characters import marker_char_ids, tokens_to_char_ids
from elmo_fast.cpu.bilm import CpuBiLm

BATCH = [["Hello", "world"], [], ["one", "two", "Hello"]]


def test_padding_is_encoded_like_a_token(random_model) -> None:  # type: ignore[no-untyped-def]
    encoder = ElmoCharacterEncoder(*random_model())
    output = encoder(batch_to_ids(BATCH))
    assert output["token_embedding"].shape == (3, 5, encoder.get_output_dim())
    assert output["mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    embedding = output["token_embedding"]
    assert embedding[1, 2].any()
    assert torch.equal(embedding[1, 2], embedding[0, 4])
    assert torch.equal(embedding[0, 1], embedding[2, 3])  # Hello
    assert torch.equal(embedding[0, 0], embedding[2, 0])  # <S>
    assert torch.equal(embedding[0, 3], embedding[2, 4])  # </S>


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "tanh"},
        {"n_highway": 0},
        {"n_highway": 3},
        {"projection_dim": 15},
        {"filters": ((1, 1),), "char_embedding_dim": 1, "projection_dim": 3},
        {"filters": ((50, 3), (7, 33)), "char_embedding_dim": 17, "projection_dim": 5},
    ],
    ids=str,
)
def test_native_equals_the_float64_reference(random_model, options: dict) -> None:  # type: ignore[no-untyped-def]
    files = random_model(**options)
    native, plain = ElmoCharacterEncoder(*files), ElmoCharacterEncoder(*files).double()
    assert dispatch.choose(native._tensors()).name == "cpu"
    assert dispatch.choose(plain._tensors()).name == "reference"
    char_ids = batch_to_ids(BATCH)
    actual, expected = native(char_ids), plain(char_ids)
    assert torch.equal(actual["mask"], expected["mask"])
    assert actual["token_embedding"].dtype == torch.float32
    assert (actual["token_embedding"] - expected["token_embedding"]).abs().max().item() <= NATIVE


@pytest.mark.parametrize("seed", range(4))
def test_batches_with_holes(seed: int) -> None:
    """Markers, mask and the positions that are read, against the plain definition."""
    generator = torch.Generator().manual_seed(seed)
    for batch_size, num_timesteps in ((0, 3), (3, 0), (1, 1), (7, 6)):
        char_ids = torch.randint(1, 262, (batch_size, num_timesteps, 50), generator=generator)
        char_ids *= torch.rand(batch_size, num_timesteps, 1, generator=generator) < 0.6
        bos, eos = map(torch.tensor, marker_char_ids(50))
        marked, mask = reference.add_markers(char_ids, char_ids.any(dim=-1), bos, eos)
        read = mask | (torch.arange(num_timesteps + 2) < mask.sum(dim=1, keepdim=True))
        table, index, actual_mask = _cpu.distinct_tokens(char_ids.numpy(), 262)
        assert actual_mask.dtype == bool and (actual_mask == mask.numpy()).all()
        assert index.dtype == np.int32 and not index[~read.numpy()].any()
        np.testing.assert_array_equal(table[index[read.numpy()]], marked[read].numpy())
        assert len(table) == len(np.unique(marked[read].numpy(), axis=0))


def test_ids_that_the_model_does_not_know(random_model) -> None:  # type: ignore[no-untyped-def]
    encoder = ElmoCharacterEncoder(*random_model())
    for wrong in (262, -1, 2**62, -(2**62)):
        char_ids = batch_to_ids(BATCH)
        char_ids[2, 1, 49] = wrong
        message = rf"char_ids: expected ids from 0 to 261, got {wrong} at \(2, 1, 49\)"
        for call in (
            lambda ids=char_ids: encoder(ids),
            lambda ids=char_ids: _cpu.distinct_tokens(ids.numpy(), 262),
            lambda ids=char_ids: CpuBiLm.from_files(*random_model()).forward(ids.numpy()),
        ):
            with pytest.raises(ValueError, match=message):
                call()


def test_other_number_of_characters(random_model) -> None:  # type: ignore[no-untyped-def]
    files = random_model(max_characters=9)
    char_ids = torch.from_numpy(tokens_to_char_ids(BATCH, 9))
    encoder = ElmoCharacterEncoder(*files)
    expected = ElmoCharacterEncoder(*files).double()(char_ids)["token_embedding"]
    assert (encoder(char_ids)["token_embedding"] - expected).abs().max().item() <= NATIVE
    with pytest.raises(ValueError, match=r"expected shape \(batch_size, num_timesteps, 9\), got \(3, 3, 50\)"):
        encoder(batch_to_ids(BATCH))


def test_attributes_that_scripts_reach_into(random_model) -> None:  # type: ignore[no-untyped-def]
    encoder = ElmoCharacterEncoder(*random_model())
    assert encoder._options["lstm"]["projection_dim"] == encoder.output_dim == 6
    assert encoder._char_embedding_weights.shape == (262, 4)
    assert encoder._convolutions == [encoder.char_conv_0, encoder.char_conv_1, encoder.char_conv_2]
    assert [tuple(c.weight.shape) for c in encoder._convolutions] == [(4, 4, 1), (5, 4, 2), (6, 4, 3)]
    assert encoder._highways(torch.zeros(2, 15)).shape == (2, 15)
    assert encoder._projection.out_features == 6
    assert encoder._beginning_of_sentence_characters[1] == 257
    assert encoder._end_of_sentence_characters[1] == 258
    assert encoder.requires_grad is False


@pytest.mark.parametrize("requires_grad", [False, True])
def test_requires_grad(random_model, requires_grad: bool) -> None:  # type: ignore[no-untyped-def]
    encoder = ElmoCharacterEncoder(*random_model(), requires_grad=requires_grad)
    assert {p.requires_grad for p in encoder.parameters()} == {requires_grad}
    assert encoder(batch_to_ids(BATCH))["token_embedding"].requires_grad is requires_grad


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_dtype_and_strides(random_model, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    for model in (ElmoCharacterEncoder(*random_model()), ElmoCharacterEncoder(*random_model()).double()):
        char_ids = batch_to_ids(BATCH) % 256
        expected = model(char_ids)["token_embedding"]
        strided = char_ids.to(dtype).repeat_interleave(2, dim=2)[:, :, ::2]
        assert torch.equal(model(strided)["token_embedding"], expected)
        transposed = char_ids.to(dtype).transpose(0, 2).contiguous().transpose(0, 2)
        assert torch.equal(model(transposed)["token_embedding"], expected)


@pytest.mark.parametrize("double", [False, True], ids=["native", "reference"])
@pytest.mark.parametrize("bad", [-1, 262, 2**40])
def test_ids_out_of_range_are_named(random_model, bad: int, double: bool) -> None:  # type: ignore[no-untyped-def]
    encoder = ElmoCharacterEncoder(*random_model())
    encoder = encoder.double() if double else encoder
    char_ids = batch_to_ids(BATCH)
    char_ids[2, 1, 7] = bad
    with pytest.raises(ValueError) as error:
        encoder(char_ids)
    assert str(error.value) == f"char_ids: expected ids from 0 to 261, got {bad} at (2, 1, 7)"
    with pytest.raises(TypeError, match="char_ids: expected integers, got float32"):
        encoder(char_ids.float())
    with pytest.raises(ValueError, match=r"char_ids: expected shape .*, got \(3, 50\)"):
        encoder(char_ids[:, 0])
