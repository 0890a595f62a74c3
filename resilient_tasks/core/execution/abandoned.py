"""Track abandoned attempts, and notice when they end."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resilient_tasks.core.call import Call, limited
from resilient_tasks.core.execution import real_time

#: Seconds between polls of leftovers that do not signal their end: at first, and at most.
_FIRST_POLL, _MAX_POLL = 0.01, 0.25


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An attempt that still runs after its limit.

    Attributes:
        operation: the function's name.
        thread: name of the thread, task or process in which it runs.
        since: when it was abandoned, in unix seconds.
    """

    operation: str
    thread: str
    since: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """A thread, job, task or process that an attempt may have started.

    Attributes:
        name: of a thread; or "task" or "process" and its name.
        known: whether this attempt is known to have started it; if not, it started while the attempt ran.
        runs: returns whether it still runs.
        identity: equal for the same thread, job, task or process.
    """

    name: str
    known: bool
    runs: Callable[[], bool]
    identity: object


_threads: dict[threading.Thread, Abandoned] = {}
_leftovers: dict[Abandoned, Sequence[Leftover]] = {}
_lock = threading.Lock()

#: Callbacks for the end of an abandoned attempt, by the name of its thread, task or process.
_callbacks: dict[str, list[Callable[[], None]]] = {}
_poller: threading.Thread | None = None


def abandoned() -> tuple[Abandoned, ...]:
    """Return the abandoned attempts of this process that still run."""
    in_threads = [about for thread, about in list(_threads.items()) if thread.is_alive()]
    return (*in_threads, *(about for about, left in list(_leftovers.items()) if any(each.runs() for each in left)))


def add_thread(thread: threading.Thread, operation: str, *, is_over: Callable[[], bool]) -> str:
    """List one of our threads as abandoned and return its name; an empty string if its work is over."""
    _threads[thread] = Abandoned(operation, thread.name, real_time.time())
    if is_over():  # it may just have ended
        _threads.pop(thread, None)
        return ""
    return thread.name


def add_leftovers(left: Sequence[Leftover], operation: str) -> str:
    """List leftovers of an attempt as abandoned and return their names; an empty string if there are none."""
    if not left:
        return ""
    names = ", ".join(dict.fromkeys(each.name for each in left))
    with _lock:
        _leftovers[Abandoned(operation, names, real_time.time())] = left
        _start_polling()
    return names


def thread_ended() -> None:
    """Remove this thread of ours from the list: its work is over."""
    _threads.pop(threading.current_thread(), None)
    _notify(threading.current_thread().name)


def when_ended(name: str, callback: Callable[[], None]) -> None:
    """Call back when the abandoned attempt in the thread, task or process `name` has ended; at once if it has."""
    with _lock:
        if any(about.thread == name for about in abandoned()):
            _callbacks.setdefault(name, []).append(callback)
            return
    callback()


def keep_limited(name: str, call: Call) -> None:
    """Have nested calls check that `call` is fenced until the thread, task or process `name` has ended."""
    limited.add(call)
    when_ended(name, functools.partial(limited.discard, call))


def _notify(name: str) -> None:
    with _lock:
        callbacks = _callbacks.pop(name, ())
    for callback in callbacks:
        callback()


def _start_polling() -> None:
    global _poller  # noqa: PLW0603  # one for the process
    if _poller is None or not _poller.is_alive():
        _poller = threading.Thread(target=_poll, name="resilient-tasks:watch", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
            _poller.start()


def _poll() -> None:
    global _poller  # noqa: PLW0603  # one for the process
    pause = _FIRST_POLL
    while True:
        real_time.sleep(pause)
        ended = [about for about, left in list(_leftovers.items()) if not any(each.runs() for each in left)]
        with _lock:
            for about in ended:
                _leftovers.pop(about, None)
            over = not _leftovers
            if over:
                _poller = None
            still = {about.thread for about in _leftovers}
        for about in ended:
            if about.thread not in still:
                _notify(about.thread)
        if over:
            return
        pause = _FIRST_POLL if ended else min(_MAX_POLL, 1.5 * pause)
