"""Time and memory needed to load a model, and time to import the package; every run is a separate process.

    python benchmarks/loading.py --model original --output benchmarks/results/loading_original_MACHINE.json

The ways to load take turns, so that a noisy machine disturbs all of them equally. The weights are read once before, so
that they come from memory and not from disk. Figures are medians, +- half the distance between the quartiles. Memory is
counted beyond the imports: "resident" once the model is loaded, "peak" while it is being loaded; "packed" is the size
that the native copy of the weights reports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from process_memory import memory, write_json

from elmo_fast.bench import machine, sizes

PRECISIONS = ("float32", "bf16x3", "bf16x2", "bfloat16", "int8")
MEGABYTE = 1e6


def main() -> None:
    options = _arguments()
    if options.child:
        print(json.dumps(_measure(options.child, options.model, options.threads)))
        return
    options_file, weight_file = sizes.model_files(options.model)
    Path(weight_file).read_bytes()
    runs: dict[str, list[dict[str, float]]] = {}
    left_out: dict[str, str] = {}
    for turn in range(options.repeats):
        for way in (way for way in ways() if way not in left_out):
            result = _child(way, options.model, options.threads)
            if isinstance(result, str):
                left_out[way] = result
            else:
                runs.setdefault(way, []).append(result)
        print(f"turn {turn + 1} of {options.repeats}", file=sys.stderr)
    imports = import_seconds(options.repeats)
    report = {
        "model": options.model,
        "weight_file_bytes": os.path.getsize(weight_file),
        "threads": options.threads,
        "repeats": options.repeats,
        "machine": machine.describe(),
        "import_seconds": imports,
        "left_out": left_out,
        "results": {way: _summary(values) for way, values in runs.items()},
    }
    print(_table(report))
    if options.output:
        write_json(report, options.output)


def ways() -> list[str]:
    """The names of what is measured: `load` in each precision, `Elmo`, and AllenNLP's."""
    return [*(f"load {precision}" for precision in PRECISIONS), "Elmo", "AllenNLP"]


def import_seconds(repeats: int) -> dict[str, float]:
    """Median seconds that `import elmo_fast` takes after `import torch`, which is given beside it."""
    code = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import elmo_fast;"
        "print(b - a, time.perf_counter() - b)"
    )
    times = []
    with tempfile.TemporaryDirectory() as folder:
        # Bytecode as an installed package has it, whatever the environment says; the first run writes it.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        for _ in range(repeats + 1):
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
            )
            times.append([float(value) for value in run.stdout.split()])
    names = ("torch", "elmo_fast")
    return {
        name: round(statistics.median(values), 4)
        for name, values in zip(names, zip(*times[1:], strict=True), strict=True)
    }


def _measure(way: str, model: str, threads: int) -> dict[str, float]:
    load, packed_bytes = _loader(way, *sizes.model_files(model), threads)
    before = memory()
    start = time.perf_counter()
    loaded = load()
    seconds = time.perf_counter() - start
    after = memory()
    return {
        "seconds": seconds,
        "resident": after["resident"] - before["resident"],
        "peak": after["peak"] - before["resident"],
        "packed": packed_bytes(loaded),
    }


def _loader(
    way: str, options_file: str, weight_file: str, threads: int
) -> tuple[Callable[[], object], Callable[[object], int]]:
    """Imports what a way needs; returns a function that loads, and one that returns the bytes of the packed weights."""
    import torch

    torch.set_num_threads(threads)
    kind, _, precision = way.partition(" ")
    if kind == "AllenNLP":
        from elmo_fast.bench.peers import allennlp

        try:
            Elmo = allennlp._elmo_class()
        except ImportError as error:
            raise SystemExit(f"AllenNLP cannot be imported: {error}") from error
        return lambda: Elmo(options_file, weight_file, 1, dropout=0.0), lambda model: 0
    import h5py  # noqa: F401  # 11 MB of library, which a model does not hold

    import elmo_fast
    from elmo_fast.native import _cpu

    if kind == "Elmo":
        return lambda: elmo_fast.Elmo(options_file, weight_file, 1, dropout=0.0), lambda model: 0
    in_use = _cpu.precision_in_use(precision)
    if in_use != precision:
        raise SystemExit(f"{precision} runs as {in_use} on this processor")
    return (
        lambda: elmo_fast.load((options_file, weight_file), precision=precision),
        lambda embedder: embedder._bilm.weights.nbytes,
    )


def _child(way: str, model: str, threads: int) -> dict[str, float] | str:
    """Measures one load in a new process; returns a string with the reason if it cannot."""
    command = [sys.executable, __file__, "--model", model, "--threads", str(threads), "--child", way]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        return run.stderr.strip().split("\n")[-1]
    return json.loads(run.stdout.strip().split("\n")[-1])


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    seconds = [run["seconds"] for run in runs]
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    figures = {"seconds": round(statistics.median(seconds), 3), "spread": round((quartiles[2] - quartiles[0]) / 2, 3)}
    return figures | {
        f"{name}_megabytes": round(statistics.median(run[name] for run in runs) / MEGABYTE, 1)
        for name in ("packed", "resident", "peak")
    }


def _table(report: dict) -> str:
    file = report["weight_file_bytes"] / MEGABYTE
    lines = [
        f"model {report['model']}: {file:.1f} MB of weights, {report['threads']} threads, {report['repeats']} turns",
        "",
        "| | seconds | packed MB | resident MB | peak MB |",
        "|---|---|---|---|---|",
    ]
    for way, row in report["results"].items():
        packed = f"{row['packed_megabytes']:.0f}" if row["packed_megabytes"] else ""
        seconds = f"{row['seconds']:.2f} +- {row['spread']:.2f}"
        lines.append(
            f"| {way} | {seconds} | {packed} | {row['resident_megabytes']:.0f} | {row['peak_megabytes']:.0f} |"
        )
    lines += [f"left out: {way}: {why}" for way, why in report["left_out"].items()]
    imports = report["import_seconds"]
    lines += ["", f"import torch {imports['torch']:.2f} s, then import elmo_fast {1e3 * imports['elmo_fast']:.0f} ms"]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="original", help="tiny, small, medium, original, or a folder with a model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
