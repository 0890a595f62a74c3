"""Which call each thread was started under: Python keeps no record of it, and a thread does not inherit its context.

Without it, whatever other tasks of a flow start meanwhile would look like what an attempt has left behind. The first
limit of a process therefore puts a note before `threading.Thread.start`, and leaves it there.
"""

from __future__ import annotations

import functools
import threading

from resilient_tasks.core.call import Call, Mark, held, running

_NOTE = "resilient_tasks_call"
_MARK = "resilient_tasks_mark"
_NOTHING = (None, None)
_watching = threading.Lock()


def watch() -> None:
    """From now on, note under which call a thread is started. Cheap to call again."""
    if hasattr(threading.Thread.start, _NOTE) or not _watching.acquire(blocking=False):
        return
    start = threading.Thread.start

    @functools.wraps(start)
    def noting(thread: threading.Thread) -> None:
        under = running.get(), held.get()
        if under == _NOTHING:
            under = call_of(threading.current_thread())
        if under != _NOTHING:
            call, mark = under
            setattr(thread, _NOTE, call)
            setattr(thread, _MARK, mark)
        start(thread)

    setattr(noting, _NOTE, None)
    threading.Thread.start = noting  # type: ignore[method-assign,assignment]


def call_of(thread: threading.Thread) -> tuple[Call | None, Mark | None]:
    """Return the call and the mark that a thread was started under, by its own code or by a thread that it had started.

    One of ours, which works for one call after the other, says for which now.
    """
    found: tuple[Call | None, Mark | None] = getattr(thread, _NOTE, None), getattr(thread, _MARK, None)
    return found
