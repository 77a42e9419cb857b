"""Words to character ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elmo_fast import ELMoCharacterMapper, batch_to_ids
from elmo_fast.characters import marker_char_ids, tokens_to_char_ids


def ids_of(*characters: int) -> list[int]:
    return [c + 1 for c in characters] + [261] * (50 - len(characters))


def test_word_is_its_bytes_between_marks_all_plus_one() -> None:
    assert ELMoCharacterMapper().convert_word_to_char_ids("né") == ids_of(258, 110, 195, 169, 259)
    assert ELMoCharacterMapper().convert_word_to_char_ids("") == ids_of(258, 259)


def test_sentence_markers_as_words() -> None:
    assert ELMoCharacterMapper().convert_word_to_char_ids("<S>") == ids_of(258, 256, 259)
    assert ELMoCharacterMapper().convert_word_to_char_ids("</S>") == ids_of(258, 257, 259)
    bos, eos = marker_char_ids(50)
    assert bos.tolist() == ids_of(258, 256, 259)
    assert eos.tolist() == ids_of(258, 257, 259)
    assert ELMoCharacterMapper.beginning_of_sentence_characters == [c - 1 for c in ids_of(258, 256, 259)]
    assert ELMoCharacterMapper.end_of_sentence_characters == [c - 1 for c in ids_of(258, 257, 259)]


@pytest.mark.parametrize("length", [47, 48, 49, 200])
def test_long_word_is_cut_to_48_bytes(length: int) -> None:
    expected = [258, *b"x" * min(length, 48), 259]
    assert ELMoCharacterMapper().convert_word_to_char_ids("x" * length) == ids_of(*expected)


def test_cut_may_split_a_character() -> None:
    ids = ELMoCharacterMapper().convert_word_to_char_ids("x" * 47 + "é")
    assert ids == ids_of(258, *b"x" * 47, 0xC3, 259)


def test_lone_surrogates_are_dropped() -> None:
    assert ELMoCharacterMapper().convert_word_to_char_ids("a\ud800b") == ids_of(258, *b"ab", 259)


def test_tokens_to_add() -> None:
    mapper = ELMoCharacterMapper({"@mask": 1})
    assert mapper.convert_word_to_char_ids("@mask") == ids_of(258, 1, 259)
    assert mapper.convert_word_to_char_ids("mask") == ids_of(258, *b"mask", 259)
    assert mapper == ELMoCharacterMapper({"@mask": 1})
    assert mapper != ELMoCharacterMapper()
    assert ELMoCharacterMapper.__eq__(mapper, 3) is NotImplemented
    with pytest.raises(ValueError, match="tokens_to_add: 'x' has character 261, expected 0 to 260"):
        ELMoCharacterMapper({"x": 261})


def test_batch_is_padded_with_zeros() -> None:
    ids = batch_to_ids([["a"], ["b", "c"], []])
    assert ids.shape == (3, 2, 50)
    assert ids.dtype == torch.int64
    assert ids[0, 0].tolist() == ids_of(258, ord("a"), 259)
    assert not ids[0, 1].any()
    assert not ids[2].any()


@pytest.mark.parametrize(("batch", "shape"), [([], (0, 0, 50)), ([[]], (1, 0, 50)), ([[], []], (2, 0, 50))])
def test_empty_batches(batch: list[list[str]], shape: tuple[int, ...]) -> None:
    ids = batch_to_ids(batch)
    assert ids.shape == shape
    assert ids.dtype == torch.int64


def test_any_sequence_of_sequences() -> None:
    expected = batch_to_ids([["a", "b"], ["c"]])
    assert torch.equal(batch_to_ids((("a", "b"), ("c",))), expected)
    assert torch.equal(batch_to_ids(sentence for sentence in (["a", "b"], ["c"])), expected)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (["a b"], "sentence 0: expected a list of tokens, got the str 'a b'"),
        ([["a"], b"bytes"], "sentence 1: expected a list of tokens"),
        ([["a"], ["b", 3]], "sentence 1, token 1: expected a string, got int"),
        ([[None]], "sentence 0, token 0: expected a string, got NoneType"),
    ],
)
def test_wrong_input_is_named(batch: list, message: str) -> None:
    with pytest.raises(TypeError) as error:
        batch_to_ids(batch)
    assert message in str(error.value)


@pytest.mark.parametrize("max_characters", [3, 4, 7, 64])
def test_other_numbers_of_characters(max_characters: int) -> None:
    ids = tokens_to_char_ids([["abcdef", "<S>"]], max_characters)
    assert ids.shape == (1, 2, max_characters)
    word = [259, *(b + 1 for b in b"abcdef"[: max_characters - 2]), 260]
    assert ids[0, 0].tolist() == word + [261] * (max_characters - len(word))
    assert ids[0, 1].tolist() == [259, 257, 260] + [261] * (max_characters - 3)


words = st.one_of(st.text(max_size=60), st.sampled_from(["<S>", "</S>", "", "x" * 48, "\0", "é" * 25]))


@given(st.lists(st.lists(words, max_size=5), max_size=4))
def test_one_word_at_a_time_gives_the_same(batch: list[list[str]]) -> None:
    ids = tokens_to_char_ids(batch)
    mapper = ELMoCharacterMapper()
    for row, sentence in zip(ids, batch, strict=True):
        assert row[: len(sentence)].tolist() == [mapper.convert_word_to_char_ids(word) for word in sentence]
        assert not row[len(sentence) :].any()
    assert ids.dtype == np.int64


def test_same_as_allennlp(allennlp) -> None:  # type: ignore[no-untyped-def]
    batch = [["Hello", ",", "wörld", "", "👩‍👩‍👧", "x" * 47 + "é", "<S>"], ["</S>", "\ud800", "\0"], ["a" * 100]]
    assert torch.equal(batch_to_ids(batch), allennlp.batch_to_ids(batch))
