"""Splits sentences into batches of bounded size.

Memory is bounded as follows. The biLM returns `num_layers * batch_size * (longest + 2) * output_dim` floats, padding
and markers included, so a batch is limited by `batch_size * (longest + 2)`, its padded tokens:

- `MAX_BATCH_TOKENS` = 8,192 padded tokens: 96 MiB of activations for the published models of 1,024 dimensions and
  three layers (12 KiB per token), 12 MiB for the tiny model. A longer sentence runs alone.
- `MAX_WINDOW_SENTENCES` and `MAX_WINDOW_TOKENS`: the number that a lazy generator reads ahead to sort by length, and so
  the largest number of finished results that it holds: 192 MiB at 12 KiB per token.

The composition of a batch never changes a result: the biLM's output for a row does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")

DEFAULT_BATCH_SIZE = 64
"""Most sentences per call of the biLM, unless the caller asks for another number."""
MAX_BATCH_TOKENS = 8192
"""Most padded tokens, `batch_size * (longest sentence + 2)`, of one call of the biLM."""
MAX_WINDOW_SENTENCES = 1024
"""Most sentences read ahead by a generator that batches by length."""
MAX_WINDOW_TOKENS = 2 * MAX_BATCH_TOKENS
"""Most tokens, markers included, read ahead by such a generator (the last sentence may exceed it)."""
_MARKERS = 2  # <S> and </S> around every sentence


def check_batch_size(batch_size: int) -> int:
    """Returns `batch_size`, which must be a positive int.

    Raises:
        TypeError, ValueError: it is not.
    """
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__"):
        raise TypeError(f"batch_size: expected an int, got {type(batch_size).__name__}")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    return int(batch_size)


def groups_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields lists of `size` items, the last one shorter, reading no further than the list it yields."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def windows(sentences: Iterable[Sequence[str]], batch_size: int) -> Iterator[list[Sequence[str]]]:
    """Yields lists of sentences to be sorted by length together, bounded in sentences and in tokens.

    Args:
        sentences: token lists, read lazily.
        batch_size: a window holds at least this many sentences unless the tokens bound it first.
    """
    max_sentences = max(batch_size, min(MAX_WINDOW_SENTENCES, 16 * batch_size))
    window: list[Sequence[str]] = []
    tokens = 0
    for sentence in sentences:
        window.append(sentence)
        tokens += len(sentence) + _MARKERS
        if len(window) >= max_sentences or tokens >= MAX_WINDOW_TOKENS:
            yield window
            window, tokens = [], 0
    if window:
        yield window


def row_groups(lengths: Sequence[int], max_rows: int, max_tokens: int | None = None) -> list[slice]:
    """Splits rows, in their order, into consecutive groups within the row and token limits.

    Args:
        lengths: tokens of each row, markers excluded.
        max_rows: the largest number of rows per group.
        max_tokens: the largest number of padded tokens per group, `MAX_BATCH_TOKENS` if None; a longer row is a group
            of its own.
    Returns:
        slices that cover range(len(lengths)) in order.
    """
    max_tokens = MAX_BATCH_TOKENS if max_tokens is None else max_tokens
    groups: list[slice] = []
    start, longest = 0, 0
    for row, length in enumerate(lengths):
        longest = max(longest, length + _MARKERS)
        rows = row - start + 1
        if rows > 1 and (rows > max_rows or rows * longest > max_tokens):
            groups.append(slice(start, row))
            start, longest = row, length + _MARKERS
    if len(lengths):
        groups.append(slice(start, len(lengths)))
    return groups


def batches_by_length(lengths: Sequence[int], max_rows: int, max_tokens: int | None = None) -> list[list[int]]:
    """Groups rows of similar length, the longest first, so that a lack of memory shows at once.

    Args:
        lengths, max_rows, max_tokens: as in `row_groups`.
    Returns:
        lists of row indices; every row is in exactly one of them.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return [order[group] for group in row_groups([lengths[i] for i in order], max_rows, max_tokens)]
