"""Where running code may be interrupted: not between taking a lock, or a slot, and the code that gives it back.

An interrupt is raised between two instructions. Right after `lock.acquire()`, before the `try` whose `finally` releases
the lock, or inside a Python function that is about to release one, it would leave the lock held forever. Such code is
short, so the interrupt is postponed for a moment.
"""

from __future__ import annotations

import contextlib
import logging
import opcode
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from resilient_tasks.core.execution import real_time

#: Seconds between two looks at the code, and the number of looks at most.
PAUSE, LOOKS = 0.001, 100

#: Code that has not moved for this many looks waits in C, and has taken nothing yet.
WAITS = 8

#: Names of functions that take or release a lock, without leading and trailing underscores: `acquire`, `_acquireLock`,
#: `release_save`, but not a user's `acquire_images`. Also `__del__`, which loses exceptions.
_GUARDS = re.compile(
    r"(acquire|release)(_?(lock|locks|restore|save|waiter|mutex|semaphore|read|write|shared|exclusive))*"
    r"|a?enter|a?exit|del|enter_(async_)?context|lock|unlock"
)
#: Prefixes of functions that may just have taken a lock if the current line calls them.
_TAKES = ("acquire", "release_save", "enter")
#: The modules that take and give back slots and the like; unsafe with all that they call.
_COUNT = re.compile(r"resilient_tasks\.(state\.|core\.store|policies\.\w+\.(?!policy$))")
#: The modules that call them, unsafe only in their own frames; and the module of the wrappers.
_CALLERS_OF_COUNT = ("resilient_tasks.policies.", "resilient_tasks.core.pipeline")
_WRAPPERS = "resilient_tasks.core.wrappers"
#: These run as callbacks of the garbage collector or around a fork, where an interrupt is lost.
_CALLBACKS = {"weakref", "_weakrefset", "resilient_tasks.core.execution.watch"}
#: While CPython 3.11 starts a thread, both threads have the same ident, and the new one could get the interrupt.
_START = threading.Thread.start.__code__ if sys.version_info < (3, 12) else None


def is_safe(frame: FrameType | None, end: CodeType) -> bool:
    """Return whether code may be interrupted in `frame`, given the frames around it up to the one of `end`."""
    if frame is None:
        return True
    if _keeps_count(frame) or _may_just_have_taken(frame):
        return False
    for around in outwards(frame, end):
        module = _module(around)
        if _guards(around.f_code.co_name) or module in _CALLBACKS or _COUNT.match(module):
            return False
        if around.f_code is _START:
            return False
    return True


def outwards(frame: FrameType | None, end: CodeType | None = None) -> Iterator[FrameType]:
    """Yield a frame and those around it, up to the one of `end`."""
    while frame is not None and frame.f_code is not end:
        yield frame
        frame = frame.f_back


def _keeps_count(frame: FrameType) -> bool:
    """Return whether a slot that a call has just taken, or is about to give back, would stay taken.

    True in the code of a policy, and in what a wrapper calls while it has a permit, except the user's function.
    """
    if frame.f_code.co_name == "sleep":
        return False
    if _module(frame).startswith(_CALLERS_OF_COUNT):
        return True
    around: FrameType | None = frame
    while around is not None and _module(around).startswith("resilient_tasks."):
        if _module(around) == _WRAPPERS and around.f_locals.get("permit") is not None:
            return True
        around = around.f_back
    return False


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _guards(name: str) -> bool:
    return _GUARDS.fullmatch(name.strip("_").lower()) is not None


def _may_just_have_taken(frame: FrameType) -> bool:
    code = frame.f_code
    takes = {name for name in code.co_names if name.strip("_").lower().startswith(_TAKES)}
    if not takes or code is threading.Condition.wait.__code__:  # it waits inside its own `try`
        return False
    return any(name in takes for name in _named_in_line(code, frame.f_lasti))


def _named_in_line(code: CodeType, at: int) -> Iterator[str]:
    """Yield the names of globals, attributes and methods in the line of instruction `at`, up to `at`."""
    spans = [(start, end, line) for start, end, line in code.co_lines() if start <= at]
    lines = {line for start, end, line in spans if at < end}
    raw = code.co_code
    for start, end, line in spans:
        if line not in lines:
            continue
        extended = 0
        for place in range(start, min(end, at + 2), 2):
            number = extended | raw[place + 1]
            extended = number << 8 if raw[place] == opcode.EXTENDED_ARG else 0
            if raw[place] in opcode.hasname:
                yield code.co_names[number >> _FLAGS.get(raw[place], 0)]


def goes_on_safely(frame: FrameType) -> bool:
    """Return whether a thread that has stopped in `frame` to let others run may be interrupted a little later.

    From Python 3.13 on, an exception raised in such a thread from outside does not come where it stands, but where the
    interpreter checks next: after the next call of a C function, at the start of a Python function, or where a loop
    jumps back.
    """
    if sys.version_info < (3, 13):
        return True
    around: FrameType | None = frame
    while around is not None:
        names, last, nothing = _up_to_next_call(around.f_code, around.f_lasti)
        if nothing or any(_guards(name) for name in names):
            return False
        if not last.startswith("RETURN"):
            return True
        around = around.f_back
        if around is not None and _keeps_count(around):
            return False
    return True


def _up_to_next_call(code: CodeType, at: int) -> tuple[list[str], str, bool]:
    """Return the names loaded up to the next call, the opcode that ends there, and whether it calls an `__exit__`."""
    raw, names, extended, nothings = code.co_code, [], 0, 0
    for place in range(at + 2, len(raw), 2):
        kind, number = opcode.opname[raw[place]], extended | raw[place + 1]
        extended = number << 8 if kind == "EXTENDED_ARG" else 0
        if raw[place] in opcode.hasname:
            names.append(code.co_names[number >> _FLAGS.get(raw[place], 0)])
        if kind.startswith(("CALL", "RETURN", "JUMP_BACKWARD", "YIELD", "RAISE")):
            return names, kind, nothings >= _GIVEN_TO_EXIT
        if kind == "LOAD_CONST":
            nothings = nothings + 1 if code.co_consts[number] is None else 0
        elif kind not in {"CACHE", "EXTENDED_ARG"}:
            nothings = 0
    return names, "RETURN", False


#: A `with` whose block has ended calls `__exit__(None, None, None)`.
_GIVEN_TO_EXIT = 3


def wants_to_run(thread: threading.Thread) -> bool:
    """Return whether a thread is waiting for a processor: that it stands still does not mean that it waits in C."""
    try:
        about = Path(f"/proc/self/task/{thread.native_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return about.rpartition(")")[2].split()[:1] == ["R"]


def time_on_processor(thread: threading.Thread) -> str:
    """Return the processor time of a thread, as the system's text; something new each time if it is unknown."""
    try:
        return Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text(encoding="ascii").partition(" ")[0]
    except OSError:
        return f"unknown at {real_time.monotonic()}"


#: The number of low bits in an instruction's argument that do not belong to the index of its name.
_FLAGS = {
    opcode.opmap["LOAD_GLOBAL"]: 1,
    opcode.opmap["LOAD_ATTR"]: 1 if sys.version_info >= (3, 12) else 0,
    opcode.opmap.get("LOAD_SUPER_ATTR", -1): 2,
}


class Postponement:
    """Postpones an interrupt while it would hit unsafe code, up to a tenth of a second."""

    def __init__(self) -> None:
        self._looks = self._same = 0
        self._seen: tuple[FrameType | None, int] = (None, 0)

    def may_deliver(self, frame: FrameType | None, end: CodeType) -> bool:
        """Return whether to raise the interrupt now. Called every `PAUSE` seconds."""
        if is_safe(frame, end):
            self._seen = (None, 0)
            return True
        seen = (frame, frame.f_lasti) if frame is not None else (None, 0)
        self._looks += 1
        self._same = self._same + 1 if seen == self._seen else 0
        self._seen = seen
        if self._looks >= LOOKS or self._same >= WAITS:
            self._seen = (None, 0)
            return True
        return False


_RLock = type(threading.RLock())


def release_locks(interrupted: TracebackType | None, outside: FrameType | None = None) -> None:
    """Release the reentrant locks that the interrupted code had a reference to and this thread still owns.

    Args:
        interrupted: the traceback of the interrupt.
        outside: the frame of the code around; locks that it refers to stay held.
    """
    kept = {id(lock) for frame in outwards(outside) for lock in _locks_of(frame)}
    logs = any(frame.f_globals.get("__name__") == logging.__name__ for frame in outwards(outside))
    locks = [] if logs else [*_locks_of_logging()]
    while interrupted is not None:
        locks += _locks_of(interrupted.tb_frame)
        interrupted = interrupted.tb_next
    for lock in locks:
        if id(lock) not in kept:
            while lock._is_owned():  # noqa: SLF001  # the only way to see its owner
                lock.release()


def _locks_of_logging() -> Iterator[Any]:
    handlers = [reference() for reference in [*getattr(logging, "_handlerList", ())]]
    yield from _rlocks([getattr(logging, "_lock", None), *(getattr(handler, "lock", None) for handler in handlers)])


def _locks_of(frame: FrameType) -> Iterator[Any]:
    """Yield the reentrant locks that a frame's variables hold, and the attributes of what they hold."""
    names = frame.f_globals
    values = [*frame.f_locals.values(), *(names[name] for name in frame.f_code.co_names if name in names)]
    yield from _rlocks(values)
    for value in values:
        with contextlib.suppress(Exception):  # an object without `__dict__`, or one that raises
            yield from _rlocks(vars(value).values() if type(value) is not ModuleType else ())


def _rlocks(values: Iterable[Any]) -> Iterator[Any]:
    for value in [*values]:
        lock = value._lock if issubclass(type(value), threading.Condition) else value  # noqa: SLF001
        if issubclass(type(lock), _RLock):
            yield lock
