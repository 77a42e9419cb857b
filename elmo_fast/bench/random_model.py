"""Writes random biLMs in the official file format, of any size and with every option."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

SMALL_FILTERS = ((1, 4), (2, 5), (3, 6))


def write_random_model(
    folder: Path,
    *,
    seed: int = 0,
    activation: str = "relu",
    char_embedding_dim: int = 4,
    filters: tuple[tuple[int, int], ...] = SMALL_FILTERS,
    n_highway: int = 1,
    cell_size: int = 12,
    projection_dim: int = 6,
    n_layers: int = 2,
    cell_clip: float | None = 3.0,
    proj_clip: float | None = 3.0,
    use_skip_connections: bool = True,
    max_characters: int = 50,
    scale: float = 1.0,
) -> tuple[Path, Path]:
    """Writes `options.json` and `weights.hdf5` into a folder, created if it is missing; returns their paths.

    Weights are normal with variance scale^2 / fan-in, so activations keep their size from layer to layer; a scale of
    3 or more makes clipping act. No `CNN_proj` is written where the number of filters equals `projection_dim`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options_path, weights_path = folder / "options.json", folder / "weights.hdf5"
    options = {
        "lstm": {
            "dim": cell_size,
            "projection_dim": projection_dim,
            "n_layers": n_layers,
            "cell_clip": cell_clip,
            "proj_clip": proj_clip,
            "use_skip_connections": use_skip_connections,
        },
        "char_cnn": {
            "activation": activation,
            "embedding": {"dim": char_embedding_dim},
            "filters": [list(pair) for pair in filters],
            "n_highway": n_highway,
            "n_characters": 262,
            "max_characters_per_token": max_characters,
        },
    }
    options_path.write_text(json.dumps(options))
    random = np.random.default_rng(seed)
    with h5py.File(weights_path, "w") as file:

        def write(name: str, *shape: int, fan_in: int) -> None:
            file[name] = (random.standard_normal(shape, dtype=np.float32) * (scale / np.sqrt(fan_in))).astype("float32")

        write("char_embed", 261, char_embedding_dim, fan_in=1)
        for i, (width, n) in enumerate(filters):
            write(f"CNN/W_cnn_{i}", 1, width, char_embedding_dim, n, fan_in=width * char_embedding_dim)
            write(f"CNN/b_cnn_{i}", n, fan_in=10)
        n_filters = sum(n for _, n in filters)
        for k in range(n_highway):
            for kind in ("transform", "carry"):
                write(f"CNN_high_{k}/W_{kind}", n_filters, n_filters, fan_in=n_filters)
                write(f"CNN_high_{k}/b_{kind}", n_filters, fan_in=10)
        if n_filters != projection_dim:
            write("CNN_proj/W_proj", n_filters, projection_dim, fan_in=n_filters)
            write("CNN_proj/b_proj", projection_dim, fan_in=10)
        for direction in (0, 1):
            for layer in range(n_layers):
                cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
                write(f"{cell}/W_0", 2 * projection_dim, 4 * cell_size, fan_in=2 * projection_dim)
                write(f"{cell}/B", 4 * cell_size, fan_in=10)
                write(f"{cell}/W_P_0", cell_size, projection_dim, fan_in=cell_size)
    return options_path, weights_path
