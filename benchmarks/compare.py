"""Measures the project's table of speeds: three workloads, every precision, every peer, and the machine's limits.

    python benchmarks/compare.py                                     # original model, 2 threads
    python benchmarks/compare.py --output benchmarks/results/bench_original_table.json

It is `elmo-fast bench --model original --threads 2 --suite table`, and accepts all of its options.
"""

from __future__ import annotations

import sys

from elmo_fast.cli import bench

if __name__ == "__main__":
    sys.exit(bench.main(model="original", threads=2, suite=["table"], budget=60))
