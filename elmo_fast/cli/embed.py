"""`elmo-fast embed`: the vectors of a file of sentences, written to HDF5 in AllenNLP's layout."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from elmo_fast import models
from elmo_fast.cli.arguments import non_negative, positive, warn_of_threads
from elmo_fast.cli.input import Input, InputError
from elmo_fast.cli.messages import say
from elmo_fast.cli.stop_signals import StopSignals
from elmo_fast.embedder import Embedder, load
from elmo_fast.native import set_num_threads
from elmo_fast.outputs import hdf5 as hdf5_output
from elmo_fast.precision import PRECISIONS
from elmo_fast.progress import progress_bar
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE

DEFAULT_MODEL = "tiny"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "embed",
        help="embed a text file, one sentence per line, into an HDF5 file",
        description="Embeds tokenised sentences, one per line, tokens separated by spaces, into an HDF5 file: one "
        "dataset per line, named by its number from 0, and 'sentence_to_index', a JSON object from line to number.",
    )
    parser.set_defaults(run=run, usage_error=parser.error)
    parser.add_argument("input", metavar="INPUT", help="UTF-8 text file; - is standard input")
    parser.add_argument("output", metavar="OUTPUT", help="HDF5 file to write")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"{', '.join(models.MODEL_NAMES)}, or a folder with options.json and weights.hdf5 "
        f"(default: {DEFAULT_MODEL}, which is built in; the others are downloaded on first use)",
    )
    parser.add_argument("--options-file", metavar="F", help="path or URL of a model's options; with --weight-file")
    parser.add_argument("--weight-file", metavar="F", help="path or URL of a model's weights; with --options-file")
    parser.add_argument(
        "--output-format",
        choices=hdf5_output.OUTPUT_FORMATS,
        default="all",
        help="all layers (layers, length, dim), the top one or their average (length, dim) (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=64, metavar="N", help="sentences per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--state",
        choices=("carry", "reset"),
        default="carry",
        help="carry: each batch continues from the one before, as in AllenNLP; reset: every sentence starts from zero, "
        "and batches are formed by length, which is faster (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="arithmetic: the first is exact, the last fastest (default: %(default)s)",
    )
    parser.add_argument(
        "--word-cache-size",
        type=non_negative,
        default=DEFAULT_WORD_CACHE_SIZE,
        metavar="N",
        help="words whose embeddings are remembered, 0 for none (default: %(default)s)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads (default: PyTorch's)")
    parser.add_argument("--use-sentence-keys", action="store_true", help="name each dataset by its line")
    parser.add_argument("--forget-sentences", action="store_true", help="leave out 'sentence_to_index'")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")


def run(options: argparse.Namespace, signals: StopSignals) -> int:
    """Runs the command; returns the exit code, 0.

    Raises:
        ValueError, OSError: a problem with a file, for the caller to report.
    """
    if options.model is not None and (options.options_file or options.weight_file):
        options.usage_error("--model cannot be combined with --options-file and --weight-file")
    if bool(options.options_file) != bool(options.weight_file):
        options.usage_error("--options-file and --weight-file need each other")
    target = hdf5_output.check_output_path(options.output, options.overwrite)  # before anything takes time
    if target.exists() and options.input != "-" and os.path.samefile(options.input, target):
        raise InputError(f"{options.output}: INPUT and OUTPUT are the same file")
    with Input(options.input) as source:
        num_lines = source.count_lines()
        if options.threads is not None:
            warn_of_threads(options.threads)
            set_num_threads(options.threads)
        embedder = _load(options)
        start = time.perf_counter()
        with progress_bar(num_lines, "sentence", sys.stderr.isatty()) as advance:

            def embed_sentences(sentences: Iterable[list[str]]) -> Iterator[np.ndarray]:
                for embedding in embedder.embed_sentences(sentences, options.batch_size):
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
    say(
        f"{counts.num_sentences} sentences, {counts.num_tokens} tokens in {seconds:.1f} s: "
        f"{counts.num_tokens / max(seconds, 1e-9):.0f} tokens/s -> {options.output}"
    )
    return 0


def _load(options: argparse.Namespace) -> Embedder:
    model = options.model or DEFAULT_MODEL
    if options.options_file:
        model = options.options_file, options.weight_file
    elif options.model is None:
        others = ", ".join(models.PUBLISHED_URLS)
        say(f"model: {DEFAULT_MODEL}, the small built-in one; --model takes AllenNLP's bigger ones: {others}")
    embedder = load(model, state=options.state, precision=options.precision, word_cache_size=options.word_cache_size)
    if embedder.precision_in_use != embedder.precision:
        say(f"precision: {embedder.precision} runs as {embedder.precision_in_use} on this processor")
    return embedder
