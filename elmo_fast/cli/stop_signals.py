"""Ctrl-C and its like as an exception, so that a stopped command cleans up."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# Ctrl-C, `kill`, and a closed terminal, which Windows does not have.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A stop signal arrived."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class StopSignals:
    """A context manager that raises `Stopped` for the first stop signal; further ones cannot disturb the cleanup.

    Python discards what a signal handler raises inside a destructor or a weak reference's callback. `check` raises it
    again, and so does the next signal.
    """

    def __init__(self) -> None:
        self._stopped_by: int | None = None
        self._was_lost = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._unraisable_hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a background job
                    self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._unraisable_hook

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopped_by is None or self._was_lost:
            self._stopped_by, self._was_lost = number, False
            raise Stopped(number)

    def _unraisable(self, unraisable: UnraisableHookArgs) -> None:
        """Keeps Python from printing a traceback of a lost `Stopped`."""
        if isinstance(unraisable.exc_value, Stopped):
            self._was_lost = True
        else:
            self._unraisable_hook(unraisable)

    def check(self) -> None:
        """Raises `Stopped` if a stop signal has arrived."""
        if self._stopped_by is not None:
            self._was_lost = False
            raise Stopped(self._stopped_by)
