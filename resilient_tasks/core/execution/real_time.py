"""The machine's clock and its sleep, out of reach of what replaces time in tests.

freezegun replaces the functions of the module `time` and each module attribute that is one of them, and a mock replaces
them in that module. A wait that counts on a replaced clock never ends. The functions here belong to a copy of the
module, so nothing finds them, and they are the real ones even where this package is first imported in frozen time.
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
    """Tell whether something stands in the place of `time.monotonic`, by which the timers of asyncio's loops go."""
    return not isinstance(shared.monotonic, BuiltinFunctionType)


class Timer(Protocol):
    """Something that can be called off."""

    def cancel(self) -> None:
        """Call it off."""


def call_later(loop: asyncio.AbstractEventLoop, seconds: float, tell: Callable[[], None]) -> Timer:
    """Have the running loop call `tell` after so many seconds, even if its own timers stand still."""
    if not is_frozen():
        return loop.call_later(seconds, tell)

    def ring() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell)

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    return timer


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock by which waits in this loop end."""
    return monotonic if is_frozen() else loop.time


async def pause(seconds: float) -> None:
    """Suspend this coroutine for so many seconds, even if the timers of its loop stand still."""
    import asyncio  # noqa: PLC0415  # there, where a loop runs; sync code need not load it

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
    """Wait until one of the tasks is done, for so many seconds at the most, and return those that are."""
    import asyncio  # noqa: PLC0415  # as above

    if seconds is None or not is_frozen():
        return (await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))[0]
    timer = asyncio.create_task(pause(seconds))
    try:
        done, _ = await asyncio.wait({*tasks, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    return {task for task in done if task is not timer}
