"""What a decorator returns: it makes the first attempt at once, and enters the pipeline only if that fails.

A call that goes well touches nothing but the policies that have to act before it. It makes no object, and sets no
context variable: its frame says which call it is (see `current_call`).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import call as calls
from resilient_tasks.core import callables, runtime, settings, streams
from resilient_tasks.core.call import NEVER, Later, Leave, Plan, Work
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.pipeline import inherited, parts_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call


def sync(plan: Plan) -> Callable[..., Any]:  # noqa: C901  # as below
    """Return the wrapper of a sync function."""
    fn, run, gate = plan.fn, plan.pipeline.run, plan.pipeline.gate
    drive, new = runtime.drive, [True]  # the first call tells of loops that multiply

    @functools.wraps(fn)
    def resilient_call(*args: Any, **kwargs: Any) -> Any:  # noqa: C901  # a call inside costs as much as all this
        leave = None
        outer = calls.running.get()  # by its module's name: a context variable in a closure cannot be pickled
        if new or (outer is not None and _is_to_be_cut(outer, plan)):
            new.clear()
            work = plan.work(args, kwargs)
            return drive(run(work)).unwrap()
        if gate is not None:
            if not settings.current.enabled:
                return fn(*args, **kwargs)
            leave = gate(plan, args, kwargs)
            if leave is None:
                work = plan.work(args, kwargs)
                return drive(run(work)).unwrap()
        try:
            value = fn(*args, **kwargs)
        except Exception as error:
            if gate is None and not settings.current.enabled:
                raise
            work = _begun(plan, args, kwargs, Failed(error), leave)
        except BaseException:
            if leave is not None:
                leave.gone()
            raise
        else:
            if type(value) in callables.PLAIN or not callables.comes_later(value):
                if leave is not None:
                    leave.succeeded()
                return value
            if gate is None and not settings.current.enabled:
                return value
            work = _begun(plan, args, kwargs, runtime.put_off(fn, value), leave)
        return drive(run(work)).unwrap()

    def outcome(*args: Any, **kwargs: Any) -> Any:
        if settings.current.enabled:
            return runtime.ended(run(plan.work(args, kwargs)))
        value = fn(*args, **kwargs)
        return _ok(value) if callables.comes_later(value) else Ok(value)

    resilient_call.outcome = outcome  # type: ignore[attr-defined]
    return resilient_call


async def _ok(awaitable: Awaitable[Any]) -> Outcome[Any]:
    return Ok(await awaitable)


def asynchronous(plan: Plan) -> Callable[..., Any]:  # noqa: C901  # as below
    """Return the wrapper of an async function."""
    fn, run, gate, new = plan.fn, plan.pipeline.run, plan.pipeline.gate, [True]

    @functools.wraps(fn)
    async def resilient_call(*args: Any, **kwargs: Any) -> Any:  # noqa: C901  # as in the sync wrapper
        leave = None
        outer = calls.running.get()  # as in the sync wrapper
        if new or (outer is not None and _is_to_be_cut(outer, plan)):
            new.clear()
            work = plan.work(args, kwargs)
            return (await run(work)).unwrap()
        if gate is not None:
            if not settings.current.enabled:
                return await fn(*args, **kwargs)
            leave = gate(plan, args, kwargs)
            if leave is None:
                work = plan.work(args, kwargs)
                return (await run(work)).unwrap()
        try:
            value = await fn(*args, **kwargs)
        except Exception as error:
            if gate is None and not settings.current.enabled:
                raise
            work = _begun(plan, args, kwargs, Failed(error), leave)
        except BaseException:
            if leave is not None:
                leave.gone()
            raise
        else:
            if leave is not None:
                leave.succeeded()
            return value
        return (await run(work)).unwrap()

    async def outcome(*args: Any, **kwargs: Any) -> Outcome[Any]:
        if not settings.current.enabled:
            return Ok(await fn(*args, **kwargs))
        return await run(plan.work(args, kwargs))

    resilient_call.outcome = outcome  # type: ignore[attr-defined]
    return resilient_call


def stream(plan: Plan) -> Callable[..., Any]:
    """Return the wrapper of a generator function, sync or async."""
    fn, pipeline = plan.fn, plan.pipeline

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return (yield from fn(*args, **kwargs))
        return (yield from streams.items(pipeline, plan.work(args, kwargs))).unwrap()

    @functools.wraps(fn)
    async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
        enabled = settings.current.enabled
        async for item in streams.async_items(pipeline, plan.work(args, kwargs)) if enabled else fn(*args, **kwargs):
            yield item

    return async_wrapper if callables.is_async_generator(fn) else wrapper


def _is_to_be_cut(outer: Call, plan: Plan) -> bool:
    """Tell whether a limit of the call around holds here, and is not enforced there."""
    if outer.deadline == NEVER == outer.limited_until:
        return False
    deadline, limited_until = inherited(outer, plan.work((), {}))
    return deadline < limited_until


def _begun(
    plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], given: Outcome[Any] | Later, leave: Leave | None
) -> Work:
    """Return an invocation whose first attempt was made at once, with what came of it."""
    name = calls.id_asked_for(kwargs)
    work = plan.work(args, kwargs)
    if name:
        work = work.changed(_id=name)
    return work.was_begun(given, parts_of(leave))
