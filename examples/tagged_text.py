"""Shared by the examples: reading text and tagged sentences, drawing a part of them, batches, simple baselines."""

from __future__ import annotations

import argparse
import gzip
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch

import elmo_fast

Words = list[str]
TaggedSentence = tuple[Words, list[str]]
Item = TypeVar("Item")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a UTF-8 file, gzipped if its name ends in .gz, with their numbers from 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not UTF-8, or not gzipped as its name says.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        # As bytes: in text mode other characters than \n, some of which occur within words, would end a line too.
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, line.rstrip(b"\r\n").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise ValueError(f"{path}:{number}: expected UTF-8 text, got {line[:80]!r}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, as its name ends in .gz; got: {error}") from error


def read_tagged(path: Path) -> list[TaggedSentence]:
    """Reads lines of word, tab, tag, with an empty line between two sentences.

    Returns:
        (words, tags) of each sentence, as many tags as words.
    Raises:
        FileNotFoundError, ValueError: as `read_lines`; a line of another form; no sentence at all.
    """
    sentences: list[TaggedSentence] = [([], [])]
    for number, line in read_lines(path):
        word, *tag = line.split("\t")
        if line and not (len(tag) == 1 and word and tag[0]):
            raise ValueError(f"{path}:{number}: expected a word, a tab and a tag, or an empty line, got {line[:80]!r}")
        if line:
            sentences[-1][0].append(word)
            sentences[-1][1].extend(tag)
        elif sentences[-1][0]:
            sentences.append(([], []))
    sentences = [sentence for sentence in sentences if sentence[0]]
    if not sentences:
        raise ValueError(f"{path}: expected at least one tagged sentence, got none")
    return sentences


def read_words(path: Path) -> list[Words]:
    """Reads words of a tagged file (.tsv, .tsv.gz), or of text with one sentence per line and spaces between words."""
    if path.name.endswith((".tsv", ".tsv.gz")):
        return [words for words, _ in read_tagged(path)]
    return [words for _, line in read_lines(path) if (words := line.split())]


def draw(items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """Draws at most `limit` of the items, in random order; all of them where it is None."""
    # The first ones would not do: files often hold one genre after another.
    return random.Random(seed).sample(items, len(items) if limit is None else min(limit, len(items)))


def batches(sentences: list[TaggedSentence], batch_size: int, seed: int) -> list[list[TaggedSentence]]:
    """Divides sentences into batches of similar length, which leaves little padding, and shuffles the batches."""
    by_length = sorted(draw(sentences, None, seed), key=lambda sentence: len(sentence[0]))
    return draw([by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)], None, seed)


def print_baselines(train: list[TaggedSentence], test: list[TaggedSentence]) -> None:
    """Prints what the most frequent tag, of all and of each word, gets right."""
    tags_of: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            tags_of[word][tag] += 1
    common = sum(tags_of.values(), Counter()).most_common(1)[0][0]
    best = {word: counts.most_common(1)[0][0] for word, counts in tags_of.items()}
    pairs = [pair for words, tags in test for pair in zip(words, tags, strict=True)]
    print(f"majority baseline: {100 * sum(tag == common for _, tag in pairs) / len(pairs):.1f}% (always {common})")
    right = sum(best.get(word, common) == tag for word, tag in pairs)
    print(f"each word's most frequent tag: {100 * right / len(pairs):.1f}%")


def set_threads() -> None:
    """Keeps elmo_fast's threads and gives torch one: a small network is faster on one, on a busy machine much so."""
    elmo_fast.set_num_threads(elmo_fast.get_num_threads())  # else it would follow torch
    torch.set_num_threads(1)


def versions() -> str:
    """Returns the versions and settings that a run's figures depend on."""
    return f"elmo_fast {elmo_fast.__version__}, torch {torch.__version__}, {elmo_fast.get_num_threads()} threads"


def positive(text: str) -> int:
    """For argparse: an integer of 1 or more."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, got {text!r}")
    return number
