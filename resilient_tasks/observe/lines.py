"""Formats of log lines: for people, or JSON. Tracebacks have no local variables, which may hold secrets."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

from resilient_tasks import safely
from resilient_tasks.core import log_records
from resilient_tasks.core.events import Event
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.redaction.patterns import compiled

#: The attributes of a log record, in newer Pythons too; a handler's formatter adds the last two.
RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"taskName", "message", "asctime"}


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the extra attributes of a log record."""
    return {name: value for name, value in record.__dict__.items() if name not in RESERVED}


class ForPeople(logging.Formatter):
    """Writes time, level, message and key-value pairs, as structlog's console does.

    Control characters are escaped. A value takes one line; the message may take several.
    """

    def __init__(self, *, colors: bool = False) -> None:
        super().__init__()
        bold, dim, cyan, magenta, reset = (
            ("\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[35m", "\x1b[0m") if colors else [""] * 5
        )
        self._levels = {name: color + bold for name, color in _COLORS.items()} if colors else {}
        self._head = f"{dim}%s{reset} [%s%-9s{reset}] {bold}%-30s{reset}"
        self._pair = f" {cyan}%s{reset}={magenta}%s{reset}"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, followed by its traceback."""
        extra = extra_of(record)
        names = tuple(sorted(extra))
        line = self.line(record.created, record.levelname, record.getMessage(), names, [extra[name] for name in names])
        if record.exc_info or record.exc_text or record.stack_info:
            return "\n".join((line, *_behind(self, record)))
        return line

    def line(self, time: float, level: str, message: str, names: tuple[str, ...], values: Iterable[Any]) -> str:
        """Return the line for the parts of a record.

        Args:
            time: the time, in unix seconds.
            level: the name of the level.
            message: the message.
            names: the names of the extra attributes, in alphabetical order.
            values: their values.
        """
        level = level.lower()
        line = self._head % (_shown_time(time), self._levels.get(level, ""), level, for_terminal(message))
        if not names:
            return line.rstrip(" ")
        texts = [
            _text(value) if (kind := type(value)) is str else value if kind in _NUMBERS else _shown(value)
            for value in values
        ]
        return line + _form(self._pair, names) % tuple(texts)


class Console(logging.StreamHandler[TextIO]):
    """A handler that writes lines for people to standard error."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(ForPeople(colors=sys.stderr.isatty() and os.name != "nt"))

    def has_to_itself(self, logger: logging.Logger) -> bool:
        """Return whether it is the only handler of `logger`, with no custom filter, formatter or method.

        Then `write` may write the line without a log record, which would cost as much as the line.
        """
        return (
            len(logger.handlers) == 1
            and not (logger.propagate and logging.root.handlers)  # the root is its only parent
            and len(logger.filters) == 1  # the redaction
            and not self.filters
            and type(self.formatter) is ForPeople
            and logging.getLogRecordFactory() is logging.LogRecord
            and log_records.is_pythons_own(logger, "makeRecord", "handle", "callHandlers")
            and log_records.is_pythons_own(self, "handle", "emit", "format")
        )

    def write(self, event: Event) -> None:
        """Write the line of an event that holds no secret.

        Raises:
            Exception: writing to the stream failed.
        """
        level, written = event.severity, self.formatter
        if level >= self.level and type(written) is ForPeople:
            message = f"{event.operation}: {event.sentence()}"
            line = written.line(event.time, logging.getLevelName(level), message, *event.in_order())
            with self.lock or contextlib.nullcontext():
                self.stream.write(line + self.terminator)
                self.stream.flush()


class AsJson(logging.Formatter):
    """Writes a JSON object with the message as `event`, and the extra attributes by name."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON. Values unknown to JSON are written as their `repr`."""
        import json  # noqa: PLC0415  # loaded with the first line of JSON

        about = {"level": record.levelname.lower(), "timestamp": _shown_time(record.created)}
        if behind := "\n".join(_behind(self, record)):
            about["exception"] = behind
        return json.dumps({"event": record.getMessage(), **extra_of(record), **about}, default=safely.shown)


_COLORS = {
    "critical": "\x1b[31m",
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "info": "\x1b[32m",
    "debug": "\x1b[32m",
}
_TO_QUOTE = compiled("[ \t\r\n=\"']")


def _shown_time(time: float) -> str:
    second = int(time)
    return f"{_second(second)}.{int((time - second) * 1e6):06}Z"


@functools.lru_cache(16)  # lines come in bursts
def _second(since_1970: int) -> str:
    return datetime.fromtimestamp(since_1970, UTC).replace(tzinfo=None).isoformat()


@functools.lru_cache(64)  # all events of a class have the same names
def _form(pair: str, names: tuple[str, ...]) -> str:
    return "".join([pair % (name.replace("%", "%%"), "%s") for name in names])


@functools.lru_cache(512)  # kinds, names and texts repeat
def _text(value: str) -> str:
    text = for_terminal(value, lines=False)
    return repr(text) if _TO_QUOTE.search(text) else text


def _shown(value: object) -> str:
    return for_terminal(safely.shown(value), lines=False)


#: Types that `%s` writes as `repr` does.
_NUMBERS = frozenset((int, float, bool, type(None)))


def _behind(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[str]:
    """Yield the stack of the record, if it has one, and its traceback."""
    if record.stack_info:
        yield for_terminal(record.stack_info)
    if not record.exc_text and record.exc_info and record.exc_info[1] is not None:
        record.exc_text = formatter.formatException(record.exc_info)
    if record.exc_text:
        yield for_terminal(record.exc_text)
