"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import elmo_fast


def describe() -> dict[str, object]:
    """Processor, threads, instruction set and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **elmo_fast.build_info(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(
            (part.strip() for part in line.split(":", 1)) for line in info.read_text().splitlines() if ":" in line
        )
        flags = fields.get("flags", "").split()
        features = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags]
        name = fields.get("model name", platform.machine())
        return f"{name}, {fields.get('cache size', 'cache unknown')}, {' '.join(features)}"
    return platform.processor() or platform.machine()
