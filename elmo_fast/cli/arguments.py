"""Arguments that several commands have: numbers, and how many threads."""

from __future__ import annotations

import argparse
import os

from elmo_fast.cli.messages import say


def positive(text: str) -> int:
    """Converts an argument to an integer of 1 or more, for argparse's `type`."""
    return _at_least(1, text)


def non_negative(text: str) -> int:
    """Converts an argument to an integer of 0 or more, for argparse's `type`."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a number of at least {least}, got {text!r}")
    return number


def warn_of_threads(threads: int | None) -> None:
    """Warns on standard error if --threads asks for more threads than there are processors for this process."""
    processors = _num_processors()
    if threads is not None and threads > processors:
        available = f"{processors} available processor{'s' * (processors > 1)}"
        say(f"warning: --threads {threads} is more than the {available}: expect it to be slower")


def _num_processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or taskset may allow fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
