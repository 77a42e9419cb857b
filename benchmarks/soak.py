"""Thousands of calls of random shapes, and whether memory grows.

    python benchmarks/soak.py --model tiny --calls 10000 --output benchmarks/results/soak_tiny_MACHINE.json

Threads share one `Elmo` in each state and one `load` model and call them with batches of random size, lengths and
words, some of them empty or of one long sentence. After each round of calls, while no call is running, malloc returns
the freed blocks that it kept (with --no-trim it keeps them), and resident memory is read. "growth" is the median of the
last fifth of the rounds less that of the second fifth. Calls of the largest shapes come first, with every word: they
fill caches and working memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from process_memory import memory, write_json

LENGTHS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
LONGEST = 400
WORDS = 5000
MEGABYTE = 1e6

Sentences = list[list[str]]
Call = Callable[[Sentences, random.Random], object]


def main() -> None:
    options = _arguments()
    import torch

    from elmo_fast.bench import machine, sizes

    torch.set_num_threads(options.threads)
    calls = make_calls(*sizes.model_files(options.model), options.precision)
    loaded = memory()["resident"]
    resident = soak(calls, options.calls, options.rounds, options.callers, options.largest, options.trim)
    report = {
        "model": options.model,
        "precision": options.precision,
        "calls": options.calls,
        "callers": options.callers,
        "threads": options.threads,
        "trimmed": options.trim,
        "machine": machine.describe(),
        "loaded_megabytes": round(loaded / MEGABYTE, 1),
        "resident_megabytes": [round(value / MEGABYTE, 1) for value in resident],
        "growth_megabytes": round(growth(resident) / MEGABYTE, 2),
    }
    shown = (
        f"{report['loaded_megabytes']:.1f} MB after loading, {report['resident_megabytes'][-1]:.1f} after the last call"
    )
    print(f"{options.calls} calls: resident {shown}; growth {report['growth_megabytes']:.2f} MB")
    if options.output:
        write_json(report, options.output)


def make_calls(options_file: str, weight_file: str, precision: str) -> list[Call]:
    """Loads the models and returns the kinds of call."""
    import torch

    import elmo_fast

    modules = [
        elmo_fast.Elmo(options_file, weight_file, 2, dropout=0.0, precision=precision, state=state)
        for state in ("carry", "reset")
    ]
    embedder = elmo_fast.load((options_file, weight_file), precision=precision)

    def forward(module: torch.nn.Module, sentences: Sentences) -> object:
        with torch.no_grad():
            return module(elmo_fast.batch_to_ids(sentences))

    def encode(sentences: Sentences, rng: random.Random) -> object:
        pooling, layers = rng.choice(["tokens", "mean", "max"]), rng.choice(["average", "all", "top"])
        return embedder.encode(sentences, pooling=pooling, layers=layers)

    return [*(lambda sentences, rng, module=module: forward(module, sentences) for module in modules), encode]


def soak(calls: list[Call], n_calls: int, rounds: int, callers: int, largest: int, trim: bool) -> list[int]:
    """Makes the calls from as many threads as there are callers, with at most `largest` sentences each.

    Returns:
        resident memory in bytes after each round.
    """
    everything = list(_largest_calls(calls, largest))
    _run(callers, lambda _: [call(sentences, random.Random(0)) for call, sentences in everything], range(callers))

    def call(seed: int) -> None:
        rng = random.Random(seed)
        rng.choice(calls)(_sentences(rng, largest), rng)

    resident = []
    for number in range(rounds):
        _run(callers, call, range(n_calls * number // rounds, n_calls * (number + 1) // rounds))
        gc.collect()
        if trim:
            _trim()
        resident.append(memory()["resident"])
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{rounds} {resident[-1] / MEGABYTE:.1f} MB", end="", file=sys.stderr)
    return resident


def growth(resident: list[int]) -> float:
    """The difference in bytes between the medians of the last and the second fifth of the rounds."""
    fifth = len(resident) // 5
    return statistics.median(resident[-fifth:]) - statistics.median(resident[fifth : 2 * fifth])


def _trim() -> None:
    # Else memory follows the largest calls so far in each of malloc's arenas, and a small leak hides in that.
    with contextlib.suppress(AttributeError, OSError, TypeError):  # a C library that has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def _run(callers: int, function: Callable[[int], object], arguments: range) -> None:
    with ThreadPoolExecutor(callers) as pool:
        for _ in pool.map(function, arguments):
            pass  # results are dropped, errors raised


def _largest_calls(calls: list[Call], largest: int) -> Iterator[tuple[Call, Sentences]]:
    words = [f"word{number}" for number in range(WORDS)]
    sentences = [words[i : i + LENGTHS[-1]] for i in range(0, WORDS, LENGTHS[-1])]
    for call in calls:
        yield call, [words[:LONGEST]]
        for i in range(0, len(sentences), largest):
            yield call, sentences[i : i + largest]


def _sentences(rng: random.Random, largest: int) -> Sentences:
    if rng.random() < 0.02:
        lengths = [rng.randrange(LONGEST // 2, LONGEST)]
    else:
        lengths = [rng.choice(LENGTHS) for _ in range(rng.randint(1, largest))]
    if not any(lengths):
        lengths[0] = 1
    return [[f"word{rng.randrange(WORDS)}" for _ in range(length)] for length in lengths]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny", help="tiny, small, medium, original, or a folder with a model")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50, help="at least 10")
    parser.add_argument("--callers", type=int, default=2, help="threads that call")
    parser.add_argument("--threads", type=int, default=2, help="threads that a call may use")
    parser.add_argument("--largest", type=int, default=16, help="most sentences in a call")
    parser.add_argument("--no-trim", dest="trim", action="store_false", help="do not ask malloc for freed memory")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    if options.rounds < 10:
        parser.error("--rounds: at least 10, or there are no fifths to compare")
    return options


if __name__ == "__main__":
    main()
