"""Every handler can write every event: no field has a name reserved by a logging library."""

import dataclasses
import io
import json
import logging
import typing
from collections.abc import Mapping

import pytest
import structlog

from resilient_tasks import get_logger
from resilient_tasks.core.events import EVENTS, Event
from resilient_tasks.observe import logs

#: Keys with a meaning to structlog, including those of its renderers and of `wrap_logger(...).log(level, event)`.
STRUCTLOGS = {"event", "exception", "exc_info", "stack", "stack_info", "level", "timestamp", "logger", "logger_name"}
STRUCTLOGS |= {"positional_args", "_record", "_from_structlog", "_logger", "_name"}
#: Attributes of a log record, of newer Pythons too, and of the formatter.
RECORDS = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "extra"}
#: Taken out before a line is written: the record has its own time.
LEFT_OUT = {"time", "url"}

OWN_EVENTS = [event for event in EVENTS.values() if event.__module__.startswith("resilient_tasks.")]
each_event = pytest.mark.parametrize("event", OWN_EVENTS, ids=lambda event: event.name)


def _value(kind):
    """A value of a field's annotated type; of a union, the non-empty one."""
    given = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is Mapping:
        return {"ConnectError": 2}
    if typing.get_origin(kind) is tuple:
        return ("load (3 attempts)", "fetch (3 attempts)")
    if type(None) in typing.get_args(kind):
        return _value(given[0])
    return {str: "text", int: 3, float: 1.5, bool: True}[kind]


def _made(event):
    hints = typing.get_type_hints(event)
    ids = {"flow_run_id": "4f6f5cf0-0000-4000-8000-000000000000", "flow_run": "daily"}
    parts = {part.name: _value(hints[part.name]) for part in dataclasses.fields(event)}
    return event(**{**parts, "operation": "fetch", "run": ids})


def _written(event, monkeypatch, formatter):
    """The line that a handler with `formatter` writes for an event, and `logging`'s errors on standard error."""
    written, handler = io.StringIO(), logging.StreamHandler()
    handler.setStream(written)
    handler.setFormatter(formatter)
    monkeypatch.setattr(logs.LOGGER, "handlers", [handler])
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    monkeypatch.setattr(logs.LOGGER, "level", logging.DEBUG)
    logs.LOGGER.manager._clear_cache()
    logs.log_event(event)
    return written.getvalue()


@each_event
def test_no_field_has_a_name_reserved_by_a_logging_library(event):
    assert not (_made(event).as_dict().keys() - LEFT_OUT) & (STRUCTLOGS | RECORDS)


@each_event
def test_the_console_shows_each_event(event, monkeypatch, capsys):
    made = _made(event)
    line = _written(made, monkeypatch, logs.formatter())
    assert made.sentence() in line
    assert "Logging error" not in capsys.readouterr().err


@each_event
def test_a_coloured_console_shows_each_event(event, monkeypatch, capsys):
    assert _made(event).sentence() in _written(_made(event), monkeypatch, logs.formatter(colors=True))
    assert "Logging error" not in capsys.readouterr().err


@each_event
def test_json_lines_have_each_field_of_each_event_by_name(event, monkeypatch, capsys):
    made = _made(event)
    line = json.loads(_written(made, monkeypatch, logs.formatter(json=True)))
    assert made.sentence() in line["event"]
    fields = json.loads(json.dumps(made.as_dict()))
    assert {name: line[name] for name in fields.keys() - LEFT_OUT} == {
        name: value for name, value in fields.items() if name not in LEFT_OUT
    }
    assert "Logging error" not in capsys.readouterr().err


@each_event
def test_an_applications_own_structlog_console_shows_each_event(event, monkeypatch, capsys):
    foreign = [structlog.stdlib.ExtraAdder(), structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name]
    formatter = structlog.stdlib.ProcessorFormatter(
        processor=structlog.dev.ConsoleRenderer(colors=False), foreign_pre_chain=foreign
    )
    assert _made(event).sentence() in _written(_made(event), monkeypatch, formatter)
    assert "Logging error" not in capsys.readouterr().err


@each_event
def test_prefects_run_log_takes_each_event(event, monkeypatch, capsys):
    for name, value in {"handlers": [], "propagate": False, "level": logging.DEBUG}.items():
        monkeypatch.setattr(logs.LOGGER, name, value)  # before the module is imported, which connects to it
    from resilient_tasks.prefect.runs import RunLogHandler

    said = []

    class Taking(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    taking, made = Taking(), _made(event)
    prefects = logging.getLogger("prefect.flow_runs")
    monkeypatch.setattr(prefects, "handlers", [taking])
    monkeypatch.setattr(prefects, "propagate", False)
    monkeypatch.setattr(prefects, "level", logging.DEBUG)
    monkeypatch.setattr(logs.LOGGER, "handlers", [RunLogHandler()])
    logs.LOGGER.manager._clear_cache()
    logs.log_event(made)
    assert len(said) == 1
    assert made.sentence() in said[0]
    assert "Logging error" not in capsys.readouterr().err


class Backfilled(Event):
    """A custom event, with fields whose names logging libraries reserve."""

    name = "test.backfilled"
    level = logging.WARNING

    def as_dict(self):
        kept = dict.fromkeys(("stack", "exception", "level", "logger", "timestamp", "message", "args", "event"), "mine")
        return {**super().as_dict(), **kept}


def test_fields_of_custom_events_may_have_any_name(monkeypatch, capsys):
    line = json.loads(_written(Backfilled(operation="fetch"), monkeypatch, logs.formatter(json=True)))
    assert line["level"] == "warning"
    assert line["event"] == "fetch: test.backfilled"
    assert [line[f"{name}_"] for name in ("stack", "exception", "level", "message", "args", "event")] == ["mine"] * 6
    assert "fetch: test.backfilled" in _written(Backfilled(operation="fetch"), monkeypatch, logs.formatter())
    assert "Logging error" not in capsys.readouterr().err


def test_values_of_custom_lines_may_have_any_name(monkeypatch, capsys):
    monkeypatch.setattr(logs.LOGGER, "level", logging.WARNING)
    line = _written(Backfilled(operation="fetch"), monkeypatch, logs.formatter())
    written = logs.LOGGER.handlers[0].stream
    get_logger().warning("laid out", stack=("a", "b"), exception="none", timestamp=7, logger="mine", level=3)
    assert "laid out" in written.getvalue().removeprefix(line)
    assert "stack_" in written.getvalue()
    assert "Logging error" not in capsys.readouterr().err
