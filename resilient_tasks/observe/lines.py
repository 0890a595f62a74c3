"""What a log line looks like: for people, or as JSON. Tracebacks have no local variables: those may hold secrets."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

from resilient_tasks.core import log_records, safely
from resilient_tasks.core.events import Event
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.redaction.patterns import compiled

#: What a log record calls its own attributes, in newer Pythons too; a handler's formatter adds the last two.
RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"taskName", "message", "asctime"}


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a log line of this library says besides its message."""
    return {name: value for name, value in record.__dict__.items() if name not in RESERVED}


class ForPeople(logging.Formatter):
    """Writes the time, the level and the message, then names with their values: as structlog's console does.

    Nothing in it is obeyed by a terminal; a value has one line, the message may have several.
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
        """Return the line of a record, and its traceback behind it."""
        extra = extra_of(record)
        names = tuple(sorted(extra))
        line = self.line(record.created, record.levelname, record.getMessage(), names, [extra[name] for name in names])
        if record.exc_info or record.exc_text or record.stack_info:
            return "\n".join((line, *_behind(self, record)))
        return line

    def line(self, time: float, level: str, message: str, names: tuple[str, ...], values: Iterable[Any]) -> str:
        """Return the line for what a record would have.

        Args:
            time: in unix seconds.
            level: its name.
            message: the message.
            names: what is said besides, in alphabetical order,
            values: and their values.
        """
        level = level.lower()
        line = self._head % (_shown_time(time), self._levels.get(level, ""), level, for_terminal(message))
        if not names:
            return line.rstrip(" ")
        told = [
            _text(value) if (kind := type(value)) is str else value if kind in _NUMBERS else _shown(value)
            for value in values
        ]
        return line + _form(self._pair, names) % tuple(told)


class Console(logging.StreamHandler[TextIO]):
    """Writes to standard error for people."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(ForPeople(colors=sys.stderr.isatty() and os.name != "nt"))

    def has_to_itself(self, logger: logging.Logger) -> bool:
        """Tell whether nothing else sees what `logger` logs: no other handler or filter, and no code in their place.

        Then a line needs no record, which costs as much as the line: `write` does the same.
        """
        return (
            len(logger.handlers) == 1
            and not (logger.propagate and logging.root.handlers)  # its only parent
            and len(logger.filters) == 1  # the redaction
            and not self.filters
            and type(self.formatter) is ForPeople
            and logging.getLogRecordFactory() is logging.LogRecord
            and log_records.is_pythons_own(logger, "makeRecord", "handle", "callHandlers")
            and log_records.is_pythons_own(self, "handle", "emit", "format")
        )

    def write(self, event: Event) -> None:
        """Write the line of an event, which holds no secret.

        Raises:
            Exception: the stream does not take it.
        """
        level, written = event.severity, self.formatter
        if level >= self.level and type(written) is ForPeople:
            message = f"{event.operation}: {event.sentence()}"
            line = written.line(event.time, logging.getLevelName(level), message, *event.in_order())
            with self.lock or contextlib.nullcontext():
                self.stream.write(line + self.terminator)
                self.stream.flush()


class AsJson(logging.Formatter):
    """Writes a JSON object: `event` is the message, and beside it stand the names with their values."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON. What JSON does not know is shown as Python writes it."""
        import json  # noqa: PLC0415  # loads with the first line of JSON

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


@functools.lru_cache(64)  # each event has the same names
def _form(pair: str, names: tuple[str, ...]) -> str:
    return "".join([pair % (name.replace("%", "%%"), "%s") for name in names])


@functools.lru_cache(512)  # kinds, names and texts come again with every line
def _text(value: str) -> str:
    text = for_terminal(value, lines=False)
    return repr(text) if _TO_QUOTE.search(text) else text


def _shown(value: object) -> str:
    return for_terminal(safely.shown(value), lines=False)


#: They are written by `%s` as by `repr`.
_NUMBERS = frozenset((int, float, bool, type(None)))


def _behind(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[str]:
    """Yield where the record was made, if it tells, and its traceback."""
    if record.stack_info:
        yield for_terminal(record.stack_info)
    if not record.exc_text and record.exc_info and record.exc_info[1] is not None:
        record.exc_text = formatter.formatException(record.exc_info)
    if record.exc_text:
        yield for_terminal(record.exc_text)
