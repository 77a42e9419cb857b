"""The kernels on a GPU against the CPU, quickly: `python tests/cuda/gpu_smoke.py [number of model sizes]`.

Prints an error for each model size, storage type, kernel and batch; exit code 1 if one is too large or NaN.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tolerances import CUDA, CUDA_STORAGE  # noqa: E402

from elmo_fast import ElmoBiLm, batch_to_ids  # noqa: E402
from elmo_fast.bench.random_model import write_random_model  # noqa: E402
from elmo_fast.cuda import lstm  # noqa: E402
from elmo_fast.cuda.device import CudaDevice  # noqa: E402

SIZES = ({}, {"projection_dim": 33, "cell_size": 65}, {"projection_dim": 128, "cell_size": 1024})
WAYS = ("steps", "persistent", "products")
BATCHES = ([["a", "b"]], [["c"], [], ["d", "e", "f", "g"], ["c", "d"]], [["Hello", "world", "."]] * 9)


def main() -> int:
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes = SIZES[: int(sys.argv[1])] if len(sys.argv) > 1 else SIZES
    chosen, wrong = CudaDevice.persistent_plan, 0
    for size in sizes:
        files = write_random_model(Path(tempfile.mkdtemp()) / "m", **size)
        wanted = [ElmoBiLm(*files, state="reset")(batch_to_ids(batch))["activations"] for batch in BATCHES]
        for dtype, way in itertools.product((torch.float32, torch.float16, torch.bfloat16), WAYS):
            CudaDevice.persistent_plan = (lambda *arguments: None) if way == "steps" else chosen
            rows = 1 if way == "products" else 10**9
            lstm.ROWS_FOR_PRODUCTS, lstm.ROWS_FOR_PRODUCTS_OVER_PERSISTENT = {2: rows, 4: rows}, rows
            module = ElmoBiLm(*files, state="reset").cuda().to(dtype)
            for batch, layers in zip(BATCHES, wanted, strict=True):
                got = module(batch_to_ids(batch).cuda())["activations"]
                error = max(
                    ((g.float().cpu() - w).abs().max() / w.abs().max().clamp(min=1)).item()
                    for g, w in zip(got, layers, strict=True)
                )
                right = error <= (CUDA if dtype == torch.float32 else CUDA_STORAGE[dtype])
                wrong += not right
                print(size, dtype, way, len(batch), f"{error:.2e}", "" if right else "WRONG", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
