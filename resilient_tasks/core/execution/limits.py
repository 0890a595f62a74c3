"""Cutting an attempt that takes too long, for the timeout of an attempt and the deadline of a call alike.

A wrapper that calls its function without a pipeline keeps a limit by `in_time` or `in_time_async`, and says with
`exceeded` what came of one that was reached. `cut` does the same for a pipeline. All go by one mechanism.
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
from resilient_tasks.core.execution.cancelling import came_of, kept
from resilient_tasks.core.execution.interrupt import NOTHING, Overrun
from resilient_tasks.core.execution.threads import by_leaving_a_thread
from resilient_tasks.core.outcome import Failed, Outcome

__all__ = ["came_of", "cut", "exceeded", "in_time", "in_time_async", "kept"]

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
    """Call sync `work` for at most `seconds` of real time, interrupted as the thread allows.

    Args:
        work: what to call.
        seconds: the limit, from now.
        call: the attempt: by its identity, what `running` holds while the work runs, or a call around that. Asked for
            no more than `operation`, `parent` and `fence()`, in the main thread and in a task only at the limit.
        args: for `work`.
        kwargs: for `work`.

    Returns:
        what `work` returns, or an `Overrun` if that took longer. What it raises in time is raised.
    """
    if get_ident() == interrupt.main_thread:
        return interrupt.by_signal(work, seconds, call, args, kwargs)
    return by_leaving_a_thread(work, seconds, call, args, kwargs)


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
        if call.fenced:  # it is not begun because nothing waits for it, and that it says itself
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
    """Tell that an attempt has reached its limit of `seconds`, and return that as its outcome."""
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
