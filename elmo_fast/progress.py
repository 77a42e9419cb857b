"""An optional progress bar on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(total: int | None, unit: str, show: bool) -> Iterator[Callable[[int], object]]:
    """Yields a function that advances a bar on standard error by a number of items; without `show` it does nothing."""
    if not show:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit) as bar:
        yield bar.update
