"""The least time that a batch could take on this machine: what a figure is compared with.

The work is counted in phases that follow each other: the token encoder, then for each LSTM layer the product of its
input and its recurrence. A phase takes no less than

    max(arithmetic / peak rate, bytes of weights / read rate)

and a batch no less than the sum. Each distinct word of a batch, the two sentence markers included, goes through the
encoder (highways, projection) and through layer 0's input product once; everything else is done for each token and
marker, and nothing for padding. A multiply-add is two operations. Activations, the convolutions (a look-up in tables)
and barriers cost nothing here. Weights are read once, at the rate for memory of the whole model's size; but one
direction's recurrent weights are read at every time step of the longest sentence, at the rate for memory of their size.

| precision | bytes a weight | operations, by the peak rate of |
|---|---|---|
| float32 | 4 | 1 x multiply-adds of the instruction set in use |
| bf16x3 | 6 | 6 x AMX bfloat16 |
| bf16x2 | 4 | 3 x AMX bfloat16 |
| bfloat16 | 2 | 1 x AMX bfloat16, else multiply-adds |
| int8 | 1, encoder 2 | 1 x int8 products of the instruction set in use; encoder as bfloat16 |
| tf32, float16 | 4, 2 | a GPU's alone: 1 x its products |

Peers are held against the same limit, in their own precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elmo_fast.bench.texts import Sentence
from elmo_fast.weights.options import Options

_BYTES = {"float32": 4, "tf32": 4, "float16": 2, "bf16x3": 6, "bf16x2": 4, "bfloat16": 2, "int8": 1}
_PRODUCTS = {"bf16x3": 6, "bf16x2": 3}
_MARKERS = 2


@dataclass(frozen=True)
class Weights:
    """How many weights each phase of a model reads: `encoder`; `inputs`, both directions of each layer's input product;
    `recurrent`, one direction of one layer."""

    encoder: int
    inputs: tuple[int, ...]
    recurrent: int

    @classmethod
    def of(cls, options: Options) -> Weights:
        f, p, gates = options.n_filters, options.projection_dim, 4 * options.cell_size
        projection = f * p if f != p else 0
        return cls(
            encoder=options.n_highway * 2 * f * f + projection,
            inputs=(2 * gates * p,) * options.n_layers,
            recurrent=gates * p + p * options.cell_size,
        )

    def nbytes(self, precision: str) -> tuple[int, int]:
        """Bytes of the whole model's weights, and of one direction's recurrent ones."""
        size = _BYTES[precision]
        whole = self.encoder * max(2, size) + size * (sum(self.inputs) + 2 * len(self.inputs) * self.recurrent)
        return whole, size * self.recurrent


@dataclass(frozen=True)
class Rates:
    """What a machine can do with a number of threads, in operations and bytes per second.

    Attributes:
        arithmetic: by precision; one without a native unit is missing.
        read_model, read_recurrent: by precision, for the two sizes of `Weights.nbytes`.
        device: "cpu" or "cuda", which has these rates.
    """

    arithmetic: Mapping[str, float]
    read_model: Mapping[str, float]
    read_recurrent: Mapping[str, float]
    device: str = "cpu"


def arithmetic_rates(probed: Mapping[str, float], isa: str) -> dict[str, float]:
    """Peak rates by precision.

    Args:
        probed: operations per second, by `elmo_fast._cpu.probe_kinds()`'s names.
        isa: the instruction set in use; units beyond it do not count.
    """
    vectors = {"amx": "avx512", "avx512vnni": "avx512", "avx2vnni": "avx2"}.get(isa, isa)
    fma = probed.get(f"fma_{vectors}")
    if fma is None:
        return {}
    # Kernels without int8 products of their own widen the weights, but AVX-512F alone runs AVX2's.
    int8 = probed.get(f"int8_{isa}", probed.get("int8_avx2", fma) if isa == "avx512" else fma)
    rates = {"float32": fma, "bfloat16": fma, "int8": int8}
    if (bf16 := probed.get(f"bf16_{isa}")) is not None:
        rates |= {"bfloat16": bf16, "bf16x3": bf16 / _PRODUCTS["bf16x3"], "bf16x2": bf16 / _PRODUCTS["bf16x2"]}
    return rates


def least_seconds(batch: list[Sentence], weights: Weights, precision: str, rates: Rates) -> tuple[float, str] | None:
    """The least time for a batch, and what bounds most of it: "arithmetic" or "memory".

    None for a precision that is not in `rates`.
    """
    if precision not in rates.arithmetic:
        return None
    peak, size = rates.arithmetic[precision], _BYTES[precision]
    encoder_precision = "bfloat16" if precision == "int8" else precision
    distinct = len({token for sentence in batch for token in sentence}) + _MARKERS
    tokens = sum(len(sentence) + _MARKERS for sentence in batch)
    steps = max(len(sentence) + _MARKERS for sentence in batch)
    model, recurrent = rates.read_model[precision], rates.read_recurrent[precision]
    phases = [
        (
            2 * distinct * weights.encoder / rates.arithmetic[encoder_precision],
            _BYTES[encoder_precision] * weights.encoder / model,
        )
    ]
    for layer, inputs in enumerate(weights.inputs):
        phases.append((2 * (distinct if layer == 0 else tokens) * inputs / peak, size * inputs / model))
        phases.append((2 * 2 * tokens * weights.recurrent / peak, 2 * size * weights.recurrent * steps / recurrent))
    by_arithmetic = sum(arithmetic for arithmetic, memory in phases if arithmetic > memory)
    total = sum(max(phase) for phase in phases)
    return total, "arithmetic" if by_arithmetic > total / 2 else "memory"
