"""`elmo-fast bench`: speed on this machine, compared with the alternatives and with the machine's own limits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elmo_fast.bench import peers, plots, report, suites, tables
from elmo_fast.bench.implementations import ALL_PRECISIONS
from elmo_fast.bench.run import measure
from elmo_fast.cli.arguments import positive, warn_of_threads
from elmo_fast.cli.messages import one_line
from elmo_fast.cli.stop_signals import StopSignals


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "bench",
        help="measure speed on this machine, compared with AllenNLP and the machine's limits",
        description="Times whole forward passes, the implementations taking turns on the same real text, and prints "
        "medians, percentiles and each figure's share of what the machine can do.",
    )
    add_arguments(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace, signals: StopSignals) -> int:
    return run(options)


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
        choices=ALL_PRECISIONS,
        help="arithmetics to measure (default: all of the device; one that this processor runs as another is left out)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of all implementations (default: PyTorch's)"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: the CUDA kernels with and without graphs, the peers on the same GPU, and float32 on the CPU; "
        "times by CUDA events, from a cold cache (default: cpu)",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=list(peers.PRECISIONS),
        help="what to compare with (default: all that can be imported; none given: nothing)",
    )
    parser.add_argument(
        "--text",
        metavar="FILE",
        help="tokenised sentences, one per line (default: the text of Python's help; in a source checkout with test "
        "data UD English EWT's test text)",
    )
    parser.add_argument("--repeats", type=positive, default=7, metavar="N", help="turns (default: %(default)s)")
    parser.add_argument(
        "--warm-ups", type=positive, default=1, metavar="N", help="turns before those (default: %(default)s)"
    )
    parser.add_argument(
        "--suite",
        nargs="+",
        choices=(*suites.SUITES, "all"),
        default=["table"],
        help="table: three typical workloads; batch: 1 to 256 sentences; length: 5 to 500 tokens; latency: percentiles "
        "(default: table)",
    )
    parser.add_argument(
        "--budget",
        type=positive,
        default=30,
        metavar="SECONDS",
        help="time for each implementation in each workload; what would take longer for one batch is skipped "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        metavar="N",
        help="start no workload after this time; what was measured is reported (default: no limit)",
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


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code, 0.

    Raises:
        ValueError, OSError: a wrong argument or a problem with a file, for the caller to report.
    """
    if options.plot:  # before anything takes time
        plots.require_matplotlib()
        _check_suites(options)
    errors = _read_errors(options.errors) if options.errors else None
    if options.from_json:
        found = [report.read(path) for path in options.from_json]
    else:
        if options.output and Path(options.output).is_dir():
            raise IsADirectoryError(21, "is a folder, expected a file", options.output)
        warn_of_threads(options.threads)
        found = [measure(options)]
        if options.output:
            report.write(found[0], options.output)
    for one in found:
        print(tables.render(one), flush=True)
    if options.plot:
        _plot(found, options.plot, errors)
    return 0


def _check_suites(options: argparse.Namespace) -> None:
    """Checks that what is about to be measured can be drawn."""
    if not options.from_json and not options.errors and not {"batch", "length", "all"} & {*options.suite}:
        raise ValueError(
            f"plot: nothing to draw from --suite {' '.join(options.suite)}: add --suite batch, length or all, "
            "or --errors for the suite 'table'"
        )


def _plot(found: Sequence[dict[str, Any]], folder: str, errors: dict[str, Any] | None) -> None:
    """Draws the pictures and lists them on standard error; ValueError if there is none."""
    pictures = plots.draw(found, folder, errors)
    for picture in pictures:
        print(picture, file=sys.stderr)
    if not any(picture.path for picture in pictures):
        raise ValueError(f"plot: no picture was drawn in {folder}")


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
        arguments: the words after the script's name; those of this process if None.
        defaults: defaults of the arguments that differ from the command's.
    Returns:
        the exit code, 0. Errors raise SystemExit(2), as argparse does.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.set_defaults(**defaults)
    try:
        return run(parser.parse_args(arguments))
    except (ValueError, OSError, ImportError) as error:
        parser.error(one_line(error))
