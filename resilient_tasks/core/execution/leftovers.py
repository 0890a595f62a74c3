"""Find what a call has started and may outlive it: tasks, jobs of pools, threads and processes.

Before a limit is reached, only the call that starts each thread is recorded. At the limit, the stacks of the other
threads, the tasks of the event loops and the variables of the interrupted code are searched. A task or job that has a
copy of the call's context, and a thread that the call has started, are known to be its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as pools
import contextlib
import functools
import gc
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from types import BuiltinMethodType, FrameType
from typing import Any, NamedTuple

from resilient_tasks.core.call import Call, Mark, held, running
from resilient_tasks.core.execution import child_processes, real_time, thread_starts
from resilient_tasks.core.execution.abandoned import Leftover
from resilient_tasks.core.execution.safe_points import outwards
from resilient_tasks.safely import is_a

_INSTALLED = ("site-packages", "dist-packages")
_STDLIB = sysconfig.get_path("stdlib")
_OURS = __name__.partition(".")[0]


class Leftovers:
    """What one attempt has started. Created at its limit; before, `thread_starts.watch` is all that is needed.

    Args:
        call: the attempt, or the mark in its context.
        began: when it began, on `monotonic`.
    """

    __slots__ = ("_began", "_call", "_found", "_own")

    def __init__(self, call: Call | Mark, began: float) -> None:
        self._call = call
        thread_starts.watch()
        self._began = began
        self._own: object = None
        self._found: list[Leftover] = []

    def exclude(self, own: threading.Thread | asyncio.Task[Any]) -> None:
        """Exclude the thread or task in which the attempt itself runs."""
        self._own = own

    def look(self, frames: Iterable[FrameType] = ()) -> None:
        """Find what runs while the attempt is still at work.

        Args:
            frames: of the interrupted code.
        """
        if isinstance(self._own, asyncio.Task):
            frames = _frames_of(self._own)
            self._found += _jobs_behind(getattr(self._own, "_fut_waiter", None))
        self._found += _held([*frames])
        self._found += self._from_snapshot()

    def running(self) -> list[Leftover]:
        """Return what still runs after the attempt itself has ended."""
        self._found += self._from_snapshot()
        children = _snapshot(self._began).children
        self._found += [child for child, started in children if started >= self._began]
        left: dict[object, Leftover] = {}
        for each in sorted(self._found, key=lambda each: each.known):
            if each.runs():
                left[each.identity] = each
        return [*left.values()]

    def ran_to_their_end(self) -> bool:
        """Return whether a leftover has ended since the limit without being cancelled."""
        for each in self._found:
            cancelled = getattr(each.identity, "cancelled", None)
            interrupted = cancelled() if cancelled else not isinstance(each.identity, threading.Thread)
            if each.known and not interrupted and not each.runs():
                return True
        return False

    def _from_snapshot(self) -> Iterator[Leftover]:
        """Yield the threads, jobs and tasks of the attempt, except its own."""
        snapshot, call = _snapshot(self._began), id(self._call)
        for thread, job, contexts, calls in snapshot.threads:
            if call in calls and thread is not self._own:
                identity = thread if job is None else job.future
                yield Leftover(thread.name, known=True, runs=_still_runs(thread, job, contexts), identity=identity)
        for thread, job, calls in snapshot.queued:
            if call in calls:
                yield Leftover(thread.name, known=True, runs=_not_done(job.future), identity=job.future)
        for task in snapshot.tasks.get(call, ()):
            if task is not self._own:
                yield Leftover(f"task {task.get_name()}", known=True, runs=_not_done_task(task), identity=task)


class _Thread(NamedTuple):
    """A thread; `calls` are the ids of the calls that it works for, and of those around them."""

    thread: threading.Thread
    job: Any
    contexts: list[Context]
    calls: set[int]


class _Snapshot:
    """The threads, queued jobs, tasks and child processes of this process at one moment."""

    def __init__(self) -> None:
        self.at = real_time.monotonic()
        self.threads: list[_Thread] = []
        self.queued: list[tuple[threading.Thread, Any, set[int]]] = []
        self.tasks: dict[int, list[asyncio.Task[Any]]] = {}
        loops: set[Any] = set()
        stacks, here = sys._current_frames(), threading.get_ident()  # noqa: SLF001  # the one way to see them
        for thread in threading.enumerate():
            if thread.ident == here or (frame := stacks.get(thread.ident or 0)) is None:
                continue
            stack = [*outwards(frame)]
            self._add_thread(thread, stack)
            loops.update(value_of(each, "self") for each in stack[-OUTERMOST:] if each.f_code.co_name == "run_forever")
        with contextlib.suppress(RuntimeError):
            loops.add(asyncio.get_running_loop())
        for loop in loops:
            for task in asyncio.all_tasks(loop):
                for call in _calls_of(contexts_of_task(task)):
                    self.tasks.setdefault(call, []).append(task)
        self.took = real_time.monotonic() - self.at

    @functools.cached_property
    def children(self) -> list[tuple[Leftover, float]]:
        """The child processes, and when they were started."""
        return [*child_processes.children()]

    def _add_thread(self, thread: threading.Thread, stack: list[FrameType]) -> None:
        job, contexts = job_of(stack), [*contexts_in(stack)]
        calls = (
            _calls_of(contexts)
            if contexts or _is_of_library(thread, stack, job)
            else _with_outer(*thread_starts.call_of(thread))
        )
        self.threads.append(_Thread(thread, job, contexts, calls))
        jobs = [item for frame in stack[-OUTERMOST:] for item in queued(value_of(frame, "work_queue"))]
        jobs += getattr(thread, "pending_work_items", {}).values()  # of a process pool
        self.queued += [(thread, job, calls) for job in jobs if (calls := _calls_of(contexts_of(job)))]


def _calls_of(contexts: Iterable[Context]) -> set[int]:
    """Return the ids of the calls and marks of these contexts, and of those around them."""
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


#: The latest snapshot of each event loop: one snapshot serves many limits that are reached together.
_cache: dict[asyncio.AbstractEventLoop, _Snapshot] = {}
#: A snapshot is used for this many times as long as it took.
_CACHE_FACTOR = 10


def _snapshot(began: float) -> _Snapshot:
    """Return a snapshot of now, or of a moment ago but after `began`."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _Snapshot()
    snapshot = _cache.get(loop)
    if snapshot is None or snapshot.at < began:
        _cache[loop] = snapshot = _Snapshot()
        real_time.call_later(loop, _CACHE_FACTOR * snapshot.took, functools.partial(_expire, loop, snapshot))
    return snapshot


def _expire(loop: asyncio.AbstractEventLoop, snapshot: _Snapshot) -> None:
    if _cache.get(loop) is snapshot:
        del _cache[loop]


def known_leftovers(call: Call | Mark) -> list[Leftover]:
    """Return what a call, or the call of a mark, is known to have started and still runs."""
    leftovers = Leftovers(call, 0.0)
    with contextlib.suppress(RuntimeError):  # no loop runs here
        if (task := asyncio.current_task()) is not None:
            leftovers.exclude(task)
    return [each for each in leftovers.running() if each.known]


def leftovers_of(task: asyncio.Task[Any]) -> Leftovers | None:
    """Return the leftovers of the call in a task, before that is cancelled; None if no call has begun there."""
    for context in contexts_of_task(task):
        if (call := context.get(running)) is not None:
            leftovers = Leftovers(call, 0.0)
            leftovers.exclude(task)
            leftovers.look()
            return leftovers
    return None


def _name_of_worker(future: pools.Future[Any]) -> str:
    """Return the name of the thread in which a job runs; "a pool" if unknown."""
    stacks = sys._current_frames()  # noqa: SLF001  # the one way to see them
    for thread in threading.enumerate():
        job = job_of([*outwards(stacks.get(thread.ident or 0))])
        if job is not None and job.future is future:
            return thread.name
    return "a pool"


def _still_runs(thread: threading.Thread, job: Any, contexts: list[Context]) -> Callable[[], bool]:
    if job is not None:
        return _not_done(job.future)

    def runs() -> bool:
        if thread not in threading.enumerate():  # `is_alive` is wrong after an interrupted `join`, up to Python 3.12
            return False
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # the one way to see it
        if frame is not None and _serves_a_pool(frame):
            return False
        now = [id(context) for context in contexts_in([*outwards(frame)])]
        return not contexts or any(id(context) in now for context in contexts)

    return runs


def _not_done(future: pools.Future[Any]) -> Callable[[], bool]:
    return lambda: not future.done()


def _not_done_task(task: asyncio.Task[Any]) -> Callable[[], bool]:
    return lambda: not task.done() and not task.get_loop().is_closed()


def _is_of_library(thread: threading.Thread, stack: list[FrameType], job: Any) -> bool:
    """Return whether a thread belongs to a library: it waits in a pool for work, or runs permanently."""
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
    """Return whether this is the frame of a worker of `multiprocessing.pool`. An inner frame means a job runs."""
    return frame.f_code.co_name == "worker" and frame.f_globals.get("__name__") == "multiprocessing.pool"


def _frames_of(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Yield the frames of a suspended task, the outermost first."""
    at: Any = task.get_coro()
    while at is not None:
        frame = getattr(at, "cr_frame", None) or getattr(at, "gi_frame", None) or getattr(at, "ag_frame", None)
        if frame is not None:
            yield frame
        at = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None) or getattr(at, "ag_await", None)


def _jobs_behind(future: Any, depth: int = 3) -> Iterator[Leftover]:
    """Yield the jobs of pools behind an asyncio future; a cancelled future is done before its job."""
    if future is None or not depth:
        return
    for callback in getattr(future, "_callbacks", None) or ():
        function = callback[0] if is_a(callback, tuple) else callback
        for cell in getattr(function, "__closure__", None) or ():
            if is_a(cell.cell_contents, pools.Future):
                yield from _leftover_of(cell.cell_contents, known=True)
    for child in getattr(future, "_children", ()):  # of gather
        yield from _jobs_behind(child, depth - 1)


def _held(frames: list[FrameType]) -> Iterator[Leftover]:
    """Yield the jobs and processes in variables of the work.

    Those in its parameters are not its own. Those it waits for in a method of the standard library, without a variable,
    may be.
    """
    made: list[Any] = []
    waited_for: list[Any] = []
    passed_in: set[int] = set()
    for frame in frames:
        code = frame.f_code
        parameters = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        values = [(name in parameters, each) for name, value in frame.f_locals.items() for each in _each(value)]
        made += [value for is_parameter, value in values if not is_parameter]
        if frame.f_globals.get("__name__", "").partition(".")[0] in _WAITING:
            waited_for += [value for is_parameter, value in values if is_parameter]
        else:
            passed_in.update(id(value) for is_parameter, value in values if is_parameter)
    for value in made:
        yield from _leftover_of(value, known=True)
    for value in waited_for:
        if id(value) not in passed_in:
            yield from _leftover_of(value, known=False)


_WAITING = {"concurrent", "subprocess", "multiprocessing", "threading", "asyncio"}


def _each(value: Any) -> list[Any]:
    """Return the object, or its items if it is a collection."""
    if is_a(value, (list, tuple, set, frozenset)):
        return [*value]
    return [*value, *value.values()] if is_a(value, dict) else [value]


def _leftover_of(value: Any, *, known: bool) -> Iterator[Leftover]:
    if is_a(value, pools.Future):
        if not value.done():
            yield Leftover(_name_of_worker(value), known=known, runs=_not_done(value), identity=value)
    elif is_a(value, asyncio.Future) and not is_a(value, asyncio.Task):
        yield from _jobs_behind(value)
    else:
        yield from child_processes.leftover_of(value, known=known)


#: The context of a thread is found within this many of its outermost frames.
OUTERMOST = 8


def _is_job(value: Any) -> bool:
    """Return whether this is a job of a thread pool. That module cannot be imported while the interpreter ends."""
    module = sys.modules.get("concurrent.futures.thread")
    return module is not None and is_a(value, module._WorkItem)  # noqa: SLF001  # the one way to recognise one


def value_of(frame: FrameType, name: str) -> Any:
    return frame.f_locals.get(name) if name in frame.f_code.co_varnames else None


def job_of(stack: list[FrameType]) -> Any:
    """Return the job that a pool's thread is running."""
    for frame in stack[-OUTERMOST:]:
        if _is_job(job := value_of(frame, "self")):
            return job
    return None


def contexts_in(stack: list[FrameType]) -> Iterator[Context]:
    for frame in stack[-OUTERMOST:]:
        for value in frame.f_locals.values():
            yield from contexts_of(value)


def contexts_of(value: Any) -> Iterator[Context]:
    """Yield the contexts in which a thread, a job, or a function for one, is to run."""
    if is_a(value, Context):
        yield value
    elif is_a(value, functools.partial):
        yield from contexts_of(value.func)
    elif is_a(value, BuiltinMethodType):
        if is_a(value.__self__, Context):
            yield value.__self__
    elif is_a(value, threading.Thread):
        attributes = vars(value)
        for each in (attributes.get("_target"), *(attributes.get("_args") or ())):
            yield from contexts_of(each)
    elif type(value).__name__ == "_WorkItem" and type(value).__module__.startswith("concurrent.futures."):
        for each in (value.fn, *value.args):
            yield from contexts_of(each)
        yield from _contexts_of_future(value.future)


def _contexts_of_future(future: pools.Future[Any]) -> Iterator[Context]:
    """Yield the contexts that await a job of `run_in_executor`, which copies no context for the job itself."""
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
