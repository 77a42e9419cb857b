"""The benchmarks' CUDA side, as far as it goes without a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from elmo_fast.bench import gpu, implementations, limits, suites, tables, texts
from elmo_fast.cli import main


def test_a_missing_gpu_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["bench", "--device", "cuda", "--smoke"]) != 0
    assert "--device: 'cuda' was asked for, but torch finds no CUDA device" in capsys.readouterr().err


def test_who_takes_part(tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Each precision that CUDA has, with and without graphs, then float32 on the CPU; what is the CPU's is left out."""
    made: list[tuple[str, bool]] = []

    def on_cuda(files: Any, precision: str, graphs: bool, device: torch.device) -> implementations.Implementation:
        made.append((precision, graphs))
        return implementations.Implementation(f"{precision} {graphs}", lambda ids: ids, device=device)

    monkeypatch.setattr(implementations, "_on_cuda", on_cuda)
    cuda = torch.device("cuda", 0)
    found, left_out = implementations.load_all(
        tiny_model, ["float32", "bfloat16", "int8", "tf32", "float16"], ["allennlp-int8"], device=cuda
    )
    names = ["float32", "bfloat16", "tf32", "float16"]
    assert made == [(name, graphs) for name in names for graphs in (False, True)]
    assert [one.device.type for one in found] == ["cuda"] * 8 + ["cpu"]
    assert found[-1].name == "elmo_fast float32"
    assert left_out == {"elmo_fast int8": "the CPU's alone", "allennlp-int8": "the CPU's alone"}


def test_what_is_a_gpus_alone_is_left_out_on_the_cpu(tiny_model) -> None:  # type: ignore[no-untyped-def]
    found, left_out = implementations.load_all(tiny_model, ["float32", "tf32", "float16"], ["allennlp-fp16"])
    assert [one.name for one in found] == ["elmo_fast float32"]
    assert left_out == dict.fromkeys(["elmo_fast tf32", "elmo_fast float16", "allennlp-fp16"], "a GPU's alone")


def test_graphs_are_captured_before_the_clock_starts(tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(gpu, "flush_cache", lambda: None)
    calls: list[torch.Size] = []

    def forward_of(module: Any) -> Any:
        return lambda char_ids: calls.append(char_ids.shape) or char_ids

    monkeypatch.setattr(implementations, "_forward_of", forward_of)
    one = implementations._on_cuda(tiny_model, "float32", True, torch.device("cpu"))
    for length in (3, 9):
        one.prepare(torch.zeros(1, length, 50))
    assert [shape[1] for shape in calls] == [3, 9]


def test_no_workload_begins_after_the_deadline(tiny_model) -> None:  # type: ignore[no-untyped-def]
    found, _ = implementations.load_all(tiny_model, ["float32"], [])
    _, sentences = texts.read_sentences()
    cells = list(suites.cells("batch", sentences, 1, smoke=True))
    weights, rates = limits.Weights(1, (1,), 1), limits.Rates({}, {}, {})
    assert len(list(suites.run(cells, found, weights, rates, 1.0, 0, deadline=0.0))) == 1
    assert len(list(suites.run(cells, found, weights, rates, 1.0, 0))) == len(cells) > 1


def test_limits_are_the_devices() -> None:
    rates = gpu.rates({"copy": 2e12, "product_float32": 5e13, "product_bfloat16": 8e14}, ["float32", "int8", "float32"])
    assert rates == limits.Rates({"float32": 5e13}, {"float32": 2e12}, {"float32": 2e12}, "cuda")


def test_the_heading_names_the_gpu() -> None:
    device = {"name": "GPU 9000", "multiprocessors": 7}
    report = {"probe": {"cuda": {"copy": 2e12, "product_float32": 5e13}}, "machine": {"cuda": {"before": device}}}
    expected = " GPU: GPU 9000, 7 multiprocessors; measured: copying 2000 GB/s, products float32 50 Top/s."
    assert tables._cuda(report) == expected
    assert tables._cuda({"probe": {}}) == ""
