"""Compares two sets of vectors of the same tokens: error, and agreement of nearest neighbours."""

from __future__ import annotations

import numpy as np


def error(actual: np.ndarray, expected: np.ndarray) -> dict[str, object]:
    """The error of all layers of all tokens.

    Args:
        actual, expected: (num_layers, tokens, output_dim).
    Returns:
        "max" and "rms" of the difference and "output_rms" of the expected values, over everything; "layers": the same
        three for each layer.
    """
    layers = [_error(a, e) for a, e in zip(actual, expected, strict=True)]
    return {**_error(actual, expected), "layers": layers}


def _error(actual: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    difference = actual - expected.astype(np.float64)
    return {"max": _short(np.abs(difference).max()), "rms": _rms(difference), "output_rms": _rms(expected)}


def _rms(x: np.ndarray) -> float:
    return _short(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _short(x: float) -> float:
    return float(f"{x:.4g}")


def neighbours(vectors: np.ndarray, count: int) -> np.ndarray:
    """The `count` nearest other vectors of each, by cosine, nearest first.

    Args:
        vectors: (n, dim), n > count.
    Returns:
        (n, count) row numbers.
    """
    # In float64, to compare the vectors and not the rounding of their cosines.
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    nearest = np.empty((len(unit), count), dtype=np.int64)
    for start in range(0, len(unit), 512):
        cosine = unit[start : start + 512] @ unit.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -np.inf
        some = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosine, some, axis=1), axis=1)
        nearest[start : start + 512] = np.take_along_axis(some, order, axis=1)
    return nearest


def neighbour_agreement(actual: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Compares two results of `neighbours`.

    Returns:
        "nearest": share of rows with the same nearest neighbour; "top": mean share of their neighbours in common.
    """
    common = (actual[:, :, None] == expected[:, None, :]).any(axis=2).mean()
    return {"nearest": round(float((actual[:, 0] == expected[:, 0]).mean()), 4), "top": round(float(common), 4)}
