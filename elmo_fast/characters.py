"""Text to character ids: words as UTF-8 bytes between begin and end marks, the way every ELMo was trained."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch

N_CHARACTER_IDS = 262
"""Ids a model knows: 0 (no token here), then the 261 characters of `ELMoCharacterMapper`, each plus one."""


def _marker(character: int, max_characters: int) -> list[int]:
    """The character row of a sentence marker (or of any one-character word), without the +1 of masking."""
    mapper = ELMoCharacterMapper
    row = [mapper.padding_character] * max_characters
    row[:3] = mapper.beginning_of_word_character, character, mapper.end_of_word_character
    return row


class ELMoCharacterMapper:
    """Maps one word to its character ids; the same names and numbers as AllenNLP's class.

    Args:
        tokens_to_add: `{token: character}` gives a token the single character `character` (0 to 260; +1 is added,
            as to all). Unused ones, such as 1 to 31, do not collide with text.
    """

    max_word_length = 50

    # 0 to 255 are the bytes of UTF-8.
    beginning_of_sentence_character = 256
    end_of_sentence_character = 257
    beginning_of_word_character = 258
    end_of_word_character = 259
    padding_character = 260

    beginning_of_sentence_characters: list[int]
    end_of_sentence_characters: list[int]

    bos_token = "<S>"
    eos_token = "</S>"

    def __init__(self, tokens_to_add: dict[str, int] | None = None) -> None:
        self.tokens_to_add: dict[str, int] = tokens_to_add or {}
        for token, character in self.tokens_to_add.items():
            if not 0 <= character < N_CHARACTER_IDS - 1:
                raise ValueError(f"tokens_to_add: {token!r} has character {character}, expected 0 to 260")

    def convert_word_to_char_ids(self, word: str) -> list[int]:
        """Returns the `max_word_length` character ids of a word, each from 1 to 261."""
        if word in self.tokens_to_add:
            return [c + 1 for c in _marker(self.tokens_to_add[word], self.max_word_length)]
        char_ids: list[int] = tokens_to_char_ids([[word]], self.max_word_length)[0, 0].tolist()
        return char_ids

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, ELMoCharacterMapper) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal by a mutable dictionary


ELMoCharacterMapper.beginning_of_sentence_characters = _marker(256, ELMoCharacterMapper.max_word_length)
ELMoCharacterMapper.end_of_sentence_characters = _marker(257, ELMoCharacterMapper.max_word_length)


@functools.lru_cache(maxsize=16)
def marker_char_ids(max_characters: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the character ids of `<S>` and `</S>`, +1 for masking: two read-only (max_characters,) int64 arrays."""
    mapper = ELMoCharacterMapper
    rows = (mapper.beginning_of_sentence_character, mapper.end_of_sentence_character)
    bos, eos = (np.array(_marker(character, max_characters), dtype=np.int64) + 1 for character in rows)
    bos.flags.writeable = eos.flags.writeable = False  # shared by all calls
    return bos, eos


def tokens_to_char_ids(sentences: Iterable[Sequence[str]], max_characters: int = 50) -> np.ndarray:
    """Converts tokenised sentences to character ids.

    Args:
        sentences: each a sequence of words. `<S>` and `</S>` as words give the sentence markers. Bytes beyond
            `max_characters - 2` and characters that UTF-8 cannot hold (lone surrogates) are dropped.
        max_characters: ids per word, the model's `max_characters_per_token`.
    Returns:
        (len(sentences), longest sentence, max_characters) int64, 0 where there is no token.
    Raises:
        TypeError: a sentence is a plain string, or a token is not a string.
    """
    return sentences_to_char_ids(check_sentences(sentences), max_characters)


def sentences_to_char_ids(sentences: Sequence[Sequence[str]], max_characters: int) -> np.ndarray:
    """As `tokens_to_char_ids`, for sentences that `check_sentences` has returned."""
    lengths = [len(sentence) for sentence in sentences]
    num_timesteps = max(lengths, default=0)
    words: dict[str, int] = {}
    index = [words.setdefault(word, len(words)) for sentence in sentences for word in sentence]
    tokens = _words_to_char_ids(words, max_characters)[index]
    if len(index) == len(sentences) * num_timesteps:  # no padding
        return tokens.reshape(len(sentences), num_timesteps, max_characters)
    char_ids = np.zeros((len(sentences), num_timesteps, max_characters), dtype=np.int64)
    char_ids[np.arange(num_timesteps) < np.array(lengths)[:, None]] = tokens
    return char_ids


def check_sentences(sentences: Iterable[Sequence[str]]) -> list[list[str]]:
    """Returns token lists as lists, before anything is computed or a state is touched.

    Raises:
        TypeError: a sentence is a plain string or not iterable, or a token is not a string.
    """
    return [check_sentence(number, sentence) for number, sentence in enumerate(sentences)]


def check_sentence(number: int, sentence: Sequence[str]) -> list[str]:
    """Returns one token list as a list; `number` is its place, for the message. Errors as `check_sentences`."""
    # A string would pass as a sequence of one-letter words: a frequent slip that gives plausible nonsense.
    if isinstance(sentence, (str, bytes, dict)) or not isinstance(sentence, Iterable):
        got = f"{type(sentence).__name__} {sentence!r:.60}"
        raise TypeError(f"sentence {number}: expected a list of tokens, got the {got}")
    tokens = list(sentence)
    for position, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(f"sentence {number}, token {position}: expected a string, got {type(token).__name__}")
    return tokens


def _words_to_char_ids(words: dict[str, int], max_characters: int) -> np.ndarray:
    """(len(words), max_characters) int64 of words and their rows, all at once: a loop over bytes costs too much."""
    mapper = ELMoCharacterMapper
    room = max_characters - 2
    encoded = [word.encode("utf-8", "ignore")[:room] for word in words]
    lengths = np.array([len(word) for word in encoded], dtype=np.int64)
    text = np.frombuffer(b"".join([word.ljust(room, b"\0") for word in encoded]), dtype=np.uint8)
    # All ids are one more than their characters, for masking.
    char_ids = np.full((len(words), max_characters), mapper.padding_character + 1, dtype=np.int64)
    char_ids[:, 0] = mapper.beginning_of_word_character + 1
    within = np.arange(room) < lengths[:, None]
    np.add(text.reshape(len(words), room), 1, out=char_ids[:, 1:-1], where=within, dtype=np.int64)
    char_ids[np.arange(len(words)), lengths + 1] = mapper.end_of_word_character + 1
    bos, eos = marker_char_ids(max_characters)
    for token, row in ((mapper.bos_token, bos), (mapper.eos_token, eos)):
        if token in words:
            char_ids[words[token]] = row
    return char_ids


def batch_to_ids(batch: Iterable[Sequence[str]]) -> torch.Tensor:
    """Converts a batch of tokenised sentences to the character ids that `Elmo` reads.

    Args:
        batch: sentences, each a list of words.
    Returns:
        (len(batch), longest sentence, 50) int64, 0 where there is no token. `[]` gives (0, 0, 50).
    Raises:
        TypeError: a sentence is a plain string, or a token is not a string.
    """
    return torch.from_numpy(tokens_to_char_ids(batch, ELMoCharacterMapper.max_word_length))


def char_ids_array(char_ids: torch.Tensor | np.ndarray, max_characters: int, n_ids: int | None = None) -> np.ndarray:
    """Checks character ids and returns them as a C-contiguous int64 array, without a copy where they are one.

    Args:
        char_ids: (batch_size, num_timesteps, max_characters), any integer dtype, any strides, on the CPU.
        n_ids: how many ids the model knows; None leaves the values to the native module to check.
    Raises:
        TypeError: not integers.
        ValueError: another number of dimensions or characters, or an id outside 0 to n_ids - 1.
    """
    array = char_ids.detach().numpy() if isinstance(char_ids, torch.Tensor) else np.asarray(char_ids)
    check_char_ids(array, max_characters)
    array = np.ascontiguousarray(array, dtype=np.int64)
    # Unsigned, a negative id is a huge one.
    if n_ids is not None and array.size and array.view(np.uint64).max() >= n_ids:
        where = tuple(int(i) for i in np.argwhere((array < 0) | (array >= n_ids))[0])
        raise ValueError(f"char_ids: expected ids from 0 to {n_ids - 1}, got {array[where]} at {where}")
    return array


def check_char_ids(char_ids: torch.Tensor | np.ndarray, max_characters: int) -> None:
    """Checks dtype and shape of character ids, wherever they are.

    Raises:
        TypeError: not integers.
        ValueError: another number of dimensions or characters.
    """
    if isinstance(char_ids, torch.Tensor):
        is_integer = not char_ids.dtype.is_floating_point and not char_ids.dtype.is_complex
        is_integer = is_integer and char_ids.dtype != torch.bool
    else:
        is_integer = char_ids.dtype.kind in "iu"
    if not is_integer:
        raise TypeError(f"char_ids: expected integers, got {char_ids.dtype}")
    if char_ids.ndim != 3 or char_ids.shape[2] != max_characters:
        expected = f"(batch_size, num_timesteps, {max_characters})"
        raise ValueError(f"char_ids: expected shape {expected}, got {tuple(char_ids.shape)}")
