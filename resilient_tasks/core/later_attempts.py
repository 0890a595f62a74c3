"""Retries without the pipeline, see `Policy.again`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient_tasks import safely
from resilient_tasks.core import call as calls
from resilient_tasks.core import host, loops, settings
from resilient_tasks.core.errors import TimedOut
from resilient_tasks.core.events import RetryMultiplied, RetryRecovered, RetryScheduled, RetryStarted, Several, bus
from resilient_tasks.core.execution import clock
from resilient_tasks.core.failures import Facts, kind_of_plain, registered
from resilient_tasks.core.first_attempts import attempt_in, is_inside

if TYPE_CHECKING:
    from resilient_tasks.core.call import Tried
    from resilient_tasks.core.classification.kinds import Kind
    from resilient_tasks.core.classification.matching import Matcher

#: Ten years in seconds, the longest delay: Prefect stores the date of the next attempt, and dates have an end.
LONGEST = 10 * 365 * 86_400.0
#: After these attempts the pipeline takes over: it collects failures in a list, whereas copying a tuple is quadratic.
_MAX_AT_ONCE = 100
#: Events of attempts. If a sink wants one of the last two, the pipeline makes the attempts.
_ATTEMPT_EVENTS = Several(RetryMultiplied, RetryScheduled, RetryStarted, RetryRecovered)
_PIPELINE_EVENTS = Several(RetryStarted, RetryRecovered)


class LaterAttempts:
    """Decides on retries by the error alone, while no call has a limit.

    A class, because a nested function that is pickled by value would take this module's bus along.

    Args:
        rules: which failures are retried.
        attempts: in all; 0 if unlimited.
        wait: seconds, or the argument for `after`.
        after: returns the seconds to wait after the attempt with this number.
    """

    __slots__ = ("after", "attempts", "kinds", "most", "rules", "wait")

    def __init__(self, rules: Matcher, attempts: int, wait: Any, after: Callable[[int, Any], float]) -> None:
        self.rules: Matcher = rules
        self.kinds: tuple[Kind, ...] = rules.kinds
        self.attempts: int = attempts
        self.most: int = min(attempts, _MAX_AT_ONCE)
        self.wait: Any = wait
        self.after: Callable[[int, Any], float] = after

    def ask(self, error: Exception, tried: tuple[Tried, ...]) -> tuple[tuple[Tried, ...], float] | None:
        """See `Again`."""
        number = len(tried) + 1
        if number >= self.most or calls.limited or not settings.current.enabled:
            return None
        facts, status, retry_after = None, None, None
        if self.kinds and (kind := kind_of_plain(error)) is not None:
            if kind not in self.kinds:
                return None
        else:
            facts = Facts(error)
            if registered() or safely.is_a(error, TimedOut) or not self.rules(facts):
                return None  # left to the pipeline
            status, retry_after = facts.http_status, facts.retry_after
        seconds = self.wait if type(self.wait) is float else self.after(number, self.wait)
        if retry_after is not None and retry_after > seconds:
            seconds = min(retry_after, LONGEST)
        if bus.sinks and bus.wants_any(_ATTEMPT_EVENTS):
            if bus.wants_any(_PIPELINE_EVENTS):
                return None
            frame = sys._getframe(1)  # noqa: SLF001  # the wrapper's
            call = attempt_in(frame, number)
            due = clock.now() + seconds  # sinks take time, too
            if number == 1 and (host.current is not host.NONE or is_inside(frame)):
                loops.report_if_nested(call.work, at_once=True)
            about = {"attempts": self.attempts, "delay": seconds, "seconds": None}  # it is unknown when it began
            call.emit(RetryScheduled, facts or Facts(error), **about)
            seconds = max(0.0, due - clock.now())
        return tried + ((type(error), status),), seconds  # noqa: RUF005  # an unpacked tuple becomes a list first
