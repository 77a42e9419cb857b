"""A report as tables, in Markdown, which reads well on a terminal too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from elmo_fast.bench.implementations import PREFIX

_FLOOR_WORKLOADS = ("one sentence of 10 tokens", "32 sentences of similar length", "32 sentences as they come")
FLOORS = {
    "float32": (2.7, 3.8, 8.0),
    "bf16x3": (1.5, 4.8, 11.0),
    "bf16x2": (2.4, 8.0, 16.0),
    "bfloat16": (5.2, 16.0, 28.0),
    "int8": (9.5, 24.0, 40.0),
}
"""Times faster than AllenNLP in float32 that the project stands for: original model, 2 threads, the three workloads of
the suite "table"; below float32 on a processor with AMX. Of the CPU alone."""

_PEER_OF_FLOORS = "allennlp"
# Ratios change when others run too: a peer that meets its threads at every operation suffers most.
_LARGEST_DISTURBANCE = 0.2  # cores


def render(report: dict[str, Any]) -> str:
    """The whole report: machine, limits, one table per suite."""
    parts = [_heading(report), _probe_table(report)]
    by_suite: dict[str, list[dict[str, Any]]] = {}
    for result in report["results"]:
        by_suite.setdefault(result["suite"], []).append(result)
    for suite, results in by_suite.items():
        parts += _SUITES[suite](report, results)
    notes = [f"left out: {name}: {reason}" for name, reason in report["left_out"].items()]
    for result in report["results"]:
        where = f"{result['suite']}: {result['workload']}"
        notes += [f"skipped: {where}: {name}: {reason}" for name, reason in result["skipped"].items()]
        if not result["fresh_text"]:
            notes.append(f"{where}: the text began again during the turns")
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)]).rstrip() + "\n"


def _heading(report: dict[str, Any]) -> str:
    model, machine, text = report["model"], report["machine"], report["text"]
    threads = f"{report['threads']} thread" + "s" * (report["threads"] != 1)
    return (
        f"Model {model['name']} ({model['parameters'] / 1e6:.1f}M parameters), {threads}, instruction set "
        f"{machine['isa']}, {machine['processor']} ({machine['cores']} cores), torch {machine['torch']}, elmo_fast "
        f"{machine['version']}; text: {text['name']}; word cache {report['word_cache']}. Medians, and half the "
        "distance between the quartiles behind ±; percentages are of the machine's limit, and what sets it. "
        f"{_disturbance(report) or 'Nothing else ran meanwhile'}.{_cuda(report)}"
    )


def _cuda(report: dict[str, Any]) -> str:
    """The GPU of a run on one, and its limits; percentages are then of these."""
    if "cuda" not in report["probe"]:
        return ""
    device, probed = report["machine"]["cuda"]["before"], report["probe"]["cuda"]
    products = [f"{name[8:]} {rate / 1e12:.4g}" for name, rate in probed.items() if name.startswith("product_")]
    return (
        f" GPU: {device['name']}, {device['multiprocessors']} multiprocessors; measured: copying "
        f"{probed['copy'] / 1e9:.4g} GB/s, products {', '.join(products)} Top/s."
    )


def _disturbance(report: dict[str, Any]) -> str | None:
    """What else kept the machine busy, or that it is unknown; None if it is negligible."""
    other, stolen = (report["disturbance"].get(name) for name in ("other_cores", "stolen_cores"))
    if other is None or stolen is None:
        return "What else ran meanwhile is unknown"
    if other + stolen <= _LARGEST_DISTURBANCE:
        return None
    return f"Other work took {other + stolen:.1f} of {report['machine']['cores']} cores meanwhile"


def _probe_table(report: dict[str, Any]) -> str:
    threads = report["probe"]["threads"]
    names = list(next(iter(threads.values())))

    def cell(name: str, n: str) -> str:
        unit = "GB/s" if name.startswith("read_") else "Gop/s"
        return f"{threads[n][name] / 1e9:.4g} {unit}"

    return _table("machine's limits", names, [f"{n} threads" if n != "1" else "1 thread" for n in threads],
                  lambda name, column: cell(name, column.split()[0]))  # fmt: skip


def _table_suite(report: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[str]:
    parts = []
    for result in results:
        peers = [name for name in result["figures"] if not name.startswith(PREFIX)]
        columns = ["per batch", "tokens/s", "of the limit", *(f"times {peer}" for peer in peers)]

        def cell(name: str, column: str, result: dict[str, Any] = result) -> str:
            figures = result["figures"].get(name)
            if figures is None:
                return "-"
            if column == "per batch":
                return f"{_number(figures['milliseconds'])} ms ± {_number(figures['spread'])}"
            if column == "tokens/s":
                return f"{figures['tokens_per_second']:.0f}"
            if column == "of the limit":
                return f"{_percent(figures)} {figures['bound_by'] or ''}".rstrip()
            return _times(result["times_faster"].get(name, {}).get(column.removeprefix("times ")))

        parts.append(_table(result["workload"], _names(report), columns, cell))
    if _PEER_OF_FLOORS in _names(report):
        parts.append(_floor_table(report, results))
    return parts


def _floor_table(report: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    by_workload = {result["workload"]: result for result in results}

    def cell(name: str, workload: str) -> str:
        value = by_workload[workload]["times_faster"].get(name, {}).get(_PEER_OF_FLOORS)
        floors = FLOORS.get(report["implementations"][name]["precision"])
        if value is None or floors is None or workload not in _FLOOR_WORKLOADS or "cuda" in report["probe"]:
            return _times(value)
        floor = floors[_FLOOR_WORKLOADS.index(workload)]
        reason = _not_claimed(report, name)
        verdict = f"not claimed: {reason}" if reason else "held" if value >= floor else "**missed**"
        return f"{_times(value)} (floor {floor:g} {verdict})"

    own = [name for name in _names(report) if name.startswith(PREFIX)]
    return _table("times faster than AllenNLP in float32", own, list(by_workload), cell)


def _not_claimed(report: dict[str, Any], name: str) -> str | None:
    """Why the floors do not apply to an implementation in this run, or None."""
    precision, machine = report["implementations"][name], report["machine"]
    if report["model"]["name"] != "original":
        return "original model only"
    if report["threads"] != 2:
        return "2 threads only"
    if machine["isa"] != machine["isas_available"][-1]:
        return f"instruction set {machine['isa']} forced"
    if (disturbance := _disturbance(report)) is not None:
        return disturbance[0].lower() + disturbance[1:]
    if precision["precision_in_use"] != precision["precision"]:
        return f"runs as {precision['precision_in_use']}"
    return None if precision["precision"] == "float32" or machine["isa"] == "amx" else "no AMX"


def _sweep(title: str, column_of: Callable[[dict[str, Any]], str], value_of: Callable[[dict[str, Any]], str]) -> Any:
    def parts(report: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[str]:
        by_column = {column_of(result): result for result in results}

        def cell(name: str, column: str) -> str:
            figures = by_column[column]["figures"].get(name)
            return f"{value_of(figures)} ({_percent(figures)})" if figures else "-"

        return [_table(title, _names(report), list(by_column), cell)]

    return parts


def _latency_suite(report: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[str]:
    def cell(result: dict[str, Any]) -> Callable[[str, str], str]:
        def of(name: str, column: str) -> str:
            figures = result["figures"].get(name)
            value = figures and figures[column if column != "turns" else "repeats"]
            return "-" if value is None else str(value) if column == "turns" else f"{_number(value)} ms"

        return of

    columns = ["p50", "p90", "p99", "turns"]
    return [_table(f"latency, {result['workload']}", _names(report), columns, cell(result)) for result in results]


_SUITES: dict[str, Callable[[dict[str, Any], Sequence[dict[str, Any]]], list[str]]] = {
    "table": _table_suite,
    "batch": _sweep(
        "tokens/s by batch size", lambda r: str(r["batch_size"]), lambda f: f"{f['tokens_per_second']:.0f}"
    ),
    "length": _sweep("ms per sentence by its tokens", lambda r: str(r["length"]), lambda f: _number(f["milliseconds"])),
    "latency": _latency_suite,
}


def _names(report: dict[str, Any]) -> list[str]:
    return list(report["implementations"])


def _percent(figures: dict[str, Any]) -> str:
    fraction = figures["fraction_of_limit"]
    return "-" if fraction is None else f"{100 * fraction:.0f}%"


def _number(value: float) -> str:
    """Three digits that mean something, no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}x"


def _table(title: str, rows: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], str]) -> str:
    grid = [[title, *columns], *([row, *(cell(row, column) for column in columns)] for row in rows)]
    widths = [max(len(line[i]) for line in grid) for i in range(len(columns) + 1)]
    lines = [[f"{text:<{width}}" for text, width in zip(line, widths, strict=True)] for line in grid]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
