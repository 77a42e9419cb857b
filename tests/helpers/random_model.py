"""Random models in the official file format: the benchmarks' writer, under the name the tests know it by."""

from __future__ import annotations

from elmo_fast.bench.random_model import SMALL_FILTERS, write_random_model

__all__ = ["SMALL_FILTERS", "write_random_model"]
