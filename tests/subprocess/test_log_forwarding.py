"""Log records and events of a child belong to the run of its caller."""

import logging
import sys
import threading

from resilient_tasks import Retry, current_call, get_logger, remaining, resilient

log = logging.getLogger("shop.till")


def test_log_records_reach_the_handlers_of_the_caller(in_process, caplog):
    def work():
        logger = logging.getLogger("shop.till")
        logger.info("sold %s", "tea", extra={"price": 3, "lock": threading.Lock()})
        try:
            raise ValueError("text")
        except ValueError:
            logger.exception("not sold")
        logger.debug("not asked for")

    with caplog.at_level("INFO", logger="shop.till"):
        in_process(work)()
    first, second = caplog.records
    assert (first.getMessage(), first.name, first.funcName, first.price) == ("sold tea", "shop.till", "work", 3)
    assert first.lock.startswith("<unlocked _thread.lock")
    assert first.process != logging.makeLogRecord({}).process
    assert "ValueError: text" in second.exc_text


def test_log_levels_follow_those_of_the_caller(in_process, caplog):
    def work():
        logger = logging.getLogger("shop.till")
        return logger.isEnabledFor(logging.DEBUG), logger.isEnabledFor(logging.ERROR)

    call = in_process(work)
    assert call() == (False, True)
    with caplog.at_level("DEBUG", logger="shop.till"):
        assert call() == (True, True)
    assert call() == (False, True)
    logging.disable(logging.CRITICAL)
    try:
        assert call() == (False, False)
    finally:
        logging.disable(logging.NOTSET)


def test_a_record_that_the_caller_would_not_log_is_not_logged(in_process, caplog):
    def work():
        logger = logging.getLogger("shop.noisy")
        logger.setLevel("DEBUG")
        logger.debug("noise")

    in_process(work)()
    assert caplog.records == []


def test_log_records_are_handled_in_the_callers_thread_while_the_function_runs(in_process, tmp_path):
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(threading.current_thread())
            (tmp_path / "go").touch()

    def work():
        import time

        logging.getLogger("shop.till").warning("waiting")
        while not (tmp_path / "go").exists():
            time.sleep(0.01)

    log.addHandler(handler := Handler())
    try:
        in_process(work)()
    finally:
        log.removeHandler(handler)
    assert seen == [threading.current_thread()]


def test_a_function_that_configures_handlers_still_logs_to_its_caller(in_process, caplog, capfd):
    def work():
        logging.basicConfig(force=True, stream=sys.stderr)
        logging.getLogger("shop.till").warning("sold")

    in_process(work)()
    assert [record.getMessage() for record in caplog.records] == ["sold"]
    assert "WARNING:shop.till:sold" not in capfd.readouterr().err  # in the form that the function chose


def test_events_of_resilient_calls_inside_reach_the_callers_sinks_once_with_its_run(
    in_process, resilient_events, caplog, in_run
):
    def work():
        tries = []

        @resilient(retry=Retry(attempts=2, wait=0))
        def inner():
            tries.append(1)
            if len(tries) < 2:
                raise ConnectionError("text")

        inner()

    with in_run(task_run_id="a-run"):
        in_process(work)()
    (event,) = resilient_events.named("retry.recovered")
    assert event.operation == "inner"
    assert event.run == {"task_run_id": "a-run"}
    assert sum("recovered on attempt 2" in record.getMessage() for record in caplog.records) <= 1


def test_an_event_below_the_log_level_reaches_the_callers_sinks(in_process, resilient_events, caplog):
    def work():
        tries = []

        @resilient(retry=Retry(attempts=2, wait=0))
        def inner():
            tries.append(1)
            if len(tries) < 2:
                raise ConnectionError

        inner()

    with caplog.at_level("CRITICAL", logger="resilient_tasks"):
        in_process(work)()
    assert resilient_events.named("retry.recovered")


def test_the_function_sees_its_attempt_and_the_remaining_time(in_process):
    def work():
        import time

        call = current_call()
        time.sleep(0.01)
        if call.attempt < 2:
            raise ConnectionError
        return call.operation, call.attempt, call.work.idempotent, remaining()

    operation, attempt, idempotent, left = in_process(
        work, 20, retry=Retry(attempts=2, wait=0), deadline=30, idempotent=True
    )()
    assert (operation, attempt, idempotent) == ("work", 2, True)
    assert 15 < left < 20


def test_records_of_the_librarys_own_logger_arrive(in_process, caplog):
    logger = logging.getLogger("resilient_tasks")
    logger.addHandler(caplog.handler)
    try:
        in_process(lambda: get_logger().warning("sold", what="tea"))()
    finally:
        logger.removeHandler(caplog.handler)
    record = next(record for record in caplog.records if record.getMessage() == "sold")
    assert (record.what, record.attempt) == ("tea", 1)
