"""One delivery: a message to a channel, within its time, whatever the other side does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from resilient_tasks.core.interrupt import by_signal, signals_work_here
from resilient_tasks.core.outcome import Ok
from resilient_tasks.notify.message import Channel, Message


def deliver(channel: Channel, message: Message, within: float) -> dict[str, str]:
    """Send `message`, and return what is needed to find it again.

    It is sent in a thread of its own: a server that drips a byte a second satisfies every socket timeout for hours. A
    thread that is given up may still get through; its message bears the same key as the one that is sent again.

    Raises:
        TimeoutError: it took longer than `within` seconds.
        Exception: the channel's own.
    """
    came: list[Mapping[str, str] | Exception | None] = []

    def send() -> None:
        try:
            came.append(channel.send(message, within=within))
        except Exception as error:
            came.append(error)

    _aside(send, within)
    if not came:
        raise TimeoutError(f"not delivered within {within:.3g} s")
    if isinstance(came[0], Exception):
        raise came[0]
    return dict(came[0] or {})


def _done(work: Callable[[], None]) -> Ok[None]:
    work()
    return Ok(None)


def _aside(work: Callable[[], None], seconds: float) -> None:
    try:
        thread = threading.Thread(target=work, name="resilient:notify:send", daemon=True)
        thread.start()
    except RuntimeError:  # the interpreter is shutting down: no thread can be started any more
        if signals_work_here():
            by_signal(lambda: _done(work), seconds)
        else:
            work()
    else:
        thread.join(seconds)
