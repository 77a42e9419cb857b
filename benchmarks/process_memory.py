"""What loading.py and soak.py share: how much memory a process holds, and reports as JSON."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

_STATUS = Path("/proc/self/status")
_FIELDS = {"resident": "VmRSS", "peak": "VmHWM"}


def memory() -> dict[str, int]:
    """Returns this process's resident memory, "resident", and its largest so far, "peak", in bytes.

    Raises:
        SystemExit: not on Linux: other systems' peaks include what a parent process held.
    """
    if not _STATUS.is_file():
        raise SystemExit(f"memory is measured on Linux alone: there is no {_STATUS}")
    status = _STATUS.read_text()
    return {name: 1024 * int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) for name, field in _FIELDS.items()}


def write_json(values: Mapping[str, object], path: Path) -> None:
    """Writes a report; the file appears whole or not at all, and its folder is made if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
