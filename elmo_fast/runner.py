"""Runs token lists through a biLM in batches of bounded size, independent of the backend.

`ElmoEmbedder` and `elmo_fast.load` share this module. They differ in how they hold the model: as an `ElmoBiLm` module,
or as packed native weights only.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from elmo_fast.batching import batches_by_length, groups_of, row_groups, windows
from elmo_fast.characters import check_sentence, check_sentences
from elmo_fast.cuda import streams
from elmo_fast.state import State, StatefulModule

Sentences = Sequence[Sequence[str]]
Layers = Sequence[Tensor] | Sequence[np.ndarray]
Batch = tuple[list[int], Layers]
"""Sentence indices, and the layers of these sentences, each (batch_size, longest + 2, output_dim) with markers."""


class Runner:
    """Runs a biLM batch by batch.

    Args:
        forward: function from token lists to layers, each (batch_size, longest + 2, output_dim), markers included.
        states: the module that keeps the state between calls of `forward`.
        num_layers, output_dim: number of layers and their size.
    """

    def __init__(
        self, forward: Callable[[Sentences], Layers], states: StatefulModule, num_layers: int, output_dim: int
    ) -> None:
        self._forward = forward
        self._states = states
        self.num_layers = num_layers
        self.output_dim = output_dim

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps other threads from changing a "carry" state inside a `with` block. The other modes need no lock."""
        with self._states._state_lock if self._states.state == "carry" else contextlib.nullcontext():
            yield

    def batches(self, sentences: Sentences, batch_size: int) -> Iterator[Batch]:
        """Runs sentences in the order that the state mode requires, and yields the batches.

        Batches may leave out sentences without tokens.

        - "carry": batches follow the given order, and row r of every batch continues the state of row r of the previous
          batch. A batch that exceeds the token budget runs in groups of rows, each with the state of its own rows,
          which gives the same results as running it whole. Rows without tokens run with just their two markers, as in
          AllenNLP. If the whole batch has no tokens, nothing runs and the state does not change.
        - Otherwise: sentences are batched by length, leaving out those without tokens. This gives the same results in
          less time.
        """
        if self._states.state != "carry":
            numbers = [number for number, sentence in enumerate(sentences) if len(sentence)]
            for group in batches_by_length([len(sentences[number]) for number in numbers], batch_size):
                rows = [numbers[i] for i in group]
                yield from _halving(rows, lambda part: self._forward([sentences[row] for row in part]))
            return
        for start in range(0, len(sentences), batch_size):
            batch = sentences[start : start + batch_size]
            if any(map(len, batch)):
                for rows in row_groups([len(sentence) for sentence in batch], len(batch)):
                    numbers = list(range(start + rows.start, start + rows.stop))
                    yield from _halving(numbers, lambda part, first=start: self._carry(sentences, part, first))

    def embed(self, sentences: Sentences, batch_size: int) -> list[np.ndarray]:
        """Returns the layers of each sentence, in order: (num_layers, length, output_dim) float32, without markers.

        In state "carry", a lock keeps out other calls until all batches have run.
        """
        sentences = check_sentences(sentences)
        results: list[np.ndarray | None] = [None] * len(sentences)
        with self.exclusive():
            for numbers, layers in self.batches(sentences, batch_size):
                for number, array in zip(numbers, _without_markers(layers, sentences, numbers), strict=True):
                    results[number] = array
        return [self._nothing() if array is None else array for array in results]

    def embed_lazily(self, sentences: Iterable[Sequence[str]], batch_size: int) -> Iterator[np.ndarray]:
        """Yields the arrays that `embed` returns, reading ahead by one batch ("carry") or one window of batches.

        In state "carry", a batch that exceeds the token budget is computed one group of rows at a time, as results are
        consumed.
        """
        if self._states.state != "carry":
            for window in windows(map(check_sentence, itertools.count(), sentences), batch_size):
                yield from _drain(self.embed(window, batch_size))
            return
        for batch in groups_of(map(check_sentence, itertools.count(), sentences), batch_size):
            if not any(map(len, batch)):
                yield from (self._nothing() for _ in batch)
            for numbers, layers in self.batches(batch, batch_size):
                results = list(_without_markers(layers, batch, numbers))
                del layers  # so that the batch is not in memory twice while the caller works
                yield from _drain(results)

    def _nothing(self) -> np.ndarray:
        return np.zeros((self.num_layers, 0, self.output_dim), dtype=np.float32)

    def _carry(self, sentences: Sentences, numbers: Sequence[int], first: int) -> Layers:
        return self._carry_rows([sentences[number] for number in numbers], numbers[0] - first)

    def _carry_rows(self, sentences: Sentences, first_row: int) -> Layers:
        """Runs sentences with the carried state of rows first_row, first_row + 1, and so on."""
        states = self._states
        with states._state_lock:
            if first_row == 0:
                return self._forward(sentences)
            before = states._states
            after = before
            try:
                states._states = _rows_from(before, first_row)
                layers = self._forward(sentences)
                after = _replace_rows_from(before, first_row, states._states)
            finally:
                states._states = after
                streams.written(states, after)
        return layers


def _halving(numbers: list[int], run: Callable[[list[int]], Layers]) -> Iterator[Batch]:
    """Runs a batch, halving it when the GPU runs out of memory. Raises only if a single sentence does not fit."""
    try:
        layers = run(numbers)
    except torch.cuda.OutOfMemoryError:
        if len(numbers) == 1:
            raise
        layers = None
    if layers is not None:
        yield numbers, layers
        return
    # Outside the handler, because until it ends the error's traceback holds the tensors of the failed attempt.
    middle = len(numbers) // 2
    yield from _halving(numbers[:middle], run)
    yield from _halving(numbers[middle:], run)


def as_arrays(layers: Layers) -> list[np.ndarray]:
    """Returns the layers as float32 NumPy arrays, copying only if necessary."""
    return [
        layer if isinstance(layer, np.ndarray) else layer.detach().to("cpu", torch.float32).numpy() for layer in layers
    ]


def _without_markers(layers: Layers, sentences: Sentences, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    arrays = as_arrays(layers)
    for row, number in enumerate(numbers):
        # Copied, because a view would keep the whole batch in memory for as long as any one sentence is kept.
        yield np.stack([array[row, 1 : len(sentences[number]) + 1] for array in arrays])


def _drain(results: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields results in order, dropping the reference to each one as it goes."""
    results.reverse()
    while results:
        yield results.pop()


def _rows_from(state: State | None, first_row: int) -> State | None:
    if state is None or state[0].shape[1] <= first_row:
        return None
    return tuple(part[:, first_row:] for part in state)


def _replace_rows_from(state: State | None, first_row: int, rows: State | None) -> State | None:
    """Returns the state with its rows from `first_row` on replaced by `rows`. Missing rows before that are zero."""
    if rows is None:
        return state
    if state is None:
        return tuple(torch.nn.functional.pad(part, (0, 0, first_row, 0)) for part in rows)
    missing = max(0, first_row - state[0].shape[1])
    return tuple(
        torch.cat([torch.nn.functional.pad(old[:, :first_row], (0, 0, 0, missing)), new], dim=1)
        for old, new in zip(state, rows, strict=True)
    )
