"""A lock that is open in pickles, deep copies and forked children."""

from __future__ import annotations

import os
import threading
import weakref


class SharedLock:
    """A re-entrant lock for objects that are pickled, deep-copied and forked: each copy gets a new, open one."""

    _instances: weakref.WeakSet[SharedLock] = weakref.WeakSet()

    def __init__(self) -> None:
        self._lock = threading.RLock()
        SharedLock._instances.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[SharedLock], tuple[()]]:
        return SharedLock, ()

    @classmethod
    def _open_all(cls) -> None:
        # A thread that held a lock in the parent process does not exist in the child and would never release it.
        for lock in list(cls._instances):
            lock._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SharedLock._open_all)
