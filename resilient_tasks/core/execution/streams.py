"""A generator inside a pipeline: its items are handed on as they come, and it is never run twice.

A limit holds for all items together, the time that their consumer takes included, as Prefect's own does. Waiting for an
item is cut there in async code and in the main thread; elsewhere Python cannot, and the generator is closed when the
item has come. Nothing can stand in for items that are handed out: a fallback answers only for a generator that failed
before its first one.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from resilient_tasks import core, safely
from resilient_tasks.core import call as calls
from resilient_tasks.core.call import NEVER, Call, Proceed, Work
from resilient_tasks.core.execution import clock, runtime
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import Pipeline, told


def is_stream(fn: Callable[..., Any]) -> bool:
    """Tell whether calling `fn` gives items one by one."""
    return callables.is_generator(fn) or callables.is_async_generator(fn)


def items(pipeline: Pipeline, work: Work) -> Generator[Any, None, Outcome[Any]]:
    """Iterate over the generator that `work` is about; what it returned in the end is the outcome's value."""
    source = work.fn(*work.args, **work.kwargs)
    call = _begun(pipeline, work, source.__next__)
    handed_out = False
    try:
        while not isinstance(step := runtime.drive(_next(call)), Failed):
            yield step.value
            handed_out = True
    finally:
        source.close()
    if safely.is_a(step.error, StopIteration):
        return Ok(step.error.value)
    outcome = runtime.drive(_answered(pipeline, Call(work), step, handed_out=handed_out))
    if not isinstance(outcome, Degraded):
        return outcome
    yield from outcome.value
    return Degraded(None, outcome.because)


async def async_items(pipeline: Pipeline, work: Work) -> AsyncGenerator[Any, None]:
    """As `items`, for an async generator, which returns nothing.

    Raises:
        Exception: the generator's own, or `DeadlineExceeded`.
    """
    work.runtime = runtime.ASYNC
    source = work.fn(*work.args, **work.kwargs)
    call = _begun(pipeline, work, source.__anext__)
    try:
        while not isinstance(step := await _next(call), Failed):
            yield step.value
    finally:
        await source.aclose()
    if not safely.is_a(step.error, StopAsyncIteration):
        (await _answered(pipeline, Call(work), step, handed_out=True)).unwrap()


def _begun(pipeline: Pipeline, work: Work, step: Callable[[], Any]) -> Call:
    outer, now = calls.running.get(), clock.now()
    limits = [policy.limit_of_stream(work.fn) or NEVER for policy in pipeline.policies]
    due = min(now + min(limits, default=NEVER), outer.deadline if outer else NEVER)
    how = runtime.ITEMS if work.runtime is runtime.SYNC else work.runtime
    return Call(work.changed(fn=step, args=(), kwargs={}, runtime=how), outer, 1, now, due)


async def _next(call: Call) -> Outcome[Any]:
    """Wait for the next item. In another thread it could be waited for in time, but would find its own thread gone."""
    late = call.deadline <= clock.now()
    can_be_cut = call.runtime is runtime.ASYNC or core.execution.interrupt.signals_work_here()
    if late or (can_be_cut and call.deadline < NEVER):
        return await core.execution.limits.cut(call, Call.invoke, policy="deadline", seconds=NEVER)
    return await call.invoke()


async def _answered(pipeline: Pipeline, call: Call, failed: Failed, *, handed_out: bool) -> Outcome[Any]:
    """Have the policies that react to a failure react to this one."""

    async def given(_: Call) -> Outcome[Any]:
        return failed

    proceed: Proceed = given
    for policy in reversed(pipeline.policies):
        if policy.reacts_only and not (handed_out and policy.slot == "fallback"):
            proceed = functools.partial(policy.around, proceed=proceed)
    return told(call, await proceed(call))
