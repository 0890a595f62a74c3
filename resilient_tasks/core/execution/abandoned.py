"""The attempts that were given up and may still run: who they are, and when they have ended."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resilient_tasks.core.call import Call, limited
from resilient_tasks.core.execution import real_time

#: Work that tells of its end by nothing is looked at this often, in seconds: at first, and at last.
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.25


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An attempt that runs on after its time was up.

    Attributes:
        operation: the function's name.
        thread: the thread, task or process that it runs on in.
        since: when it was given up, in unix seconds.
    """

    operation: str
    thread: str
    since: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Something that an attempt has begun.

    Attributes:
        name: of a thread, or "task" or "process" and its name.
        known: it was begun by this attempt. Otherwise it began while the attempt ran, and nothing tells by whom.
        runs: tells whether it still runs.
        thing: by which it is known to be the same as another.
    """

    name: str
    known: bool
    runs: Callable[[], bool]
    thing: object


_threads: dict[threading.Thread, Abandoned] = {}
_pieces: dict[Abandoned, Sequence[Piece]] = {}
_ending = threading.Lock()

#: By name of what an abandoned attempt runs in, what to call when it has ended.
_to_hear: dict[str, list[Callable[[], None]]] = {}
_watch: threading.Thread | None = None


def abandoned() -> tuple[Abandoned, ...]:
    """Return the attempts of this process that were given up and still run."""
    in_threads = [about for thread, about in list(_threads.items()) if thread.is_alive()]
    return (*in_threads, *(about for about, pieces in list(_pieces.items()) if any(each.runs() for each in pieces)))


def add_thread(thread: threading.Thread, operation: str, *, is_over: Callable[[], bool]) -> str:
    """List a thread of ours as abandoned, and return its name; nothing, if its work is over."""
    _threads[thread] = Abandoned(operation, thread.name, real_time.time())
    if is_over():  # perhaps just now
        _threads.pop(thread, None)
        return ""
    return thread.name


def add_leftovers(pieces: Sequence[Piece], operation: str) -> str:
    """List what an attempt has begun as abandoned, and return its names; nothing, if there is nothing."""
    if not pieces:
        return ""
    names = ", ".join(dict.fromkeys(piece.name for piece in pieces))
    with _ending:
        _pieces[Abandoned(operation, names, real_time.time())] = pieces
        _begin_to_watch()
    return names


def thread_ended() -> None:
    """Say that this thread of ours has done its work: it is abandoned no more."""
    _threads.pop(threading.current_thread(), None)
    _tell(threading.current_thread().name)


def when_ended(name: str, tell: Callable[[], None]) -> None:
    """Call `tell` when the abandoned attempt that runs in what bears this name has ended; at once, if it has."""
    with _ending:
        if any(about.thread == name for about in abandoned()):
            _to_hear.setdefault(name, []).append(tell)
            return
    tell()


def keep_limited(name: str, call: Call) -> None:
    """Have calls inside of `call`, which is fenced, ask for that until what bears this name has ended."""
    limited.add(call)
    when_ended(name, functools.partial(limited.discard, call))


def _tell(name: str) -> None:
    with _ending:
        heard = _to_hear.pop(name, ())
    for tell in heard:
        tell()


def _begin_to_watch() -> None:
    global _watch  # noqa: PLW0603  # one for the process
    if _watch is None or not _watch.is_alive():
        _watch = threading.Thread(target=_look_after, name="resilient-tasks:watch", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
            _watch.start()


def _look_after() -> None:
    global _watch  # noqa: PLW0603  # one for the process
    pause = _FIRST_LOOK
    while True:
        real_time.sleep(pause)
        ended = [about for about, pieces in list(_pieces.items()) if not any(each.runs() for each in pieces)]
        with _ending:
            for about in ended:
                _pieces.pop(about, None)
            over = not _pieces
            if over:
                _watch = None
            still = {about.thread for about in _pieces}
        for about in ended:
            if about.thread not in still:
                _tell(about.thread)
        if over:
            return
        pause = _FIRST_LOOK if ended else min(_LAST_LOOK, 1.5 * pause)
