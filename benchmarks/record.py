"""Measures everything that benchmarks/results/ holds for one machine, one `elmo-fast bench` after the other.

    python benchmarks/record.py --name zen3_2cores              # about an hour and a half
    python benchmarks/record.py --name zen3_2cores --only small # the runs whose name contains "small"
    python benchmarks/record.py --name h100 --cuda              # the tests and figures of a GPU

Each run is a separate process and writes one file, so that --missing continues an interrupted recording.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from elmo_fast.info import build_info

RESULTS = Path(__file__).resolve().parent / "results"
_OWN = ["--peers"]  # no peer


@dataclass(frozen=True)
class Run:
    name: str
    arguments: list[str]
    isa: str | None = None


def runs() -> list[Run]:
    """What is recorded: all suites of the original and the small model with all peers; the medium model, one thread and
    the smaller instruction sets where they differ."""
    found = [
        Run(f"{model}_2threads", ["--model", model, "--threads", "2", "--suite", "all"])
        for model in ("original", "small")
    ]
    medium = ["--model", "medium", "--threads", "2", "--suite", "table", "length", "--peers", "allennlp"]
    found.append(Run("medium_2threads", medium))
    for model in ("original", "small"):
        suites = ["--suite", "table", "batch"]
        found.append(Run(f"{model}_1thread", ["--model", model, "--threads", "1", *suites, *_OWN]))
    for isa in build_info()["isas_available"][1:-1]:  # neither the specification, which is slow by design, nor the best
        arguments = ["--model", "original", "--threads", "2", "--suite", "table", "batch", *_OWN]
        found.append(Run(f"original_2threads_{isa}", arguments, isa))
    return found


def cuda_runs() -> list[Run]:
    """What is recorded of a GPU: all kernels with and without graphs, AllenNLP on the same GPU, and the CPU beside."""
    models = ("original", "small")
    return [Run(f"{model}_cuda", ["--model", model, "--device", "cuda", "--suite", "all"]) for model in models]


def _test_gpu(output: Path) -> None:
    """Runs the tests that need a GPU and keeps what they print."""
    print("== tests/cuda/test_cuda_gpu.py", flush=True)
    tests = Path(__file__).resolve().parent.parent / "tests" / "cuda" / "test_cuda_gpu.py"
    done = subprocess.run([sys.executable, "-m", "pytest", "-v", str(tests)], capture_output=True, text=True)
    print(done.stdout[-2000:], flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(done.stdout.replace(str(tests.parent.parent), "."))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", required=True, help="of the machine, part of the files' names")
    parser.add_argument("--cuda", action="store_true", help="the tests and figures of a GPU instead")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--missing", action="store_true", help="runs that have no file yet")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the files go (default: benchmarks/results)")
    parser.add_argument("--smoke", action="store_true", help="the built-in model and a few small batches instead")
    options = parser.parse_args()
    if options.cuda:
        _test_gpu(options.folder / f"test_cuda_gpu_{options.name}.txt")
    for run in cuda_runs() if options.cuda else runs():
        output = options.folder / f"bench_{run.name}_{options.name}.json"
        if options.only not in run.name or (options.missing and output.is_file()):
            continue
        command = [sys.executable, "-m", "elmo_fast", "bench", *run.arguments, "--output", str(output)]
        if options.smoke:
            command += ["--model", "tiny", "--smoke"]
        print(f"== {run.name}", flush=True)
        environment = os.environ | ({"ELMO_FAST_ISA": run.isa} if run.isa else {})
        subprocess.run(command, check=True, env=environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
