"""Carries events to sinks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from resilient_tasks import safely
from resilient_tasks.core import log_records
from resilient_tasks.core.events.event import Event

_logger = logging.getLogger("resilient_tasks")
log_records.install(_logger)

Sink = Callable[[Event], None]
#: Tells of which events a sink is to hear.
Wants = Callable[[type[Event]], bool]


def _all(_: type[Event]) -> bool:
    return True


class OfLevel:
    """Wants events whose level is `enabled`, such as by `Logger.isEnabledFor`."""

    __slots__ = ("enabled",)

    def __init__(self, enabled: Callable[[int], bool]) -> None:
        self.enabled: Callable[[int], bool] = enabled

    def __call__(self, event: type[Event]) -> bool:
        return self.enabled(event.loudest)


class Several:
    """Classes of events, for `Bus.wants_any`."""

    __slots__ = ("classes", "loudest")

    def __init__(self, *classes: type[Event]) -> None:
        self.classes: tuple[type[Event], ...] = classes
        self.loudest: int = max(event.loudest for event in classes)


class Bus:
    """Carries events to its sinks, in the thread in which they happen. A sink that raises is reported, never felt.

    Attributes:
        sinks: each with what it wants.
    """

    def __init__(self) -> None:
        self.sinks: tuple[tuple[Sink, Wants], ...] = ()

    def subscribe(self, sink: Sink, wants: Wants = _all) -> Callable[[], None]:
        """Add a sink; the result takes it away again.

        Args:
            sink: is called with each event.
            wants: tells of which classes of events it is to hear. It is asked each time, so it has to be quick.
                Where it raises, that is reported as if the sink had.
        """
        mine = (sink, wants)
        self.sinks = (*self.sinks, mine)

        def unsubscribe() -> None:
            self.sinks = tuple(other for other in self.sinks if other is not mine)

        return unsubscribe

    @contextmanager
    def listening(self, sink: Sink) -> Iterator[None]:
        """Have `sink` receive what happens inside the block."""
        unsubscribe = self.subscribe(sink)
        try:
            yield
        finally:
            unsubscribe()

    def wants(self, event: type[Event]) -> bool:
        """Tell whether any sink wants events of this class: where none does, none need be made."""
        for _, wants in self.sinks:
            try:
                if wants is _all or wants(event):
                    return True
            except Exception:  # it is asked again for the event, and reported there
                return True
        return False

    def wants_any(self, events: Several) -> bool:
        """Tell whether any sink wants events of any of these classes."""
        for _, wants in self.sinks:
            if type(wants) is not OfLevel:
                return any(map(self.wants, events.classes))
            try:
                if wants.enabled(events.loudest):
                    return True
            except Exception:  # as above
                return True
        return False

    def emit(self, event: Event, *more: Sink) -> None:
        """Hand `event` to every sink that wants it, and to those in `more`."""
        for sink, wants in self.sinks:
            _hand(event, sink, wants)
        for sink in more:
            _hand(event, sink)


def _hand(event: Event, sink: Sink, wants: Wants = _all) -> None:
    try:
        if wants is _all or wants(type(event)):
            sink(event)
    except Exception:
        with contextlib.suppress(Exception):  # the sink may be the log's own
            _logger.exception("the sink %s failed on %s", safely.shown(sink), event.name)


#: The one bus of this process.
bus: Bus = Bus()
