"""`elmo-fast export`: a model's weights as one flat file, for C++ programs."""

from __future__ import annotations

import argparse

from elmo_fast import models
from elmo_fast.cli.messages import say
from elmo_fast.cli.stop_signals import StopSignals
from elmo_fast.outputs.hdf5 import check_output_path
from elmo_fast.weights import read_options, read_weights
from elmo_fast.weights.weight_file import write_weight_file


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "export",
        help="write a model's weights as one file, for programs without Python",
        description="Writes options and weights of a model into one flat, checksummed file, which C++ programs read "
        "with csrc/model/weight_file.h; examples/embed.cc is such a program.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=f"{', '.join(models.MODEL_NAMES)}, or a folder with options.json and weights.hdf5",
    )
    parser.add_argument("output", metavar="OUTPUT", help="file to write, such as tiny.elmo")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")


def run(arguments: argparse.Namespace, signals: StopSignals) -> int:
    """Runs the command; see `elmo_fast.cli.command.main` for what its errors become."""
    check_output_path(arguments.output, arguments.overwrite)  # before anything takes time
    options_file, weight_file = models.resolve(arguments.model)
    options = read_options(options_file)
    size = write_weight_file(
        arguments.output, options, read_weights(weight_file, options), overwrite=arguments.overwrite
    )
    say(f"{arguments.model} -> {arguments.output}: {size} bytes")
    return 0
