"""Cutting an attempt that takes too long, for the timeout of an attempt and the deadline of a call alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_tasks.core import clock
from resilient_tasks.core.errors import DeadlineExceeded, TimedOut
from resilient_tasks.core.events import TimeoutExceeded
from resilient_tasks.core.events.attempts import place
from resilient_tasks.core.interrupt import Overrun
from resilient_tasks.core.outcome import Failed, Outcome

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Enforce, Proceed


async def cut(call: Call, proceed: Proceed, *, policy: str, seconds: float, enforce: Enforce = "auto") -> Outcome[Any]:
    """Proceed for at most `seconds`, and never past the call's deadline.

    What exceeds the limit has failed, even if it then comes back with a result; only under `enforce="cooperative"`,
    where the function was asked to keep time itself, is a late result kept and the overrun merely reported.
    """
    began = clock.now()
    until = min(began + seconds, call.deadline)
    if until < began + seconds:
        policy, seconds = "deadline", max(0.0, until - began)
    if seconds <= 0:
        return _exceeded(call, policy, seconds, Overrun(stopped=True))
    attempt = call.within(limited_until=until)
    outcome = await call.runtime.limit(attempt, proceed, seconds, enforce)
    if isinstance(outcome, Overrun):
        return _exceeded(call, policy, seconds, outcome)
    if clock.now() > until:
        late = _exceeded(call, policy, seconds, Overrun(stopped=False))
        return outcome if enforce == "cooperative" else late
    return outcome


def _exceeded(call: Call, policy: str, seconds: float, overrun: Overrun) -> Failed:
    call.emit(
        TimeoutExceeded,
        policy=policy,
        limit=seconds,
        stopped=overrun.stopped,
        abandoned=overrun.abandoned,
        thread=overrun.thread,
        reason=overrun.reason,
    )
    error = DeadlineExceeded if policy == "deadline" else TimedOut
    what = f"the {seconds:.3g} s left of its deadline" if policy == "deadline" else f"its {policy} of {seconds:g} s"
    message = f"{call.operation} exceeded {what}{_fate(overrun)}"
    stopped, abandoned, thread = overrun.stopped, overrun.abandoned, overrun.thread
    return Failed(error(message, seconds=seconds, stopped=stopped, abandoned=abandoned, thread=thread))


def _fate(overrun: Overrun) -> str:
    if overrun.stopped:
        return ""
    what = "it was not stopped" if overrun.stopped is False else "whether it was stopped is unknown"
    why = f": {overrun.reason}" if overrun.reason else ""
    runs_on = f"; it may still run, in {place(overrun.thread)}" if overrun.abandoned else ""
    return f"; {what}{why}{runs_on}"
