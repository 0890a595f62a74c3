"""What a call has begun and may run on after it: tasks, jobs in pools, threads and processes.

While a call goes well, nothing is noted but under which call a thread is started. Once a limit has come, the stacks of
the other threads, the tasks of the event loops and the variables of the interrupted code are looked through. A task or
a job that was given a copy of the call's context variables, and a thread that it has started, are known to be its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as pools
import contextlib
import functools
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from types import FrameType
from typing import Any, NamedTuple

from resilient_tasks.core.call import Call, Mark, held, running
from resilient_tasks.core.execution import processes_begun, real_time, starts
from resilient_tasks.core.execution.abandoned import Piece
from resilient_tasks.core.execution.stacks import (
    OUTERMOST,
    contexts_in,
    contexts_of,
    contexts_of_task,
    is_a,
    job_of,
    outwards,
    queued,
    value_of,
)

_INSTALLED = ("site-packages", "dist-packages")
_STDLIB = sysconfig.get_path("stdlib")
_OURS = __name__.partition(".")[0]


class Begun:
    """What one attempt has begun. Asked once its limit has come; before, `starts.watch` is all that is needed.

    Args:
        call: the attempt, or the mark that it has left in its context.
        began: when it did, on `monotonic`.
    """

    __slots__ = ("_began", "_call", "_found", "_own")

    def __init__(self, call: Call | Mark, began: float) -> None:
        self._call = call
        starts.watch()
        self._began = began
        self._own: object = None
        self._found: list[Piece] = []

    def apart_from(self, own: threading.Thread | asyncio.Task[Any]) -> None:
        """Say in which thread or task the attempt itself runs."""
        self._own = own

    def look(self, frames: Iterable[FrameType] = ()) -> None:
        """Find what runs now, while the attempt is still at work.

        Args:
            frames: those of the interrupted code.
        """
        if isinstance(self._own, asyncio.Task):
            frames = _frames_of(self._own)
            self._found += _awaited(self._own)
        self._found += _held([*frames])
        self._found += self._in_sight()

    def running(self) -> list[Piece]:
        """Return what still runs, now that the attempt itself has ended."""
        self._found += self._in_sight()
        children = _look_around(self._began).children
        self._found += [piece for piece, started in children if started >= self._began]
        pieces: dict[object, Piece] = {}
        for piece in sorted(self._found, key=lambda piece: piece.known):
            if piece.runs():
                pieces[piece.thing] = piece
        return [*pieces.values()]

    def came_to_its_end(self) -> bool:
        """Tell whether something that ran at the limit has ended since, and was not cancelled."""
        for piece in self._found:
            cancelled = getattr(piece.thing, "cancelled", None)
            interrupted = cancelled() if cancelled else not isinstance(piece.thing, threading.Thread)
            if piece.known and not interrupted and not piece.runs():
                return True
        return False

    def _in_sight(self) -> Iterator[Piece]:
        """Yield what is there besides the attempt itself, and may be its own."""
        sight, call = _look_around(self._began), id(self._call)
        for seen in sight.threads:
            if call in seen.calls and seen.thread is not self._own:
                thing = seen.thread if seen.job is None else seen.job.future
                yield Piece(
                    seen.thread.name, known=True, runs=_still(seen.thread, seen.job, seen.contexts), thing=thing
                )
        for thread, job, calls in sight.queued:
            if call in calls:
                yield Piece(thread.name, known=True, runs=_not_done(job.future), thing=job.future)
        for task in sight.tasks.get(call, ()):
            if task is not self._own:
                yield Piece(f"task {task.get_name()}", known=True, runs=_not_done_task(task), thing=task)


class _Seen(NamedTuple):
    """A thread; `calls` are those that it works for, by id, with the calls around them."""

    thread: threading.Thread
    job: Any
    contexts: list[Context]
    calls: set[int]


class _Sight:
    """What there is in this process at one moment: threads, jobs that wait for one, tasks and child processes."""

    def __init__(self) -> None:
        self.at = real_time.monotonic()
        self.threads: list[_Seen] = []
        self.queued: list[tuple[threading.Thread, Any, set[int]]] = []
        self.tasks: dict[int, list[asyncio.Task[Any]]] = {}
        loops: set[Any] = set()
        stacks, here = sys._current_frames(), threading.get_ident()  # noqa: SLF001  # the one way to see them
        for thread in threading.enumerate():
            if thread.ident == here or (frame := stacks.get(thread.ident or 0)) is None:
                continue
            stack = outwards(frame)
            self._see_thread(thread, stack)
            loops.update(value_of(each, "self") for each in stack[-OUTERMOST:] if each.f_code.co_name == "run_forever")
        with contextlib.suppress(RuntimeError):
            loops.add(asyncio.get_running_loop())
        for loop in loops:
            for task in asyncio.all_tasks(loop):
                for call in _calls_of(contexts_of_task(task)):
                    self.tasks.setdefault(call, []).append(task)
        self.took = real_time.monotonic() - self.at

    @functools.cached_property
    def children(self) -> list[tuple[Piece, float]]:
        """Child processes, and when they were started."""
        return [*processes_begun.children()]

    def _see_thread(self, thread: threading.Thread, stack: list[FrameType]) -> None:
        job, contexts = job_of(stack), [*contexts_in(stack)]
        calls = (
            _calls_of(contexts)
            if contexts or _keeps_house(thread, stack, job)
            else _with_outer(*starts.call_of(thread))
        )
        self.threads.append(_Seen(thread, job, contexts, calls))
        jobs = [item for frame in stack[-OUTERMOST:] for item in queued(value_of(frame, "work_queue"))]
        jobs += getattr(thread, "pending_work_items", {}).values()  # of a process pool
        self.queued += [(thread, job, calls) for job in jobs if (calls := _calls_of(contexts_of(job)))]


def _calls_of(contexts: Iterable[Context]) -> set[int]:
    """Return the calls and marks of some contexts, and those around them, by id."""
    return {each for context in contexts for each in _with_outer(context.get(running), context.get(held))}


def _with_outer(call: Call | None, mark: Mark | None) -> set[int]:
    found = set()
    while call is not None:
        found.add(id(call))
        call = call.parent
    while mark is not None:
        found.add(id(mark))
        mark = mark[2]
    return found


#: What was seen last in each event loop: where many limits come at once, one look serves them all.
_last: dict[asyncio.AbstractEventLoop, _Sight] = {}
#: It serves for so many times as long as it took.
_SERVES = 10


def _look_around(began: float) -> _Sight:
    """Return what there is now, or was a moment ago but after `began`."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _Sight()
    seen = _last.get(loop)
    if seen is None or seen.at < began:
        _last[loop] = seen = _Sight()
        real_time.call_later(loop, _SERVES * seen.took, functools.partial(_forget, loop, seen))
    return seen


def _forget(loop: asyncio.AbstractEventLoop, seen: _Sight) -> None:
    if _last.get(loop) is seen:
        del _last[loop]


def known_leftovers(call: Call | Mark) -> list[Piece]:
    """Return what is known to have been begun by a call, or under a mark, and still runs."""
    begun = Begun(call, 0.0)
    with contextlib.suppress(RuntimeError):  # no loop runs here
        if (task := asyncio.current_task()) is not None:
            begun.apart_from(task)
    return [piece for piece in begun.running() if piece.known]


def under(task: asyncio.Task[Any]) -> Begun | None:
    """Return what was begun by the call in a task, before that is cancelled; None, if no call has begun there."""
    for context in contexts_of_task(task):
        if (call := context.get(running)) is not None:
            begun = Begun(call, 0.0)
            begun.apart_from(task)
            begun.look()
            return begun
    return None


def _name_of_worker(future: pools.Future[Any]) -> str:
    """Name the thread in which a job runs, or else the pool's kind."""
    stacks = sys._current_frames()  # noqa: SLF001  # the one way to see them
    for thread in threading.enumerate():
        job = job_of(outwards(stacks.get(thread.ident or 0)))
        if job is not None and job.future is future:
            return thread.name
    return "a pool"


def _still(thread: threading.Thread, job: Any, contexts: list[Context]) -> Callable[[], bool]:
    if job is not None:
        return _not_done(job.future)

    def runs() -> bool:
        if thread not in threading.enumerate():  # `is_alive` is wrong after an interrupted `join`, up to Python 3.12
            return False
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # the one way to see it
        if frame is not None and _serves_a_pool(frame):
            return False
        now = [id(context) for context in contexts_in(outwards(frame))]
        return not contexts or any(id(context) in now for context in contexts)

    return runs


def _not_done(future: pools.Future[Any]) -> Callable[[], bool]:
    return lambda: not future.done()


def _not_done_task(task: asyncio.Task[Any]) -> Callable[[], bool]:
    return lambda: not task.done() and not task.get_loop().is_closed()


def _keeps_house(thread: threading.Thread, stack: list[FrameType], job: Any) -> bool:
    """Tell whether a thread belongs to a library: it waits in a pool for work, or is there for good."""
    names = [frame.f_globals.get("__name__", "") for frame in stack]
    if job is None and ("concurrent.futures.thread" in names or "concurrent.futures.process" in names):
        return True
    if any(map(_serves_a_pool, stack)):
        return _serves_a_pool(stack[0])
    if any(name.partition(".")[0] in {_OURS, "multiprocessing"} for name in names[-4:]):
        return True
    files = [frame.f_code.co_filename for frame in stack]
    installed = [any(folder in file for folder in _INSTALLED) for file in files]
    theirs = [it or file.startswith((_STDLIB, "<frozen")) for it, file in zip(installed, files, strict=True)]
    return thread.daemon and any(installed) and all(theirs)


def _serves_a_pool(frame: FrameType) -> bool:
    """Tell whether this is a worker of `multiprocessing.pool`. It does a job where it has called others."""
    return frame.f_code.co_name == "worker" and frame.f_globals.get("__name__") == "multiprocessing.pool"


def _frames_of(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Yield the frames of a suspended task, the outermost first."""
    at: Any = task.get_coro()
    while at is not None:
        frame = getattr(at, "cr_frame", None) or getattr(at, "gi_frame", None) or getattr(at, "ag_frame", None)
        if frame is not None:
            yield frame
        at = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None) or getattr(at, "ag_await", None)


def _awaited(task: asyncio.Task[Any]) -> Iterator[Piece]:
    """Yield the jobs that a task waits for right now."""
    yield from _jobs_behind(getattr(task, "_fut_waiter", None))


def _jobs_behind(future: Any, depth: int = 3) -> Iterator[Piece]:
    """Yield the jobs of pools that stand behind an asyncio future, which is done first if it is cancelled."""
    if future is None or not depth:
        return
    for callback in getattr(future, "_callbacks", None) or ():
        function = callback[0] if is_a(callback, tuple) else callback
        for cell in getattr(function, "__closure__", None) or ():
            if is_a(cell.cell_contents, pools.Future):
                yield from _piece_of(cell.cell_contents, known=True)
    for child in getattr(future, "_children", ()):  # of gather
        yield from _jobs_behind(child, depth - 1)


def _held(frames: list[FrameType]) -> Iterator[Piece]:
    """Yield the jobs and processes that variables of the work hold.

    What it was given is not its own. What it waits for in a method of the standard library, and has no variable for,
    may be.
    """
    made: list[Any] = []
    waited_for: list[Any] = []
    given: set[int] = set()
    for frame in frames:
        code = frame.f_code
        names = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        values = [(name in names, each) for name, value in frame.f_locals.items() for each in _each(value)]
        made += [value for was_given, value in values if not was_given]
        if frame.f_globals.get("__name__", "").partition(".")[0] in _WAITING:
            waited_for += [value for was_given, value in values if was_given]
        else:
            given.update(id(value) for was_given, value in values if was_given)
    for value in made:
        yield from _piece_of(value, known=True)
    for value in waited_for:
        if id(value) not in given:
            yield from _piece_of(value, known=False)


_WAITING = {"concurrent", "subprocess", "multiprocessing", "threading", "asyncio"}


def _each(value: Any) -> list[Any]:
    """Return an object, or what is in it if it is a collection."""
    if is_a(value, (list, tuple, set, frozenset)):
        return [*value]
    return [*value, *value.values()] if is_a(value, dict) else [value]


def _piece_of(value: Any, *, known: bool) -> Iterator[Piece]:
    if is_a(value, pools.Future):
        if not value.done():
            yield Piece(_name_of_worker(value), known=known, runs=_not_done(value), thing=value)
    elif is_a(value, asyncio.Future) and not is_a(value, asyncio.Task):
        yield from _jobs_behind(value)
    else:
        yield from processes_begun.piece_of(value, known=known)
