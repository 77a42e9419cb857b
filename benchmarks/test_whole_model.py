"""Speed of a whole `Elmo` forward pass: the native engine, reference.py, AllenNLP. Ratios: compare.py."""

from __future__ import annotations

import itertools

import pytest
from peers import available, load_peer
from texts import Workload, read_sentences, workloads

import elmo_fast


@pytest.mark.parametrize("workload", workloads(read_sentences()[1]), ids=lambda w: w.name)
@pytest.mark.parametrize("name", ["elmo_fast", "reference", "allennlp"])
def test_forward(benchmark, model_files: tuple[str, str], name: str, workload: Workload) -> None:
    if not available([name]):
        pytest.skip("AllenNLP 2.10.1 cannot be imported")
    model = load_peer(name, *model_files)
    counter = itertools.count()

    def another_batch() -> tuple[tuple[object, ...], dict[str, object]]:
        return (elmo_fast.batch_to_ids(workload.batch(next(counter))),), {}

    benchmark.pedantic(model, setup=another_batch, rounds=3, warmup_rounds=1)
