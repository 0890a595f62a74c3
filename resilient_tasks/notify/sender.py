"""The one thread that talks to channels, so that no task waits for them.

A task only puts its message into a queue. Each message has a deadline of its own; a channel that is down, hangs or
drips costs its message, told by `notify.failed`, and never the task.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from resilient_tasks.core import settings
from resilient_tasks.core.events import NotifyFailed, NotifySent, bus
from resilient_tasks.core.failures import describe
from resilient_tasks.notify.message import Channel, Message

#: Messages that may wait. More than this many undelivered ones tell nobody anything new.
_ROOM = 1000


@dataclass(frozen=True, slots=True)
class _Letter:
    channel: Channel
    message: Message
    until: float
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    """That of the call, so that what becomes of the message is told in the log of its run."""


@dataclass(slots=True)
class _Outgoing:
    """The queue and its thread, of one process: a forked child starts anew."""

    pid: int = field(default_factory=os.getpid)
    letters: queue.Queue[_Letter] = field(default_factory=lambda: queue.Queue(_ROOM))
    thread: threading.Thread | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_outgoing = _Outgoing()


def post(channel: Channel, message: Message) -> None:
    """Have `message` sent to `channel` soon. Returns at once; what becomes of it is told by an event."""
    outgoing = _here()
    until = time.monotonic() + settings.current.notify_deadline
    letter = _Letter(channel, message, until)
    try:
        outgoing.letters.put_nowait(letter)
    except queue.Full:
        _tell_failure(letter, TimeoutError(f"{_ROOM} messages are waiting already"))
        return
    with outgoing.lock:
        if outgoing.thread is None:
            outgoing.thread = threading.Thread(
                target=_deliver_all, args=(outgoing,), name="resilient:notify", daemon=True
            )
            outgoing.thread.start()


def flush(within: float | None = None) -> bool:
    """Wait until every message was delivered or given up, at most `within` seconds. Return whether that came to pass.

    The default is the deadline of one message: each message that waits has at most that long left.
    """
    outgoing = _here()
    until = time.monotonic() + (settings.current.notify_deadline if within is None else within)
    with outgoing.letters.all_tasks_done:
        while outgoing.letters.unfinished_tasks:
            left = until - time.monotonic()
            if left <= 0:
                return False
            outgoing.letters.all_tasks_done.wait(left)
    return True


atexit.register(flush)


def _here() -> _Outgoing:
    global _outgoing  # noqa: PLW0603  # one queue a process
    if _outgoing.pid != os.getpid():
        _outgoing = _Outgoing()
    return _outgoing


def _deliver_all(outgoing: _Outgoing) -> None:
    while True:
        letter = outgoing.letters.get()
        try:
            letter.context.run(_deliver, letter)
        finally:
            outgoing.letters.task_done()


def _deliver(letter: _Letter) -> None:
    problem = _within_its_time(letter, letter.until - time.monotonic())
    if problem is not None:
        _tell_failure(letter, problem)
    else:
        message = letter.message
        bus.emit(NotifySent(operation=message.operation, run=message.run, channel=letter.channel.name))


def _within_its_time(letter: _Letter, left: float) -> Exception | None:
    """Send in a thread of its own: a server that drips a byte a second satisfies every socket timeout for hours."""
    problems: list[Exception | None] = []

    def send() -> None:
        try:
            letter.channel.send(letter.message, within=left)
            problems.append(None)
        except Exception as error:
            problems.append(error)

    too_late = TimeoutError(f"not delivered within {settings.current.notify_deadline:g} s")
    if left <= 0:
        return too_late
    _run_aside(send, left)
    return problems[0] if problems else too_late


def _run_aside(work: Callable[[], None], seconds: float) -> None:
    try:
        thread = threading.Thread(target=work, name="resilient:notify:send", daemon=True)
        thread.start()
    except RuntimeError:  # the interpreter is shutting down: no thread can be started any more
        work()
    else:
        thread.join(seconds)


def _tell_failure(letter: _Letter, error: Exception) -> None:
    message = letter.message
    bus.emit(
        NotifyFailed(
            operation=message.operation,
            run=message.run,
            channel=letter.channel.name,
            error_type=type(error).__name__,
            message=describe(error),
        )
    )
