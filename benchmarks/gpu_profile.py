"""Where the time of a pass on a GPU goes: `python benchmarks/gpu_profile.py --output profile.json`.

For each workload, arithmetic and kernel: the median of whole passes with warm weights, by CUDA events, the largest
error against float32 on the CPU, and the device's time in each kernel. Beside them, the LSTM without clipping as four
`torch.nn.LSTM` with cuDNN, on random token embeddings: it encodes no words, and so does less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import elmo_fast
from elmo_fast import Elmo
from elmo_fast.bench import gpu, sizes

WORKLOADS = ((1, 10), (32, 20), (256, 30))
PRECISIONS = ("bfloat16", "float32")


def char_ids(batch_size: int, num_timesteps: int, seed: int = 1) -> Tensor:
    """Random words of 2 to 9 lower-case letters: (batch_size, num_timesteps, 50) int64."""
    random = np.random.default_rng(seed)

    def word() -> str:
        return "".join(map(chr, random.integers(97, 123, random.integers(2, 10))))

    return elmo_fast.batch_to_ids([[word() for _ in range(num_timesteps)] for _ in range(batch_size)])


def median_ms(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Returns the median and the 99th percentile of repeated calls, in milliseconds, by CUDA events."""
    for _ in range(3):
        run()
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 5 or (time.monotonic() < end and len(times) < 300):
        times.append(1e3 * gpu.seconds_of(run))
    return statistics.median(times), float(np.percentile(times, 99))


def kernels(run: Callable[[], object]) -> dict[str, tuple[int, float]]:
    """Returns, for each kernel of a pass, its calls and its microseconds on the device, longest first."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    found = {e.key[:60]: (e.count, round(e.self_device_time_total, 1)) for e in profiler.key_averages()}
    return dict(sorted(found.items(), key=lambda item: -item[1][1])[:14])


def variants(precision: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yields a name, the options of the module, and what replaces the choice of the LSTM kernel (None: nothing)."""
    yield "chosen", {}, None
    yield "graphs", {"cuda_graphs": True}, None
    yield "steps", {}, lambda *arguments: None


def measure_own(model: str, precision: str, ids: Tensor, wanted: Tensor, seconds: float) -> Iterator[dict[str, Any]]:
    from elmo_fast.cuda.device import CudaDevice

    chosen = CudaDevice.persistent_plan
    there = ids.cuda()
    for name, options, plan in variants(precision):
        CudaDevice.persistent_plan = plan or chosen  # type: ignore[method-assign]
        module = (
            Elmo(*sizes.model_files(model), 1, dropout=0.0, precision=precision, state="reset", **options).eval().cuda()
        )

        def run(module: Elmo = module) -> Tensor:
            with torch.inference_mode():
                return module(there)["elmo_representations"][0]

        error = (run().float().cpu() - wanted).abs().max().item()
        p50, p99 = median_ms(run, seconds)
        yield {"name": name, "p50_ms": p50, "p99_ms": p99, "error": error, "kernels": kernels(run)}
        del module
    CudaDevice.persistent_plan = chosen  # type: ignore[method-assign]


def measure_cudnn(ids: Tensor, dtype: torch.dtype, tf32: bool, seconds: float) -> dict[str, Any]:
    """Four `nn.LSTM(512, 4096, proj_size=512)` with the skip added between layers; no padding and no clipping."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    layers = [[torch.nn.LSTM(512, 4096, proj_size=512).cuda().to(dtype) for _ in range(2)] for _ in range(2)]
    for pair in layers:
        for layer in pair:
            layer.flatten_parameters()
    x = torch.randn(ids.shape[1] + 2, ids.shape[0], 512, device="cuda").to(dtype)

    def run() -> Tensor:
        with torch.inference_mode():
            forward, backward = x, x.flip(0)
            for number, (first, second) in enumerate(layers):
                a, b = first(forward)[0], second(backward)[0]
                forward, backward = (a + forward, b + backward) if number else (a, b)
            return torch.cat([forward, backward.flip(0)], dim=-1)

    p50, p99 = median_ms(run, seconds)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return {"name": f"cuDNN {dtype} {'tf32' if tf32 else ''}".strip(), "p50_ms": p50, "p99_ms": p99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="original")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each figure (default: %(default)s)")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found: list[dict[str, Any]] = []

    def add(figure: dict[str, Any], shape: tuple[int, int], precision: str) -> None:
        found.append({"workload": list(shape), "precision": precision, **figure})
        shown = {k: v for k, v in found[-1].items() if k != "kernels"}
        print(json.dumps(shown), flush=True)
        for kernel, (calls, us) in list(figure.get("kernels", {}).items())[:9]:
            print(f"    {us:9.1f} us {calls:5d} x {kernel}", flush=True)
        Path(options.output).write_text(json.dumps({"device": gpu.describe(), "figures": found}, indent=1))

    cpu = Elmo(*sizes.model_files(options.model), 1, dropout=0.0, state="reset").eval()
    for shape in WORKLOADS:
        ids = char_ids(*shape)
        with torch.inference_mode():
            wanted = cpu(ids)["elmo_representations"][0]
        for precision in options.precision:
            for figure in measure_own(options.model, precision, ids, wanted, options.seconds):
                add(figure, shape, precision)
        if options.model == "original":
            for dtype, tf32 in ((torch.bfloat16, False), (torch.float32, True), (torch.float32, False)):
                add(measure_cudnn(ids, dtype, tf32, options.seconds), shape, "cudnn")


if __name__ == "__main__":
    main()
