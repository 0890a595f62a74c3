"""The format of log lines, and their redaction before they are written."""

import dataclasses
import io
import json
import logging
import re
from collections.abc import Mapping

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import Retry, configure, resilient
from resilient_tasks.core import log_records, settings
from resilient_tasks.core.events import Event, FallbackUsed, NotifySent, RetryRecovered, RetryScheduled, bus
from resilient_tasks.core.events.sinks import Subscription
from resilient_tasks.observe import logs
from resilient_tasks.observe.lines import Console, ForPeople

FAILED = {"error_type": "ConnectError", "message": "it said 'no'\nand left", "kind": "transient"}
SCHEDULED = RetryScheduled(operation="fetch", attempts=3, delay=1.5, http_status=503, **FAILED)
EVENTS = [
    SCHEDULED,
    dataclasses.replace(SCHEDULED, http_status=None),
    FallbackUsed(operation="fetch", fallback="last", since=0.0, age=3.5, http_status=None, **FAILED),
    FallbackUsed(operation="fetch", fallback="last", http_status=503, **FAILED),
    RetryRecovered(operation="fetch", attempts=3, errors={"ConnectError": 2}),
]
SECRET = "hunter2-of-the-tests"


class Closed(list):
    """A list of handlers to which pytest cannot add its own."""

    def append(self, handler):
        pass


@pytest.fixture
def console(monkeypatch):
    """The console that the library adds if an application has not configured logging."""
    console = Console()
    console.setStream(io.StringIO())
    monkeypatch.setattr(logs.LOGGER, "handlers", Closed([console]))
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    monkeypatch.setattr(logs.LOGGER, "level", logging.INFO)
    logs.LOGGER.manager._clear_cache()
    return console


@pytest.fixture
def handled(console):
    """The records that reach the console."""
    seen = []
    console.addFilter(lambda record: seen.append(record) or True)
    return seen


values = st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.text(max_size=3)))


class TestForPeople:
    @given(
        extra=st.dictionaries(st.from_regex(r"[a-z.%]{1,8}", fullmatch=True), values, max_size=5),
        message=st.text(max_size=50),
        colors=st.booleans(),
    )
    def test_a_line_equals_that_of_structlogs_console(self, extra, message, colors):
        about = {name: value for name, value in extra.items() if isinstance(value, str | int | float | None)}
        names = tuple(sorted(about))
        ours = ForPeople(colors=colors).line(1_700_000_000.25, "WARNING", message, names, map(about.get, names))
        fit = logs.lines.for_terminal
        shown = {name: fit(value, lines=False) if isinstance(value, str) else value for name, value in about.items()}
        theirs = structlog.dev.ConsoleRenderer(colors=colors)(
            None, "", {**shown, "timestamp": "2023-11-14T22:13:20.250000Z", "level": "warning", "event": fit(message)}
        )
        assert ours == theirs

    def test_a_line_without_values_ends_with_its_message(self):
        assert ForPeople().line(0.0, "INFO", "well", (), ()) == "1970-01-01T00:00:00.000000Z [info     ] well"

    def test_control_characters_are_escaped(self):
        class Hostile:
            def __repr__(self):
                return "<\x1b[2J>"

        assert "thing=<\\x1b[2J>" in ForPeople().line(0.0, "INFO", "seen", ("thing",), (Hostile(),))

    def test_a_line_of_another_logger_may_have_a_stack(self):
        record = logging.makeLogRecord({"msg": "here", "stack_info": "Stack (most recent call last):\n  one"})
        assert ForPeople().format(record).endswith("\nStack (most recent call last):\n  one")

    def test_an_empty_traceback_is_left_out(self):
        record = logging.makeLogRecord({"msg": "here", "exc_info": (None, None, None)})
        assert "None" not in ForPeople().format(record)


def test_json_has_the_traceback():
    try:
        raise ValueError("broken")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "no", "exc_info": (ValueError, error, error.__traceback__)})
    line = json.loads(logs.formatter(json=True).format(record))
    assert line["event"] == "no"
    assert line["exception"].endswith("ValueError: broken")


class TestTheConsole:
    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
    def test_writes_an_event_as_it_would_write_its_record(self, console, event, monkeypatch):
        assert console.has_to_itself(logs.LOGGER)
        logs.log_event(event)
        at_once = console.stream.getvalue()
        monkeypatch.setattr(Console, "has_to_itself", lambda *_: False)
        logs.log_event(event)
        by_record = console.stream.getvalue().removeprefix(at_once)
        without_time = re.compile(r"^\S+Z ")
        assert without_time.sub("", at_once) == without_time.sub("", by_record)
        assert f"fetch: {event.sentence()}" in at_once

    def test_needs_no_record_if_it_is_the_only_handler(self, console):
        logger = logging.Logger("resilient_tasks.alone")  # noqa: LOG001  # one of its own
        log_records.install(logger)
        logger.addHandler(console)
        logger.propagate = False
        assert console.has_to_itself(logger)

    @pytest.mark.parametrize("other", ["handler", "handler above", "filter", "its own filter", "format", "factory"])
    def test_needs_a_record_if_something_else_sees_it(self, console, other, monkeypatch):
        logger = logging.Logger("resilient_tasks.alone")  # noqa: LOG001  # one of its own
        log_records.install(logger)
        logger.addHandler(console)
        logger.propagate = other == "handler above"
        if other == "handler":
            logger.addHandler(logging.NullHandler())
        elif other == "handler above":
            monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
        elif other == "filter":
            logger.addFilter(lambda _: True)
        elif other == "its own filter":
            console.addFilter(lambda _: True)
        elif other == "format":
            console.setFormatter(logging.Formatter("%(message)s"))
        else:
            monkeypatch.setattr(logging, "_logRecordFactory", logging.makeLogRecord)
        assert not console.has_to_itself(logger)

    @pytest.mark.parametrize("method", ["handle", "callHandlers", "makeRecord"])
    @pytest.mark.parametrize("whose", ["the class's", "this one's"])
    def test_needs_a_record_if_a_monitor_replaced_a_method_of_the_logger(self, console, method, whose, monkeypatch):
        logger = logging.Logger("resilient_tasks.alone")  # noqa: LOG001  # one of its own
        log_records.install(logger)
        logger.addHandler(console)
        logger.propagate = False
        monkeypatch.setattr(logger if whose == "this one's" else logging.Logger, method, lambda *_: None)
        assert not console.has_to_itself(logger)

    @pytest.mark.parametrize("method", ["handle", "emit", "format"])
    def test_gets_each_record_if_a_method_of_the_handler_was_replaced(self, console, method, monkeypatch):
        seen = []
        for whose in (console, logging.StreamHandler, logging.Handler):
            if whose is console or method in vars(whose):
                with monkeypatch.context() as changed:
                    changed.setattr(whose, method, lambda *given: seen.append(given[-1].getMessage()) or "")
                    logs.log_event(SCHEDULED)
        assert seen
        assert set(seen) == {f"fetch: {SCHEDULED.sentence()}"}

    def test_writes_nothing_below_its_own_level(self, console, resilient_clock):
        console.setLevel(logging.ERROR)
        logs.log_event(SCHEDULED)
        assert not console.stream.getvalue()

    def test_reports_a_failed_write_as_any_handler_does(self, console, capsys, monkeypatch):
        closed = io.StringIO()
        closed.close()
        console.setStream(closed)
        logs.log_event(SCHEDULED)
        assert "Logging error" in capsys.readouterr().err


class TestTheRecordOfAnEvent:
    def test_skips_the_redaction_because_the_event_holds_no_secret(self, console, handled):
        bus_event = RetryScheduled(**{**dataclasses.asdict(SCHEDULED), "message": f"password={SECRET}"})
        logs.log_event(bus_event)
        assert type(handled[0]) is log_records.RedactedRecord
        assert SECRET not in console.stream.getvalue()
        assert "password=***" in console.stream.getvalue()

    @pytest.mark.parametrize("name", [f"load password={SECRET}", f"https://bob:{SECRET}@example.org/flow"])
    def test_shows_no_secret_from_a_name(self, console, name):
        event = dataclasses.replace(SCHEDULED, operation=name, error_type=f"Error token={SECRET}")
        logs.log_event(event)
        assert SECRET not in event.sentence() + event.operation
        assert SECRET not in console.stream.getvalue()

    def test_is_redacted_if_a_custom_record_factory_may_have_added_to_it(self, console, monkeypatch):
        def make(*given):
            record = logging.LogRecord(*given)
            record.request = f"Authorization: Bearer {SECRET}"
            return record

        monkeypatch.setattr(logging, "_logRecordFactory", make)
        logs.log_event(SCHEDULED)
        assert "request=" in console.stream.getvalue()
        assert SECRET not in console.stream.getvalue()

    def test_is_redacted_if_an_earlier_filter_may_have_added_to_it(self, console, monkeypatch):
        def add(record):
            record.request = f"Authorization: Bearer {SECRET}"
            return True

        monkeypatch.setattr(logs.LOGGER, "filters", [add, *logs.LOGGER.filters])
        logs.log_event(SCHEDULED)
        assert "request=" in console.stream.getvalue()
        assert SECRET not in console.stream.getvalue()

    def test_is_made_by_the_loggers_method_if_a_monitor_replaced_it(self, console, monkeypatch):
        make = logging.Logger.makeRecord

        def traced(*given):
            record = make(*given)
            record.trace_id, record.request = "5f1c", f"Authorization: Bearer {SECRET}"
            return record

        monkeypatch.setattr(logging.Logger, "makeRecord", traced)
        logs.log_event(SCHEDULED)
        assert "trace_id=5f1c" in console.stream.getvalue()
        assert "error.type=ConnectError" in console.stream.getvalue()
        assert SECRET not in console.stream.getvalue()

    def test_is_redacted_if_the_event_is_a_custom_one(self, console):
        @dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
        class TokenSpent(Event):
            name = "token.spent"
            token: str
            about: Mapping[str, str]

            def sentence(self):
                return f"logged in with password={SECRET}"

        logs.log_event(TokenSpent(operation="fetch", token=SECRET, about={"api_key": SECRET}))
        assert "token.spent" in console.stream.getvalue()
        assert SECRET not in console.stream.getvalue()

    def test_is_an_ordinary_record_elsewhere(self):
        import copy
        import pickle

        record = log_records.make(logs.LOGGER, logging.INFO, "well", {"attempt": 2}, is_clean=True)
        for other in (copy.copy(record), pickle.loads(pickle.dumps(record))):
            assert type(other) is logging.LogRecord
            assert vars(other) == vars(record)


class TestWhatTheLogWants:
    def test_are_events_of_an_enabled_level(self, console):
        assert logs.wants(RetryScheduled)
        assert logs.wants(RetryRecovered)
        console_level, logs.LOGGER.level = logs.LOGGER.level, logging.ERROR
        logs.LOGGER.manager._clear_cache()
        assert not logs.wants(RetryScheduled)
        logs.LOGGER.level = console_level

    def test_include_a_class_whose_events_have_different_levels(self, console):
        class Grave(Event):
            name = "test.grave"
            level = logging.DEBUG

            @property
            def severity(self):
                return logging.CRITICAL

        assert logs.wants(Grave)

    def test_no_event_is_created_if_neither_log_nor_sink_wants_it(self, console, flaky, resilient_clock, monkeypatch):
        made = []
        logs.install()
        monkeypatch.setattr(Event, "__post_init__", made.append)
        monkeypatch.setattr(logs.LOGGER, "level", logging.CRITICAL)
        logs.LOGGER.manager._clear_cache()
        monkeypatch.setattr(bus, "sinks", (Subscription(logs.log_event, logs.wants),))
        assert resilient(retry=Retry(attempts=3, wait=1))(flaky(ConnectionError(), ConnectionError()))() == "done"
        assert made == []


def test_a_secret_registered_later_is_removed_from_repeated_values(console, monkeypatch):
    monkeypatch.setattr(settings, "current", settings.current)
    said = "the word is Xylophone-of-old"
    logs.log_event(NotifySent(operation="fetch", channel=said))
    configure(secrets=["Xylophone-of-old"])
    logs.log_event(NotifySent(operation="fetch", channel=said))
    before, after = console.stream.getvalue().splitlines()
    assert "Xylophone" in before
    assert "Xylophone" not in after
