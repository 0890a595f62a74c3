"""Log records and events of a child, sent to the parent, which handles them as if they had happened there."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core import call as calls
from resilient_tasks.core.events import Event, FallbackUsed, Sink, bus, run_ids
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.subprocess import serialization
from resilient_tasks.subprocess.channel import Incoming, Message


def divert(send: Callable[[Message, bytes], None]) -> None:
    """In a child, send every log record and event to the parent instead of to handlers and sinks.

    This replaces the loggers' search for handlers. A handler could be removed by what configures logging later.
    """

    def log(_logger: logging.Logger, record: logging.LogRecord) -> None:
        send(Message.LOG_RECORD, _dumped(record))

    def emit(event: Event, *more: Sink) -> None:
        send(Message.EVENT, serialization.dumps(event))
        if calls.observer is not None:
            calls.observer.heard(event)
        for sink in more:
            sink(event)

    setattr(logging.Logger, "callHandlers", log)  # noqa: B010  # this process is ours
    setattr(bus, "emit", emit)  # noqa: B010
    setattr(bus, "wants", lambda _event: True)  # noqa: B010  # the sinks are in the parent


def handle(message: Message, content: bytes | Incoming) -> None:
    """In the parent, handle what a child has sent, in the caller's thread, so that it belongs to the caller's run."""
    FORWARDED[message](serialization.loads(content))


def _log(attributes: Mapping[str, Any]) -> None:
    record = logging.makeLogRecord(attributes)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _emit(event: Event) -> None:
    if isinstance(event, FallbackUsed) and (call := current_call()) is not None:
        call.mark_degraded()
    bus.emit(replace(event, run=run_ids()))


#: What a child sends while it works, and what handles it.
FORWARDED: Mapping[Message, Callable[[Any], None]] = {Message.LOG_RECORD: _log, Message.EVENT: _emit}


def _dumped(record: logging.LogRecord) -> bytes:
    """Return a record as bytes, its message and traceback as text: their parts may not be picklable."""
    record = copy.copy(record)
    record.msg, record.args = record.getMessage(), None
    if record.exc_info:
        record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    parts = vars(record)
    try:
        return serialization.dumps(parts)
    except Exception:
        shown = {name: part if serialization.crosses(part) else safely.shown(part) for name, part in parts.items()}
        return serialization.dumps(shown)
