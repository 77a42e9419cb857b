"""Thousands of calls of random shapes, and whether memory grows.

    python benchmarks/soak.py --model tiny --calls 10000 --output benchmarks/results/soak_tiny_MACHINE.json

Threads share one `Elmo` in each state and one `load` model and call them with batches of random size, lengths and
words, some of them empty or of one long sentence. After each round of calls, with no call under way, resident memory is
read. "growth" is the median of the last fifth of the rounds less that of the second fifth: the first one fills caches
and working memory.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from process_memory import memory, write_json

LENGTHS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
WORDS = 5000
MEGABYTE = 1e6

Call = Callable[[random.Random], object]


def main() -> None:
    options = _arguments()
    import torch

    from elmo_fast.bench import machine, sizes

    torch.set_num_threads(options.threads)
    calls = make_calls(*sizes.model_files(options.model), options.precision, options.largest)
    loaded = memory()["resident"]
    resident = soak(calls, options.calls, options.rounds, options.callers)
    report = {
        "model": options.model,
        "precision": options.precision,
        "calls": options.calls,
        "callers": options.callers,
        "threads": options.threads,
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


def make_calls(options_file: str, weight_file: str, precision: str, largest: int) -> list[Call]:
    """Loads the models and returns the kinds of call; `largest` is the most sentences of one."""
    import torch

    import elmo_fast

    modules = [
        elmo_fast.Elmo(options_file, weight_file, 2, dropout=0.0, precision=precision, state=state)
        for state in ("carry", "reset")
    ]
    embedder = elmo_fast.load((options_file, weight_file), precision=precision)

    def forward(module: torch.nn.Module, rng: random.Random) -> object:
        with torch.no_grad():
            return module(elmo_fast.batch_to_ids(_sentences(rng, largest)))

    def encode(rng: random.Random) -> object:
        pooling, layers = rng.choice(["tokens", "mean", "max"]), rng.choice(["average", "all", "top"])
        return embedder.encode(_sentences(rng, largest), pooling=pooling, layers=layers)

    return [*(lambda rng, module=module: forward(module, rng) for module in modules), encode]


def soak(calls: list[Call], n_calls: int, rounds: int, callers: int) -> list[int]:
    """Makes the calls from as many threads as there are callers.

    Returns:
        resident memory in bytes after each round.
    """
    resident = []
    for number in range(rounds):
        seeds = range(n_calls * number // rounds, n_calls * (number + 1) // rounds)
        with ThreadPoolExecutor(callers) as pool:
            for _ in pool.map(lambda seed: _call(calls, random.Random(seed)), seeds):
                pass  # results are dropped, errors raised
        gc.collect()
        resident.append(memory()["resident"])
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{rounds} {resident[-1] / MEGABYTE:.1f} MB", end="", file=sys.stderr)
    return resident


def growth(resident: list[int]) -> float:
    """Bytes by which the last fifth of the rounds is above the second fifth, in the median."""
    fifth = len(resident) // 5
    return statistics.median(resident[-fifth:]) - statistics.median(resident[fifth : 2 * fifth])


def _call(calls: list[Call], rng: random.Random) -> None:
    rng.choice(calls)(rng)


def _sentences(rng: random.Random, largest: int) -> list[list[str]]:
    if rng.random() < 0.02:
        lengths = [rng.randrange(200, 400)]
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
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    if options.rounds < 10:
        parser.error("--rounds: at least 10, or there are no fifths to compare")
    return options


if __name__ == "__main__":
    main()
