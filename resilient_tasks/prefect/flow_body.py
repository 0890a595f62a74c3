"""The function that Prefect's engine calls for a resilient flow: the user's function inside its pipeline.

Called from elsewhere, such as a unit test or `flow.visualize()`, it is the bare function.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from prefect.utilities.asyncutils import run_coro_as_sync

from resilient_tasks.core import settings
from resilient_tasks.core.execution import runtime, streams
from resilient_tasks.core.keys.fingerprints import STANDS_FOR
from resilient_tasks.core.parameters import callables
from resilient_tasks.decorators.decorate import Plan
from resilient_tasks.prefect import flow_alerts, raising, undocumented
from resilient_tasks.prefect.flow_run import MARK, Care, FlowRun, engaged


def body_of(plan: Plan, care: Care) -> Callable[..., Any]:
    """Return the function that replaces the user's own in Prefect's engine."""
    if callables.is_async_generator(plan.fn):
        body = _async_generator(plan, care)
    elif callables.is_generator(plan.fn):
        body = _generator(plan, care)
    else:
        body = _async_function(plan, care) if plan.is_async else _function(plan, care)
    setattr(body, MARK, plan)
    return body


def bare(fn: Any) -> Any:
    """Return the user's own function if `fn` is the `fn` of a resilient flow; else return `fn`."""
    plan = getattr(fn, MARK, None)
    return plan.fn if isinstance(plan, Plan) else fn


def _begun(plan: Plan, care: Care) -> FlowRun | None:
    return engaged(plan, care) if settings.current.enabled else None


def _function(plan: Plan, care: Care) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    def body(*args: Any, **kwargs: Any) -> Any:
        run = _begun(plan, care)
        if run is None:
            return plan.fn(*args, **kwargs)

        @functools.wraps(plan.fn)
        def attempt(*args: Any, **kwargs: Any) -> Any:
            run.begin()
            value = plan.fn(*args, **kwargs)
            # The engine would await it too, but only after the run has completed.
            return run.settled(run_coro_as_sync(value) if asyncio.iscoroutine(value) else value)

        setattr(attempt, STANDS_FOR, plan.fn)
        with run.attended():
            work = run.work(replace(plan, fn=attempt), *_placed(plan.fn, args, kwargs))
            work.runtime = runtime.STRICT  # the engine would take a coroutine for the result
            return run.with_message(runtime.drive(pipeline.run(work)))

    return body


def _async_function(plan: Plan, care: Care) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    async def body(*args: Any, **kwargs: Any) -> Any:
        run = _begun(plan, care)
        if run is None:
            return await plan.fn(*args, **kwargs)

        @functools.wraps(plan.fn)
        async def attempt(*args: Any, **kwargs: Any) -> Any:
            run.begin()
            value = await plan.fn(*args, **kwargs)
            # Wait in a thread, so that other coroutines continue and a deadline can interrupt.
            return await asyncio.to_thread(run.settled, value) if run.unobserved else run.settled(value)

        setattr(attempt, STANDS_FOR, plan.fn)
        with run.attended():
            work = run.work(replace(plan, fn=attempt), *_placed(plan.fn, args, kwargs))
            return run.with_message(await pipeline.run(work))

    return body


def _generator(plan: Plan, care: Care) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    def body(*args: Any, **kwargs: Any) -> Any:
        run = _begun(plan, care)
        if run is None:
            return (yield from plan.fn(*args, **kwargs))

        @functools.wraps(plan.fn)
        def attempt(*args: Any, **kwargs: Any) -> Any:
            return run.settled((yield from plan.fn(*args, **kwargs)))

        with run.attended():
            work = run.work(replace(plan, fn=attempt), *_placed(plan.fn, args, kwargs))
            return run.with_message((yield from raising.items(streams.items(pipeline, work))))

    return body


def _async_generator(plan: Plan, care: Care) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    async def body(*args: Any, **kwargs: Any) -> Any:
        run = _begun(plan, care)
        if run is None:
            async for item in plan.fn(*args, **kwargs):
                yield item
            return

        @functools.wraps(plan.fn)
        async def attempt(*args: Any, **kwargs: Any) -> Any:
            async for item in plan.fn(*args, **kwargs):
                yield item
            await asyncio.to_thread(run.settled, None)

        with run.attended():
            work = run.work(replace(plan, fn=attempt), *_placed(plan.fn, args, kwargs))
            async for item in raising.async_items(streams.async_items(pipeline, work)):
                yield item

    return body


def _placed(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments as Prefect binds them: a wrapped function may have another signature inside."""
    return undocumented.split_call(fn, args, kwargs) if hasattr(fn, "__wrapped__") else (args, kwargs)
