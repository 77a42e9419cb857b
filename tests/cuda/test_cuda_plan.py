"""What the CUDA schedule decides on the host: devices, plans, buckets. Needs neither a GPU nor the emulator."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import elmo_fast
from elmo_fast.cuda import device as devices
from elmo_fast.cuda import plan as plans
from elmo_fast.cuda.graphs import LENGTH_STEP, bucket

DEVICE = SimpleNamespace(device=torch.device("cpu"))


@pytest.fixture
def without_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_kernels", None)
    monkeypatch.setattr(devices, "_why_not", "it was not built")
    monkeypatch.setattr(devices, "_devices", {})


def test_a_cuda_device_without_the_module_is_warned_of_once(without_module: None) -> None:
    device = torch.device("cuda", 0)
    with pytest.warns(UserWarning, match=r"no native CUDA kernels \(it was not built\); cuda:0 runs on the slower"):
        assert devices.cuda_device(device) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert devices.cuda_device(device) is None
        assert devices.cuda_device(torch.device("cpu")) is None
    assert elmo_fast.build_info()["cuda_built"] is False
    assert elmo_fast.build_info()["cuda_devices"] == 0


def test_devices_are_counted() -> None:
    assert elmo_fast.build_info()["cuda_built"] is devices.is_built()
    expected = torch.cuda.device_count() if devices.is_built() else 0
    assert elmo_fast.build_info()["cuda_devices"] == expected


@pytest.mark.parametrize("lengths", [[3, 0, 5, 5, 1], [1], [2, 2, 2], [0, 0, 7]], ids=str)
def test_a_plan_visits_each_token_once_in_each_direction(lengths: list[int]) -> None:
    index = np.arange(len(lengths) * 7, dtype=np.int32).reshape(len(lengths), 7) + 100
    plan = plans.plan_batch(DEVICE, index, np.array(lengths))
    rows, sizes = plan.rows.tolist(), plan.lengths.tolist()
    assert sizes == sorted((n for n in lengths if n), reverse=True)
    assert [lengths[row] for row in rows] == sizes
    assert plan.n_tokens == sum(lengths) == plan.slots.shape[1]
    assert plan.device_first_of_step.tolist() == plan.first_of_step
    for step in range(plan.n_steps):
        for r in range(plan.first_of_step[step + 1] - plan.first_of_step[step]):
            at, row = plan.first_of_step[step] + r, rows[r]
            assert plan.slots[0, at] == index[row, step]
            assert plan.slots[1, at] == index[row, lengths[row] - 1 - step]


def test_an_empty_plan() -> None:
    plan = plans.plan_batch(DEVICE, np.zeros((2, 3), np.int32), np.zeros(2, np.int64))
    assert (plan.n_rows, plan.n_steps, plan.n_tokens) == (0, 0, 0)


def test_chunks_are_whole_steps_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "CHUNK_TOKENS", 5)
    plan = plans.plan_batch(DEVICE, np.zeros((7, 4), np.int32), np.array([4, 4, 3, 1, 1, 1, 1]))
    assert plan.first_of_step == [0, 7, 10, 13, 15]
    assert list(plan.chunks()) == [(0, 1), (1, 2), (2, 4)]


def test_buckets() -> None:
    sizes = [bucket(1, 1), bucket(5, LENGTH_STEP), bucket(8, LENGTH_STEP + 1), bucket(0, 0)]
    assert sizes == [(1, 8), (8, 8), (8, 16), (1, 8)]
