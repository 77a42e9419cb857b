"""Writes the tables of docs/accuracy.md from the figures that errors.py measured.

    python benchmarks/accuracy_page.py [benchmarks/results/errors_CPU.json ...]

Everything between the page's two markers is replaced: one section per file, by default all benchmarks/results/errors_*.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page_tables import head, line, replace_tables

PROJECT = Path(__file__).resolve().parent.parent

Report = dict[str, Any]

_WITH_AMX = {"bfloat16": " with AMX", "int8": " with AMX"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", help="written by errors.py")
    parser.add_argument("--page", type=Path, default=PROJECT / "docs" / "accuracy.md", help="the page to write into")
    options = parser.parse_args()
    files = options.files or sorted((PROJECT / "benchmarks" / "results").glob("errors_*.json"))
    tables = [row for file in files for row in section(json.loads(file.read_text(encoding="utf-8")))]
    replace_tables(options.page, Path(__file__).name, tables)


def section(report: Report) -> Iterator[str]:
    """The lines of one machine."""
    machine = report["machine"]
    yield f"## On {machine['processor']}"
    yield ""
    versions = f"torch {machine['torch']}, NumPy {machine['numpy']}"
    yield f"Instruction set {machine['isa']}, {versions}; text: {report['text']}."
    yield ""
    if "probe" in report and "original" in report["models"]:
        yield from _summary(report)
    for name, native in report["models"].items():
        yield from _error_table(name, report["tokens"][name], native, report["simulated"][name])
    for name, neighbours in report["neighbours"].items():
        yield from _neighbour_table(name, neighbours, report["models"][name])
    if "probe" in report:
        yield from _probe_table(report["probe"], report["models"]["tiny"])


def _summary(report: Report) -> Iterator[str]:
    """One line per precision: as this processor runs it, else as simulated with AMX."""
    yield "### In short"
    yield ""
    yield "Error as a part of the output's rms; nearest neighbours by the mean of the layers, and UPOS, of `tiny`."
    yield ""
    yield from head("precision", "error, original's size", "error, `tiny`", "same nearest neighbour", "UPOS")
    for precision, row in report["models"]["tiny"].items():
        runs = row["in_use"] == precision
        errors = report["models"] if runs else report["simulated"]
        kind = "native" if runs else "simulated"
        relative = (errors[name][precision] for name in ("original", "tiny"))
        yield line(
            f"`{precision}`" + ("" if runs else f" (simulated; runs as `{row['in_use']}` here)"),
            *(_figure(part["rms"] / part["output_rms"]) for part in relative),
            f"{report['neighbours']['tiny'][kind][precision]['average']['nearest']:.2%}",
            f"{report['probe'][kind][precision]['trained_on_float32']:.2%}",
        )
    yield ""


def _error_table(name: str, tokens: int, native: Report, simulated: Report) -> Iterator[str]:
    layers = native["float32"]["layers"]
    rms = ", ".join(f"{layer['output_rms']:.2f}" for layer in layers)
    yield f"### Error of {_named(name)}"
    yield ""
    yield f"{tokens} tokens. The rms of the output itself is {rms} in layers 0 to {len(layers) - 1}."
    yield ""
    numbers = range(len(layers))
    yield from head("precision", "rms", "max", *(f"rms, layer {k}" for k in numbers), *(f"max, {k}" for k in numbers))
    for label, row in _rows(native, native, simulated):
        figures = [row["rms"], row["max"], *(layer[key] for key in ("rms", "max") for layer in row["layers"])]
        yield line(label, *map(_figure, figures))
    yield ""


def _neighbour_table(name: str, neighbours: Report, native: Report) -> Iterator[str]:
    yield f"### Cosine neighbours in {_named(name)}"
    yield ""
    yield (
        f"Among {neighbours['tokens']} tokens of distinct sentences: share of tokens whose nearest other token is "
        "float32's, and share of the ten nearest in common with float32's."
    )
    yield ""
    yield from head("precision", "mean of the layers: nearest", "ten nearest", "top layer: nearest", "ten nearest")
    for label, row in _rows(native, neighbours["native"], neighbours["simulated"]):
        figures = (row[of][key] for of in ("average", "top") for key in ("nearest", "top"))
        yield line(label, *(f"{figure:.2%}" for figure in figures))
    yield ""


def _probe_table(scores: Report, native: Report) -> Iterator[str]:
    yield "### UPOS accuracy of a linear probe on the built-in model's vectors"
    yield ""
    yield from head("precision", "probe trained on float32's vectors", "probe trained on the same precision's")
    for label, row in _rows(native, scores["native"], scores["simulated"]):
        yield line(label, *(f"{row[key]:.2%}" for key in ("trained_on_float32", "trained_on_itself")))
    yield ""


def _rows(runs: Report, native: Report, simulated: Report) -> Iterator[tuple[str, Report]]:
    """Labels and figures of each precision, then its simulations, alone if the processor runs another precision."""
    for precision, row in runs.items():
        label = f"`{precision}`"
        if row["in_use"] == precision:
            yield label, native[precision]
        else:
            label += f" (runs as `{row['in_use']}` here)"
        for arithmetic, figures in simulated.items():
            if arithmetic.split()[0] == precision:
                yield f"{label}, simulated{arithmetic.removeprefix(precision) or _WITH_AMX.get(precision, '')}", figures


def _named(model: str) -> str:
    names = {"tiny": "the built-in model `tiny`", "original": "a random model of the original's size"}
    return names.get(model, f"the golden model `{model}`")


def _figure(x: float) -> str:
    return f"{x:.2g}" if x == 0 or x >= 0.01 else f"{x:.1e}".replace("e-0", "e-")


if __name__ == "__main__":
    main()
