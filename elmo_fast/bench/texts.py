"""The text that is embedded: real English, a new piece of it in each repetition."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from elmo_fast.tokenize import tokenize

Sentence = list[str]

_PROJECT = Path(__file__).resolve().parents[2]
_PYTHON_TOPICS = "Python's help topics"


def test_data() -> Path:
    """The folder of data beside a source checkout that is not part of the project; see CONTRIBUTING.md."""
    return Path(os.environ.get("ELMO_FAST_TEST_DATA", _PROJECT.parent / "shared"))


def read_sentences(path: str | os.PathLike[str] | None = None) -> tuple[str, list[Sentence]]:
    """Reads tokenised sentences, one per line.

    Args:
        path: UTF-8 text, tokens separated by spaces. None takes the test text of UD English EWT where a source
            checkout has it, else the help topics that come with Python, split by `elmo_fast.tokenize`.
    Returns:
        the text's name and its sentences, none of them empty.
    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, or there is no sentence in it.
    """
    if path is None:
        path = test_data() / "data" / "ewt_test.txt"
        if not ((_PROJECT / "pyproject.toml").is_file() and path.is_file()):
            return _PYTHON_TOPICS, _python_topics()
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"text: {path}: not UTF-8 at byte {error.start + 1}") from error
    sentences = [sentence for line in text.split("\n") if (sentence := line.split())]
    if not sentences:
        raise ValueError(f"text: {path}: expected tokenised sentences, one per line, got none")
    return path.name, sentences


def _python_topics() -> list[Sentence]:
    """The prose of `help()`'s topics: sentences from a capital to a full stop, most of whose tokens are words."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:  # some distributions pack it apart
        raise ValueError(f"text: this Python has no help topics ({error}); name a text instead") from error
    sentences = []
    for paragraph in "\n\n".join(topics.values()).split("\n\n"):
        for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
            tokens = tokenize(part)
            words = sum(token[0].isalpha() for token in tokens)
            if 3 <= len(tokens) <= 100 and part[0].isupper() and part[-1] in ".!?" and words > 0.7 * len(tokens):
                sentences.append(tokens)
    return sentences


class Workload:
    """Batches of one kind. `batch(i)` shares no sentence with `batch(j)` as long as the text lasts.

    Args:
        name: what it is called in reports.
        batch_size: sentences per batch.
        lap: gives the sentences for one run through the text; called with 0, 1, ... when the text begins again.
    """

    def __init__(self, name: str, batch_size: int, lap: Callable[[int], list[Sentence]]) -> None:
        self.name = name
        self.batch_size = batch_size
        self._lap = lap
        self.num_fresh = len(lap(0)) // batch_size
        """How many batches there are before the text begins again."""

    def batch(self, i: int) -> list[Sentence]:
        """Returns `batch_size` sentences; a text with fewer repeats them within the batch."""
        lap, first = divmod(i, max(1, self.num_fresh))
        sentences = self._lap(lap)
        first *= self.batch_size
        return [sentences[(first + k) % len(sentences)] for k in range(self.batch_size)]


def as_they_come(name: str, batch_size: int, sentences: list[Sentence]) -> Workload:
    """Whole sentences in the text's order; a later lap begins elsewhere, so that the batches differ."""
    return Workload(name, batch_size, lambda lap: _rotated(sentences, 7 * lap))


def of_length(name: str, batch_size: int, sentences: list[Sentence], shortest: int, longest: int) -> Workload:
    """Whole sentences of `shortest` to `longest` tokens; when they are used up, pieces of the others of that length."""
    fitting = [sentence for sentence in sentences if shortest <= len(sentence) <= longest]
    others = [sentence for sentence in sentences if not shortest <= len(sentence) <= longest]
    pieces = _pieces(others or sentences, (shortest + longest) // 2, 0)
    return Workload(name, batch_size, lambda lap: _rotated(fitting + pieces, 7 * lap))


def running_text(name: str, batch_size: int, sentences: list[Sentence], length: int) -> Workload:
    """The running text cut into pieces of `length` tokens; each lap cuts it elsewhere."""
    return Workload(name, batch_size, lambda lap: _pieces(sentences, length, 7 * lap))


def _pieces(sentences: list[Sentence], length: int, start: int) -> list[Sentence]:
    tokens = [token for sentence in sentences for token in sentence]
    tokens = _rotated(tokens * -(-length // len(tokens)), start)  # at least one piece, however short the text
    return [tokens[i : i + length] for i in range(0, len(tokens) - length + 1, length)]


def _rotated(items: list, by: int) -> list:
    by %= len(items)
    return items[by:] + items[:by]
