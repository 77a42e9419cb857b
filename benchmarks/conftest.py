"""pytest-benchmark set-up: records the machine, and takes threads and model size from the command line."""

from __future__ import annotations

import pytest
import torch

from elmo_fast.bench import machine, sizes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--model", default="small", help="tiny, small, medium or original")
    parser.addoption("--threads", type=int, default=2)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    torch.set_num_threads(config.getoption("--threads"))
    machine_info["elmo_fast"] = machine.describe()


@pytest.fixture(scope="session")
def model_files(request: pytest.FixtureRequest) -> tuple[str, str]:
    torch.set_num_threads(request.config.getoption("--threads"))
    return sizes.model_files(request.config.getoption("--model"))
