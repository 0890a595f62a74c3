"""Where state lives that several calls share: looked up by name, at call time, so that policies stay plain values."""

from __future__ import annotations

import threading
from typing import Protocol

from resilient_tasks.core import clock


class StateStore(Protocol):
    """State by key, changed by compare-and-set: the one atomic step that memory, SQLite and Redis all have."""

    def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None where there is none or its time is over."""

    def compare_and_set(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> bool:
        """Put `new` where `old` still stands (None: where nothing does), and say whether that came to pass.

        Args:
            key: name of the state.
            old: the value that `get` returned.
            new: the value to put.
            ttl: seconds after which the value is gone; None keeps it.
        """


class MemoryStore:
    """State of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, tuple[bytes, float]] = {}

    def get(self, key: str) -> bytes | None:
        value, expires = self._values.get(key, (None, 0.0))
        return value if value is not None and clock.now() < expires else None

    def compare_and_set(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> bool:
        expires = float("inf") if ttl is None else clock.now() + ttl
        with self._lock:
            if self.get(key) != old:
                return False
            self._values[key] = (new, expires)
            return True


#: The store in use.
store: StateStore = MemoryStore()


def count(key: str, *, ttl: float | None = None) -> int:
    """Add one to the number under `key`, and return it: 1 the first time, and again `ttl` seconds after that."""
    while True:
        old = store.get(key)
        now = clock.now()
        number, ends = _parsed(old) if old is not None else (0, float("inf") if ttl is None else now + ttl)
        # The time runs from the first: a failure every minute must not hide behind itself for ever.
        left = None if ttl is None else max(1e-3, ends - now)
        if store.compare_and_set(key, old, f"{number + 1} {ends!r}".encode(), ttl=left):
            return number + 1


def _parsed(value: bytes) -> tuple[int, float]:
    number, _, ends = value.decode().partition(" ")
    return int(number), float(ends)
