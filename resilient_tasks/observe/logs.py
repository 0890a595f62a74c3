"""Events as log lines: structlog renders them, the standard library's handlers carry them.

No line holds a secret: `core.log_records` sees to it before a handler has the line.

The logger `resilient_tasks` belongs to the library. Where the application has configured no logging for it, warnings
and errors appear on standard error in structlog's form; an orchestrator adds its own handler.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any

from resilient_tasks.core import log_records
from resilient_tasks.core.events import CallFailed, Event, bus, run_ids
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.core.shown import for_terminal

LOGGER = logging.getLogger("resilient_tasks")

_installed = False


def install() -> None:
    """Have events logged. Cheap to call again; the first call of a decorated function does it."""
    global _installed  # noqa: PLW0603  # once a process
    if not _installed:
        _installed = True
        log_records.install(LOGGER)
        bus.subscribe(log_event, wants)


def wants(event: type[Event]) -> bool:
    """Tell whether the logger writes events of this class, as far as the class tells."""
    # The level of an event is at most that of its class, but for a class from elsewhere that says so of each event.
    return LOGGER.isEnabledFor(event.level) or (event.severity is not Event.severity and event is not CallFailed)


_adding = threading.Lock()


def log_event(event: Event) -> None:
    """Write one event to the log, with the ids of its run."""
    if not LOGGER.isEnabledFor(event.severity):
        return
    if not LOGGER.hasHandlers():
        with _adding:  # two threads whose first events come at once
            if not LOGGER.hasHandlers():
                LOGGER.addHandler(console_handler())
    about = event.as_dict()
    about.pop("time")
    about.pop("url", None)
    _structured().log(event.severity, f"{event.operation}: {event.sentence()}", **_unreserved(about))


def console_handler() -> logging.Handler:
    """Return a handler that writes to standard error in structlog's form, for the library's and other loggers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(colors=sys.stderr.isatty()))
    return handler


def formatter(*, json: bool = False, colors: bool = False) -> logging.Formatter:
    """Return a formatter for any handler: key-value lines for people, or JSON lines.

    Tracebacks are rendered without local variables: those may hold secrets.
    """
    import structlog  # noqa: PLC0415  # loads with the first log line

    rendered: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_plain_traceback)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_log_level],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso"),
            *([] if json else [_fit_for_a_terminal]),
            rendered,
        ],
    )


def _fit_for_a_terminal(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Write out what a terminal would obey: a value has one line, the message may have several."""
    several = {"event", "exception", "stack"}
    return {
        key: for_terminal(value, lines=key in several) if isinstance(value, str) else value
        for key, value in line.items()
    }


def _plain_traceback(to: Any, exc_info: Any) -> None:
    import structlog  # noqa: PLC0415  # as above

    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    to.write(for_terminal(written.getvalue()))


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a log line of this library says besides its message."""
    return {name: value for name, value in vars(record).items() if name not in _RESERVED}


def get_logger(**bound: Any) -> Any:
    """Return a structlog logger for a user's own lines: each has the run's ids, the operation and the attempt."""
    return _structured().bind(**bound)


@cache
def _structured() -> Any:
    import structlog  # noqa: PLC0415  # loads with the first log line

    # Private to the library: `structlog.configure` would change the application's own loggers. The message stays text,
    # and the rest becomes the record's extra attributes, so that an application's own handlers can read both.
    return structlog.wrap_logger(
        LOGGER,
        processors=[_add_call, _avoid_reserved, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _add_call(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    call = current_call()
    found: dict[str, Any] = {name: value for name, value in run_ids().items() if name != "url"}
    if call is not None:
        found.update(operation=call.operation, attempt=call.attempt)
    return {**found, **line}


#: What a log record calls its own attributes, in newer Pythons too; a handler's formatter adds the last two.
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"taskName", "message", "asctime"}
#: What structlog's loggers and renderers take for something else: a text under `stack` for a stack trace.
_STRUCTLOGS = frozenset(
    {"event", "exception", "level", "logger", "logger_name", "positional_args", "stack", "timestamp"}
    | {"_from_structlog", "_logger", "_name", "_record"}
)


def _unreserved(line: Mapping[str, Any]) -> dict[str, Any]:
    """Rename what a logging library would take for something else, such as `name` and `stack`."""
    return {f"{key}_" if key in _RESERVED | _STRUCTLOGS else key: value for key, value in line.items()}


def _avoid_reserved(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    kept = {name: line.pop(name) for name in ("event", "exc_info", "stack_info") if name in line}
    return {**_unreserved(line), **kept}
