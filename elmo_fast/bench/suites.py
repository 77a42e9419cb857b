"""What is measured: four suites of workloads, and the run over them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from elmo_fast.bench import texts
from elmo_fast.bench.implementations import PREFIX, Implementation
from elmo_fast.bench.limits import Rates, Weights, least_seconds
from elmo_fast.bench.measure import Pace, Turns, num_tokens, ratio, summary, take_turns
from elmo_fast.bench.texts import Sentence, Workload

SUITES = ("table", "batch", "length", "latency")

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LENGTHS = (5, 10, 20, 50, 100, 200, 500)
LENGTH_OF_BATCHES = 20
_LATENCY_TURNS = 200  # so that the 99th percentile is one


@dataclass(frozen=True)
class Cell:
    """One workload of a suite. `length`: tokens per sentence, None if they differ."""

    suite: str
    workload: Workload
    length: int | None
    repeats: int


def cells(suite: str, sentences: list[Sentence], repeats: int, smoke: bool = False) -> Iterator[Cell]:
    """The workloads of a suite.

    - "table": a sentence of 10 tokens; 32 of 18 to 22 tokens; 32 as they come in the text.
    - "batch": 1 to 256 pieces of 20 tokens.
    - "length": one piece of 5 to 500 tokens.
    - "latency": one sentence of 10 tokens, and one as it comes, often enough for percentiles.

    Args:
        smoke: few and small ones, to check that everything runs.
    Raises:
        ValueError: no such suite.
    """
    if suite == "table":
        n = 4 if smoke else 32
        yield Cell(suite, texts.of_length("one sentence of 10 tokens", 1, sentences, 10, 10), 10, repeats)
        yield Cell(suite, texts.of_length(f"{n} sentences of similar length", n, sentences, 18, 22), None, repeats)
        yield Cell(suite, texts.as_they_come(f"{n} sentences as they come", n, sentences), None, repeats)
    elif suite == "batch":
        for n in BATCH_SIZES[:3] if smoke else BATCH_SIZES:
            length = LENGTH_OF_BATCHES
            yield Cell(suite, texts.running_text(f"{n} x {length} tokens", n, sentences, length), length, repeats)
    elif suite == "length":
        for length in LENGTHS[:3] if smoke else LENGTHS:
            yield Cell(suite, texts.running_text(f"1 x {length} tokens", 1, sentences, length), length, repeats)
    elif suite == "latency":
        turns = repeats if smoke else max(repeats, _LATENCY_TURNS)
        yield Cell(suite, texts.of_length("one sentence of 10 tokens", 1, sentences, 10, 10), 10, turns)
        yield Cell(suite, texts.as_they_come("one sentence as it comes", 1, sentences), None, turns)
    else:
        raise ValueError(f"suite: expected one of {', '.join(SUITES)}, got {suite!r}")


def run(
    cells: Sequence[Cell],
    implementations: Sequence[Implementation],
    weights: Weights,
    rates: Rates,
    budget: float,
    warm_ups: int = 1,
    deadline: float = float("inf"),
) -> Iterator[dict[str, Any]]:
    """Measures one cell after the other; yields `report.RESULT_KEYS`.

    No cell but the first is begun after `deadline`, by `time.monotonic`.

    Says on standard error what it is at. An error of an implementation is one of the run: figures that silently lack a
    participant would mislead.
    """
    pace = Pace()
    for number, cell in enumerate(cells):
        if number and monotonic() >= deadline:
            print(f"no time left for {len(cells) - number} workloads", file=sys.stderr, flush=True)
            return
        print(f"{cell.suite}: {cell.workload.name}", file=sys.stderr, flush=True)
        turns = take_turns(cell.workload, implementations, cell.repeats, warm_ups=warm_ups, budget=budget, pace=pace)
        yield _result(cell, turns, implementations, weights, rates)


def _result(
    cell: Cell, turns: Turns, implementations: Sequence[Implementation], weights: Weights, rates: Rates
) -> dict[str, Any]:
    tokens = [num_tokens(batch) for batch in turns.batches]
    figures: dict[str, Any] = {}
    for implementation in implementations:
        seconds = turns.seconds.get(implementation.name)
        if seconds is not None:
            figures[implementation.name] = {
                **summary(seconds, tokens),
                **_fraction(turns.batches, seconds, weights, implementation, rates),
            }
    own = [name for name in figures if name.startswith(PREFIX)]
    return {
        "suite": cell.suite,
        "workload": cell.workload.name,
        "batch_size": cell.workload.batch_size,
        "length": cell.length,
        "tokens_per_batch": statistics.median(tokens) if tokens else None,
        "distinct_words_per_batch": statistics.median(_distinct(b) for b in turns.batches) if tokens else None,
        "fresh_text": turns.fresh,
        "figures": figures,
        "times_faster": {
            name: {
                peer: ratio(turns.seconds[peer], turns.seconds[name]) for peer in figures if not peer.startswith(PREFIX)
            }
            for name in own
        },
        "skipped": turns.skipped,
    }


def _fraction(
    batches: list[list[Sentence]],
    seconds: list[float | None],
    weights: Weights,
    implementation: Implementation,
    rates: Rates,
) -> dict[str, Any]:
    """How much of the machine's limit was reached, median of the turns, and what bounds it."""
    fractions, bounds = [], []
    for batch, time in zip(batches, seconds, strict=True):
        least = least_seconds(batch, weights, implementation.precision_in_use, rates)
        if implementation.device.type == rates.device and least is not None and time:
            fractions.append(least[0] / time)
            bounds.append(least[1])
    if not fractions:
        return {"fraction_of_limit": None, "bound_by": None}
    return {"fraction_of_limit": round(statistics.median(fractions), 3), "bound_by": statistics.mode(bounds)}


def _distinct(batch: list[Sentence]) -> int:
    return len({token for sentence in batch for token in sentence})
