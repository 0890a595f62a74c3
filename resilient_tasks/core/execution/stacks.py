"""What the stacks of other threads, jobs of pools and tasks tell of the context variables that they run with."""

from __future__ import annotations

import asyncio
import concurrent.futures as pools
import functools
import gc
import sys
import threading
from collections.abc import Iterator
from contextvars import Context
from types import BuiltinMethodType, FrameType
from typing import Any

#: What carries a context stands among the outermost frames of a thread.
OUTERMOST = 8


def is_a(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Tell an object's true type: `isinstance` asks the object, and a proxy or a mock answers as it likes."""
    return issubclass(type(value), kind)


def _is_job(value: Any) -> bool:
    """Tell whether this is a job of a pool of threads. Its module cannot be imported while the interpreter ends."""
    module = sys.modules.get("concurrent.futures.thread")
    return module is not None and is_a(value, module._WorkItem)  # noqa: SLF001  # the one way to know one


def outwards(frame: FrameType | None) -> list[FrameType]:
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack


def value_of(frame: FrameType, name: str) -> Any:
    return frame.f_locals.get(name) if name in frame.f_code.co_varnames else None


def job_of(stack: list[FrameType]) -> Any:
    """Return what a thread of a pool is doing for it."""
    for frame in stack[-OUTERMOST:]:
        if _is_job(job := value_of(frame, "self")):
            return job
    return None


def contexts_in(stack: list[FrameType]) -> Iterator[Context]:
    for frame in stack[-OUTERMOST:]:
        for value in frame.f_locals.values():
            yield from contexts_of(value)


def contexts_of(value: Any) -> Iterator[Context]:
    """Yield the contexts that something is to run in, where it is a thread, a job or a function for one."""
    if is_a(value, Context):
        yield value
    elif is_a(value, functools.partial):
        yield from contexts_of(value.func)
    elif is_a(value, BuiltinMethodType):
        if is_a(value.__self__, Context):
            yield value.__self__
    elif is_a(value, threading.Thread):
        given = vars(value)
        for each in (given.get("_target"), *(given.get("_args") or ())):
            yield from contexts_of(each)
    elif type(value).__name__ == "_WorkItem" and type(value).__module__.startswith("concurrent.futures."):
        for each in (value.fn, *value.args):
            yield from contexts_of(each)
        yield from _contexts_of_future(value.future)


def _contexts_of_future(future: pools.Future[Any]) -> Iterator[Context]:
    """Yield the contexts in which somebody waits for a job through `run_in_executor`, which copies none for the job."""
    for waiting in _asyncio_futures(future):
        for callback in getattr(waiting, "_callbacks", None) or ():
            if is_a(callback, tuple) and is_a(callback[-1], Context):
                yield callback[-1]


def _asyncio_futures(future: pools.Future[Any]) -> Iterator[asyncio.Future[Any]]:
    for callback in [*getattr(future, "_done_callbacks", ())]:
        for cell in getattr(callback, "__closure__", None) or ():
            if asyncio.isfuture(cell.cell_contents):
                yield cell.cell_contents


def contexts_of_task(task: asyncio.Task[Any]) -> Iterator[Context]:
    if sys.version_info >= (3, 12):
        yield task.get_context()
    else:
        yield from (each for each in gc.get_referents(task) if is_a(each, Context))


def queued(queue: Any) -> Iterator[Any]:
    for each in gc.get_referents(queue) if queue is not None else ():
        for item in each if is_a(each, list) else (each,):
            if _is_job(item):
                yield item
