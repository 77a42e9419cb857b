"""The command `elmo-fast`: `embed`, `info` and `bench`."""

from elmo_fast.cli.command import main

__all__ = ["main"]
