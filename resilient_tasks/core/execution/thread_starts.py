"""Record the call that starts each thread: Python does not, and a thread does not inherit the context.

Without the record, threads that other tasks of a flow start meanwhile would look like leftovers of an attempt. The
first limit of a process therefore wraps `threading.Thread.start` for good.
"""

from __future__ import annotations

import functools
import threading

from resilient_tasks.core.call import Call, Mark, held, running

_CALL = "resilient_tasks_call"
_MARK = "resilient_tasks_mark"
_NOTHING = (None, None)
_watching = threading.Lock()


def watch() -> None:
    """From now on, record which call starts a thread. Cheap to call again."""
    if hasattr(threading.Thread.start, _CALL) or not _watching.acquire(blocking=False):
        return
    start = threading.Thread.start

    @functools.wraps(start)
    def recording_start(thread: threading.Thread) -> None:
        under = running.get(), held.get()
        if under == _NOTHING:
            under = call_of(threading.current_thread())
        if under != _NOTHING:
            call, mark = under
            setattr(thread, _CALL, call)
            setattr(thread, _MARK, mark)
        start(thread)

    setattr(recording_start, _CALL, None)
    threading.Thread.start = recording_start  # type: ignore[method-assign,assignment]


def call_of(thread: threading.Thread) -> tuple[Call | None, Mark | None]:
    """Return the call and the mark under which a thread was started, directly or by another thread.

    A thread of ours, which serves one call after another, has the current one.
    """
    found: tuple[Call | None, Mark | None] = getattr(thread, _CALL, None), getattr(thread, _MARK, None)
    return found
