"""Loops of attempts around each other, whose numbers multiply: told once, with the stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from resilient_tasks.core.call import around
from resilient_tasks.core.events import RetryMultiplied, bus
from resilient_tasks.core.wording import number_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Work


class Loop(NamedTuple):
    """Something that makes several attempts; 0 where no number limits them."""

    name: str
    attempts: int


def _none() -> tuple[Loop, ...]:
    return ()


_around: Callable[[], tuple[Loop, ...]] = _none
_told: set[tuple[Loop, ...]] = set()


def know_loops_by(provider: Callable[[], tuple[Loop, ...]]) -> None:
    """Have the loops that an orchestrator makes around this code counted too, outermost first."""
    global _around  # noqa: PLW0603  # one orchestrator a process
    _around = provider


def tell_if_multiplied(work: Work) -> None:
    """Tell that `work` is retried inside of what is retried itself; once for each stack of loops in this process."""
    stack = (*_around(), *reversed([*_around_here()]), Loop(work.operation, work.attempts))
    if len(stack) < 2 or stack in _told:
        return
    _told.add(stack)
    attempts = math.prod(loop.attempts for loop in stack)
    names = tuple(f"{loop.name} ({_often(loop)})" for loop in stack)
    bus.emit(RetryMultiplied(operation=work.operation, attempts=attempts, loops=names), *work.sinks)


def _often(loop: Loop) -> str:
    return number_of(loop.attempts, "attempt") if loop.attempts else "any number of attempts"


def _around_here() -> Iterator[Loop]:
    inner = ""
    for outer in around():
        if outer.operation != inner and outer.attempts != 1:
            yield Loop(outer.operation, outer.attempts)
        inner = outer.operation
