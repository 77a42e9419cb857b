"""The memory that loading needs and keeps, and that calls keep, each measured in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.processes import ENVIRONMENT

from elmo_fast import _cpu

PROJECT = Path(__file__).resolve().parents[2]
# A child imports the package that this process tests, wherever its script lies.
MEGABYTE = 1 << 20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="memory is measured on Linux alone, from /proc"
)

MEASURE = """
import gc, json, re, sys
import h5py  # a library of 11 MB, which is not the model's
import numpy as np
import elmo_fast
import elmo_fast
from elmo_fast import _cpu

def memory(field):
    gc.collect()
    return 1024 * int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

def report(**values):
    print(json.dumps(values))
"""


def measured(code: str, *arguments: object) -> dict[str, int]:
    """What a new process prints with `report`."""
    command = [sys.executable, "-c", MEASURE + textwrap.dedent(code), *map(str, arguments)]
    run = subprocess.run(command, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def model(random_model: Callable[..., tuple[Path, Path]]) -> tuple[Path, Path]:
    """A random model of the size of AllenNLP's "medium", 112 MB, but few filters of few widths: hardly any tables."""
    return random_model(cell_size=2048, projection_dim=256, filters=((1, 1024), (2, 1024)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_loading_keeps_one_copy_and_needs_little_more(model: tuple[Path, Path], precision: str) -> None:
    code = """
    before = memory("VmRSS")
    embedder = elmo_fast.load((sys.argv[1], sys.argv[2]), precision=sys.argv[3])
    after = memory("VmRSS")
    report(resident=after - before, peak=memory("VmHWM") - before, packed=embedder._bilm.weights.nbytes)
    """
    result = measured(code, *model, precision)
    file = model[1].stat().st_size
    part = {"float32": 1.0, "bfloat16": 0.5, "int8": 0.4}[precision]  # in int8 the encoder stays in 16 bits
    assert result["packed"] < part * file + 6 * MEGABYTE
    assert result["resident"] < 1.1 * result["packed"] + 6 * MEGABYTE
    assert result["peak"] < result["packed"] + 0.5 * file + 6 * MEGABYTE


def test_making_a_module_keeps_one_copy_and_needs_little_more(model: tuple[Path, Path]) -> None:
    code = """
    before = memory("VmRSS")
    module = elmo_fast.Elmo(sys.argv[1], sys.argv[2], 1)
    report(resident=memory("VmRSS") - before, peak=memory("VmHWM") - before)
    """
    result = measured(code, *model)
    assert result["resident"] < 1.1 * model[1].stat().st_size
    assert result["peak"] < 1.2 * model[1].stat().st_size


def test_working_memory_is_returned(random_model: Callable[..., tuple[Path, Path]]) -> None:
    code = """
    embedder = elmo_fast.load((sys.argv[1], sys.argv[2]))
    lstm = embedder._bilm.weights._lstm
    table = np.ones((1, lstm.input_size), dtype=np.float32)

    def run(n, steps):
        index, lengths = np.zeros((n, steps), dtype=np.int32), np.full(n, steps, dtype=np.int64)
        out = np.empty((lstm.num_layers, n, steps, 2 * lstm.projection_dim), dtype=np.float32)
        lstm.run(table, index, lengths, out, 2)

    run(8, 8)
    before = memory("VmRSS")
    run(512, 2000)
    report(kept=memory("VmRSS") - before, peak=memory("VmHWM") - before)
    """
    result = measured(code, *random_model(), 0)
    kept = 128  # WorkspacePool::kKeptBytes
    assert result["peak"] > (kept + 64) * MEGABYTE, "too small a call to tell anything"
    assert result["kept"] < (kept + 16) * MEGABYTE


def test_memory_does_not_grow_from_call_to_call(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    command = [sys.executable, "benchmarks/soak.py", "--model", "tiny", "--calls", "400", "--output", str(report)]
    run = subprocess.run([*command, "--rounds", "20"], cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    result = json.loads(report.read_text())
    assert len(result["resident_megabytes"]) == 20
    assert result["growth_megabytes"] < 12, result


def test_packed_bytes_are_counted(tiny_model: tuple[str, str]) -> None:
    from elmo_fast.cpu.bilm import CpuBiLm

    sizes = {}
    for precision in ("float32", "bfloat16", "int8"):
        engine = CpuBiLm.from_files(*tiny_model, precision=precision)
        assert engine._lstm.precision_in_use == _cpu.precision_in_use(precision)
        sizes[precision] = engine._lstm.nbytes
    assert 0.45 * sizes["float32"] < sizes["bfloat16"] < 0.55 * sizes["float32"]
    assert 0.2 * sizes["float32"] < sizes["int8"] < 0.35 * sizes["float32"]
