"""The gate between alerts and people: shut by `configure(channels=False)`, and while tests run.

The event `notify.suppressed` reports what was not sent. `Console` writes to this process's own standard error, so tests
may see it; every other channel has to lead to a fake server of the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from resilient_tasks.core import settings

#: The reason that `notify.suppressed` gives.
REASON = "channels are off"

_LOOPBACK = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}
_PORTS = {"http": 80, "https": 443}

_tests = 0
_fakes: Counter[str] = Counter()
_let_through: list[Callable[[Any], bool]] = []


def takes(channel: Any) -> bool:
    """Return whether messages may be sent to `channel` now."""
    chosen = settings.current.channels
    if chosen is True and not _tests:
        return True
    if chosen is False:
        return False
    if getattr(channel, "stays_in_this_process", False) or any(lets(channel) for lets in _let_through):
        return True
    place = _place_of(channel)
    return place != "" and (place in _fakes or (chosen is not True and place in chosen))


def is_off() -> bool:
    """Return whether messages may be sent nowhere."""
    return settings.current.channels is False


def place(host: str, port: int) -> str:
    """Return a server's address, in one spelling of this machine's own."""
    return f"{_LOOPBACK.get(host.lower(), host.lower())}:{port}"


def place_of_url(url: str) -> str:
    """Return the address of the server of a URL; empty if it has none."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return ""
    return place(parts.hostname, port) if parts.hostname else ""


def fakes() -> list[str]:
    """Return the addresses of the fake servers that messages may be sent to."""
    return sorted(_fakes)


@contextmanager
def shut() -> Iterator[None]:
    """Send messages only to fakes inside the block."""
    global _tests  # noqa: PLW0603  # it holds for all threads
    _tests += 1
    try:
        yield
    finally:
        _tests -= 1


@contextmanager
def open_to(lets: Callable[[Any], bool]) -> Iterator[None]:
    """Let messages through to channels for which `lets` returns True, although tests run."""
    _let_through.append(lets)
    try:
        yield
    finally:
        _let_through.remove(lets)


@contextmanager
def open_to_fake(where: str) -> Iterator[None]:
    """Let messages through to the server at this address, although tests run."""
    _fakes[where] += 1
    try:
        yield
    finally:
        _fakes[where] -= 1
        if not _fakes[where]:
            del _fakes[where]


def _place_of(channel: Any) -> str:
    """Return the address that a channel sends to; empty if unknown."""
    try:
        return str(getattr(channel, "place", ""))
    except Exception:  # an unreadable secret raises again when a message is sent
        return ""
