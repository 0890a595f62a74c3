"""The worst case of a retry: how long each wait may be, and when a stop strategy ends it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any

from resilient_tasks.core.bounds import ALWAYS, Ends, Waits
from resilient_tasks.core.later_attempts import LONGEST
from resilient_tasks.core.parameters import strategies
from resilient_tasks.core.wording import short_name_of

#: A strategy is asked for at most this many waits; later waits may be of any length.
_ASKED = 200


class _End:
    """Stands for the module `random` in a strategy, and always draws the same end of a range."""

    def __init__(self, *, upper: bool) -> None:
        self.upper = upper

    def uniform(self, low: float, high: float) -> float:
        """Return the end of the range from `low` to `high`."""
        return max(low, high) if self.upper else min(low, high)

    def random(self) -> float:
        """Return the end of the range from 0 to 1."""
        return float(self.upper)

    def __getattr__(self, name: str) -> Any:
        return getattr(random, name)


_LOWER, _UPPER = _End(upper=False), _End(upper=True)


class _Attempt:
    """All that a strategy for waits may ask of its state, if it asks for no error."""

    def __init__(self, number: int) -> None:
        self.attempt_number = number


def waits_of(wait: Any) -> Waits:
    """Return the waits of `Retry(wait=...)`, as it is kept there."""
    if isinstance(wait, float):
        return Waits(later=(wait, wait))
    if isinstance(wait, tuple):
        each = tuple((seconds, seconds) for seconds in wait)
        return Waits(each[:-1], each[-1])
    try:
        return _waits_of_a_strategy(wait)
    except TypeError:  # it has no hash
        return _waits_of_a_strategy.__wrapped__(wait)


@lru_cache(256)
def _waits_of_a_strategy(wait: Any) -> Waits:
    why = (f"wait={short_name_of(wait)} is a function, and its waits are not known",)
    if not strategies.kind_of(wait):
        return Waits(why=why)
    first: list[tuple[float, float]] = []
    for number in range(1, _ASKED + 1):
        ends = _ask(wait, number, _LOWER), _ask(wait, number, _UPPER)
        if None in ends:
            return Waits(why=why)
        first.append(tuple(min(LONGEST, max(0.0, end or 0.0)) for end in ends))  # type: ignore[arg-type]  # two of them
    while len(first) > 1 and first[-2] == first[-1]:
        first.pop()
    if len(first) == _ASKED:  # they still grow
        return Waits(tuple(first), (first[-1][0], LONGEST))
    return Waits(tuple(first[:-1]), first[-1])


def _ask(wait: Any, number: int, end: _End) -> float | None:
    """Return the seconds after an attempt if every random number is this end of its range; None if unknown."""
    kind = type(wait)
    if kind.__module__.partition(".")[0] != "tenacity":
        return None  # a function, or a user's own strategy
    if kind.__name__ == "wait_combine":
        parts = [_ask(part, number, end) for part in wait.wait_funcs]
        return None if None in parts else math.fsum(part or 0.0 for part in parts)
    if kind.__name__ == "wait_chain":
        return _ask(wait.strategies[min(number, len(wait.strategies)) - 1], number, end)
    method = kind.__call__
    copy = FunctionType(
        method.__code__, {**method.__globals__, "random": end}, method.__name__, method.__defaults__, method.__closure__
    )
    try:
        return float(copy(wait, _Attempt(number)))
    except Exception:  # it asks for the error, or is of a later release
        return None


def ends_of(stop: Any, attempts: int | None) -> tuple[float, Ends]:
    """Return the most attempts, and the further limits, of `Retry(stop=..., attempts=...)`."""
    most: float = math.inf if attempts is None else attempts
    ends = ALWAYS
    for each in _parts(stop):
        name = type(each).__name__ if type(each).__module__.partition(".")[0] == "tenacity" else ""
        if name == "stop_after_attempt":
            most = min(most, max(1, each.max_attempt_number))
        elif name == "stop_after_delay":
            ends = ends._replace(after=min(ends.after, each.max_delay))
        elif name == "stop_before_delay":
            ends = ends._replace(before=min(ends.before, each.max_delay))
    return most, ends


def _parts(stop: Any) -> Iterator[Any]:
    """Yield the strategies of which each one ends the retry."""
    if type(stop).__name__ == "stop_any" and strategies.kind_of(stop):
        for part in stop.stops:
            yield from _parts(part)
    elif stop is not None:
        yield stop
