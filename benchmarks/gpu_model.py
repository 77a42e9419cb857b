"""What the CUDA kernels could reach on a GPU: arithmetic, not measurements. docs/gpu.md describes what is counted.

Sizes are those of the original model. A figure is the least time in which the bytes can move and the operations run,
each at its peak rate and all at the same time. Launches overlap with work, grid syncs do not. Units: bytes, seconds,
and rates per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

LAUNCH, SYNC = 2.5e-6, 2e-6  # assumed: one kernel after another in a stream; one sync of a cooperative grid
ROW_TILE = 8  # number of rows for which a kernel reads the weights once
OUTPUTS = 4  # gate rows per warp, outputs per projection block: they share what is read of h and m
TENSOR_OUTPUTS = 16  # outputs per projection block if it used tensor cores
RESERVED = 17 * 1024  # shared memory per block that holds no weights but 8 rows of h and partial sums
L2_SHARE = 0.9  # the share of L2 that data may fill if it is to stay there
SHARE_FOR_PERSISTENT = 0.5  # of the weights must fit into shared memory

CELLS, PROJECTION, N_FILTERS, LAYERS, HIGHWAYS = 4096, 512, 2048, 2, 2
FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
CHARACTERS = 262
WINDOWS = 8  # distinct windows of a word of 5 characters with its two markers; padding is one window
RECURRENT = 4 * CELLS * PROJECTION + PROJECTION * CELLS  # weights of one direction of one layer
STORAGE = {"32 bits": 4, "16 bits": 2}


@dataclass(frozen=True)
class Gpu:
    """Figures of the data sheet; assumed are the rate of L2, but A100's, and `shared_clock`."""

    name: str
    sms: int
    lanes: int  # FP32 multiply-adds per clock and multiprocessor
    clock: float
    tensor: float  # operations, dense, 16 bits in, sums in float32
    dram: float
    l2: int
    l2_rate: float
    shared: int  # the largest amount for one block
    shared_clock: int = 128  # bytes per clock and multiprocessor

    @property
    def fp32(self) -> float:
        return 2 * self.sms * self.lanes * self.clock

    def l2_holds(self, size: float) -> bool:
        return size <= L2_SHARE * self.l2

    @property
    def for_weights(self) -> int:
        """Shared memory of the chip that a persistent kernel has for weights."""
        return self.sms * (self.shared - RESERVED)

    def share_on_chip(self, size: int) -> float:
        """The part of one direction's weights that fits there."""
        return min(1.0, self.for_weights / (RECURRENT * size))


GPUS = (
    Gpu("T4", 40, 64, 1.59e9, 65e12, 320e9, 4 << 20, 1.3e12, 64 << 10, shared_clock=64),
    Gpu("A100 80 GB SXM", 108, 64, 1.41e9, 312e12, 2039e9, 40 << 20, 7.2e12, 163 << 10),
    Gpu("L4", 58, 128, 2.04e9, 121e12, 300e9, 48 << 20, 1.8e12, 99 << 10),
    Gpu("RTX 4090", 128, 128, 2.52e9, 165e12, 1008e9, 72 << 20, 5e12, 99 << 10),
    Gpu("H100 SXM", 132, 128, 1.98e9, 989e12, 3350e9, 50 << 20, 5.5e12, 227 << 10),
)


@dataclass(frozen=True)
class Step:
    """One time step of both directions of one layer: bytes by where they come from, and seconds."""

    gpu: Gpu
    size: int
    persistent: bool
    dram: float
    l2: float
    shared: float
    operations: float
    rate: float

    @property
    def seconds(self) -> dict[str, float]:
        g = self.gpu
        shared = self.shared / (g.sms * g.shared_clock * g.clock)
        work = {"DRAM": self.dram / g.dram, "L2": self.l2 / g.l2_rate, "shared memory": shared}
        waits = {"grid sync": 4 * SYNC} if self.persistent else {"launches": 2 * LAUNCH}
        return work | {"arithmetic": self.operations / self.rate} | waits

    @property
    def work(self) -> float:
        return max(t for name, t in self.seconds.items() if name != "grid sync")

    @property
    def floor(self) -> float:
        return self.work + self.seconds.get("grid sync", 0)

    @property
    def bound(self) -> str:
        return max(self.seconds, key=lambda name: self.seconds[name])


def step_of(gpu: Gpu, size: int, rows: int, steps: int, persistent: bool | None = None, l2: bool = True) -> Step:
    """The kernel that would be chosen, or the one asked for.

    Args:
        size: bytes per weight.
        steps: of the sequence; W_x x of all of them is stored between its product and this step.
        l2: if False, no weights stay in L2 between steps.
    """
    share = gpu.share_on_chip(size)
    persistent = share >= SHARE_FOR_PERSISTENT if persistent is None else persistent
    weights, tiles, products = 2 * RECURRENT * size, ceil(rows / ROW_TILE), input_products(size, rows)
    kept = share * weights if persistent else 0
    streamed = weights - kept
    at_a_time = streamed / 2 if persistent else streamed  # the persistent kernel runs one direction after the other
    dram = 0 if l2 and gpu.l2_holds(at_a_time) else streamed
    dram += 0 if gpu.l2_holds(products * steps) else products
    from_l2 = tiles * streamed + products + h_and_cells(gpu, rows) + m_reads(gpu, rows, persistent)
    operands = 2 * rows * RECURRENT * 4 / OUTPUTS
    return Step(gpu, size, persistent, dram, from_l2, tiles * kept + operands, 4 * RECURRENT * rows, gpu.fp32)


def input_products(size: int, rows: int) -> int:
    return 2 * rows * 4 * CELLS * size


def h_and_cells(gpu: Gpu, rows: int) -> int:
    """h once per multiprocessor, the cell state read and written, m written; both directions."""
    return 2 * rows * (gpu.sms * PROJECTION + 3 * CELLS) * 4


def m_reads(gpu: Gpu, rows: int, persistent: bool) -> int:
    """Each block of the projection reads all of m; both directions."""
    return 2 * rows * (gpu.sms if persistent else PROJECTION // OUTPUTS) * CELLS * 4


def tensor_step(gpu: Gpu, rows: int, steps: int) -> Step:
    """Step kernels that do not exist: tensor cores, weights read once for all rows, h and m in 16 bits."""
    weights, products = 2 * RECURRENT * 2, input_products(2, rows)
    m_blocks = PROJECTION // TENSOR_OUTPUTS
    activations = 2 * rows * (2 * (gpu.sms * PROJECTION + (m_blocks + 1) * CELLS) + 8 * CELLS)
    dram = (0 if gpu.l2_holds(weights) else weights) + (0 if gpu.l2_holds(steps * products) else products)
    return Step(gpu, 2, False, dram, weights + products + activations, 0, 4 * RECURRENT * rows, gpu.tensor)


def forward(gpu: Gpu, size: int, rows: int, steps: int) -> dict[str, float]:
    """Seconds of a forward pass, part by part: rows of one length, all words distinct, all weights in DRAM at first."""
    tokens, rate = rows * steps, gpu.fp32 if size == 4 else gpu.tensor

    def product(outputs: int, inputs: int, launches: int) -> float:
        written = tokens * outputs * size
        dram = size * outputs * inputs + (0 if gpu.l2_holds(written) else written)
        arithmetic = 2 * tokens * outputs * inputs / rate
        return max(arithmetic, written / gpu.l2_rate, dram / gpu.dram, launches * LAUNCH)

    window = size * sum(width * n for width, n in FILTERS)
    looked_up, tables = tokens * WINDOWS * window, CHARACTERS * window
    from_dram = min(looked_up, tables) if gpu.l2_holds(tables) else looked_up
    gate = max(LAUNCH, tokens * 4 * N_FILTERS * size / gpu.l2_rate)
    highway = product(2 * N_FILTERS, N_FILTERS, 1) + gate
    step, first_read = step_of(gpu, size, rows, steps), 2 * RECURRENT * size / gpu.dram
    first_step = first_read + step.floor if step.persistent else max(first_read, step.floor)
    return {
        "char-CNN": max(looked_up / gpu.l2_rate, from_dram / gpu.dram, LAUNCH),
        "highway, projection": HIGHWAYS * highway + product(PROJECTION, N_FILTERS, 1),
        "W_x x": LAYERS * product(2 * 4 * CELLS, PROJECTION, 2),
        "recurrence": LAYERS * (first_step + (steps - 1) * step.floor),
        "mix": max(LAUNCH, tokens * (LAYERS + 2) * 2 * PROJECTION * size / gpu.dram),
    }
