"""Run a generator inside a pipeline: its items are passed on as they come, and it is never run twice.

A limit covers all items together, including the time that the consumer takes, as Prefect's own does. In async code and
in the main thread, it interrupts the wait for an item; elsewhere Python cannot, and the generator is closed once the
item has come. Items already passed on cannot be replaced: a fallback applies only if the generator failed before its
first item.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from resilient_tasks import core, safely
from resilient_tasks.core import call as calls
from resilient_tasks.core.call import NEVER, Call, Proceed, Work
from resilient_tasks.core.execution import clock, runtime
from resilient_tasks.core.observing import InSteps
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import Pipeline, reported


def is_stream(fn: Callable[..., Any]) -> bool:
    """Return whether `fn` is a generator function, sync or async."""
    return callables.is_generator(fn) or callables.is_async_generator(fn)


def items(pipeline: Pipeline, work: Work) -> Generator[Any, None, Outcome[Any]]:
    """Iterate over the generator of `work`; its return value is the outcome's value."""
    source = work.fn(*work.args, **work.kwargs)
    call = _call_of_steps(pipeline, work, source.__next__)
    any_yielded = False
    with InSteps(call) as seen:
        try:
            while not isinstance(step := runtime.drive(_next(call)), Failed):
                yield step.value
                any_yielded = True
        finally:
            source.close()
        if safely.is_a(step.error, StopIteration):
            return Ok(step.error.value)
        seen.outcome = runtime.drive(_after_failure(pipeline, _whole(work, call), step, any_yielded=any_yielded))
        if not isinstance(seen.outcome, Degraded):
            return seen.outcome
        yield from seen.outcome.value
        return Degraded(None, seen.outcome.because)


async def async_items(pipeline: Pipeline, work: Work) -> AsyncGenerator[Any, None]:
    """As `items`, for an async generator, which returns nothing.

    Raises:
        Exception: the generator's own, or `DeadlineExceeded`.
    """
    work.runtime = runtime.ASYNC
    source = work.fn(*work.args, **work.kwargs)
    call = _call_of_steps(pipeline, work, source.__anext__)
    with InSteps(call):
        try:
            while not isinstance(step := await _next(call), Failed):
                yield step.value
        finally:
            await source.aclose()
        if not safely.is_a(step.error, StopAsyncIteration):
            (await _after_failure(pipeline, _whole(work, call), step, any_yielded=True)).unwrap()


def _call_of_steps(pipeline: Pipeline, work: Work, step: Callable[[], Any]) -> Call:
    outer, now = calls.running.get(), clock.now()
    limits = [policy.limit_of_stream(work.fn) or NEVER for policy in pipeline.policies]
    due = min(now + min(limits, default=NEVER), outer.deadline if outer else NEVER)
    how = runtime.ITEMS if work.runtime is runtime.SYNC else work.runtime
    return Call(work.changed(fn=step, args=(), kwargs={}, runtime=how), outer, 1, now, due)


def _whole(work: Work, steps: Call) -> Call:
    """Return the call of all steps together, without their limits."""
    return Call(work, None, 1, steps.started)


async def _next(call: Call) -> Outcome[Any]:
    """Wait for the next item. No limit by a helper thread: the generator has to run in one thread throughout."""
    late = call.deadline <= clock.now()
    can_be_cut = call.runtime is runtime.ASYNC or core.execution.interrupt.signals_work_here()
    if late or (can_be_cut and call.deadline < NEVER):
        return await core.execution.limits.cut(call, Call.invoke, policy="deadline", seconds=NEVER)
    return await call.invoke()


async def _after_failure(pipeline: Pipeline, call: Call, failed: Failed, *, any_yielded: bool) -> Outcome[Any]:
    """Apply the policies that react to a failure."""

    async def fail(_: Call) -> Outcome[Any]:
        return failed

    proceed: Proceed = fail
    for policy in reversed(pipeline.policies):
        if policy.reacts_only and not (any_yielded and policy.slot == "fallback"):
            proceed = functools.partial(policy.around, proceed=proceed)
    return reported(call, await proceed(call))
