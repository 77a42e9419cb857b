"""Reports as pictures: tokens/s by batch size, latency by sentence length, error against speed."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elmo_fast.bench.implementations import PREFIX

# One colour per arithmetic; a peer has the colour of its arithmetic, and a dashed line.
_COLOURS = {
    "float32": "#1b6ca8",
    "bf16x3": "#7a4fb5",
    "bf16x2": "#b04a9a",
    "bfloat16": "#c46a12",
    "int8": "#2b8a4b",
}
_REFERENCE_COLOUR = "#777777"
_SIZE = (8.0, 5.0)  # inches
_DPI = 120


def require_matplotlib() -> None:
    """Raises:
    ValueError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: needs matplotlib: pip install 'elmo-fast[plot]'")


class Picture(NamedTuple):
    """A picture that `draw` drew, or why it could not; as a string, one line that says which.

    Attributes:
        name: of the file, without its suffix.
        path: the file; None if there are no figures for it.
        missing: what is missing if `path` is None.
    """

    name: str
    path: Path | None
    missing: str = ""

    def __str__(self) -> str:
        return f"no picture {self.name}: {self.missing}" if self.path is None else str(self.path)


def draw(
    reports: Sequence[dict[str, Any]], folder: str | os.PathLike[str], errors: Mapping[str, Any] | None = None
) -> list[Picture]:
    """Draws what there are figures for: one set of pictures per model, number of threads and instruction set.

    Args:
        reports: `elmo_fast.bench.report`; those of equal settings share a picture, which shows the last one's figures.
        folder: created for the first picture; existing pictures are replaced.
        errors: {"models": {model: {precision: {"rms": ...}}}} as `benchmarks/errors.py` writes it.
    """
    require_matplotlib()
    groups: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        groups.setdefault(_stem(report), []).append(report)
    pictures = []
    for stem, group in groups.items():
        for kind, figure_of in (("batch", _batch), ("length", _length), ("error", _error)):
            name, figure = f"{stem}_{kind}", figure_of(group, errors)
            if isinstance(figure, str):
                pictures.append(Picture(name, None, figure))
            else:
                path = Path(folder) / f"{name}.png"
                _save(figure, path)
                pictures.append(Picture(name, path))
    return pictures


def _stem(report: dict[str, Any]) -> str:
    machine = report["machine"]
    forced = "" if machine["isa"] == machine["isas_available"][-1] else f"_{machine['isa']}"
    return f"{report['model']['name']}_{report['threads']}thread{'s' * (report['threads'] > 1)}{forced}"


def _batch(group: Sequence[dict[str, Any]], errors: Mapping[str, Any] | None) -> Any:
    axes = _sweep(group, "batch", "batch_size", "tokens_per_second")
    if axes is None:
        return "no figures of the suite 'batch'"
    axes.set(xlabel="sentences per batch (20 tokens each)", ylabel="tokens/s")
    return axes.figure


def _length(group: Sequence[dict[str, Any]], errors: Mapping[str, Any] | None) -> Any:
    axes = _sweep(group, "length", "length", "milliseconds")
    if axes is None:
        return "no figures of the suite 'length'"
    axes.set(xlabel="tokens in the sentence (one per call)", ylabel="milliseconds")
    return axes.figure


def _sweep(group: Sequence[dict[str, Any]], suite: str, x_key: str, y_key: str) -> Any:
    """One line per implementation, both axes logarithmic; None without figures."""
    lines: dict[str, dict[int, float]] = {}
    for report in group:
        for result in report["results"]:
            if result["suite"] == suite:
                for name, figures in result["figures"].items():
                    lines.setdefault(name, {})[result[x_key]] = figures[y_key]
    if not lines:
        return None
    axes = _axes(group[-1])
    axes.set_xscale("log", base=2 if suite == "batch" else 10)
    axes.set_yscale("log")
    points = sorted({x for line in lines.values() for x in line})
    axes.set_xticks(points, [str(x) for x in points])
    axes.xaxis.set_minor_locator(_no_ticks())
    axes.yaxis.set_major_formatter(_plain_numbers())
    for name, line in lines.items():
        x = sorted(line)
        axes.plot(x, [line[i] for i in x], label=_label(name, group), **_style(name, group))
    _legend(axes)
    return axes


def _error(group: Sequence[dict[str, Any]], errors: Mapping[str, Any] | None) -> Any:
    model = group[-1]["model"]["name"]
    if errors is None:
        return "no errors given (--errors)"
    known = errors["models"].get(model)
    if known is None:
        return f"no errors of the model {model!r}"
    points = []
    for report in group:
        for result in report["results"]:
            if result["suite"] == "table" and result["workload"].endswith("of similar length"):
                for name, figures in result["figures"].items():
                    precision = name.removeprefix(PREFIX)
                    entry = known.get(precision, {}) if name.startswith(PREFIX) else {}
                    # An error of one arithmetic and the speed of another would make no point.
                    if "rms" in entry and entry.get("in_use", precision) == _in_use(name, group):
                        points.append((name, result["workload"], figures["tokens_per_second"], entry["rms"]))
    if not points:
        return "no precision has both an error and figures of the suite 'table'"
    axes = _axes(group[-1])
    axes.set(yscale="log", ylabel="error against float64, rms", xlabel=f"tokens/s, {points[-1][1]}")
    for name, _, speed, rms in points:
        axes.plot([speed], [rms], label=_label(name, group), **_style(name, group) | {"markersize": 9, "linestyle": ""})
    axes.margins(0.15)
    axes.set_xlim(left=0)
    _legend(axes)
    return axes.figure


def _legend(axes: Any) -> None:
    """In the order of the lines' right ends, so that legend and picture read alike."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(handles)), key=lambda i: -handles[i].get_ydata()[-1])
    axes.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="center left", bbox_to_anchor=(1.01, 0.5),
        frameon=False,
    )  # fmt: skip


def _axes(report: dict[str, Any]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    machine, threads = report["machine"], report["threads"]
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)  # no global state, whatever backend the user has chosen
    axes = figure.add_subplot()
    axes.set_title(
        f"{report['model']['name']} model, {threads} thread{'s' * (threads > 1)}, {machine['processor']}, "
        f"{machine['isa']}",
        loc="left",
        fontsize=11,
    )
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _precision(name: str, group: Sequence[dict[str, Any]], key: str) -> str:
    for report in group:
        if name in report["implementations"]:
            return report["implementations"][name][key]
    raise KeyError(name)


def _in_use(name: str, group: Sequence[dict[str, Any]]) -> str:
    return _precision(name, group, "precision_in_use")


def _label(name: str, group: Sequence[dict[str, Any]]) -> str:
    asked, in_use = _precision(name, group, "precision"), _in_use(name, group)
    return name if asked == in_use else f"{name} (runs as {in_use})"


def _style(name: str, group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    colour = _REFERENCE_COLOUR if name == "reference" else _COLOURS[_precision(name, group, "precision")]
    own = name.startswith(PREFIX)
    return {
        "color": colour,
        "marker": "o" if own else "s",
        "markersize": 5 if own else 4,
        "linewidth": 2.0 if own else 1.3,
        "linestyle": "-" if own else "--",
    }


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _plain_numbers() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:g}")


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.png")
    try:
        # No date and no version in the file: equal figures make equal files.
        figure.savefig(temporary, metadata={"Software": None})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
