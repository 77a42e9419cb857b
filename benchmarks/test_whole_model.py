"""Speed of a whole `Elmo` forward pass of each implementation. Side by side, with ratios: compare.py."""

from __future__ import annotations

import itertools

import pytest

import elmo_fast
from elmo_fast import native
from elmo_fast.bench import implementations, peers, suites, texts

CELLS = list(suites.cells("table", texts.read_sentences()[1], repeats=3))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.workload.name)
@pytest.mark.parametrize("name", [*implementations.PRECISIONS, *peers.PRECISIONS])
def test_forward(benchmark, model_files: tuple[str, str], name: str, cell: suites.Cell) -> None:
    own = name in implementations.PRECISIONS
    if own and (in_use := native.precision_in_use(name)) != name:
        pytest.skip(f"{name} runs as {in_use} on this processor")
    try:
        (implementation,), _ = implementations.load_all(model_files, [name] * own, [name] * (not own))
    except ValueError:
        pytest.skip(f"{name} cannot be imported")
    counter = itertools.count()

    def another_batch() -> tuple[tuple[object, ...], dict[str, object]]:
        ids = elmo_fast.batch_to_ids(cell.workload.batch(next(counter)))
        implementation.prepare(ids)
        return (ids,), {}

    benchmark.pedantic(implementation.forward, setup=another_batch, rounds=3, warmup_rounds=1)
