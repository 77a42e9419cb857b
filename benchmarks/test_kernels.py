"""Speed of the native parts on their own."""

from __future__ import annotations

import numpy as np
import pytest

import elmo_fast
from elmo_fast import _cpu
from elmo_fast.bench.texts import read_sentences
from elmo_fast.cpu.bilm import CpuBiLm


@pytest.fixture(scope="module")
def engine(model_files: tuple[str, str]) -> CpuBiLm:
    return CpuBiLm.from_files(*model_files)


@pytest.mark.parametrize("isa", elmo_fast.build_info()["isas_available"])
@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_map_values(benchmark, function: str, isa: str) -> None:
    x = np.random.default_rng(0).normal(size=1 << 14).astype(np.float32) * 3
    benchmark.extra_info["values"] = x.size
    benchmark(_cpu.map_values, isa, function, x)


@pytest.mark.parametrize("n", [1, 16, 128])
def test_token_encoder(benchmark, engine: CpuBiLm, n: int) -> None:
    words = sorted({token for sentence in read_sentences()[1] for token in sentence})[:n]
    ids = elmo_fast.batch_to_ids([words]).numpy()[0]
    benchmark.extra_info["tokens"] = len(ids)
    benchmark(engine._encoder.encode, ids, elmo_fast.get_num_threads())


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_bilstm(benchmark, engine: CpuBiLm, batch_size: int) -> None:
    steps = 8
    x = np.random.default_rng(0).normal(size=(batch_size * steps, engine.projection_dim)).astype(np.float32)
    index = np.arange(len(x), dtype=np.int32).reshape(batch_size, steps)
    lengths = np.full(batch_size, steps, dtype=np.int64)
    out = np.empty((engine.num_layers - 1, batch_size, steps, engine.output_dim), dtype=np.float32)
    benchmark.extra_info["tokens"] = len(x)
    benchmark(engine._lstm.run, x, index, lengths, out, elmo_fast.get_num_threads())
