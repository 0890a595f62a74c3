"""Log records without secrets and without terminal control sequences, whatever the handlers."""

from __future__ import annotations

import logging
import traceback
from types import MethodType
from typing import Any

from resilient_tasks import redaction
from resilient_tasks.core.shown import for_terminal

_OWN = frozenset(vars(logging.makeLogRecord({})))


class RedactedRecord(logging.LogRecord):
    """A record of an event, which is already redacted."""

    def __reduce__(self) -> tuple[Any, ...]:
        return logging.makeLogRecord, (self.__dict__,)  # unpickled, it is an ordinary record: it may have been changed


def make(
    logger: logging.Logger, level: int, message: str, extra: dict[str, Any], *, is_clean: bool
) -> logging.LogRecord:
    """Return a record for `logger`.

    Args:
        logger: the logger that will handle it.
        level: the level.
        message: the formatted message.
        extra: further attributes, none with a name of a standard attribute.
        is_clean: neither `message` nor `extra` holds a secret, so the logger need not redact the record. It does so all
            the same if other code may add to it before: a record factory, a patched method, an earlier filter.
    """
    if not is_pythons_own(logger, "makeRecord", "handle"):
        return logger.makeRecord(logger.name, level, __file__, 0, message, (), None, "log_event", extra, None)
    make: Any = logging.getLogRecordFactory()
    if is_clean and make is logging.LogRecord and type(next(iter(logger.filters), None)) is Redaction:
        make = RedactedRecord
    record: logging.LogRecord = make(logger.name, level, __file__, 0, message, (), None, "log_event", None)
    record.__dict__.update(extra)
    return record


_PYTHONS = logging.makeLogRecord.__code__.co_filename


def is_pythons_own(subject: logging.Filterer, *methods: str) -> bool:
    """Return whether methods of a logger or handler are Python's own: monitoring tools patch them.

    They patch the class or one object, before or after this library is imported.
    """
    for name in methods:
        method = getattr(subject, name)
        # A proxy of wrapt has the code of the wrapped method, but another type.
        if type(method) is not MethodType or method.__func__.__code__.co_filename != _PYTHONS:
            return False
    return True


class Redaction(logging.Filter):
    """Redacts a record before any handler receives it: its message, its extra attributes, its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record, and let it pass."""
        if type(record) is RedactedRecord:
            return True
        try:
            message = record.getMessage()
        except Exception:  # the arguments do not fit: the handler reports that, and shows them
            record.args = redaction.values.clean(record.args)
            message = str(record.msg)
        if (redacted := for_terminal(redaction.text.redact(message))) != message:
            record.msg, record.args = redacted, ()
        for name in vars(record).keys() - _OWN:
            setattr(record, name, redaction.values.clean({name: getattr(record, name)})[name])
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            copy = redaction.exceptions.redacted(record.exc_info[1], chain=True)
            if copy is not None:
                record.exc_info = (type(copy), copy, copy.__traceback__)
                record.exc_text = None
            record.exc_text = record.exc_text or _escaped_traceback(record.exc_info[1])
        for name in ("exc_text", "stack_info"):
            text = getattr(record, name)
            if text:
                setattr(record, name, for_terminal(redaction.text.redact(text)))
        return True


def _escaped_traceback(error: BaseException) -> str | None:
    """Return the escaped traceback if it holds control sequences; None if a handler may format it itself."""
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:
        return None
    shown = for_terminal(text)
    return None if shown == text else shown


def install(logger: logging.Logger) -> None:
    """Redact the records of `logger`. Cheap to call again."""
    if not any(isinstance(there, Redaction) for there in logger.filters):
        logger.addFilter(Redaction())
