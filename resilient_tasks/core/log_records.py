"""The library's logger writes no secrets, and nothing that a terminal obeys, whatever handlers it has."""

from __future__ import annotations

import logging
import traceback
from types import MethodType
from typing import Any

from resilient_tasks import redaction
from resilient_tasks.core.shown import for_terminal

_OWN = frozenset(vars(logging.makeLogRecord({})))


class CleanRecord(logging.LogRecord):
    """A record of an event, which has been redacted: what it is made of is text and data without any secret."""

    def __reduce__(self) -> tuple[Any, ...]:
        return logging.makeLogRecord, (self.__dict__,)  # elsewhere, and changed, it is a record like any other


def made(
    logger: logging.Logger, level: int, message: str, extra: dict[str, Any], *, is_clean: bool
) -> logging.LogRecord:
    """Return a record for `logger`.

    Args:
        logger: the logger that is to handle it.
        level: the level.
        message: the message, as it is.
        extra: its further attributes, with names that a record has not.
        is_clean: neither holds a secret, so the logger need not look for any. It does all the same where other code may
            add to the record before: a factory, a monitor in the place of a method, a filter that was there first.
    """
    if not is_pythons_own(logger, "makeRecord", "handle"):
        return logger.makeRecord(logger.name, level, __file__, 0, message, (), None, "log_event", extra, None)
    make: Any = logging.getLogRecordFactory()
    if is_clean and make is logging.LogRecord and type(next(iter(logger.filters), None)) is Redaction:
        make = CleanRecord
    record: logging.LogRecord = make(logger.name, level, __file__, 0, message, (), None, "log_event", None)
    record.__dict__.update(extra)
    return record


_PYTHONS = logging.makeLogRecord.__code__.co_filename


def is_pythons_own(subject: logging.Filterer, *methods: str) -> bool:
    """Tell whether methods of a logger or handler are those of Python's logging: monitors put theirs in their place.

    They do so in the class or in one object, before this library is imported or after.
    """
    for name in methods:
        method = getattr(subject, name)
        # A proxy, as wrapt makes, shows the code of what it stands for; its type is another.
        if type(method) is not MethodType or method.__func__.__code__.co_filename != _PYTHONS:
            return False
    return True


class Redaction(logging.Filter):
    """Redacts a record before any handler has it: its message, its extra attributes, its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it holds a secret, and let it pass."""
        if type(record) is CleanRecord:
            return True
        try:
            message = record.getMessage()
        except Exception:  # the arguments do not fit: the handler says so, and shows them
            record.args = redaction.values.clean(record.args)
            message = str(record.msg)
        if (told := for_terminal(redaction.text.redact(message))) != message:
            record.msg, record.args = told, ()
        for name in vars(record).keys() - _OWN:
            setattr(record, name, _named(name, getattr(record, name)))
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            copy = redaction.exceptions.redacted(record.exc_info[1], chain=True)
            if copy is not None:
                record.exc_info = (type(copy), copy, copy.__traceback__)
                record.exc_text = None
            record.exc_text = record.exc_text or _written_out(record.exc_info[1])
        for name in ("exc_text", "stack_info"):
            text = getattr(record, name)
            if text:
                setattr(record, name, for_terminal(redaction.text.redact(text)))
        return True


def _written_out(error: BaseException) -> str | None:
    """Return the traceback where a terminal would obey a part of it; None where a handler may format it itself."""
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:
        return None
    shown = for_terminal(text)
    return None if shown == text else shown


def _named(name: str, value: object) -> object:
    return redaction.values.clean({name: value})[name]


def install(logger: logging.Logger) -> None:
    """Have `logger` write no secrets. Cheap to call again."""
    if not any(isinstance(there, Redaction) for there in logger.filters):
        logger.addFilter(Redaction())
