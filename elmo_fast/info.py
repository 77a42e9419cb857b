"""Describes the installation: versions, instruction sets, precisions, CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from elmo_fast._version import __version__
from elmo_fast.cuda import device as cuda
from elmo_fast.native import _cpu, get_num_threads, precision_in_use
from elmo_fast.precision import PRECISIONS


def build_info() -> dict[str, Any]:
    """Describes this installation.

    It does not initialise CUDA, so that a process may call it and then fork.

    Returns:
        A dictionary with the keys version, isas_built and isas_available (lists of instruction set names), isa (the one
        in use), precisions (for each precision, the one that actually runs with this instruction set), cuda_built
        (whether native CUDA kernels are built in), cuda_devices (the number of devices that
        torch can see, 0 without the kernels), num_threads, compiler, and torch and numpy (their versions).
    """
    return {
        "version": __version__,
        "isas_built": list(_cpu.isas_built()),
        "isas_available": list(_cpu.isas_available()),
        "isa": _cpu.get_isa(),
        "precisions": {precision: precision_in_use(precision) for precision in PRECISIONS},
        "cuda_built": cuda.is_built(),
        "cuda_devices": torch.cuda.device_count() if cuda.is_built() else 0,
        "num_threads": get_num_threads(),
        "compiler": _cpu.compiler(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
