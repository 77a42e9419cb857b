"""Times whole `Elmo` forward passes of several implementations side by side, in one process on one text.

    python benchmarks/compare.py --model original --threads 2 --output benchmarks/results/compare.json

The implementations take turns on the same batch, so that a noisy machine disturbs all alike; every repetition brings
other sentences, so that no cache helps twice. The table gives medians and, behind +-, half the distance between the
quartiles. Ratios are medians of the ratios within a turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import machine
import torch
from peers import Model, available, load_peer
from sizes import SIZES, model_files
from texts import Workload, read_sentences, workloads

import elmo_fast


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    text, sentences = read_sentences(options.text)
    names = available(options.peers)
    files = model_files(options.model)
    models = {name: load_peer(name, *files) for name in names}
    results = []
    for workload in workloads(sentences):
        row = measure(workload, models, options.repeats)
        results.append(row)
        print(_line(row), flush=True)
    if options.output:
        report = {"model": options.model, "text": text, "machine": machine.describe(), "results": results}
        options.output.write_text(json.dumps(report, indent=1) + "\n")


def measure(workload: Workload, models: dict[str, Model], repeats: int) -> dict[str, object]:
    """Times each model on `repeats` batches, after one that does not count.

    Returns:
        for each model the median milliseconds a batch, their half quartile distance and tokens a second; and for each
        peer the median of its time over elmo_fast's.
    """
    seconds: dict[str, list[float]] = {name: [] for name in models}
    tokens = []
    for i in range(repeats + 1):
        batch = workload.batch(i)
        ids = elmo_fast.batch_to_ids(batch)
        turn = {name: _time(model, ids) for name, model in models.items()}
        if i > 0:
            tokens.append(sum(len(sentence) for sentence in batch))
            for name, value in turn.items():
                seconds[name].append(value)
    row: dict[str, object] = {"workload": workload.name, "repeats": repeats, "models": {}, "times_faster_than": {}}
    for name, values in seconds.items():
        quartiles = statistics.quantiles(values, n=4)
        row["models"][name] = {
            "milliseconds": round(1e3 * statistics.median(values), 2),
            "spread": round(1e3 * (quartiles[2] - quartiles[0]) / 2, 2),
            "tokens_per_second": round(statistics.median(n / t for n, t in zip(tokens, values, strict=True)), 1),
        }
        if name != "elmo_fast":
            ratios = [peer / own for peer, own in zip(values, seconds["elmo_fast"], strict=True)]
            row["times_faster_than"][name] = round(statistics.median(ratios), 2)
    return row


def _time(model: Model, ids: torch.Tensor) -> float:
    start = time.perf_counter()
    model(ids)
    return time.perf_counter() - start


def _line(row: dict[str, object]) -> str:
    parts = [f"{row['workload']:32s}"]
    for name, value in row["models"].items():
        speed = f"{value['milliseconds']:.1f} ms +- {value['spread']:.1f}, {value['tokens_per_second']:.0f} tokens/s"
        parts.append(f"{name} {speed}")
    parts += [f"{ratio:.2f} times {name}" for name, ratio in row["times_faster_than"].items()]
    return " | ".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=["tiny", *SIZES], default="original")
    parser.add_argument("--peers", nargs="+", default=["elmo_fast", "reference", "allennlp"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--text", type=Path, help="tokenised sentences, one a line (default: EWT test, else examples/)")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
