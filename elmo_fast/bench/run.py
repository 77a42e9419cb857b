"""One run: from the command's arguments to a report."""

from __future__ import annotations

import argparse
import datetime
import os
import time
from pathlib import Path
from typing import Any

import h5py
import torch

from elmo_fast import native
from elmo_fast.bench import gpu, implementations, limits, machine, peers, report, sizes, suites, texts
from elmo_fast.precision import PRECISIONS
from elmo_fast.weights import read_options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures what the arguments ask for; returns a report (`elmo_fast.bench.report`)."""
    started = time.monotonic()
    device = gpu.check_device(options.device)
    has = implementations.ON_CUDA if device.type == "cuda" else PRECISIONS
    options.precision = list(has) if options.precision is None else options.precision
    if options.peers is None:
        options.peers = [name for name, precision in peers.PRECISIONS.items() if precision in has]
    text_name, sentences = texts.read_sentences(options.text)
    files = sizes.model_files(options.model)
    model_options = read_options(files[0])
    repeats = 2 if options.smoke else options.repeats
    chosen = [suite for suite in suites.SUITES if {suite, "all"} & set(options.suite)]
    cells = [cell for suite in chosen for cell in suites.cells(suite, sentences, repeats, options.smoke)]
    weights = limits.Weights.of(model_options)
    threads_before, native_before = torch.get_num_threads(), native._num_threads
    threads = options.threads or native.get_num_threads()
    torch.set_num_threads(threads)
    native.set_num_threads(threads)
    try:
        # Before the models are loaded: the memory that they occupy cannot be probed.
        probed = machine.probe([1, threads])
        names = options.precision, options.peers
        device_before = None
        if device.type == "cuda":
            probed["cuda"], device_before = gpu.probe(), gpu.describe()
        taking_part, left_out = implementations.load_all(files, *names, options.keep_word_cache, device)
        in_use = [one.precision_in_use for one in taking_part]
        if device.type == "cuda":
            rates = gpu.rates(probed["cuda"], in_use)
        else:
            rates = machine.rates(probed["threads"][str(threads)], threads, weights, in_use)
        disturbance = machine.Disturbance()
        deadline = started + 60 * options.minutes if options.minutes else float("inf")
        results = list(suites.run(cells, taking_part, weights, rates, options.budget, options.warm_ups, deadline))
        disturbed = disturbance.so_far()
        described = machine.describe()
        if device.type == "cuda":
            described["cuda"] = {"before": device_before, "after": gpu.describe()}
    finally:
        torch.set_num_threads(threads_before)
        native.set_num_threads(native_before)
    return {
        "schema": report.SCHEMA,
        "schema_version": report.SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": _command(options),
        "model": {
            "name": options.model if options.model in ("tiny", *sizes.SIZES) else Path(options.model).name,
            "parameters": _num_parameters(files[1]),
            "cell_size": model_options.cell_size,
            "projection_dim": model_options.projection_dim,
            "n_layers": model_options.n_layers,
            "n_highway": model_options.n_highway,
        },
        "text": {"name": text_name, "sentences": len(sentences), "tokens": sum(map(len, sentences))},
        "threads": threads,
        "word_cache": "kept" if options.keep_word_cache else "emptied before each batch",
        "warm_ups": options.warm_ups,
        "budget": options.budget,
        "machine": described,
        "disturbance": disturbed,
        "probe": probed,
        "implementations": {
            one.name: {"precision": one.precision, "precision_in_use": one.precision_in_use} for one in taking_part
        },
        "left_out": left_out,
        "results": results,
    }


def _command(options: argparse.Namespace) -> list[str]:
    """The settings that make the figures, as one would type them; no paths of this machine."""
    words = ["bench", "--model", Path(options.model).name, "--suite", *options.suite]
    words += ["--precision", *options.precision, "--peers", *options.peers]
    if options.threads:
        words += ["--threads", str(options.threads)]
    words += ["--repeats", str(options.repeats), "--warm-ups", str(options.warm_ups), "--budget", str(options.budget)]
    if options.device != "cpu":
        words += ["--device", options.device]
    if options.minutes:
        words += ["--minutes", str(options.minutes)]
    words += ["--keep-word-cache"] * options.keep_word_cache + ["--smoke"] * options.smoke
    if isa := os.environ.get("ELMO_FAST_ISA"):
        words.insert(0, f"ELMO_FAST_ISA={isa}")
    return words


def _num_parameters(weight_file: str) -> int:
    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        total += item.size if isinstance(item, h5py.Dataset) else 0

    with h5py.File(weight_file, "r") as file:
        file.visititems(add)
    return total
