"""Log lines have the operation, the attempt and the ids of the run, with any handler."""

import io
import json
import logging
import threading
import time

import pytest

from resilient_tasks import Retry, get_logger, resilient
from resilient_tasks.core import host
from resilient_tasks.core.events import NotifySent
from resilient_tasks.observe import logs


@pytest.fixture
def stream(monkeypatch):
    """The JSON lines of a handler with the library's formatter; other handlers are removed."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.formatter(json=True))
    monkeypatch.setattr(logs.LOGGER, "handlers", [handler])
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    monkeypatch.setattr(logs.LOGGER, "level", logging.INFO)
    logs.LOGGER.manager._clear_cache()
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.fixture
def failing_once(resilient_clock):
    calls = []

    @resilient(retry=Retry(attempts=3, wait=1))
    def fetch():
        calls.append(1)
        get_logger(month="2013-07").warning("asked for 100 % of it", name="flights")
        if len(calls) == 1:
            raise ConnectionError("refused")
        return 1

    return fetch


def test_a_line_has_the_operation_the_attempt_and_the_error(stream, failing_once):
    failing_once()
    (scheduled,) = [line for line in stream() if line.get("event.name") == "retry.scheduled"]
    assert scheduled["event"] == "failing_once.<locals>.fetch: attempt 1 of 3: ConnectionError; waits 1.0 s".replace(
        "failing_once.<locals>.", ""
    )
    assert scheduled["level"] == "warning"
    assert (scheduled["operation"], scheduled["attempt"], scheduled["error.type"]) == ("fetch", 1, "ConnectionError")
    assert scheduled["retry.delay_s"] == 1.0


def test_custom_lines_have_the_attempt_they_were_written_in(stream, failing_once):
    failing_once()
    own = [line for line in stream() if line["event"] == "asked for 100 % of it"]
    assert [line["attempt"] for line in own] == [1, 2]
    assert {line["month"] for line in own} == {"2013-07"}
    assert {line["name_"] for line in own} == {"flights"}  # `name` belongs to the standard library


def test_lines_have_the_ids_of_the_run(stream, failing_once, monkeypatch):
    monkeypatch.setattr(host.current, "run", lambda: {"flow_run_id": "f-1", "url": "http://localhost/f-1"})
    failing_once()
    assert {line["flow_run_id"] for line in stream()} == {"f-1"}
    assert all("url" not in line for line in stream())


def test_an_applications_own_handler_reads_a_plain_message(caplog, failing_once, monkeypatch):
    monkeypatch.setattr(logs.LOGGER, "propagate", True)
    with caplog.at_level(logging.WARNING, "resilient_tasks"):
        failing_once()
    assert "fetch: attempt 1 of 3: ConnectionError; waits 1.0 s" in caplog.messages


def test_lines_for_people_are_text_and_tracebacks_show_no_local_variables():
    record = logging.makeLogRecord({"msg": "it broke", "levelname": "ERROR"})
    api_key = "not-a-real-key"
    try:
        raise ValueError(len(api_key))
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    text = logs.formatter().format(record)
    assert "it broke" in text
    assert "ValueError: 14" in text
    assert api_key not in text


def test_the_applications_structlog_configuration_is_unchanged():
    import structlog

    before = structlog.get_config()
    get_logger().warning("anything")
    assert structlog.get_config() == before


def test_threads_with_simultaneous_first_events_add_one_handler(monkeypatch):
    monkeypatch.setattr(logs.LOGGER, "handlers", [])
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    monkeypatch.setattr(logs.LOGGER, "level", logging.INFO)
    logs.LOGGER.manager._clear_cache()
    together, console_handler = threading.Barrier(8, timeout=10), logs.console_handler

    def slow_to_make():
        handler = console_handler()
        time.sleep(0.01)  # lets other threads run
        handler.setLevel(logging.CRITICAL + 1)
        return handler

    def emit():
        together.wait()
        logs.log_event(NotifySent(operation="f", channel="slack"))

    monkeypatch.setattr(logs, "console_handler", slow_to_make)
    threads = [threading.Thread(target=emit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(logs.LOGGER.handlers) == 1
