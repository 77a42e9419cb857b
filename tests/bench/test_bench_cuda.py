"""The benchmarks' CUDA side, as far as it goes without a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from elmo_fast.bench import gpu, implementations, limits, tables
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
        tiny_model, ["float32", "bfloat16", "int8"], ["allennlp-int8"], device=cuda
    )
    assert made == [("float32", False), ("float32", True), ("bfloat16", False), ("bfloat16", True)]
    assert [one.device.type for one in found] == ["cuda"] * 4 + ["cpu"]
    assert found[-1].name == "elmo_fast float32"
    assert left_out == {"elmo_fast int8": "the CPU's alone", "allennlp-int8": "the CPU's alone"}


def test_limits_are_the_devices() -> None:
    rates = gpu.rates({"copy": 2e12, "product_float32": 5e13, "product_bfloat16": 8e14}, ["float32", "int8", "float32"])
    assert rates == limits.Rates({"float32": 5e13}, {"float32": 2e12}, {"float32": 2e12}, "cuda")


def test_the_heading_names_the_gpu() -> None:
    device = {"name": "GPU 9000", "multiprocessors": 7}
    report = {"probe": {"cuda": {"copy": 2e12, "product_float32": 5e13}}, "machine": {"cuda": {"before": device}}}
    expected = " GPU: GPU 9000, 7 multiprocessors; measured: copying 2000 GB/s, products float32 50 Top/s."
    assert tables._cuda(report) == expected
    assert tables._cuda({"probe": {}}) == ""
