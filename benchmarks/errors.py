"""Measures what each precision costs: error against float64, agreement of neighbours, accuracy of a linear probe.

    python benchmarks/errors.py --output benchmarks/results/errors_MACHINE.json && python benchmarks/accuracy_page.py

The second command writes the tables of docs/accuracy.md from such files. A precision that this processor runs as
another one gets only the simulated figure (simulate.py).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agreement import error, neighbour_agreement, neighbours
from simulate import ARITHMETICS
from upos import UposData, probe_scores
from vectors import Files, Vectors, layers_of, native_vectors, reference_vectors, simulated_vectors

from elmo_fast.bench import machine
from elmo_fast.bench.sizes import model_files
from elmo_fast.bench.texts import Sentence, read_sentences, test_data
from elmo_fast.precision import PRECISIONS

Report = dict[str, Any]

_TEXT_MODELS = ("tiny", "original")


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    text_name, text = read_sentences()
    if options.smoke:
        text = _first(text, 100)
    models = {name: _model(name, text, options.tokens) for name in options.models}
    errors = {name: errors_of_model(name, *model) for name, model in models.items()}
    report: Report = {
        "machine": machine.describe(),
        "text": text_name,
        "tokens": {name: sum(map(len, sentences)) for name, (_, sentences) in models.items()},
        "models": {name: rows["native"] for name, rows in errors.items()},
        "simulated": {name: rows["simulated"] for name, rows in errors.items()},
        "neighbours": {
            name: neighbours_of_model(name, *models[name], options.neighbour_tokens)
            for name in _TEXT_MODELS
            if name in models
        },
    }
    data = UposData.read(test_data())
    if "tiny" in models and data and not (options.no_probe or options.smoke):
        report["probe"] = probe_of_model("tiny", models["tiny"][0], data)
    _write(options.output, report)


@dataclass(frozen=True)
class Variant:
    """One way to compute vectors: "native" in the precision `in_use`, or "simulated"."""

    kind: str
    precision: str
    in_use: str
    encode: Callable[[list[Sentence]], Vectors]


def variants(files: Files) -> Iterator[Variant]:
    """Native precisions first, starting with float32; each model is loaded when its turn comes."""
    for precision in PRECISIONS:
        yield Variant("native", precision, *native_vectors(files, precision))
    for arithmetic in ARITHMETICS[1:]:
        yield Variant("simulated", arithmetic, arithmetic, functools.partial(simulated_vectors, files, arithmetic))


def errors_of_model(name: str, files: Files, sentences: list[Sentence]) -> Report:
    """Returns `agreement.error` against the float64 reference for each precision, native and simulated.

    A native row has "in_use" too; where that is another precision, it has nothing else.
    """
    expected = layers_of(reference_vectors(files, sentences))
    report: Report = {"native": {}, "simulated": {}}
    for variant in variants(files):
        row = {"in_use": variant.in_use} if variant.kind == "native" else {}
        report[variant.kind][variant.precision] = row
        if variant.in_use == variant.precision:
            row |= error(layers_of(variant.encode(sentences)), expected)
            _say(name, variant, f"rms {row['rms']:.2e}, max {row['max']:.2e}")
    return report


def neighbours_of_model(name: str, files: Files, sentences: list[Sentence], max_tokens: int) -> Report:
    """Returns the agreement of cosine neighbours with native float32's, for the mean of the layers and for the top."""
    sentences = _distinct(sentences, max_tokens)
    report: Report = {"tokens": sum(map(len, sentences)), "native": {}, "simulated": {}}
    baseline: dict[str, np.ndarray] = {}
    for variant in variants(files):
        if variant.in_use == variant.precision:
            layers = layers_of(variant.encode(sentences))
            nearest = {"average": neighbours(layers.mean(axis=0), 10), "top": neighbours(layers[-1], 10)}
            baseline = baseline or nearest
            row = {of: neighbour_agreement(nearest[of], baseline[of]) for of in nearest}
            report[variant.kind][variant.precision] = row
            _say(name, variant, f"nearest neighbour as in float32: {row['average']['nearest']:.2%}")
    return report


def probe_of_model(name: str, files: Files, data: UposData) -> Report:
    """Returns `upos.probe_scores` for each precision, native and simulated."""
    report: Report = {"native": {}, "simulated": {}}
    baseline = None
    for variant in variants(files):
        if variant.in_use == variant.precision:
            row, probes = probe_scores(variant.encode, data, baseline)
            baseline = baseline or probes
            report[variant.kind][variant.precision] = row
            _say(name, variant, f"UPOS {row['trained_on_float32']:.2%}, {row['trained_on_itself']:.2%}")
    return report


def _golden_folders() -> dict[str, Path]:
    """The available golden models, by name."""
    roots = test_data() / "golden", Path(__file__).resolve().parents[1] / "tests" / "data" / "golden"
    return {folder.name: folder for root in roots for folder in sorted(root.glob("*")) if folder.is_dir()}


def _model(name: str, text: list[Sentence], tokens: int) -> tuple[Files, list[Sentence]]:
    """Files and sentences of a model; the text is for "tiny" and, its first tokens, for "original"."""
    if name in _TEXT_MODELS:
        return model_files(name), text if name == "tiny" else _first(text, tokens)
    folder = _golden_folders()[name]
    batches = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    sentences = [sentence for batch in batches for sentence in batch if sentence]
    return (str(folder / "options.json"), str(folder / "weights.hdf5")), sentences


def _first(sentences: list[Sentence], tokens: int) -> list[Sentence]:
    ends = np.cumsum([len(sentence) for sentence in sentences])
    return sentences[: int(np.searchsorted(ends, tokens)) + 1]


def _distinct(sentences: list[Sentence], tokens: int) -> list[Sentence]:
    """Without repeated sentences, in which a token's nearest neighbour would be its copy."""
    return _first([list(sentence) for sentence in dict.fromkeys(map(tuple, sentences))], tokens)


def _say(model: str, variant: Variant, figures: str) -> None:
    print(f"{model:16s} {variant.kind:9s} {variant.precision:21s} {figures}", flush=True)


def _write(path: Path, report: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="where to write the figures as JSON")
    names = [*sorted(_golden_folders()), *_TEXT_MODELS]
    parser.add_argument("--models", nargs="+", choices=names, default=names, help="only these")
    parser.add_argument("--tokens", type=int, default=1_000, help="of text for the original model")
    parser.add_argument("--neighbour-tokens", type=int, default=5_000, help="most tokens among which neighbours are")
    parser.add_argument("--threads", type=int, default=1, help="more pay on an idle machine, and for large models only")
    parser.add_argument("--no-probe", action="store_true", help="leave out the probe, which takes the longest")
    parser.add_argument("--smoke", action="store_true", help="100 tokens of text and no probe: does it run at all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
