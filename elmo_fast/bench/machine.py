"""The machine that a figure was measured on: what it is, and its limits."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from elmo_fast import native
from elmo_fast.bench.limits import Rates, Weights, arithmetic_rates
from elmo_fast.info import build_info

_MEGABYTE = 1 << 20
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def describe() -> dict[str, Any]:
    """Processor, its caches in bytes (None where unknown), cores, system, Python, and `elmo_fast.build_info()`."""
    return {
        "processor": _processor(),
        "features": _features(),
        "l2": _cache_size(2),
        "l3": _cache_size(3),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **build_info(),
    }


def _cpu_fields() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return dict((part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)


def _processor() -> str:
    return _cpu_fields().get("model name") or platform.processor() or platform.machine()


def _features() -> list[str]:
    flags = _cpu_fields().get("flags", "").split()
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8") if name in flags]


def _cache_size(level: int) -> int | None:
    for index in sorted(_CACHES.glob("index*")):
        try:
            if int((index / "level").read_text()) == level:
                return int((index / "size").read_text().strip().removesuffix("K")) << 10
        except (OSError, ValueError):
            continue
    return None


class Disturbance:
    """What else ran on the machine during a period, according to the kernel (Linux)."""

    def __init__(self) -> None:
        self._start = self._now()

    def so_far(self) -> dict[str, float | None]:
        """Returns "other_cores", the cores that other processes kept busy on average since the object was made, and
        "stolen_cores", those that the hypervisor gave to other machines; None where unknown."""
        start, now = self._start, self._now()
        if start is None or now is None:
            return {"other_cores": None, "stolen_cores": None}
        wall, busy, own, stolen = (b - a for a, b in zip(start, now, strict=True))
        wall = max(wall, 1e-3)
        return {"other_cores": round(max(0.0, busy - own) / wall, 2), "stolen_cores": round(stolen / wall, 2)}

    @staticmethod
    def _now() -> tuple[float, float, float, float] | None:
        """Seconds: wall clock, all processes, this one, stolen."""
        try:
            fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            user, nice, system, _idle, _waiting, irq, softirq, stolen = fields
        except (OSError, ValueError, IndexError):
            return None
        tick = os.sysconf("SC_CLK_TCK")
        own = os.times()
        busy = (user + nice + system + irq + softirq) / tick
        return time.perf_counter(), busy, own.user + own.system, stolen / tick


def probe(thread_counts: Iterable[int]) -> dict[str, Any]:
    """Measures the machine's limits; takes about a second.

    Returns:
        "seconds", how long it took, and "threads": for each number of threads, as text, operations per second by
        `elmo_fast._cpu.probe_kinds()`'s names, and bytes per second as "read_l2" (half of each thread's L2), "read_l3"
        (half of L3, at most 16 MB) and "read_dram" (four times L3, 128 to 512 MB).
    """
    start = time.perf_counter()
    cpu = native._cpu
    l2, l3 = _cache_size(2) or _MEGABYTE, _cache_size(3) or 32 * _MEGABYTE
    threads: dict[str, dict[str, float]] = {}
    for n in sorted(set(thread_counts)):
        rates = {kind: cpu.probe(kind, n) for kind in cpu.probe_kinds() if kind != "read"}
        in_l3 = max(min(l3 // 2, 16 * _MEGABYTE), min(2 * l2 * n, l3))
        in_dram = min(max(4 * l3, 128 * _MEGABYTE), 512 * _MEGABYTE)
        for name, nbytes in (("read_l2", l2 // 2 * n), ("read_l3", in_l3), ("read_dram", in_dram)):
            rates[name] = cpu.probe("read", n, nbytes=nbytes)
        threads[str(n)] = {name: float(f"{rate:.4g}") for name, rate in rates.items()}
    return {"seconds": round(time.perf_counter() - start, 2), "threads": threads}


def rates(probed: dict[str, float], num_threads: int, weights: Weights, precisions: Iterable[str]) -> Rates:
    """Prepares `limits.least_seconds`: reads memory of just the sizes that a model's weights have.

    Args:
        probed: `probe()["threads"][str(num_threads)]`.
        precisions: those in use.
    """
    arithmetic = arithmetic_rates(probed, native.get_isa())
    read_model, read_recurrent = {}, {}
    for precision in set(precisions) & set(arithmetic):
        whole, recurrent = (max(65536 * num_threads, nbytes) for nbytes in weights.nbytes(precision))
        read_model[precision] = native._cpu.probe("read", num_threads, nbytes=min(whole, 512 * _MEGABYTE))
        read_recurrent[precision] = native._cpu.probe("read", num_threads, nbytes=recurrent)
    return Rates(arithmetic, read_model, read_recurrent)
