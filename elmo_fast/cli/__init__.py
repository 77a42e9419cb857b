"""The command `elmo-fast`."""

from elmo_fast.cli.embed import main

__all__ = ["main"]
