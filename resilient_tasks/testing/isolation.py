"""Isolation for every fixture: no message reaches a person, and no incident reaches the user's own file."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.channels.block import NotificationBlock
from resilient_tasks.alerts.message import Channel
from resilient_tasks.alerts.outbox import use_incidents
from resilient_tasks.alerts.sender import isolated_sender
from resilient_tasks.core import settings
from resilient_tasks.core.store import MemoryStore, opened_by
from resilient_tasks.observe import journal
from resilient_tasks.policies.last_good import use_folder

_lock = threading.Lock()
_blocks = 0
_open = ExitStack()

_CHANNELS, _INCIDENTS = "RESILIENT_TASKS_CHANNELS", "RESILIENT_TASKS_INCIDENTS"
_LAST_GOOD = "RESILIENT_TASKS_LAST_GOOD"
_EVENTS = "RESILIENT_TASKS_EVENTS"


@contextmanager
def away_from_people() -> Iterator[None]:
    """Keep alerts away from people inside the block, as every fixture and server of this package does.

    Failures are still counted, in memory; `LastGood` keeps results, and runs write events, in a temporary folder. A
    channel gets messages only if it leads to a fake server that a `with` block or fixture has started, is a `Console`,
    or was passed to `deliver_to`; otherwise the event `notify.suppressed` reports what would have been sent. Processes
    started inside the block inherit this through their environment.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


@contextmanager
def deliver_to(*channels: Channel | NotificationBlock) -> Iterator[None]:
    """Deliver messages to these channels during a test, such as to a channel that records them."""
    with gate.open_to(
        lambda channel: any(one is channel or one is getattr(channel, "block", None) for one in channels)
    ):
        yield


@contextmanager
def open_to(where: str) -> Iterator[None]:
    """Keep alerts away from people inside the block, but deliver those to the fake server at this address."""
    with away_from_people(), gate.open_to_fake(where):
        _export_fakes()
        try:
            yield
        finally:
            _export_fakes(without=where)


def _enter() -> None:
    global _blocks  # noqa: PLW0603  # all blocks in a process share this state
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _open.enter_context(gate.shut())
            _open.enter_context(use_incidents(MemoryStore()))
            folder = _open.enter_context(tempfile.TemporaryDirectory(prefix="resilient-tasks-"))
            changed = (_CHANNELS, _INCIDENTS, _LAST_GOOD, _EVENTS)
            _open.callback(_put_back, {name: os.environ.get(name) for name in changed})
            os.environ[_INCIDENTS] = f"sqlite:///{os.path.abspath(folder)}/incidents.db"  # noqa: PTH100
            # Last good results of tests, with the tests' clock, are kept apart from those of production.
            _open.enter_context(use_folder(os.path.join(folder, "last_good")))  # noqa: PTH118  # as above
            if not settings.current.last_good:
                os.environ[_LAST_GOOD] = os.path.join(os.path.abspath(folder), "last_good")  # noqa: PTH100, PTH118
            _open.enter_context(journal.use_folder(os.path.join(folder, "runs")))  # noqa: PTH118  # as above
            if settings.current.events is True:
                os.environ[_EVENTS] = os.path.join(os.path.abspath(folder), "runs")  # noqa: PTH100, PTH118
            _export_fakes()
            _open.enter_context(isolated_sender())


def _leave() -> None:
    global _blocks  # noqa: PLW0603  # as above
    with _lock:
        _blocks -= 1
        if not _blocks:
            _open.close()


def _stay_away() -> None:
    """Replace the in-memory incidents in a forked child: the parent has its own."""
    if _blocks:
        store, _ = opened_by(os.environ.get(_INCIDENTS, "memory:"), settings.current.store_timeout)
        _open.enter_context(use_incidents(store))


def _export_fakes(without: str = "") -> None:
    """Export the servers that child processes may send to."""
    if settings.current.channels is not False:
        os.environ[_CHANNELS] = ",".join(place for place in gate.fakes() if place != without) or "false"


def _put_back(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stay_away)
