"""The arithmetic of the native kernels, asked for by name and never chosen for the user.

| precision | arithmetic | error |
|---|---|---|
| "float32" | float32 fused multiply-adds, the same bits on every machine | float32 rounding |
| "bf16x3" | weights and inputs as three bfloat16 terms, AMX, float32 sums | no more than float32's |
| "bf16x2" | two bfloat16 terms, AMX, float32 sums | about 1e-5 |
| "bfloat16" | bfloat16 weights, float32 sums and cell state | that of bfloat16 |
| "int8" | 8-bit weights for each output channel, 8-bit inputs for each row | the largest |

"bf16x3" and "bf16x2" need AMX and run as "float32" on a processor without it; "bfloat16" and "int8" always run as
themselves. Cell state, gates and layer outputs are float32 in all of them.

A precision is one of the native kernels. Where these do not run (gradients of the biLM's weights, CUDA, other dtypes),
the plain PyTorch definition computes in the dtype of its tensors, whatever the precision says. PyTorch's own
`torch.set_float32_matmul_precision` is not consulted.
"""

from __future__ import annotations

from elmo_fast import native
from elmo_fast.native import PRECISIONS


def check_precision(precision: str) -> str:
    """Returns `precision`; raises ValueError when it is not one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    return precision


def check_device(precision: str, device: object) -> None:
    """Raises ValueError where a precision other than "float32" was asked for on a device without native kernels."""
    if precision != "float32":
        raise ValueError(
            f'precision: expected "float32" with device {str(device)!r}, got {precision!r}: the native kernels are for '
            "the CPU only"
        )


class NativePrecision:
    """What the classes that run native kernels say about their precision."""

    _precision = "float32"

    @property
    def precision(self) -> str:
        """The precision asked for, one of `PRECISIONS`."""
        return self._precision

    @property
    def precision_in_use(self) -> str:
        """What the native kernels run it as, with the instruction set in use: itself, or "float32"."""
        return native.precision_in_use(self.precision)
