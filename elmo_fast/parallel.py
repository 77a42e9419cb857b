"""A few long tasks side by side: reading and packing the parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

IN_FLIGHT = 2
"""Tasks that run at a time, at most. Two overlap reading and packing; each more would add to the peak memory of loading
what it holds meanwhile: the float32 arrays of one part, 75 MB in the original model."""


def run_tasks(tasks: Sequence[Callable[[], T]], num_threads: int) -> list[T]:
    """Runs tasks in their order, at most `IN_FLIGHT` and `num_threads` at a time.

    Returns:
        their results, in order.
    Raises:
        whatever the first task that fails raises, after the tasks under way have ended; the others never start.
    """
    workers = min(IN_FLIGHT, num_threads, len(tasks))
    if workers <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(workers, thread_name_prefix="elmo_fast") as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)
