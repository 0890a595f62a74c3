"""Per-process caches of shared state, with unflushed updates. Those of names no longer used are evicted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast


class View(Protocol):
    """A process's cache of one shared state.

    Attributes:
        was_used: set by each use of the store. Cleared when the view is a candidate for eviction.
    """

    was_used: bool

    @property
    def is_needed(self) -> bool:
        """Whether it holds something that cannot be flushed, such as a slot."""

    def let_go(self) -> None:
        """Flush unsent updates to the store. This view is not used again."""


V = TypeVar("V", bound=View)

#: Views that a process keeps. More, if more are needed.
MOST = 2048

#: When a view is made: how many are checked for eviction, and how many are evicted, at most.
_CHECKED, _EVICTED = 64, 2


class Views(dict[str, Any]):
    """Views by key. Beyond `most`, the least recently used are evicted (CLOCK, Corbató 1968)."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self._most = most
        self._making = threading.Lock()
        self._hand: deque[str] = deque()

    def made(self, key: str, make: Callable[[], V]) -> V:
        """Return the view under `key`; make it if there is none."""
        with self._making:
            found = self.get(key)
            if found is not None:
                return cast("V", found)  # a key always has the same type of view
            evicted = self._evict()
            made = self[key] = make()
            self._hand.append(key)
        for view in evicted:
            view.let_go()
        return made

    def _evict(self) -> list[View]:
        evicted: list[View] = []
        for _ in range(_CHECKED):
            if len(self) < self._most or len(evicted) == _EVICTED or not self._hand:
                break
            key = self._hand.popleft()
            view: View | None = self.get(key)
            if view is None:
                continue
            if view.was_used or view.is_needed:
                view.was_used = False
                self._hand.append(key)
            else:
                del self[key]
                evicted.append(view)
        return evicted
