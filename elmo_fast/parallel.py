"""A few long tasks side by side: reading and packing the parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

IN_FLIGHT = 2
"""The largest number of tasks that run at a time. Two overlap reading and packing; each further one would add the
float32 arrays of one part to the peak memory of loading, 75 MB in the original model."""


def run_tasks(tasks: Sequence[Callable[[], T]], num_threads: int) -> list[T]:
    """Runs tasks in order, at most `IN_FLIGHT` and `num_threads` at a time.

    Returns:
        their results, in order.
    Raises:
        the error of the first task that fails, after the running tasks have ended; the others never start.
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
