"""Loops of attempts around each other, whose numbers multiply: told once, with the stack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from resilient_tasks.core import host
from resilient_tasks.core.events import RetryMultiplied, bus
from resilient_tasks.core.first_attempts import around
from resilient_tasks.core.host import Loop
from resilient_tasks.core.wording import number_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Plan, Work


_told: set[tuple[Loop, ...]] = set()


def tell_if_multiplied(work: Work, *, at_once: bool = False) -> None:
    """Tell that `work` is retried inside of what is retried itself; once for each stack of loops in this process.

    Args:
        work: what is about to be done again.
        at_once: its attempts are made without the pipeline, so it is the innermost call here itself.
    """
    if not (work.sinks or bus.wants(RetryMultiplied)):
        return
    outer = (*host.current.loops(), *reversed([*_loops_of(around()[at_once:])]))
    if not outer:
        return
    stack = (*outer, Loop(work.operation, work.attempts))
    if stack in _told:
        return
    _told.add(stack)
    attempts = math.prod(loop.attempts for loop in stack)
    names = tuple(f"{loop.name} ({_often(loop)})" for loop in stack)
    bus.emit(RetryMultiplied(operation=work.operation, attempts=attempts, loops=names), *work.sinks)


def _often(loop: Loop) -> str:
    return number_of(loop.attempts, "attempt") if loop.attempts else "any number of attempts"


def _loops_of(calls: Iterable[Work | Plan]) -> Iterator[Loop]:
    inner = ""
    for outer in calls:
        if outer.operation != inner and outer.attempts != 1:
            yield Loop(outer.operation, outer.attempts)
        inner = outer.operation
