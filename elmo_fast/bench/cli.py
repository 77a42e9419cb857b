"""`elmo-fast bench`: speed on this machine, beside what one could use instead, and beside the machine's own limits."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

SUITES = ("table", "batch", "length", "latency", "all")
PRECISIONS = ("float32", "bf16x3", "bf16x2", "bfloat16", "int8")
PEERS = ("reference", "allennlp", "allennlp-bf16", "allennlp-int8")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to argparse's subparsers. Loads nothing heavy."""
    parser = commands.add_parser(
        "bench",
        help="measure speed on this machine, beside AllenNLP and the machine's limits",
        description="Times whole forward passes, the implementations taking turns on the same real text, and prints "
        "medians, percentiles and each figure's share of what the machine can do.",
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser; the scripts of `benchmarks/` change the defaults."""
    parser.add_argument(
        "--model",
        default="tiny",
        metavar="NAME",
        help="tiny (built in); small, medium or original (random weights of the published sizes, written once into the "
        "cache: 54, 112, 374 MB); or a folder with options.json and weights.hdf5 (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=list(PRECISIONS),
        help="arithmetics to measure (default: all; one that this processor runs as another is left out)",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="threads of all implementations (default: PyTorch's)"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        default=list(PEERS),
        help="what to measure beside (default: all that can be imported; none given: nothing)",
    )
    parser.add_argument(
        "--text",
        metavar="FILE",
        help="tokenised sentences, one a line (default: the text of Python's help; in a source checkout with test data "
        "UD English EWT's test text)",
    )
    parser.add_argument("--repeats", type=_positive, default=7, metavar="N", help="turns (default: %(default)s)")
    parser.add_argument(
        "--warm-ups", type=_positive, default=1, metavar="N", help="turns before (default: %(default)s)"
    )
    parser.add_argument(
        "--suite",
        nargs="+",
        choices=SUITES,
        default=["table"],
        help="table: three usual workloads; batch: 1 to 256 sentences; length: 5 to 500 tokens; latency: percentiles "
        "(default: table)",
    )
    parser.add_argument(
        "--budget",
        type=_positive,
        default=30,
        metavar="SECONDS",
        help="time for each implementation in each workload; what would take longer for one batch is skipped "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--keep-word-cache", action="store_true", help="do not empty the cache of words before each batch"
    )
    parser.add_argument("--output", metavar="JSON", help="file for the figures")
    parser.add_argument("--plot", metavar="DIR", help="folder for pictures; needs matplotlib")
    parser.add_argument(
        "--errors", metavar="JSON", help="each precision's error, for the picture of error against speed"
    )
    parser.add_argument("--from-json", nargs="+", metavar="JSON", help="measure nothing: show figures of earlier runs")
    parser.add_argument("--smoke", action="store_true", help="two turns of few small batches: see that everything runs")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return number


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        the exit code, 0.
    Raises:
        ValueError, OSError: a wrong argument or a problem with a file, for the caller to tell.
    """
    from elmo_fast.bench import report as reports
    from elmo_fast.bench import tables

    if options.plot:
        from elmo_fast.bench import plots

        plots.require_matplotlib()  # before anything takes time
    errors = _read_errors(options.errors) if options.errors else None
    if options.from_json:
        found = [reports.read(path) for path in options.from_json]
    else:
        if options.output and Path(options.output).is_dir():
            raise IsADirectoryError(21, "is a folder, expected a file", options.output)
        found = [measure(options)]
        if options.output:
            reports.write(found[0], options.output)
    for report in found:
        print(tables.render(report), flush=True)
    if options.plot:
        for line in plots.draw(found, Path(options.plot), errors):
            print(line, file=sys.stderr)
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures what the arguments ask for; returns a report (`elmo_fast.bench.report`)."""
    import torch

    from elmo_fast import native
    from elmo_fast.bench import implementations, limits, machine, report, sizes, suites, texts
    from elmo_fast.options import read_options

    text_name, sentences = texts.read_sentences(options.text)
    files = sizes.model_files(options.model)
    model_options = read_options(files[0])
    repeats = 2 if options.smoke else options.repeats
    names = suites.SUITES if "all" in options.suite else [s for s in suites.SUITES if s in options.suite]
    cells = [cell for name in names for cell in suites.cells(name, sentences, repeats, options.smoke)]
    weights = limits.Weights.of(model_options)
    threads_before, native_before = torch.get_num_threads(), native._num_threads
    threads = options.threads or native.get_num_threads()
    torch.set_num_threads(threads)
    native.set_num_threads(threads)
    try:
        # Before the models are there: memory that they fill cannot be probed.
        probed = machine.probe([1, threads])
        taking_part, left_out = implementations.load_all(
            files, options.precision, options.peers, options.keep_word_cache
        )
        in_use = [implementation.precision_in_use for implementation in taking_part]
        rates = machine.rates(probed["threads"][str(threads)], threads, weights, in_use)
        results = list(suites.run(cells, taking_part, weights, rates, options.budget, options.warm_ups))
        described = machine.describe()
    finally:
        torch.set_num_threads(threads_before)
        native.set_num_threads(native_before)
    return {
        "schema": report.SCHEMA,
        "schema_version": report.SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": _command(options),
        "model": {
            "name": options.model if options.model in ("tiny", *sizes.SIZES) else Path(options.model).name,
            "parameters": _num_parameters(files[1]),
            "cell_size": model_options.cell_size,
            "projection_dim": model_options.projection_dim,
            "n_layers": model_options.n_layers,
            "n_highway": model_options.n_highway,
        },
        "text": {"name": text_name, "sentences": len(sentences), "tokens": sum(map(len, sentences))},
        "threads": threads,
        "word_cache": "kept" if options.keep_word_cache else "emptied before each batch",
        "warm_ups": options.warm_ups,
        "budget": options.budget,
        "machine": described,
        "probe": probed,
        "implementations": {
            implementation.name: {
                "precision": implementation.precision,
                "precision_in_use": implementation.precision_in_use,
            }
            for implementation in taking_part
        },
        "left_out": left_out,
        "results": results,
    }


def _command(options: argparse.Namespace) -> list[str]:
    """The settings that make the figures, as one would type them; no paths of this machine."""
    words = ["bench", "--model", Path(options.model).name, "--suite", *options.suite]
    words += ["--precision", *options.precision, "--peers", *options.peers]
    if options.threads:
        words += ["--threads", str(options.threads)]
    words += ["--repeats", str(options.repeats), "--warm-ups", str(options.warm_ups), "--budget", str(options.budget)]
    words += ["--keep-word-cache"] * options.keep_word_cache + ["--smoke"] * options.smoke
    if isa := os.environ.get("ELMO_FAST_ISA"):
        words.insert(0, f"ELMO_FAST_ISA={isa}")
    return words


def _num_parameters(weight_file: str) -> int:
    import h5py

    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        total += item.size if isinstance(item, h5py.Dataset) else 0

    with h5py.File(weight_file, "r") as file:
        file.visititems(add)
    return total


def _read_errors(path: str) -> dict[str, Any]:
    try:
        errors = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(errors, dict) or not isinstance(errors.get("models"), dict):
        raise ValueError(f"{path}: expected an object with 'models', as benchmarks/errors.py writes it")
    return errors


def main(arguments: list[str] | None = None, **defaults: Any) -> int:
    """Runs the command on its own, for the scripts of `benchmarks/`.

    Args:
        arguments: as on the command line; those of this process if None.
        defaults: other defaults of the arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.set_defaults(**defaults)
    try:
        return run(parser.parse_args(arguments))
    except (ValueError, OSError, ImportError) as error:
        parser.error(" ".join(str(error).split()))
