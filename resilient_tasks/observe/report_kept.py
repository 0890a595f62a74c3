"""Collections of bounded size: a report of a million events keeps the worst of each kind and counts the rest."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from resilient_tasks.core.wording import counted

V = TypeVar("V")


class Worst(Generic[V]):
    """The heaviest values by key; of equal weight, those that came first.

    Args:
        limit: how many to keep.
        weight: returns what values are compared by; a value may change while it is kept.
    """

    def __init__(self, limit: int, weight: Callable[[V], Any]) -> None:
        self._limit = limit
        self._weight = weight
        self._values: dict[Any, V] = {}
        self._most = 2 * limit
        self._dropped = 0
        self._least: Any = None  # the weight of the lightest value when some were dropped

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[V]:
        """Yield the heaviest first."""
        return iter(sorted(self._values.values(), key=self._weight, reverse=True)[: self._limit])

    @property
    def left_out(self) -> int:
        """The number of values that are not yielded."""
        return self._dropped + max(0, len(self._values) - self._limit)

    def get(self, key: Any) -> V | None:
        """Return the value of this key, if it is kept."""
        return self._values.get(key)

    def put(self, key: Any, value: V) -> None:
        """Keep a value; if there are too many, drop the lightest."""
        if self._least is not None and key not in self._values and self._weight(value) <= self._least:
            self._dropped += 1
            return
        self._values[key] = value
        if len(self._values) > self._most:  # one sort for many values
            heaviest = sorted(self._values.items(), key=lambda item: self._weight(item[1]), reverse=True)
            self._dropped += len(heaviest) - self._limit
            self._values = dict(heaviest[: self._limit])
            self._least = self._weight(heaviest[self._limit - 1][1])

    def pop(self, key: Any) -> V | None:
        """Remove and return the value of this key, if it is kept."""
        return self._values.pop(key, None)


class Recent(OrderedDict[Any, V]):
    """The values put last, by key. Its reads are those of a dict, which are fast.

    Args:
        limit: how many to keep.
        dropped: called with the key and value of each that is dropped.
    """

    def __init__(self, limit: int, dropped: Callable[[Any, V], None] = lambda *_: None) -> None:
        super().__init__()
        self._limit = limit
        self._dropped = dropped

    def put(self, key: Any, value: V) -> None:
        """Keep a value; if there are too many, drop the oldest."""
        self[key] = value
        if len(self) > self._limit:
            self._dropped(*self.popitem(last=False))


class Named:
    """Counts texts, and keeps the first few of them."""

    _KEPT, _SHOWN = 500, 5

    def __init__(self) -> None:
        self.total: int = 0
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count a text."""
        self.total += 1
        if text in self._counts or len(self._counts) < self._KEPT:
            self._counts[text] += 1

    def __str__(self) -> str:
        few = dict(list(self._counts.items())[: self._SHOWN])
        left = self.total - sum(few.values())
        return f"{self.total} ({counted(few, '; ')}{f' and {left} more' if left else ''})"
