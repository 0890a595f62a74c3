"""Log records and events of a child: told to the parent, which hands them on as if they had happened there."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from resilient_tasks.core import safely
from resilient_tasks.core.events import Event, FallbackUsed, Sink, bus, run_ids
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.subprocess import serialization
from resilient_tasks.subprocess.channel import Incoming, Message

Tell = Callable[[Message, bytes], None]


def divert(tell: Tell) -> None:
    """In a child, send every log record and every event to the parent instead of to handlers and sinks here.

    In place of the loggers' own search for handlers, not as a handler: whatever configures logging later changes
    nothing about it.
    """

    def log(_logger: logging.Logger, record: logging.LogRecord) -> None:
        tell(Message.LOG_RECORD, _prepared(record))

    def emit(event: Event, *more: Sink) -> None:
        tell(Message.EVENT, serialization.dumps(event))
        for sink in more:
            sink(event)

    setattr(logging.Logger, "callHandlers", log)  # noqa: B010  # this process is ours
    setattr(bus, "emit", emit)  # noqa: B010
    setattr(bus, "wants", lambda _: True)  # noqa: B010  # the sinks are the parent's
    setattr(bus, "wants", lambda _event: True)  # noqa: B010  # the parent knows who listens there


def hand_on(message: Message, data: bytes | Incoming) -> None:
    """In the parent, hand on what a child told: in the caller's thread, so that it belongs to the caller's run."""
    TOLD[message](serialization.loads(data))


def _log(attributes: Mapping[str, Any]) -> None:
    record = logging.makeLogRecord(attributes)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _happen(event: Event) -> None:
    if isinstance(event, FallbackUsed) and (call := current_call()) is not None:
        call.mark_degraded()
    bus.emit(replace(event, run=run_ids()))


#: What a child tells while it works.
TOLD: Mapping[Message, Callable[[Any], None]] = {Message.LOG_RECORD: _log, Message.EVENT: _happen}


def _prepared(record: logging.LogRecord) -> bytes:
    """Return a record as bytes, its message and traceback as text: what they are made of may not cross."""
    record = copy.copy(record)
    record.msg, record.args = record.getMessage(), None
    if record.exc_info:
        record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    try:
        return serialization.dumps(vars(record))
    except Exception:
        return serialization.dumps(
            {name: v if serialization.crosses(v) else safely.shown(v) for name, v in vars(record).items()}
        )
