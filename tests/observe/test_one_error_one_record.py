"""A failure is one record at ERROR, with a traceback; an orchestrator logs it itself."""

import logging

import pytest

from resilient_tasks import Fallback, Retry, resilient
from resilient_tasks.core import host
from resilient_tasks.observe import logs


@pytest.fixture
def records(monkeypatch):
    kept = []

    class Keeping(logging.Handler):
        def emit(self, record):
            kept.append(record)

    monkeypatch.setattr(logs.LOGGER, "handlers", [Keeping()])
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    monkeypatch.setattr(logs.LOGGER, "level", logging.INFO)
    logs.LOGGER.manager._clear_cache()
    return kept


def _of(records, operation):
    """The records above INFO."""
    found = (record for record in records if record.operation == operation and record.levelno > logging.INFO)
    return [(record.levelname, vars(record)["event.name"]) for record in found]


def test_a_failing_function_logs_one_record_above_info(drive, records, resilient_clock):
    def fetch():
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        drive(fetch, retry=Retry(attempts=1))()
    assert _of(records, "fetch") == [("ERROR", "call.failed")]


def test_a_failure_after_retries_logs_one_record_besides_those_of_the_attempts(drive, records, resilient_clock):
    def fetch():
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        drive(fetch, retry=Retry(attempts=2, wait=1))()
    assert _of(records, "fetch") == [("WARNING", "retry.scheduled"), ("ERROR", "call.failed")]


def test_a_failure_inside_another_call_is_an_error_of_the_outer_one_only(records, resilient_clock):
    @resilient(retry=Retry(attempts=1))
    def fetch():
        raise ConnectionError("refused")

    @resilient(retry=Retry(attempts=1))
    def load():
        fetch()

    with pytest.raises(ConnectionError):
        load()
    assert _of(records, "fetch") == [("WARNING", "call.failed")]
    assert _of(records, "load") == [("ERROR", "call.failed")]


def test_a_failure_that_the_outer_call_recovers_from_is_no_error(records, resilient_clock):
    @resilient(retry=Retry(attempts=1))
    def fetch():
        raise ConnectionError("refused")

    @resilient(fallback=Fallback(value=0))
    def load():
        return fetch()

    assert load() == 0
    assert "ERROR" not in {record.levelname for record in records}


def test_in_a_run_the_orchestrator_logs_the_error(records, monkeypatch):
    monkeypatch.setattr(host.current, "run", lambda: {"flow_run_id": "f-1"})

    @resilient(retry=Retry(attempts=1))
    def fetch():
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        fetch()
    assert _of(records, "fetch") == [("WARNING", "call.failed")]
