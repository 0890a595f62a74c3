"""The function that Prefect's engine calls for a resilient task: the user's function inside its pipeline."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Coroutine, Generator, Mapping
from typing import Any

from resilient_tasks.core import settings
from resilient_tasks.core.call import Work
from resilient_tasks.core.events import Event, RowsQuarantined, RowsWarned
from resilient_tasks.core.execution import runtime, streams
from resilient_tasks.core.outcome import Outcome
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import Pipeline
from resilient_tasks.decorators.decorate import Plan
from resilient_tasks.prefect import loops, raising, undocumented
from resilient_tasks.prefect.states import ReturnedFailures, StateSink


class Body:
    """Replaces a task's function for the engine, with the same signature; publishes events as Prefect states."""

    def __init__(self, plan: Plan) -> None:
        self.__name__: str = plan.operation
        self.__signature__: inspect.Signature = inspect.signature(plan.fn)
        self._plan = plan
        self._pipeline = plan.pipeline
        if not streams.is_stream(plan.fn):
            self._pipeline = Pipeline(*plan.pipeline.policies, ReturnedFailures())
        # The engine binds arguments to the signature of what it calls; a wrapper's may differ.
        self._is_wrapper = hasattr(plan.fn, "__wrapped__") or isinstance(plan.fn, functools.partial)

    def __reduce__(self) -> tuple[type[Body], tuple[Plan]]:
        return (Body, (self._plan,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        placed: tuple[tuple[Any, ...], Mapping[str, Any]] = (args, kwargs)
        if self._is_wrapper:
            placed = undocumented.split_call(self._plan.fn, args, kwargs)
        if not settings.current.enabled:
            return self._plan.fn(*placed[0], **placed[1])
        sink, happened = StateSink(), list[Event]()
        work = self._plan.work(*placed, (sink, happened.append))
        work.again = loops.is_tried_again()
        return self._run(work, sink, happened)

    def _run(self, work: Work, sink: StateSink, happened: list[Event]) -> Any:
        fn, pipeline = self._plan.fn, self._pipeline
        if callables.is_async_generator(fn):
            return raising.async_items(streams.async_items(pipeline, work))
        if callables.is_generator(fn):
            return _streamed(raising.items(streams.items(pipeline, work)), sink)
        outcome = pipeline.run(work)
        if self._plan.is_async:
            return _with_message(outcome, sink, happened)
        work.runtime = runtime.STRICT  # the engine would take a coroutine for the result
        return sink.with_message(_ended(runtime.drive(outcome), happened))


def _ended(outcome: Outcome[Any], happened: list[Event]) -> Outcome[Any]:
    if _is_about_data(happened):
        _leave_quality(happened)
    return outcome


def _is_about_data(happened: list[Event]) -> bool:
    return any(isinstance(event, RowsQuarantined | RowsWarned) for event in happened)


def _leave_quality(happened: list[Event]) -> None:
    from resilient_tasks.prefect import artifacts  # noqa: PLC0415  # for runs that create some

    if artifacts.has_ungathered(happened):
        artifacts.leave_quality(happened)


async def _ended_later(outcome: Coroutine[Any, Any, Outcome[Any]], happened: list[Event]) -> Outcome[Any]:
    ended = await outcome
    if _is_about_data(happened):
        await asyncio.to_thread(_leave_quality, happened)
    return ended


async def _with_message(outcome: Coroutine[Any, Any, Outcome[Any]], sink: StateSink, happened: list[Event]) -> Any:
    return sink.with_message(await _ended_later(outcome, happened))


def _streamed(items: Generator[Any, None, Outcome[Any]], sink: StateSink) -> Generator[Any, None, Any]:
    return sink.with_message((yield from items))
