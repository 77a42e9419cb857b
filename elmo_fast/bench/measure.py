"""Timing implementations side by side.

They take turns on the same batch, so that a noisy machine disturbs all alike, and each turn begins with another one;
every turn brings other text, so that no cache helps twice; each warms up on its own before its times count. Making the
character ids is not timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from elmo_fast.bench import gpu
from elmo_fast.bench.implementations import Implementation
from elmo_fast.bench.texts import Sentence, Workload
from elmo_fast.characters import batch_to_ids

_FEWEST_TURNS = 3
# How many times less a token may take in one workload than in the one before, as from one sentence to 32.
_LARGEST_GAIN = 5
# Threads of a pool spin for about a millisecond after their work, on the cores that the next one needs.
_PAUSE_SECONDS = 0.003
# A percentile needs as many turns as make one of them lie beyond it.
_PERCENTILES = {"p50": 1, "p90": 10, "p99": 100}


@dataclass
class Turns:
    """The times of one workload.

    Attributes:
        batches: the batch of each turn.
        seconds: for each implementation the seconds of each turn; None for a turn that it skipped.
        skipped: for each implementation that was not measured, why.
        fresh: whether no turn saw text that an earlier one had seen.
    """

    batches: list[list[Sentence]] = field(default_factory=list)
    seconds: dict[str, list[float | None]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    fresh: bool = True


class Pace:
    """How long an implementation took in earlier workloads, so that what would take far too long is not tried."""

    def __init__(self) -> None:
        self._seconds_a_token: dict[str, float] = {}

    def predict(self, name: str, num_tokens: int) -> float:
        """The least time that a batch of `num_tokens` tokens takes, in seconds; 0 if nothing is known."""
        return self._seconds_a_token.get(name, 0.0) * num_tokens / _LARGEST_GAIN

    def learn(self, name: str, seconds: float, num_tokens: int) -> None:
        self._seconds_a_token[name] = seconds / max(1, num_tokens)


def take_turns(
    workload: Workload,
    implementations: Sequence[Implementation],
    repeats: int,
    *,
    warm_ups: int = 1,
    budget: float = float("inf"),
    pace: Pace | None = None,
    clock: Callable[[], float] = time.perf_counter,
    to_ids: Callable[[list[Sentence]], Tensor] = batch_to_ids,
) -> Turns:
    """Times each implementation on `repeats` batches.

    Args:
        warm_ups: batches that each runs first, whose times do not count.
        budget: seconds for each implementation. One whose single batch would take longer is skipped; one that has used
            its budget up sits out, after three turns at the earliest.
        pace: what is known from earlier workloads; this one adds to it.
        clock: seconds.
        to_ids: sentences to character ids.
    Raises:
        ValueError: repeats below 1 or warm_ups below 0.
    """
    if repeats < 1 or warm_ups < 0:
        raise ValueError(f"repeats, warm_ups: expected at least 1 and 0, got {repeats} and {warm_ups}")
    pace = Pace() if pace is None else pace
    turns = Turns(fresh=warm_ups + repeats <= workload.num_fresh)
    used: dict[str, float] = {}
    for implementation in implementations:
        reason, seconds = _warm_up(implementation, workload, warm_ups, budget, pace, clock, to_ids)
        if reason:
            turns.skipped[implementation.name] = reason
        else:
            used[implementation.name] = seconds
            turns.seconds[implementation.name] = []
    playing = [implementation for implementation in implementations if implementation.name in used]
    for turn in range(repeats):
        batch = workload.batch(warm_ups + turn)
        ids = to_ids(batch)
        tired = [p.name for p in playing if turn >= _FEWEST_TURNS and used[p.name] > budget]
        if len(tired) == len(playing):
            break
        turns.batches.append(batch)
        for implementation in _rotated(playing, turn):
            name = implementation.name
            if name in tired:
                turns.seconds[name].append(None)
                continue
            if len(playing) > 1:
                time.sleep(_PAUSE_SECONDS)
            seconds = _time(implementation, ids, clock)
            turns.seconds[name].append(seconds)
            used[name] += seconds
            pace.learn(name, seconds, num_tokens(batch))
    return turns


def _warm_up(
    implementation: Implementation,
    workload: Workload,
    warm_ups: int,
    budget: float,
    pace: Pace,
    clock: Callable[[], float],
    to_ids: Callable[[list[Sentence]], Tensor],
) -> tuple[str | None, float]:
    """Returns why the implementation is skipped, or None, and the seconds of its last batch."""
    seconds = 0.0
    for i in range(warm_ups):
        batch = workload.batch(i)
        predicted = max(seconds, pace.predict(implementation.name, num_tokens(batch)))
        if predicted <= budget:
            seconds = predicted = _time(implementation, to_ids(batch), clock)
            pace.learn(implementation.name, seconds, num_tokens(batch))
        if predicted > budget:
            least = "" if predicted == seconds else "at least "
            return f"a batch takes {least}{predicted:.3g} s, more than the budget of {budget:g} s", 0.0
    return None, seconds


def _time(implementation: Implementation, ids: Tensor, clock: Callable[[], float]) -> float:
    implementation.prepare(ids)
    if implementation.device.type == "cuda":
        ids = ids.to(implementation.device)
        return gpu.seconds_of(lambda: implementation.forward(ids))
    start = clock()
    implementation.forward(ids)
    return clock() - start


def _rotated(items: Sequence[Implementation], by: int) -> Iterator[Implementation]:
    return (items[(by + i) % len(items)] for i in range(len(items)))


def num_tokens(batch: list[Sentence]) -> int:
    return sum(len(sentence) for sentence in batch)


def summary(seconds: Sequence[float | None], tokens: Sequence[int]) -> dict[str, float | int | None]:
    """Sums up one implementation's times.

    Args:
        seconds: of each turn; None for a turn that it skipped.
        tokens: of each turn.
    Returns:
        repeats; milliseconds: the median; spread: half the distance between the quartiles, in milliseconds;
        tokens_per_second: the median; p50, p90, p99: percentiles in milliseconds (linear between the nearest times),
        None where there were fewer than 10 or 100 turns.
    """
    pairs = [(1e3 * s, n / s) for s, n in zip(seconds, tokens, strict=True) if s is not None]
    milliseconds = np.array([ms for ms, _ in pairs])
    low, high = np.percentile(milliseconds, [25, 75])
    result: dict[str, float | int | None] = {
        "repeats": len(pairs),
        "milliseconds": _round(statistics.median(milliseconds)),
        "spread": _round((high - low) / 2),
        "tokens_per_second": _round(statistics.median(rate for _, rate in pairs)),
    }
    for name, fewest in _PERCENTILES.items():
        enough = len(pairs) >= fewest
        result[name] = _round(np.percentile(milliseconds, int(name[1:]))) if enough else None
    return result


def ratio(slow: Sequence[float | None], fast: Sequence[float | None]) -> float | None:
    """Median of `slow` over `fast` within a turn; None if they were never timed in the same turn."""
    ratios = [s / f for s, f in zip(slow, fast, strict=True) if s is not None and f is not None]
    return _round(statistics.median(ratios)) if ratios else None


def _round(value: float) -> float:
    """Four significant digits: more than a measurement has."""
    return float(f"{value:.4g}")
