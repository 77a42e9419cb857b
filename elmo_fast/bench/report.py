"""A run's figures as JSON: what is in it, writing and reading it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = "elmo_fast.bench"
SCHEMA_VERSION = 1

KEYS: dict[str, type | tuple[type, ...]] = {
    "schema": str,
    "schema_version": int,
    "created": str,  # UTC, ISO 8601
    "command": list,  # the arguments
    "model": dict,  # name and sizes
    "text": dict,  # name, sentences, tokens
    "threads": int,
    "word_cache": str,  # "emptied before each batch" or "kept"
    "warm_ups": int,
    "budget": (int, float),  # seconds for each implementation and workload
    "machine": dict,  # see machine.describe
    "disturbance": dict,  # see machine.Disturbance
    "probe": dict,  # see machine.probe
    "implementations": dict,  # by name: precision, precision_in_use
    "left_out": dict,  # by name: why
    "results": list,
}
"""The fields of a report and their types."""

RESULT_KEYS: dict[str, type | tuple[type, ...]] = {
    "suite": str,
    "workload": str,
    "batch_size": int,
    "length": (int, type(None)),
    "tokens_per_batch": (int, float, type(None)),
    "distinct_words_per_batch": (int, float, type(None)),
    "fresh_text": bool,
    "figures": dict,  # by implementation: FIGURE_KEYS
    "times_faster": dict,  # by implementation of this package, then by peer: median ratio within a turn
    "skipped": dict,  # by implementation: why
}
"""The fields of one of its results."""

_NUMBER = (int, float)
FIGURE_KEYS: dict[str, type | tuple[type, ...]] = {
    "repeats": int,
    "milliseconds": _NUMBER,  # median per batch
    "spread": _NUMBER,  # half the distance between the quartiles, milliseconds
    "tokens_per_second": _NUMBER,  # median
    "p50": (int, float, type(None)),  # percentiles, milliseconds
    "p90": (int, float, type(None)),
    "p99": (int, float, type(None)),
    "fraction_of_limit": (int, float, type(None)),  # see limits.py
    "bound_by": (str, type(None)),  # "arithmetic" or "memory"
}
"""The fields of one implementation's figures in a result."""


def check(report: Any, source: str = "report") -> dict[str, Any]:
    """Returns the report if it is one.

    Raises:
        ValueError: a field is missing or of another type, or the report is of another version; the message names
            source and field.
    """
    if not isinstance(report, Mapping) or report.get("schema") != SCHEMA:
        raise ValueError(f"{source}: expected a JSON object with schema {SCHEMA!r}")
    if report.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{source}: expected schema_version {SCHEMA_VERSION}, got {report.get('schema_version')!r}: measure again"
        )
    _check_keys(report, KEYS, source)
    for i, result in enumerate(report["results"]):
        where = f"{source}: results[{i}]"
        _check_keys(result, RESULT_KEYS, where)
        for name, figures in result["figures"].items():
            _check_keys(figures, FIGURE_KEYS, f"{where}: figures[{name!r}]")
    return dict(report)


def _check_keys(values: Any, keys: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a JSON object, got {type(values).__name__}")
    for key, kind in keys.items():
        if key not in values:
            raise ValueError(f"{where}: {key}: missing")
        if not isinstance(values[key], kind) or (isinstance(values[key], bool) and kind is not bool):
            raise ValueError(f"{where}: {key}: unexpected {values[key]!r:.60}")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a report.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a report of this version.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    return check(report, str(path))


def write(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a report. The file appears whole or not at all; its folder is created if it is missing."""
    check(report)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid.uuid4().hex}.part"
    try:
        temporary.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
