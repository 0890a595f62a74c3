"""The bus that carries events to sinks."""

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
#: Returns whether a sink receives events of a class.
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
    """Carries events to sinks, in the thread that emits them. A sink's error is logged and never reaches the call.

    Attributes:
        sinks: the sinks, each with its filter.
    """

    def __init__(self) -> None:
        self.sinks: tuple[tuple[Sink, Wants], ...] = ()

    def subscribe(self, sink: Sink, wants: Wants = _all) -> Callable[[], None]:
        """Add a sink, and return a function that removes it.

        Args:
            sink: is called with each event.
            wants: returns whether the sink receives events of a class. It is called for each event, so it has to be
                quick. Its errors are logged like the sink's.
        """
        mine = (sink, wants)
        self.sinks = (*self.sinks, mine)

        def unsubscribe() -> None:
            self.sinks = tuple(other for other in self.sinks if other is not mine)

        return unsubscribe

    @contextmanager
    def listening(self, sink: Sink) -> Iterator[None]:
        """Subscribe `sink` for the duration of the block."""
        unsubscribe = self.subscribe(sink)
        try:
            yield
        finally:
            unsubscribe()

    def wants(self, event: type[Event]) -> bool:
        """Return whether any sink wants events of this class; otherwise none need be created."""
        for _, wants in self.sinks:
            try:
                if wants is _all or wants(event):
                    return True
            except Exception:  # it is called again with the event, and logged there
                return True
        return False

    def wants_any(self, events: Several) -> bool:
        """Return whether any sink wants events of any of these classes."""
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
        """Pass `event` to every sink that wants it, and to those in `more`."""
        for sink, wants in self.sinks:
            _hand(event, sink, wants)
        for sink in more:
            _hand(event, sink)


def _hand(event: Event, sink: Sink, wants: Wants = _all) -> None:
    try:
        if wants is _all or wants(type(event)):
            sink(event)
    except Exception:
        with contextlib.suppress(Exception):  # the failed sink may be the logger's
            _logger.exception("the sink %s failed on %s", safely.shown(sink), event.name)


#: The one bus of this process.
bus: Bus = Bus()
