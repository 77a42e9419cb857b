"""Batches of sentences to time: real text where there is some, each repetition another piece of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

Sentence = list[str]


def test_data() -> Path:
    """The folder of data that is not part of the project; see CONTRIBUTING.md."""
    return Path(os.environ.get("ELMO_FAST_TEST_DATA", PROJECT.parent / "shared"))


def read_sentences(path: Path | None = None) -> tuple[str, list[Sentence]]:
    """Reads tokenised sentences, one a line; by default UD English EWT's test text, else the shipped example.

    Returns:
        the file's name and the sentences, blank lines left out.
    """
    if path is None:
        path = test_data() / "data" / "ewt_test.txt"
        if not path.is_file():
            path = PROJECT / "examples" / "sentences.txt"
    sentences = [line.split() for line in path.read_text(encoding="utf-8").split("\n")]
    return path.name, [sentence for sentence in sentences if sentence]


class Workload:
    """Batches of one kind; `batch(i)` differs from `batch(j)` as long as the text lasts."""

    def __init__(self, name: str, batch_size: int, sentences: list[Sentence]) -> None:
        self.name = name
        self.batch_size = batch_size
        self._sentences = sentences

    def batch(self, i: int) -> list[Sentence]:
        first = i * self.batch_size
        return [self._sentences[(first + k) % len(self._sentences)] for k in range(self.batch_size)]


def workloads(sentences: list[Sentence]) -> list[Workload]:
    """The three that the project's speed floors are stated for."""

    def of_length(keep: Callable[[int], bool]) -> list[Sentence]:
        kept = [sentence for sentence in sentences if keep(len(sentence))]
        return kept or [(sentences[0] * 20)[:20]]

    return [
        Workload("one sentence of 10 tokens", 1, of_length(lambda n: n == 10)),
        Workload("32 sentences of similar length", 32, of_length(lambda n: 18 <= n <= 22)),
        Workload("32 sentences as they come", 32, sentences),
    ]
