"""Write events to the log through the standard library, and give users structlog loggers for their own lines.

No line holds a secret: events hold none, and `core.log_records` redacts every other record before a handler gets it.

The logger `resilient_tasks` belongs to the library. If the application has not configured it, warnings and errors go to
standard error; an orchestrator adds its own handler.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Mapping, MutableMapping
from dataclasses import fields
from functools import cache
from typing import Any

from resilient_tasks import redaction
from resilient_tasks.core import log_records, settings
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import Event, OfLevel, bus, run_ids
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.observe import lines
from resilient_tasks.observe.lines import Console
from resilient_tasks.safely import of_class

LOGGER = logging.getLogger("resilient_tasks")

_installed = False


def install() -> None:
    """Start logging events. Cheap to call again; the first call of a decorated function does so."""
    global _installed  # noqa: PLW0603  # once per process
    if not _installed:
        _installed = True
        log_records.install(LOGGER)
        # Essential: with several handlers, the lines of those that work would be lost with those of one that fails.
        bus.subscribe(log_event, wants, name="log", essential=True)
        settings.listeners.append(_write_all)
        _write_all(settings.current)
    if settings.current.prometheus:
        _count_in_prometheus()


def _count_in_prometheus() -> None:
    from resilient_tasks.observe import prometheus  # noqa: PLC0415  # only where the setting says so

    try:
        prometheus.install_if_set()
    except PolicyError as error:  # a task goes on without metrics
        warnings.warn(f"no metrics: {error}", stacklevel=2)


def _write_all(now: settings.Settings) -> None:
    """Write the events of all calls to files if the settings say so; an orchestrator has those of its runs written."""
    if now.events == "all":
        from resilient_tasks.observe import journal  # noqa: PLC0415  # few programs have it

        journal.install()


wants: OfLevel = OfLevel(LOGGER.isEnabledFor)
_adding = threading.Lock()


def log_event(event: Event) -> None:
    """Write one event to the log, with the ids of its run."""
    level = event.severity
    if not LOGGER.isEnabledFor(level):
        return
    if not LOGGER.handlers and not LOGGER.hasHandlers():
        with _adding:  # two threads may emit their first events at once
            if not LOGGER.hasHandlers():
                LOGGER.addHandler(console_handler())
    console, is_clean = next(iter(LOGGER.handlers), None), _is_clean(type(event))
    if is_clean and type(console) is Console and not event.run and console.has_to_itself(LOGGER):
        with contextlib.suppress(Exception):  # the logger below reports it, as any handler's error
            console.write(event)
            return
    about = event.as_dict()
    del about["time"]
    about.pop("url", None)
    message = f"{event.operation}: {event.sentence()}"
    LOGGER.handle(log_records.make(LOGGER, level, message, _unreserved(about), is_clean=is_clean))


@of_class
def _is_clean(event: type[Event]) -> bool:
    """Return whether a class of events holds no secrets, and no field whose name marks its value as one."""
    ours = event.__module__.startswith("resilient_tasks.")
    return ours and not any(redaction.secret_names.confidence(part.name) for part in fields(event))


def console_handler() -> logging.Handler:
    """Return a handler that writes lines for people to standard error, for any logger."""
    return Console()


def formatter(*, json: bool = False, colors: bool = False) -> logging.Formatter:
    """Return a formatter for any handler: key-value lines for people, or JSON lines.

    Tracebacks are rendered without local variables: those may hold secrets.
    """
    return lines.AsJson() if json else lines.ForPeople(colors=colors)


def get_logger(**bound: Any) -> Any:
    """Return a structlog logger whose lines have the run's ids, the operation and the attempt."""
    return _structured().bind(**bound)


@cache
def _structured() -> Any:
    import structlog  # noqa: PLC0415  # loaded with the first log line

    # Private to the library: `structlog.configure` would change the application's own loggers. The message stays text,
    # and the rest becomes the record's extra attributes, so that an application's own handlers can read both.
    return structlog.wrap_logger(
        LOGGER,
        processors=[_add_call, _avoid_reserved, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class Ids(logging.Filter):
    """Adds the run's ids, the operation and the attempt to records of any logger: `handler.addFilter(Ids())`.

    An attribute that a record already has stays as it is. Every record passes.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes, and let the record pass."""
        own = vars(record)
        for name, value in _of_here().items():
            own.setdefault(name, value)
        return True


def _of_here() -> dict[str, Any]:
    """Return the ids of the run, and the operation and attempt of the call, of the code that logs."""
    call = current_call()
    found: dict[str, Any] = {name: value for name, value in run_ids().items() if name != "url"}
    if call is not None:
        found.update(operation=call.operation, attempt=call.attempt)
    return found


def _add_call(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {**_of_here(), **line}


#: Names with a meaning to structlog's loggers and renderers, such as `stack` for a stack trace.
_STRUCTLOGS = frozenset(
    {"event", "exception", "level", "logger", "logger_name", "positional_args", "stack", "timestamp"}
    | {"_from_structlog", "_logger", "_name", "_record"}
)


_NOT_OURS = lines.RESERVED | _STRUCTLOGS


def _unreserved(line: dict[str, Any]) -> dict[str, Any]:
    """Rename keys with a meaning to a logging library, such as `name` and `stack`."""
    if _NOT_OURS.isdisjoint(line):
        return line
    return {f"{key}_" if key in _NOT_OURS else key: value for key, value in line.items()}


def _avoid_reserved(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    kept = {name: line.pop(name) for name in ("event", "exc_info", "stack_info") if name in line}
    return {**_unreserved(dict(line)), **kept}
