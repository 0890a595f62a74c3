"""Carries events to sinks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from resilient_tasks.core import log_records, safely
from resilient_tasks.core.events.event import Event

_logger = logging.getLogger("resilient_tasks")
log_records.install(_logger)

Sink = Callable[[Event], None]


class Bus:
    """Carries events to its sinks, in the thread in which they happen. A sink that raises is reported, never felt."""

    def __init__(self) -> None:
        self._sinks: tuple[Sink, ...] = ()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Add a sink; the result takes it away again."""
        self._sinks = (*self._sinks, sink)

        def unsubscribe() -> None:
            self._sinks = tuple(other for other in self._sinks if other is not sink)

        return unsubscribe

    @contextmanager
    def listening(self, sink: Sink) -> Iterator[None]:
        """Have `sink` receive what happens inside the block."""
        unsubscribe = self.subscribe(sink)
        try:
            yield
        finally:
            unsubscribe()

    def emit(self, event: Event, *more: Sink) -> None:
        """Hand `event` to every sink, and to those in `more`."""
        for sink in (*self._sinks, *more):
            try:
                sink(event)
            except Exception:
                with contextlib.suppress(Exception):  # the sink may be the log's own
                    _logger.exception("the sink %s failed on %s", safely.shown(sink), event.name)


#: The one bus of this process.
bus = Bus()
