"""Draws the pictures of the documentation from the figures in benchmarks/results/.

python benchmarks/plot.py --name zen3_2cores
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from elmo_fast.bench import plots, report

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
FIGURES = PROJECT / "docs" / "figures"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", default="", help="of the machine, as given to record.py (default: all files)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of figures (default: benchmarks/results)")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder of pictures (default: docs/figures)")
    options = parser.parse_args()
    paths = sorted(options.results.glob(f"bench_*{options.name}.json"))
    if not paths:
        parser.error(f"no bench_*{options.name}.json in {options.results}: run benchmarks/record.py")
    errors: dict[str, dict] = {"models": {}}
    for path in sorted(options.results.glob("errors*.json")):
        errors["models"] |= json.loads(path.read_text(encoding="utf-8"))["models"]
    pictures = plots.draw([report.read(path) for path in paths], options.output, errors if errors["models"] else None)
    print(*pictures, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
