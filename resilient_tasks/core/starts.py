"""Which call each thread was started under: Python keeps no record of it, and a thread does not inherit its context.

Without it, whatever other tasks of a flow start meanwhile would look like what an attempt has left behind. The first
limit of a process therefore puts a note before `threading.Thread.start`, and leaves it there.
"""

from __future__ import annotations

import functools
import threading

from resilient_tasks.core.call import Call, running

_NOTE = "resilient_tasks_call"
_watching = threading.Lock()


def watch() -> None:
    """From now on, note under which call a thread is started. Cheap to call again."""
    if hasattr(threading.Thread.start, _NOTE) or not _watching.acquire(blocking=False):
        return
    start = threading.Thread.start

    @functools.wraps(start)
    def noting(thread: threading.Thread) -> None:
        call = running.get() or call_of(threading.current_thread())
        if call is not None:
            setattr(thread, _NOTE, call)
        start(thread)

    setattr(noting, _NOTE, None)
    threading.Thread.start = noting  # type: ignore[method-assign,assignment]


def call_of(thread: threading.Thread) -> Call | None:
    """Return the call that a thread was started under, by its own code or by a thread that it had started.

    One of ours, which works for one call after the other, says for which now.
    """
    found: Call | None = getattr(thread, _NOTE, None)
    return found
