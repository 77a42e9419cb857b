"""Batches are bounded, complete and in order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_fast import batching
from elmo_fast.batching import batches_by_length, check_batch_size, groups_of, row_groups, windows

LENGTHS = st.lists(st.integers(0, 60), max_size=60)
LIMITS = st.tuples(st.integers(1, 20), st.integers(1, 200))


@given(LENGTHS, LIMITS)
def test_row_groups_cover_all_rows_in_order_within_the_limits(lengths: list[int], limits: tuple[int, int]) -> None:
    max_rows, max_tokens = limits
    groups = row_groups(lengths, max_rows, max_tokens)
    assert list(itertools.chain.from_iterable(range(g.start, g.stop) for g in groups)) == list(range(len(lengths)))
    for group in groups:
        rows = lengths[group]
        assert 1 <= len(rows) <= max_rows
        assert len(rows) == 1 or len(rows) * (max(rows) + 2) <= max_tokens


@given(LENGTHS, LIMITS)
def test_row_groups_are_no_smaller_than_needed(lengths: list[int], limits: tuple[int, int]) -> None:
    max_rows, max_tokens = limits
    groups = row_groups(lengths, max_rows, max_tokens)
    for group, following in itertools.pairwise(groups):
        one_more = lengths[group.start : following.start + 1]
        assert len(one_more) > max_rows or len(one_more) * (max(one_more) + 2) > max_tokens


@given(LENGTHS, LIMITS)
def test_batches_by_length_hold_every_row_once_longest_first(lengths: list[int], limits: tuple[int, int]) -> None:
    max_rows, max_tokens = limits
    batches = batches_by_length(lengths, max_rows, max_tokens)
    rows = list(itertools.chain.from_iterable(batches))
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    assert all(len(b) == 1 or len(b) * (max(lengths[r] for r in b) + 2) <= max_tokens for b in batches)
    assert all(len(b) <= max_rows for b in batches)


def test_the_default_budget_is_the_documented_one() -> None:
    assert batching.MAX_BATCH_TOKENS == 8192
    assert [g.stop - g.start for g in row_groups([30] * 600, 10_000)] == [256, 256, 88]  # 256 * (30 + 2) = 8192
    assert row_groups([100_000], 64) == [slice(0, 1)]
    assert row_groups([], 64) == []


def test_groups_read_no_further_than_they_yield() -> None:
    source = iter(range(10))
    groups = groups_of(source, 3)
    assert next(groups) == [0, 1, 2]
    assert next(source) == 3
    assert list(groups) == [[4, 5, 6], [7, 8, 9]]


def test_windows_are_bounded_in_sentences_and_tokens() -> None:
    assert [len(w) for w in windows((["a"] for _ in range(100)), 2)] == [32, 32, 32, 4]
    assert next(len(w) for w in windows(itertools.repeat(["a"]), 5000)) == 5000
    assert next(len(w) for w in windows(itertools.repeat(["a"]), 500)) == batching.MAX_WINDOW_SENTENCES
    long = ["a"] * (batching.MAX_WINDOW_TOKENS // 4)
    assert [len(w) for w in windows([long] * 9, 64)] == [4, 4, 1]
    assert list(windows([], 64)) == []


def test_windows_read_lazily() -> None:
    source = iter([["a"]] * 100)
    next(windows(source, 2))
    assert len(list(source)) == 100 - 32


@pytest.mark.parametrize(
    ("batch_size", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("8", TypeError), (True, TypeError)]
)
def test_wrong_batch_sizes(batch_size: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="batch_size"):
        check_batch_size(batch_size)  # type: ignore[arg-type]
