"""The machine's clock and sleep, which freezegun and mocks cannot replace.

freezegun replaces the functions of the module `time` and every module attribute that refers to one of them; a mock
replaces them in `time`. A wait that relies on a replaced clock never ends. The functions here belong to a copy of the
module, so they are not found, and are the real ones even if this package is first imported in frozen time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import threading
import time as shared
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import asyncio


def _copy_of(module: ModuleType) -> Any:
    spec = cast("ModuleSpec", module.__spec__)
    copy = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        spec.loader.exec_module(copy)
    return copy


_own = _copy_of(shared)
monotonic: Callable[[], float] = _own.monotonic
time: Callable[[], float] = _own.time
sleep: Callable[[float], None] = _own.sleep


def is_frozen() -> bool:
    """Return whether `time.monotonic`, the clock of asyncio's timers, has been replaced."""
    return not isinstance(shared.monotonic, BuiltinFunctionType)


class Timer(Protocol):
    """A timer."""

    def cancel(self) -> None:
        """Cancel it."""


def call_later(loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], None]) -> Timer:
    """Call back in the running loop after `seconds`, even if time is frozen."""
    if not is_frozen():
        return loop.call_later(seconds, callback)

    def ring() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(callback)

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    return timer


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock of waits in this loop."""
    return monotonic if is_frozen() else loop.time


async def pause(seconds: float) -> None:
    """Suspend this coroutine for `seconds`, even if time is frozen."""
    import asyncio  # noqa: PLC0415  # sync code need not load it

    if not is_frozen():
        await asyncio.sleep(seconds)
        return
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    timer = call_later(loop, seconds, lambda: None if over.done() else over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()


async def first_of(tasks: set[asyncio.Task[Any]], seconds: float | None) -> set[asyncio.Task[Any]]:
    """Wait until one of the tasks is done, for at most `seconds`, and return those that are."""
    import asyncio  # noqa: PLC0415  # as above

    if seconds is None or not is_frozen():
        return (await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))[0]
    timer = asyncio.create_task(pause(seconds))
    try:
        done, _ = await asyncio.wait({*tasks, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    return {task for task in done if task is not timer}
