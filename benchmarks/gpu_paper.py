"""Writes the tables of docs/gpu.md from gpu_model.py: arithmetic, not measurements.

    python benchmarks/gpu_paper.py [--check]

Everything between the page's two markers is replaced; --check writes nothing and fails where the page differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from gpu_model import (
    GPUS,
    LAUNCH,
    RECURRENT,
    ROW_TILE,
    STORAGE,
    SYNC,
    Gpu,
    Step,
    forward,
    h_and_cells,
    input_products,
    m_reads,
    step_of,
    tensor_step,
)
from page_tables import head, line, replace_tables, with_tables

SENTENCES = ((1, 10), (64, 20))  # rows, tokens of each
MARKERS = 2
CASES = [(gpu, storage, size) for gpu in GPUS for storage, size in STORAGE.items()]


def main() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "gpu.md"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--page", type=Path, default=page, help="the page to write into")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page differs")
    options = parser.parse_args()
    script = Path(__file__).name
    if not options.check:
        replace_tables(options.page, script, tables())
    elif options.page.read_text(encoding="utf-8") != with_tables(options.page, script, tables()):
        raise SystemExit(f"{options.page} is not what {script} computes: run python benchmarks/{script}")


def tables() -> Iterator[str]:
    yield from _data_sheets()
    for rows, tokens in SENTENCES:
        yield from _steps(rows, tokens + MARKERS)
    yield from _l2_bytes(*SENTENCES[1])
    yield from _choices()
    yield from _tensor_cores(*SENTENCES[1])
    yield from _forwards()


def _data_sheets() -> Iterator[str]:
    yield "## The GPUs"
    yield ""
    yield from head(
        *("GPU", "multiprocessors", "GHz", "FP32, TFLOP/s", "16-bit tensor, TFLOP/s", "DRAM, GB/s", "L2, MB"),
        *("L2, TB/s (assumed)", "shared memory of a block, KB", "of the chip, for weights, MB"),
    )
    for g in GPUS:
        rates = f"{g.clock / 1e9:.2f}", f"{g.fp32 / 1e12:.1f}", f"{g.tensor / 1e12:.0f}", f"{g.dram / 1e9:.0f}"
        l2 = str(g.l2 >> 20), f"{g.l2_rate / 1e12:.1f}"
        yield line(g.name, str(g.sms), *rates, *l2, str(g.shared >> 10), f"{g.for_weights / 1e6:.1f}")
    yield ""
    yield f"Assumed: a launch {_us(LAUNCH)} us, a grid sync {_us(SYNC)} us. L2 and a block's share: in units of 1,024."
    yield ""


def _steps(rows: int, steps: int) -> Iterator[str]:
    yield f"## One step of both directions, batch {rows}"
    yield ""
    yield f"{2 * RECURRENT * rows / 1e6:,.0f} million multiply-adds; bytes in MB and times in us."
    yield ""
    sources = ("DRAM", "L2", "shared memory")
    yield from head("GPU", "weights", "kernel", *sources, "FMA", "launches, syncs", "floor", "bound")
    for gpu, storage, size in CASES:
        step = step_of(gpu, size, rows, steps)
        seconds = step.seconds
        moved = zip((step.dram, step.l2, step.shared), sources, strict=True)
        cells = (f"{amount / 1e6:,.0f}: {_us(seconds[source])}" if amount else "-" for amount, source in moved)
        waits = seconds["grid sync" if step.persistent else "launches"]
        floor = f"**{_us(step.floor)}**"
        yield line(
            gpu.name, storage, _kernel(step), *cells, _us(seconds["arithmetic"]), _us(waits), floor, _bound(step)
        )
    yield ""


def _l2_bytes(rows: int, tokens: int) -> Iterator[str]:
    """What L2 moves in the step kernels, and what DRAM would where the tiles of rows are walked in the worse order."""
    gpu, tiles = GPUS[-1], rows // ROW_TILE
    full, half = (f"{tiles * 2 * RECURRENT * size / 1e6:.0f}" for size in STORAGE.values())
    m, rest = m_reads(gpu, rows, False) / 1e6, (h_and_cells(gpu, rows) + input_products(4, rows)) / 1e6
    slow = []
    for g, storage, size in CASES:
        step = step_of(g, size, rows, tokens + MARKERS)
        if not step.persistent and step.dram > 2 * RECURRENT * size:
            slow.append(f"{g.name} {storage} {_us(tiles * 2 * RECURRENT * size / g.dram)}")
    yield from wrap(
        f"What L2 moves for the step kernels ({gpu.name}): weights {full} MB, in 16 bits {half}, once for each of "
        f"{tiles} tiles of rows; m {m:.0f} MB, once for each block of the projection; all else {rest:.0f}. DRAM gives "
        "the weights once if all tiles of a block's cells run close together. If a tile goes through all cells first, "
        f"DRAM gives them {tiles} times, and a step takes, in us: {', '.join(slow)}.",
        width=120,
    )
    yield ""


def _choices() -> Iterator[str]:
    yield "## Step or persistent?"
    yield ""
    yield "A step of both directions, us, by either kernel, where shared memory holds 40% of the weights or more."
    yield ""
    yield from head(
        *("GPU", "weights", "held", "batch", "step kernels", "if L2 kept no weights", "persistent"),
        *("of that, syncs", "equal at a sync of"),
    )
    for gpu, storage, size in CASES:
        share = gpu.share_on_chip(size)
        for rows, tokens in SENTENCES if share >= 0.4 else ():
            resident = step_of(gpu, size, rows, tokens + MARKERS, persistent=True)
            floors = [step_of(gpu, size, rows, tokens + MARKERS, persistent=False, l2=l2).floor for l2 in (True, False)]
            equal = (floors[0] - resident.work) * SYNC / (resident.floor - resident.work)
            times = (*floors, resident.floor, resident.floor - resident.work)
            yield line(
                gpu.name, storage, f"{share:.0%}", str(rows), *map(_us, times), _us(equal) if equal > 0 else "never"
            )
    yield ""


def _tensor_cores(rows: int, tokens: int) -> Iterator[str]:
    yield f"## Tensor cores in the step, batch {rows}"
    yield ""
    yield "Weights in 16 bits, a step of both directions, us. The last kernel does not exist."
    yield ""
    yield from head("GPU", "chosen kernel", "bound", "its FMA alone", "with tensor cores", "bound", "times faster")
    for gpu in GPUS:
        now, then = step_of(gpu, 2, rows, tokens + MARKERS), tensor_step(gpu, rows, tokens + MARKERS)
        cells = _us(now.floor), _bound(now), _us(now.seconds["arithmetic"]), _us(then.floor), then.bound
        yield line(gpu.name, *cells, f"{now.floor / then.floor:.1f}")
    yield ""


def _forwards() -> Iterator[str]:
    yield "## A forward pass"
    yield ""
    yield "Milliseconds; tokens a second are those of the text, two digits of them."
    for rows, tokens in SENTENCES:
        yield ""
        yield f"{rows} sentence{'s' * (rows > 1)} of {tokens} tokens, {tokens + MARKERS} steps:"
        yield ""
        yield from head("GPU", "weights", *_parts(GPUS[0], 4, rows, tokens), "floor", "tokens/s at most")
        for gpu, storage, size in CASES:
            parts = _parts(gpu, size, rows, tokens)
            total = sum(parts.values())
            per_second = float(f"{rows * tokens / total:.2g}")
            times = (f"{1e3 * t:.3f}" if t < 1e-4 else f"{1e3 * t:.2f}" for t in parts.values())
            yield line(gpu.name, storage, *times, f"**{1e3 * total:.2f}**", f"{per_second:,.0f}")


def _parts(gpu: Gpu, size: int, rows: int, tokens: int) -> dict[str, float]:
    return forward(gpu, size, rows, tokens + MARKERS)


def _kernel(step: Step) -> str:
    share = f"{step.gpu.share_on_chip(step.size):.0%}"
    return f"persistent, {share} held" if step.persistent else "step"


def _bound(step: Step) -> str:
    return step.bound.replace("arithmetic", "FMA")


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.1f}" if seconds < 99.95e-6 else f"{1e6 * seconds:.0f}"


if __name__ == "__main__":
    main()
