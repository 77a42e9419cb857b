"""Random models of the published sizes, written once into a cache folder: speed does not depend on the weights."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tests"))

from random_model import write_random_model  # noqa: E402

FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))

# name: (cell_size, projection_dim, n_highway)
SIZES = {"small": (1024, 128, 1), "medium": (2048, 256, 1), "original": (4096, 512, 2)}


def model_files(name: str) -> tuple[str, str]:
    """Returns options and weights of the built-in "tiny" or of a random model of a published size."""
    if name == "tiny":
        from elmo_fast import models

        return models.resolve("tiny")
    cell_size, projection_dim, n_highway = SIZES[name]
    folder = Path(os.environ.get("ELMO_FAST_BENCHMARK_CACHE", Path(tempfile.gettempdir()) / "elmo_fast_benchmarks"))
    paths = folder / name / "options.json", folder / name / "weights.hdf5"
    if not all(path.is_file() for path in paths):
        # Written beside and renamed: an interrupted run leaves no half-written model to be found later.
        with tempfile.TemporaryDirectory(dir=_made(folder)) as part:
            write_random_model(
                Path(part) / name, char_embedding_dim=16, filters=FILTERS, n_highway=n_highway, cell_size=cell_size,
                projection_dim=projection_dim,
            )  # fmt: skip
            os.replace(Path(part) / name, folder / name)
    return str(paths[0]), str(paths[1])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
