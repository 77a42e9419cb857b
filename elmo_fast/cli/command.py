"""The command `elmo-fast` as a whole: `embed` writes the vectors of a file of sentences to HDF5, `export` a
model's weights to one file, `info` shows the installation, `bench` measures speed.

Exit codes: 0 for success; 2 for wrong arguments or a problem with a file, reported in one line on standard error; 130
and 143 when stopped by Ctrl-C or SIGTERM. Whatever happens, the output file is either complete or absent.
"""

from __future__ import annotations

import argparse
import os
import sys

from elmo_fast._version import __version__
from elmo_fast.cli import bench, embed, export, info
from elmo_fast.cli.messages import one_line, say
from elmo_fast.cli.stop_signals import Stopped, StopSignals

EXIT_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the words after the command's name; those of this process if None.
    Returns:
        the exit code. Wrong arguments raise SystemExit(2), as argparse does.
    """
    options = _parser().parse_args(arguments)
    try:
        with StopSignals() as signals:
            code: int = options.run(options, signals)
            return code
    except Stopped as stop:
        say("stopped; nothing was written")
        return 128 + stop.signal_number
    except BrokenPipeError:
        # The reader of our output is gone. Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except FileExistsError as error:
        say(f"error: {one_line(error)}; --overwrite replaces a file")
    except (ValueError, MemoryError) as error:
        say(f"error: {one_line(error)}")
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else one_line(error)
        say(f"error: {message}")
    return EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="elmo-fast", description="ELMo word vectors on native CPU kernels.")
    parser.add_argument("--version", action="version", version=f"elmo-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (embed, export, info, bench):
        command.add_parser(commands)
    return parser
