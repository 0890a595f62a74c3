"""Attempts after the first that are made without the pipeline: see `Policy.again`."""

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
    from resilient_tasks.core.classification.matching import Matcher

#: Ten years in seconds. Dates end, and Prefect is told when the next attempt begins.
LONGEST = 10 * 365 * 86_400.0
#: The pipeline goes on after these: it writes down failures in a list, and a copy of a tuple takes longer each time.
_MOST_AT_ONCE = 100
#: What a sink may hear of attempts; where it hears of the last two, the pipeline makes the attempts.
_OF_ATTEMPTS = Several(RetryMultiplied, RetryScheduled, RetryStarted, RetryRecovered)
_TOLD_BY_PIPELINE = Several(RetryStarted, RetryRecovered)


class LaterAttempts:
    """What a retry that goes by the error alone decides, as long as nothing limits the call.

    A class, because a function inside of another one that is pickled by its value takes this module's bus along.

    Args:
        rules: which failures are retried.
        attempts: in all; 0 where no number limits them.
        wait: seconds, or what `after` makes of it.
        after: gives the seconds after the attempt with this number.
    """

    __slots__ = ("after", "attempts", "kinds", "most", "rules", "wait")

    def __init__(self, rules: Matcher, attempts: int, wait: Any, after: Callable[[int, Any], float]) -> None:
        self.rules, self.kinds = rules, rules.kinds
        self.attempts, self.most = attempts, min(attempts, _MOST_AT_ONCE)
        self.wait, self.after = wait, after

    def ask(self, error: Exception, tried: tuple[Tried, ...]) -> tuple[tuple[Tried, ...], float] | None:
        """See `Again`."""
        number = len(tried) + 1
        if number >= self.most or calls.limited or not settings.current.enabled:
            return None
        facts, status, asked = None, None, None
        if self.kinds and (kind := kind_of_plain(error)) is not None:
            if kind not in self.kinds:
                return None
        else:
            facts = Facts(error)
            if registered() or safely.is_a(error, TimedOut) or not self.rules(facts):
                return None  # the pipeline judges it
            status, asked = facts.http_status, facts.retry_after
        seconds = self.wait if type(self.wait) is float else self.after(number, self.wait)
        if asked is not None and asked > seconds:
            seconds = min(asked, LONGEST)
        if bus.sinks and bus.wants_any(_OF_ATTEMPTS):
            if bus.wants_any(_TOLD_BY_PIPELINE):
                return None
            frame = sys._getframe(1)  # noqa: SLF001  # the wrapper's
            call = attempt_in(frame, number)
            due = clock.now() + seconds  # to tell the sinks takes its time, too
            if number == 1 and (host.current is not host.NONE or is_inside(frame)):
                loops.tell_if_multiplied(call.work, at_once=True)
            call.emit(RetryScheduled, facts or Facts(error), attempts=self.attempts, delay=seconds)
            seconds = max(0.0, due - clock.now())
        return tried + ((type(error), status),), seconds  # noqa: RUF005  # an unpacked tuple becomes a list first
