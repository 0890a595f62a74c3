"""Stores of shared state, looked up by name at call time, so that policies stay plain values.

A `StateStore` holds bytes by key and changes them atomically, by compare and swap. What the bytes mean is defined once,
by each policy's `machine.py`, and is the same in memory, SQLite and Redis.
"""

from __future__ import annotations

import importlib
import math
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import clock

#: Maps the value under a key (None if absent) to the next one (None leaves it) and its time to live.
Step: TypeAlias = Callable[[bytes | None], tuple[bytes | None, float | None]]


class Contended(TimeoutError):  # the store itself works
    """A store works, but others kept it, or the state, busy for longer than a call may wait."""


class StateStore(Protocol):
    """State by key. A custom store needs these methods, and may raise any exception if it is unavailable.

    Calls come from any thread, one at a time; `close` may come during a call in another thread.

    A store that can lock a key may also have `update(key, step, *, within)`, see `SQLiteStore`: then no process has to
    retry because another was faster. One whose processes can claim numbers may have `claims()` and `version()`: then a
    process keeps a slot of a bulkhead for its next call.
    """

    def connect(self) -> None:
        """Connect, however long that takes. The other methods are only called after this."""

    def now(self) -> float:
        """Return the time in seconds, on a clock shared by all users of this store; without I/O."""

    def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None if there is none or it has expired."""

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """Atomically set `key` to `new` if its value is `old` (None: there is no value).

        Args:
            key: name of the state.
            old: the expected value.
            new: the value to set.
            ttl: seconds after which the value may be forgotten; None keeps it.

        Returns:
            Whether the value was set, and the current value.
        """

    def keys(self, prefix: str) -> list[str]:
        """Return the keys with this prefix."""

    def close(self) -> None:
        """Close files and connections."""


class Claims(Protocol):
    """Claims on numbers, which end with the process that holds them."""

    @property
    def inode(self) -> int:
        """The inode of the file with the claims. Claims in another file are not seen."""

    def take(self, number: int) -> bool:
        """Claim a number, or return False if another process, or another thread of this one, has claimed it."""

    def release(self, number: int) -> None:
        """Release a claim, if this process holds it."""


class Live(Protocol):
    """A state as an object, changed in place or replaced by the next one."""

    def encode(self) -> bytes:
        """Return the state as bytes, for a store outside this process."""


L = TypeVar("L", bound=Live)
T = TypeVar("T")

#: Makes a state from the bytes in a store (None if absent) and the store's time.
Decode: TypeAlias = Callable[[bytes | None, float], L]

#: Maps a state and the time to the next state (None if unchanged) and a result.
LiveStep: TypeAlias = Callable[[L, float], tuple[L | None, T]]

#: Seconds after which a state may be forgotten, or a function from the result of a step to them; None keeps it.
TimeToLive: TypeAlias = float | Callable[[T], float | None] | None


#: Whether the interpreter switches threads only at certain points: at the start of a function, after a call and where a
#: loop jumps back. True on CPython 3.11, 3.12 and 3.13, except builds without a global lock.
TAKES_TURNS: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class Cell:
    """The place of one state in memory.

    Attributes:
        state: bytes, or the object last made from them. Read and change it under the memory's lock.
        live: the object while no step changes it, else None. Code without calls and loops may read this and change the
            object without the lock: no other thread runs meanwhile, see `TAKES_TURNS`. It stays None once the memory
            has forgotten the state: the next one under that key gets a new cell.
        expires: time at which the state expires, unless the object has a later `needed_until`; in the past if nothing
            was put yet.
    """

    __slots__ = ("expires", "live", "state")

    live: Any
    state: Any

    def __init__(self, state: Any, expires: float) -> None:
        self.state = self.live = state
        self.expires: float = expires

    def is_over(self, now: float) -> bool:
        """Return whether the state has expired."""
        return now >= self.expires and now >= getattr(self.state, "needed_until", -math.inf)


#: With fewer states than this, expired ones are not deleted.
_FEW = 256


class MemoryStore:
    """State of one process: bytes as in any store, or live objects, which are encoded only if bytes are read.

    Args:
        now: the clock; default: the process's own.

    Attributes:
        goes_by_clock: whether it uses the process's clock.
        lock: held while a state is read or changed. Reentrant: garbage collection of a coroutine may change a state at
            any time.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self.now: Callable[[], float] = now or _now
        self.goes_by_clock: bool = now is None
        self.lock: threading.RLock = threading.RLock()
        self._values: dict[str, Cell] = {}
        self._tidy_at = _FEW

    def connect(self) -> None:
        """Do nothing."""

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        with self.lock:
            return self._found(key)

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""
        with self.lock:
            found = self._found(key)
            if found != old:
                return False, found
            self._forget(key)
            self._make_room()
            self._values[key] = Cell(new, math.inf if ttl is None else self.now() + ttl)
            return True, new

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        now = self.now()
        return [key for key, cell in list(self._values.items()) if key.startswith(prefix) and not cell.is_over(now)]

    def cell(self, key: str, decode: Decode[Any]) -> Cell:
        """Return the cell of the live state under `key`, with a new state if there is none."""
        with self.lock:
            cell, now = self._values.get(key), self.now()
            if cell is None:
                self._make_room()
                cell = self._values[key] = Cell(None, -math.inf)
            if cell.is_over(now):
                cell.state = decode(None, now)
            elif type(cell.state) is bytes:
                cell.state = decode(cell.state, now)
            cell.live = cell.state if TAKES_TURNS else None
            return cell

    def step(
        self, key: str, decode: Decode[L], step: LiveStep[L, T], ttl: TimeToLive[T], take_in: Callable[[T], None]
    ) -> T:
        """Apply one step to the live state under `key` and return its result; see `States.step`."""
        with self.lock:
            cell = self.cell(key, decode)
            now = self.now()
            cell.live = None
            try:
                state, result = step(cell.state, now)
                if state is not None:
                    cell.state = state
                    kept = ttl(result) if callable(ttl) else ttl
                    cell.expires = math.inf if kept is None else now + kept
                take_in(result)
            finally:
                if TAKES_TURNS and self._values.get(key) is cell:
                    cell.live = cell.state
            return result

    def forget(self, key: str, after: Callable[[Any], float]) -> None:
        """Forget the state under `key` after the seconds that `after` returns for it."""
        with self.lock:
            cell = self._values.get(key)
            if cell is None:
                return
            now, cell.live = self.now(), None
            seconds = 0.0 if cell.is_over(now) else after(cell.state)
            if seconds > 0:
                cell.expires = min(cell.expires, now + seconds)
                cell.live = cell.state if TAKES_TURNS else None
            else:
                self._forget(key)

    def close(self) -> None:
        """Forget everything."""
        with self.lock:
            for key in list(self._values):
                self._forget(key)

    def _found(self, key: str) -> bytes | None:
        cell = self._values.get(key)
        if cell is None or cell.is_over(self.now()):
            return None
        state = cell.state
        return state if type(state) is bytes else state.encode()

    def _forget(self, key: str) -> None:
        cell = self._values.pop(key, None)
        if cell is not None:
            cell.live = None

    def _make_room(self) -> None:
        """Delete expired states; next when there are twice as many as remain now."""
        if len(self._values) < self._tidy_at:
            return
        now = self.now()
        for key in [key for key, cell in self._values.items() if cell.is_over(now)]:
            self._forget(key)
        self._tidy_at = max(_FEW, 2 * len(self._values))


def _now() -> float:
    return clock.present()


#: The class of a store by the scheme of its URL, as `module:class`; called with the URL and the bound in seconds.
SCHEMES = {
    "sqlite": "resilient_tasks.state.sqlite:SQLiteStore",
    "redis": "resilient_tasks.state.redis:RedisStore",
    "rediss": "resilient_tasks.state.redis:RedisStore",
    "unix": "resilient_tasks.state.redis:RedisStore",
}


def opened_by(setting: str | StateStore, bound: float) -> tuple[StateStore, str]:
    """Return the store that a setting names, not connected yet, and its display name, without a password.

    Raises:
        PolicyError: it names no store.
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
            f" not {scheme!r}"  # not the rest, which may hold a password
        )
        raise PolicyError(msg)
    module, _, name = SCHEMES[scheme].partition(":")
    store: StateStore = getattr(importlib.import_module(module), name)(setting, bound=bound)
    return store, f"{scheme}://{rest.removeprefix('//').rpartition('@')[2].partition('?')[0]}"
