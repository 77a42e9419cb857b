"""The command `elmo-fast`: `embed` writes the vectors of a file of sentences to HDF5, `info` shows the installation,
`bench` measures speed.

Exit codes: 0 done; 2 wrong arguments or a problem with a file, told in one line on standard error; 130 and 143 stopped
by Ctrl-C or SIGTERM. Whatever happens, the output file is either complete or not there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, BinaryIO

from elmo_fast import models
from elmo_fast._version import __version__
from elmo_fast.cli import bench
from elmo_fast.embedder import Embedder, load
from elmo_fast.info import build_info
from elmo_fast.native import set_num_threads
from elmo_fast.outputs import hdf5 as hdf5_output
from elmo_fast.precision import PRECISIONS
from elmo_fast.progress import progress_bar
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE

EXIT_OK, EXIT_ERROR = 0, 2
DEFAULT_MODEL = "tiny"
# Ctrl-C, `kill`, and a closed terminal, which Windows does not have.
_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Stopped(KeyboardInterrupt):
    """A stop signal came."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class _InputError(Exception):
    """The input cannot be read; the message is for the user."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the words after the command's name; those of this process if None.
    Returns:
        the exit code. Wrong arguments raise SystemExit(2), as argparse does.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    command = {"embed": _embed, "info": _info, "bench": _bench}[options.command]
    try:
        with _StopSignals() as signals:
            return command(options, parser, signals)
    except _Stopped as stop:
        _say("stopped; nothing was written")
        return 128 + stop.signal_number
    except BrokenPipeError:
        # Whoever read our output is gone. Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except FileExistsError as error:
        _say(f"error: {_one_line(error)}; --overwrite replaces a file")
    except (_InputError, ValueError, MemoryError) as error:
        _say(f"error: {_one_line(error)}")
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else _one_line(error)
        _say(f"error: {message}")
    return EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="elmo-fast", description="ELMo word vectors on native CPU kernels.")
    parser.add_argument("--version", action="version", version=f"elmo-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    embed = commands.add_parser(
        "embed",
        help="embed a text file, one sentence a line, into an HDF5 file",
        description="Embeds tokenised sentences, one a line, tokens separated by spaces, into an HDF5 file: one "
        "dataset a line, named by its number from 0, and 'sentence_to_index', a JSON object from line to number.",
    )
    embed.add_argument("input", metavar="INPUT", help="UTF-8 text file; - is standard input")
    embed.add_argument("output", metavar="OUTPUT", help="HDF5 file to make")
    embed.add_argument(
        "--model",
        metavar="NAME",
        help=f"{', '.join(models.MODEL_NAMES)}, or a folder with options.json and weights.hdf5 "
        f"(default: {DEFAULT_MODEL}, which is built in; the others are downloaded on first use)",
    )
    embed.add_argument("--options-file", metavar="F", help="path or URL of a model's options; with --weight-file")
    embed.add_argument("--weight-file", metavar="F", help="path or URL of a model's weights; with --options-file")
    embed.add_argument(
        "--output-format",
        choices=hdf5_output.OUTPUT_FORMATS,
        default="all",
        help="all layers (layers, length, dim), the top one or their average (length, dim) (default: %(default)s)",
    )
    embed.add_argument(
        "--batch-size", type=_positive, default=64, metavar="N", help="sentences a batch (default: %(default)s)"
    )
    embed.add_argument(
        "--state",
        choices=("carry", "reset"),
        default="carry",
        help="carry: each batch continues from the one before, as in AllenNLP; reset: every sentence starts afresh, "
        "and batches are formed by length, which is faster (default: %(default)s)",
    )
    embed.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="arithmetic: the first is exact, the last fastest (default: %(default)s)",
    )
    embed.add_argument(
        "--word-cache-size",
        type=_non_negative,
        default=DEFAULT_WORD_CACHE_SIZE,
        metavar="N",
        help="words whose embeddings are remembered, 0 for none (default: %(default)s)",
    )
    embed.add_argument("--threads", type=_positive, metavar="N", help="threads (default: PyTorch's)")
    embed.add_argument("--use-sentence-keys", action="store_true", help="name each dataset by its line")
    embed.add_argument("--forget-sentences", action="store_true", help="leave out 'sentence_to_index'")
    embed.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")
    commands.add_parser("info", help="show version, instruction sets and threads")
    bench.add_parser(commands)
    return parser


def _positive(text: str) -> int:
    return _at_least(1, text)


def _non_negative(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a number of at least {least}, got {text!r}")
    return number


def _info(options: argparse.Namespace, parser: argparse.ArgumentParser, signals: _StopSignals) -> int:
    info = build_info()
    width = max(map(len, info))
    for name, value in info.items():
        if isinstance(value, dict):
            value = ", ".join(key if key == used else f"{key} (runs as {used})" for key, used in value.items())
        print(f"{name:<{width}}  {' '.join(value) if isinstance(value, list) else value}")
    sys.stdout.flush()
    return EXIT_OK


def _bench(options: argparse.Namespace, parser: argparse.ArgumentParser, signals: _StopSignals) -> int:
    return bench.run(options)


def _embed(options: argparse.Namespace, parser: argparse.ArgumentParser, signals: _StopSignals) -> int:
    if options.model is not None and (options.options_file or options.weight_file):
        parser.error("--model goes without --options-file and --weight-file")
    if bool(options.options_file) != bool(options.weight_file):
        parser.error("--options-file and --weight-file go together")
    target = hdf5_output.check_output_path(options.output, options.overwrite)  # before anything takes time
    if target.exists() and options.input != "-" and os.path.samefile(options.input, target):
        raise _InputError(f"{options.output}: INPUT and OUTPUT are the same file")
    with _Input(options.input) as source:
        num_lines = source.count_lines()
        if options.threads is not None:
            set_num_threads(options.threads)
        embedder = _load(options)
        if embedder.precision_in_use != embedder.precision:
            _say(f"precision: {embedder.precision} runs as {embedder.precision_in_use} on this processor")
        start = time.perf_counter()
        runner = embedder._runner()
        with progress_bar(num_lines, "sentence", sys.stderr.isatty()) as advance:

            def embed_sentences(sentences: Iterable[list[str]]) -> Iterator[Any]:
                for embedding in runner.embed_lazily(sentences, options.batch_size):
                    signals.check()
                    yield embedding
                    advance(1)

            counts = hdf5_output.embed_lines(
                source.lines(),
                embed_sentences,
                options.output,
                options.output_format,
                forget_sentences=options.forget_sentences,
                use_sentence_keys=options.use_sentence_keys,
                overwrite=options.overwrite,
            )
        seconds = time.perf_counter() - start
    _say(
        f"{counts.num_sentences} sentences, {counts.num_tokens} tokens in {seconds:.1f} s: "
        f"{counts.num_tokens / max(seconds, 1e-9):.0f} tokens/s -> {options.output}"
    )
    return EXIT_OK


def _load(options: argparse.Namespace) -> Embedder:
    model = options.model or DEFAULT_MODEL
    if options.options_file:
        model = options.options_file, options.weight_file
    elif options.model is None:
        others = ", ".join(models.PUBLISHED_URLS)
        _say(f"model: {DEFAULT_MODEL}, the small built-in one; --model takes AllenNLP's bigger ones: {others}")
    return load(model, state=options.state, precision=options.precision, word_cache_size=options.word_cache_size)


class _Input:
    """The sentences' source: a file, or standard input for "-". Lines end at a line feed alone."""

    def __init__(self, path: str) -> None:
        self._is_stdin = path == "-"
        if self._is_stdin and sys.stdin is None:
            raise _InputError("standard input is closed")
        self._name = "standard input" if self._is_stdin else path
        self._file: BinaryIO = sys.stdin.buffer if self._is_stdin else open(path, "rb")  # noqa: SIM115

    def __enter__(self) -> _Input:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._is_stdin:
            self._file.close()

    def count_lines(self) -> int | None:
        """Counts the lines of a file and checks its encoding, so that a mistake shows at once; None for a stream."""
        if not self._file.seekable():
            return None
        start = self._file.tell()
        count = sum(1 for _ in self.lines())
        self._file.seek(start)
        return count

    def lines(self) -> Iterator[str]:
        for number, line in enumerate(self._raw_lines(), 1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
                raise _InputError(f"{self._name}: line {number} is not UTF-8: {byte}: {error.reason}") from error

    def _raw_lines(self) -> Iterator[bytes]:
        try:
            yield from self._file
        except OSError as error:  # a folder, a disk error
            raise _InputError(f"{self._name}: {error.strerror or error}") from error


class _StopSignals:
    """Turns the stop signals into `_Stopped`, once; further ones cannot disturb the cleaning up."""

    def __init__(self) -> None:
        self._stopped_by: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a background job
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopped_by is None:
            self._stopped_by = number
            raise _Stopped(number)

    def check(self) -> None:
        """Raises what the handler raised, in case it was lost, as in a destructor."""
        if self._stopped_by is not None:
            raise _Stopped(self._stopped_by)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _say(message: str) -> None:
    print(f"elmo-fast: {message}", file=sys.stderr, flush=True)
