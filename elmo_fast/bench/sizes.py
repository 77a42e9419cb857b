"""The models that are timed: the built-in one, a folder's, or random ones of the published sizes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from elmo_fast import models

FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))

# name: (cell_size, projection_dim, n_highway)
SIZES = {"small": (1024, 128, 1), "medium": (2048, 256, 1), "original": (4096, 512, 2)}


def model_files(name: str) -> tuple[str, str]:
    """Returns the paths of a model's options and weights.

    Speed hardly depends on the weights, so "small", "medium" and "original" are random models of the published sizes:
    nothing is downloaded. They are written on first use, into the folder that ELMO_FAST_BENCHMARK_CACHE names, else
    into the cache of downloaded models (54, 112 and 374 MB; delete them at will).

    Args:
        name: "tiny", "small", "medium", "original", or a folder that holds `options.json` and `weights.hdf5`.
    Raises:
        ValueError: neither.
        FileNotFoundError: the folder lacks a file.
    """
    if name not in SIZES:
        if name != "tiny" and not Path(name).expanduser().is_dir():
            raise ValueError(f"model: expected tiny, {', '.join(SIZES)} or a folder with a model, got {name!r}")
        return models.resolve(name)
    given = os.environ.get("ELMO_FAST_BENCHMARK_CACHE")
    folder = Path(given) if given else models.cache_dir() / "random_models"
    paths = folder / name / "options.json", folder / name / "weights.hdf5"
    if not all(path.is_file() for path in paths):
        _write(folder, name)
    return str(paths[0]), str(paths[1])


def _write(folder: Path, name: str) -> None:
    from elmo_fast.bench.random_model import write_random_model

    cell_size, projection_dim, n_highway = SIZES[name]
    folder.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: an interrupted run leaves no half-written model to be found later.
    with tempfile.TemporaryDirectory(dir=folder) as part:
        write_random_model(
            Path(part) / name, char_embedding_dim=16, filters=FILTERS, n_highway=n_highway, cell_size=cell_size,
            projection_dim=projection_dim,
        )  # fmt: skip
        try:
            os.replace(Path(part) / name, folder / name)
        except OSError:
            # Another process was quicker, and its model is the same.
            if not (folder / name / "weights.hdf5").is_file():
                raise
