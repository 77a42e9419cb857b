"""The command's messages on standard error."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Prints one line on standard error, under the command's name."""
    print(f"elmo-fast: {message}", file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """Returns an error's message on one line; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
