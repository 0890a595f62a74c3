"""Where state lives that several calls share: looked up by name, at call time, so that policies stay plain values.

A `StateStore` holds bytes by key and changes them by one atomic step, compare and swap. What the bytes mean is written
once, as functions from a state to the next one (`machines`), and is the same in memory, SQLite and Redis.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Protocol, TypeAlias

from resilient_tasks.core import clock
from resilient_tasks.core.errors import PolicyError

#: Given the value under a key (None: there is none), returns the next one (None: it stays) and its time to live.
Step: TypeAlias = Callable[[bytes | None], tuple[bytes | None, float | None]]


class Contended(TimeoutError):  # a store that raises it is well
    """A store answers, but others kept it, or the state, busy for longer than a call may wait."""


class StateStore(Protocol):
    """State by key. A store of one's own needs these methods, and raises whatever it likes when it cannot answer.

    Calls come from any thread, one at a time; `close` may come while another thread asks.

    A store that can keep others out for a moment may have `update(key, step, *, within)` as well, see `SQLiteStore`:
    then no process has to try again because another one was faster.
    """

    def connect(self) -> None:
        """Make ready to answer, however long that takes. Only after this are the other methods called."""

    def now(self) -> float:
        """Return the present in seconds, on a clock that all who share this store share. It asks nobody."""

    def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None where there is none or its time is over."""

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """In one atomic step, put `new` under `key` if `old` stands there (None: nothing does).

        Args:
            key: name of the state.
            old: the value that is to be replaced.
            new: the value to put.
            ttl: seconds after which the value may be forgotten; None keeps it.

        Returns:
            Whether that came to pass, and what now stands there.
        """

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`."""

    def close(self) -> None:
        """Let go of files and connections."""


#: A memory that holds fewer values is not searched for those that have expired.
_FEW = 256


class MemoryStore:
    """State of one process.

    Args:
        now: the clock to go by; default: the process's own.
    """

    def __init__(self, now: Callable[[], float] = clock.now) -> None:
        self.now = now
        self._values: dict[str, tuple[bytes, float]] = {}
        self._tidy_at = _FEW
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Nothing is needed."""

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        value, expires = self._values.get(key, (None, 0.0))
        return value if value is not None and self.now() < expires else None

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""
        with self._lock:
            found = self.get(key)
            if found != old:
                return False, found
            if key not in self._values and len(self._values) >= self._tidy_at:
                self._tidy()
            self._values[key] = (new, float("inf") if ttl is None else self.now() + ttl)
            return True, new

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        return [key for key in list(self._values) if key.startswith(prefix) and self.get(key) is not None]

    def forget(self, key: str, after: Callable[[bytes], float]) -> None:
        """Have nothing stand under `key` `after` so many seconds, which depend on what stands there now."""
        with self._lock:
            value, expires = self._values.get(key, (None, 0.0))
            if value is None:
                return
            seconds = after(value)
            if seconds > 0:
                self._values[key] = (value, min(expires, self.now() + seconds))
            else:
                del self._values[key]

    def close(self) -> None:
        """Forget everything."""
        self._values.clear()

    def _tidy(self) -> None:
        """Delete what has expired; next when there is twice as much as is left now."""
        now = self.now()
        for key in [key for key, (_, expires) in self._values.items() if now >= expires]:
            del self._values[key]
        self._tidy_at = max(_FEW, 2 * len(self._values))


#: Who opens a store, by the scheme of its URL: `module:class`, called with the URL and the bound in seconds. A kind of
#: one's own is a line here.
SCHEMES = {
    "sqlite": "resilient_tasks.stores.sqlite:SQLiteStore",
    "redis": "resilient_tasks.stores.redis:RedisStore",
    "rediss": "resilient_tasks.stores.redis:RedisStore",
    "unix": "resilient_tasks.stores.redis:RedisStore",
}


def opened_by(setting: str | StateStore, bound: float) -> tuple[StateStore, str]:
    """Return the store that a setting names, not connected yet, and how it is called, without any password.

    Raises:
        PolicyError: it names none.
    """
    if not isinstance(setting, str):
        return setting, type(setting).__name__
    scheme, _, rest = setting.partition(":")
    if scheme == "memory" and not rest.strip("/"):
        return MemoryStore(), "memory"
    if scheme not in SCHEMES or not rest.startswith("//"):
        schemes = ", ".join(SCHEMES)
        msg = (
            f"a store is memory:, sqlite:///states.db, redis://host:6379/0 (any of {schemes}), or a StateStore;"
            f" not {scheme!r}"  # and not what follows, which may hold a password
        )
        raise PolicyError(msg)
    module, _, name = SCHEMES[scheme].partition(":")
    store: StateStore = getattr(importlib.import_module(module), name)(setting, bound=bound)
    return store, f"{scheme}://{rest.removeprefix('//').rpartition('@')[2].partition('?')[0]}"
