"""Report nested retry loops, whose numbers of attempts multiply: once for each stack of loops."""

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

_reported: set[tuple[Loop, ...]] = set()


def report_if_nested(work: Work, *, at_once: bool = False) -> None:
    """Emit `RetryMultiplied` if `work` is retried inside another retry; once for each stack of loops in this process.

    Args:
        work: what is retried.
        at_once: its attempts are made without the pipeline, so it is itself the innermost call here.
    """
    if not (work.sinks or bus.wants(RetryMultiplied)):
        return
    outer = (*host.current.loops(), *reversed([*_loops_of(around()[at_once:])]))
    if not outer:
        return
    stack = (*outer, Loop(work.operation, work.attempts))
    if stack in _reported:
        return
    _reported.add(stack)
    attempts = math.prod(loop.attempts for loop in stack)
    names = tuple(f"{loop.name} ({_count(loop)})" for loop in stack)
    bus.emit(RetryMultiplied(operation=work.operation, attempts=attempts, loops=names), *work.sinks)


def _count(loop: Loop) -> str:
    return number_of(loop.attempts, "attempt") if loop.attempts else "any number of attempts"


def _loops_of(calls: Iterable[Work | Plan]) -> Iterator[Loop]:
    inner = ""
    for outer in calls:
        if outer.operation != inner and outer.attempts != 1:
            yield Loop(outer.operation, outer.attempts)
        inner = outer.operation
