"""Where state lives that several calls share: looked up by name, at call time, so that policies stay plain values.

A `StateStore` holds bytes by key and changes them by one atomic step, compare and swap. What the bytes mean is written
once, as functions from a state to the next one (`machines`), and is the same in memory, SQLite and Redis.
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

#: Given the value under a key (None: there is none), returns the next one (None: it stays) and its time to live.
Step: TypeAlias = Callable[[bytes | None], tuple[bytes | None, float | None]]


class Contended(TimeoutError):  # a store that raises it is well
    """A store answers, but others kept it, or the state, busy for longer than a call may wait."""


class StateStore(Protocol):
    """State by key. A store of one's own needs these methods, and raises whatever it likes when it cannot answer.

    Calls come from any thread, one at a time; `close` may come while another thread asks.

    A store that can keep others out for a moment may have `update(key, step, *, within)` as well, see `SQLiteStore`:
    then no process has to try again because another one was faster. One whose processes can claim names of each other's
    may have `claims()` and `version()`: then a process keeps a slot of a bulkhead for its next call.
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


class Claims(Protocol):
    """Claims on numbers, which end with the process that has them."""

    @property
    def inode(self) -> int:
        """The number of the file that they are made in. Those of another file are not seen."""

    def take(self, number: int) -> bool:
        """Claim a number, or return False if another process, or another thread of this one, has claimed it."""

    def release(self, number: int) -> None:
        """Give a claim back, if this process has it."""


class Live(Protocol):
    """A state as an object: one that changes in place, or is replaced by the next one."""

    def encode(self) -> bytes:
        """Return the state as bytes, for a store outside this process."""


L = TypeVar("L", bound=Live)
T = TypeVar("T")

#: Makes a state of the bytes in a store (None: there are none), and the time there.
Decode: TypeAlias = Callable[[bytes | None, float], L]

#: Given a state and the time, gives the next state (None: nothing has changed) and a result.
LiveStep: TypeAlias = Callable[[L, float], tuple[L | None, T]]

#: Seconds after which a state may be forgotten, or what gives them for the result of a step; None: it is kept.
TimeToLive: TypeAlias = float | Callable[[T], float | None] | None


#: Whether threads take turns only where the interpreter looks whether they should: at the start of a function, after a
#: call and where a loop turns back. This is so on CPython 3.11, 3.12 and 3.13, but not in builds without a global lock.
TAKES_TURNS: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class Cell:
    """The place of one state in a memory.

    Attributes:
        state: bytes, or the object that was last made of them. Read and change it under the memory's lock.
        live: the object while no step changes it, else None. Code without calls and loops may read this and change the
            object without the lock: no other thread has its turn meanwhile, see `TAKES_TURNS`. None for good once the
            memory has forgotten the state: it keeps the next one under that key in another cell.
        expires: time from which on nothing stands here, unless the object itself says that it is `needed_until` a later
            one; also where nothing was put yet.
    """

    __slots__ = ("expires", "live", "state")

    live: Any
    state: Any

    def __init__(self, state: Any, expires: float) -> None:
        self.state = self.live = state
        self.expires: float = expires

    def is_over(self, now: float) -> bool:
        """Tell whether nothing stands here any more."""
        return now >= self.expires and now >= getattr(self.state, "needed_until", -math.inf)


#: A memory that holds fewer states is not searched for those that have expired.
_FEW = 256


class MemoryStore:
    """State of one process: bytes as in any store, or live objects, which are encoded only for who asks for bytes.

    Args:
        now: the clock to go by; default: the process's own.

    Attributes:
        goes_by_clock: it has no clock of its own.
        lock: held while a state is read or changed. The same thread may take it again: the end of a coroutine that is
            collected as garbage may change a state at any time.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self.now: Callable[[], float] = now or _now
        self.goes_by_clock: bool = now is None
        self.lock: threading.RLock = threading.RLock()
        self._values: dict[str, Cell] = {}
        self._tidy_at = _FEW

    def connect(self) -> None:
        """Nothing is needed."""

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
        """Return the place of the live state under `key`, a new state if nothing stands there."""
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
        """Change the live state under `key` by one step, and return its result; see `States.step`."""
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
        """Have nothing stand under `key` `after` so many seconds, which depend on what stands there now."""
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
        """Delete what has expired; next when there is twice as much as is left now."""
        if len(self._values) < self._tidy_at:
            return
        now = self.now()
        for key in [key for key, cell in self._values.items() if cell.is_over(now)]:
            self._forget(key)
        self._tidy_at = max(_FEW, 2 * len(self._values))


def _now() -> float:
    return clock.present()


#: Who opens a store, by the scheme of its URL: `module:class`, called with the URL and the bound in seconds. A kind of
#: one's own is a line here.
SCHEMES = {
    "sqlite": "resilient_tasks.state.sqlite:SQLiteStore",
    "redis": "resilient_tasks.state.redis:RedisStore",
    "rediss": "resilient_tasks.state.redis:RedisStore",
    "unix": "resilient_tasks.state.redis:RedisStore",
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
