"""The table that the project's speed is stated in: three workloads, every precision, every peer, and the floors.

    python benchmarks/compare.py                                     # original model, 2 threads
    python benchmarks/compare.py --output benchmarks/results/bench_original_table.json

It is `elmo-fast bench --model original --threads 2 --suite table`; all of its options are taken.
"""

from __future__ import annotations

import sys

from elmo_fast.cli import bench

if __name__ == "__main__":
    sys.exit(bench.main(model="original", threads=2, suite=["table"], budget=60))
