"""Enforce limits: the timeout of an attempt and the deadline of a call.

A wrapper that calls its function without the pipeline uses `in_time` or `in_time_async`, and `exceeded` to report a
limit that was reached. `cut` does both for a pipeline.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from resilient_tasks.core.errors import DeadlineExceeded, TimedOut
from resilient_tasks.core.events import TimeoutExceeded
from resilient_tasks.core.events.attempts import place
from resilient_tasks.core.execution import clock, interrupt
from resilient_tasks.core.execution.cancelling import by_cancelling as in_time_async
from resilient_tasks.core.execution.cancelling import overrun_of, prepare
from resilient_tasks.core.execution.interrupt import NOTHING, Overrun
from resilient_tasks.core.execution.threads import by_thread
from resilient_tasks.core.outcome import Failed, Outcome

__all__ = ["cut", "exceeded", "in_time", "in_time_async", "overrun_of", "prepare"]

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Enforce, Proceed

T = TypeVar("T")


def in_time(
    work: Callable[..., T],
    seconds: float,
    call: Call,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> T | Overrun:
    """Call sync `work` for at most `seconds` of real time, interrupted as this thread allows.

    Args:
        work: what to call.
        seconds: the limit, from now.
        call: the attempt: the call in `running` while the work runs, or one around it. Used for `operation`, `parent`
            and `fence()` only; in the main thread and in a task, only at the limit.
        args: for `work`.
        kwargs: for `work`.

    Returns:
        the result of `work`, or an `Overrun`. An error raised in time propagates.
    """
    if get_ident() == interrupt.main_thread:
        return interrupt.by_signal(work, seconds, call, args, kwargs)
    return by_thread(work, seconds, call, args, kwargs)


async def cut(call: Call, proceed: Proceed, *, policy: str, seconds: float, enforce: Enforce = "auto") -> Outcome[Any]:
    """Proceed for at most `seconds`, and never past the call's deadline.

    Work that exceeds the limit has failed, even if it returns a result later. Only with `enforce="cooperative"`, if the
    function itself keeps the limit, a late result counts, and the overrun is merely reported.
    """
    began = clock.now()
    until = min(began + seconds, call.deadline)
    if until < began + seconds:
        policy, seconds = "deadline", max(0.0, until - began)
    if seconds <= 0:
        if call.fenced:  # its own error says why it does not begin
            return await proceed(call)
        return exceeded(call, policy, seconds, Overrun(stopped=True))
    attempt = call.within(limited_until=until)
    outcome = await call.runtime.limit(attempt, proceed, seconds, enforce)
    if isinstance(outcome, Overrun):
        return exceeded(call, policy, seconds, outcome)
    if clock.now() > until:
        late = exceeded(call, policy, seconds, Overrun(stopped=False))
        return outcome if enforce == "cooperative" else late
    return outcome


def exceeded(call: Call, policy: str, seconds: float, overrun: Overrun) -> Failed:
    """Emit `TimeoutExceeded` and return the failure of an attempt that reached its limit of `seconds`."""
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
    message = f"{call.operation} exceeded {what}{_what_happened(overrun)}"
    stopped, abandoned, thread = overrun.stopped, overrun.abandoned, overrun.thread
    return Failed(error(message, seconds=seconds, stopped=stopped, abandoned=abandoned, thread=thread))


def _what_happened(overrun: Overrun) -> str:
    if overrun.stopped:
        return ""
    what = "it was not stopped" if overrun.stopped is False else "whether it was stopped is unknown"
    why = f": {overrun.reason}" if overrun.reason else ""
    running = f"; still running in abandoned {place(overrun.thread).removeprefix('the ')}" if overrun.abandoned else ""
    return f"; {what}{why}{running}"
