"""Tasks that run side by side."""

from __future__ import annotations

import threading
import time

import pytest

from elmo_fast.parallel import IN_FLIGHT, run_tasks


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_results_are_in_order_and_few_tasks_run_at_a_time(num_threads: int) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def task(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01 if number % 2 else 0.03)
        with lock:
            running -= 1
        return number

    assert run_tasks([lambda n=n: task(n) for n in range(9)], num_threads) == list(range(9))
    assert most == min(num_threads, IN_FLIGHT)


def test_no_tasks() -> None:
    assert run_tasks([], 2) == []


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_first_error_is_raised_and_the_rest_does_not_start(num_threads: int) -> None:
    started = []

    def task(number: int) -> None:
        started.append(number)
        time.sleep(0.02)
        if number in (1, 2):
            raise ValueError(f"task {number}")

    with pytest.raises(ValueError, match="task 1"):
        run_tasks([lambda n=n: task(n) for n in range(20)], num_threads)
    assert len(started) < 6
