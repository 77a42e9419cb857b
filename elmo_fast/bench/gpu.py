"""What differs on a CUDA device: timing by events, a cold cache, and a description of the device and its limits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from elmo_fast.bench.limits import Rates
from elmo_fast.cuda import device as cuda

_FLUSH_BYTES = 256 << 20  # more than any L2 cache
_PROBE_BYTES = 1 << 30
_PROBE_SIZE = 8192
_QUERY = "name,driver_version,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu,utilization.gpu"


def check_device(device: str) -> torch.device:
    """Returns the device to measure; raises ValueError if it is missing."""
    if device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("--device: 'cuda' was asked for, but torch finds no CUDA device")
    return torch.device("cuda", torch.cuda.current_device())


def seconds_of(run: Callable[[], object]) -> float:
    """Times a call by CUDA events on the current stream; time in which the device waits for the host counts."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def with_tf32(forward: Callable[[Tensor], Tensor], precision: str) -> Callable[[Tensor], Tensor]:
    """Returns a forward pass whose float32 products may use TF32 if the precision is "tf32", and may not otherwise."""
    if precision not in ("tf32", "float32") or not torch.cuda.is_available():
        return forward

    def run(char_ids: Tensor) -> Tensor:
        backends = torch.backends.cuda.matmul, torch.backends.cudnn
        before = [backend.allow_tf32 for backend in backends]
        for backend in backends:
            backend.allow_tf32 = precision == "tf32"
        try:
            return forward(char_ids)
        finally:
            for backend, value in zip(backends, before, strict=True):
                backend.allow_tf32 = value

    return run


def flush_cache() -> None:
    """Replaces the contents of the L2 cache."""
    torch.empty(_FLUSH_BYTES, dtype=torch.int8, device="cuda").zero_()


def describe() -> dict[str, Any]:
    """The device, its clocks, power and temperature as they are now (nvidia-smi; None where it is missing)."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader", f"--id={torch.cuda.current_device()}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        now = dict(zip(_QUERY.split(","), (field.strip() for field in answer.strip().split(",")), strict=False))
    except (OSError, subprocess.SubprocessError):
        now = None
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory": properties.total_memory,
        "cuda": torch.version.cuda,
        "kernels_built": cuda.is_built(),
        "now": now,
    }


def probe() -> dict[str, float]:
    """Measures the device: bytes per second of a copy (read and written), operations per second of large products."""
    source = torch.empty(_PROBE_BYTES, dtype=torch.int8, device="cuda")
    rates = {"copy": 2 * _PROBE_BYTES / _best(partial(torch.empty_like(source).copy_, source))}
    dtypes = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    for name, dtype in dtypes.items():
        x = torch.randn(_PROBE_SIZE, _PROBE_SIZE, device="cuda").to(dtype)
        rates[f"product_{name}"] = 2 * _PROBE_SIZE**3 / _best(partial(with_tf32(lambda x: x @ x, name), x))
    return {name: float(f"{rate:.4g}") for name, rate in rates.items()}


def rates(probed: dict[str, float], precisions: Iterable[str]) -> Rates:
    """The limits to compare figures with: products at the measured rate, weights read at the copy's.

    Recurrent weights that stay on the chip from step to step can be faster than that, which shows as more than 100%.
    """
    known = [precision for precision in set(precisions) if f"product_{precision}" in probed]
    arithmetic = {precision: probed[f"product_{precision}"] for precision in known}
    reading = dict.fromkeys(known, probed["copy"])
    return Rates(arithmetic, reading, reading, device="cuda")


def _best(run: Callable[[], object], repeats: int = 5) -> float:
    run()
    return min(seconds_of(run) for _ in range(repeats))
