"""Tasks without policies: on degraded data, their final state says so. Otherwise Prefect runs them as its own."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from prefect.client.schemas.objects import State
from prefect.tasks import Task

from resilient_tasks.core import settings
from resilient_tasks.core.outcome import Ok
from resilient_tasks.prefect import inputs
from resilient_tasks.prefect.states import StateSink, StateWithMessage


def of_this_run(fn: Callable[..., Any], operation: str) -> Callable[..., Any]:
    """Return the function that the engine calls for the current task run: `fn`, unless its data is degraded.

    Args:
        fn: the task's function.
        operation: the task's operation.
    """
    origins = inputs.of_this_task_run() if settings.current.enabled and _is_plain(fn) else ()
    if not origins:
        return fn

    def sink() -> StateSink:
        started = StateSink(operation, origins)
        started.report_inputs()
        return started

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            begun = sink()
            outcome = Ok(await fn(*args, **kwargs))
            if begun.conclude(outcome):
                await asyncio.to_thread(begun.report)
            return _concluded(outcome, begun)

        return coroutine

    @functools.wraps(fn)
    def function(*args: Any, **kwargs: Any) -> Any:
        begun = sink()
        outcome = Ok(fn(*args, **kwargs))
        if begun.conclude(outcome):
            begun.report()
        return _concluded(outcome, begun)

    return function


def result(task: Task[..., Any], given: Any, *, is_state: bool) -> Any:
    """Return the result of a direct call of a task without policies: its data, or its state if that was asked for."""
    if task.isasync and not task.isgenerator:
        return _awaited(given, is_state=is_state)
    return _unwrapped(given, is_state=is_state)


async def _awaited(coroutine: Coroutine[Any, Any, Any], *, is_state: bool) -> Any:
    return _unwrapped(await coroutine, is_state=is_state)


def _unwrapped(given: Any, *, is_state: bool) -> Any:
    if not isinstance(given, StateWithMessage) or not given.take_wrapping():
        return given
    return given if is_state else given.unwrapped()


def _is_plain(fn: Callable[..., Any]) -> bool:
    return inspect.isfunction(fn) and not inspect.isgeneratorfunction(fn) and not inspect.isasyncgenfunction(fn)


def _concluded(outcome: Ok[Any], sink: StateSink) -> Any:
    value = outcome.value
    if inspect.isawaitable(value) or (isinstance(value, State) and not value.is_completed()):
        return value  # Prefect decides
    concluded = sink.with_message(outcome)
    if concluded is not value and isinstance(concluded, StateWithMessage):
        concluded.wrap()
    return concluded
