"""What a process knows of shared states, by key: of the names in use, and no longer of all that ever were."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast


class View(Protocol):
    """What a process knows of one shared state.

    Attributes:
        was_used: set by each use that asks the store. It is taken back to see whether there is another one.
    """

    was_used: bool

    @property
    def is_needed(self) -> bool:
        """Whether something would be lost with it that cannot be told, such as a slot."""

    def let_go(self) -> None:
        """Tell the store what it was not told yet. This view is asked for no more."""


V = TypeVar("V", bound=View)

#: Names of which a process remembers what it knows. Those in need are kept, however many they are.
MOST = 2048

#: Views that are looked at, and that go, when another one is made.
_LOOKS, _GO = 64, 2


class Views(dict[str, Any]):
    """Views by key. Of too many, those go that were not used for the longest time (CLOCK, Corbató 1968)."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self._most = most
        self._making = threading.Lock()
        self._hand: deque[str] = deque()

    def made(self, key: str, make: Callable[[], V]) -> V:
        """Return the view under `key`, made when there is none."""
        with self._making:
            found = self.get(key)
            if found is not None:
                return cast("V", found)  # one key is always of the same sort
            gone = self._make_room()
            made = self[key] = make()
            self._hand.append(key)
        for view in gone:
            view.let_go()
        return made

    def _make_room(self) -> list[View]:
        gone: list[View] = []
        for _ in range(_LOOKS):
            if len(self) < self._most or len(gone) == _GO or not self._hand:
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
                gone.append(view)
        return gone
