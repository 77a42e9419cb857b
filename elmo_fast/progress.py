"""A progress bar on standard error, where one is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(total: int | None, unit: str, show: bool) -> Iterator[Callable[[int], object]]:
    """Gives a function that moves a bar on standard error on by so many; it does nothing unless `show`."""
    if not show:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit) as bar:
        yield bar.update
