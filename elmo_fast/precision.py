"""The arithmetic of the native kernels, requested by name and never chosen for the user.

| precision | arithmetic | error |
|---|---|---|
| "float32" | float32 fused multiply-adds, the same bits on every machine | float32 rounding |
| "bf16x3" | weights and inputs as three bfloat16 terms, AMX, float32 sums | no more than float32's |
| "bf16x2" | two bfloat16 terms, AMX, float32 sums | about 1e-5 |
| "bfloat16" | bfloat16 weights, float32 sums and cell state | that of bfloat16 |
| "int8" | 8-bit weights with a scale per output channel, 8-bit inputs with a scale per row | the largest |

"bf16x3" and "bf16x2" need AMX and run as "float32" on a processor without it; "bfloat16" and "int8" always run as
themselves. Cell state, gates and layer outputs are float32 in all of them.

On CUDA, "bfloat16" stores float32 weights and activations as bfloat16; a model moved there in another precision runs as
"float32".

A precision applies to inference with the native kernels. With gradients of the biLM's weights these compute in float32;
where they do not run (other dtypes), the plain PyTorch definition computes in the dtype of its tensors. PyTorch's own
`torch.set_float32_matmul_precision` has no effect on the CPU; on CUDA, PyTorch's matrix products follow it.
"""

from __future__ import annotations

import torch

from elmo_fast import native

PRECISIONS = ("float32", "bf16x3", "bf16x2", "bfloat16", "int8")
"""The precisions of the native kernels."""

CUDA_PRECISIONS = ("float32", "bfloat16")
"""The precisions that are available on a CUDA device."""


def check_precision(precision: str) -> str:
    """Returns `precision`; raises ValueError when it is not one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    return precision


def check_device(precision: str, device: torch.device) -> None:
    """Raises ValueError if a device other than the CPU does not have this precision."""
    expected = CUDA_PRECISIONS if device.type == "cuda" else ("float32",)
    if precision not in expected:
        raise ValueError(
            f"precision: expected {' or '.join(map(repr, expected))} with device {str(device)!r}, got {precision!r}: "
            "the others are the CPU's"
        )


class NativePrecision:
    """The precision of the classes that run native kernels."""

    _precision = "float32"

    @property
    def precision(self) -> str:
        """The precision that was requested, one of `PRECISIONS`."""
        return self._precision

    @property
    def precision_in_use(self) -> str:
        """The precision that runs with the instruction set in use: the requested one, or "float32"."""
        return native.precision_in_use(self.precision)
