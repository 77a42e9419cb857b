"""`elmo-fast info`: what this installation is."""

from __future__ import annotations

import argparse
import sys

from elmo_fast.cli.stop_signals import StopSignals
from elmo_fast.info import build_info


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to argparse's subparsers."""
    commands.add_parser("info", help="show version, instruction sets and threads").set_defaults(run=run)


def run(options: argparse.Namespace, signals: StopSignals) -> int:
    """Prints `elmo_fast.build_info()`, one item per line; returns the exit code, 0."""
    info = build_info()
    width = max(map(len, info))
    for name, value in info.items():
        if isinstance(value, dict):
            value = ", ".join(key if key == used else f"{key} (runs as {used})" for key, used in value.items())
        print(f"{name:<{width}}  {' '.join(value) if isinstance(value, list) else value}")
    sys.stdout.flush()
    return 0
