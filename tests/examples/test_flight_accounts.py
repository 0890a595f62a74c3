"""The example's three accounts: whatever is dropped or doubled in one of them makes them differ, slowness does not."""

import asyncio
import json
from dataclasses import replace
from unittest.mock import ANY

import accounts
import flow
import pandas as pd
import pytest
import reading
import reported
from accounts import Accounts, History

from resilient_tasks import Retry, RunReport, resilient
from resilient_tasks.core.events import (
    CallFailed,
    FallbackUsed,
    NotifySent,
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    RowsQuarantined,
    TimeoutExceeded,
)
from resilient_tasks.testing import FaultyServer

PAGE = {"page": "1", "month": "1"}
SLOW_PAGE = {"page": "2", "month": "1"}


def line(number, path="/flights", query=(), request_id="", **more):
    """Return a line of the API's log, of a good answer where nothing else is given."""
    good = {"fault": None, "status": 200, "left": False}
    return {"number": number, "path": path, "query": dict(query), "id": request_id, **good, **more}


LOG = [
    line(1, "/health"),
    line(2, "/months", {"month": "1"}, "a/1"),
    # the first page meets a fault, and comes at the second attempt
    line(3, query=PAGE, request_id="b/1", fault="status", status=503),
    line(4, query=PAGE, request_id="b/2"),
    # the machine is too slow for three attempts at the second page: one request is never sent
    line(5, query=SLOW_PAGE, request_id="c/1"),
    line(6, query=SLOW_PAGE, request_id="c/3", left=True),
    line(7, query=SLOW_PAGE, request_id="c/4"),
    # the planes cannot be had
    line(8, "/planes", {"month": "1"}, "d/1", fault="hang", status=None),
    line(9, "/planes", {"month": "1"}, "d/2", fault="refused", status=307),
    line(10, "/health", request_id="closing"),
]
CORRUPTED = [{"month": 1, "page": 1, "row": row, "column": "dest", "became": "12X"} for row in (3, 77)]
HISTORIES = {
    "January index": History(1, "Completed"),
    "January page 1": History(2, "Completed", ("AwaitingRetry 1", "Retrying 2", "Completed 2")),
    "January page 2": History(
        4,
        "Completed",
        (*(f"AwaitingRetry {n}" for n in (1, 2, 3)), *(f"Retrying {n}" for n in (2, 3, 4)), "Completed 4"),
    ),
    "January planes": History(2, "Degraded", ("AwaitingRetry 1", "Retrying 2", "Degraded")),
    "January retrain": History(1, "Completed"),
}  # fmt: skip


def happened(kind, task, call, attempt=1, error="TimedOut", **more):
    """Return an event as the library makes it: with what it says of errors, where it says anything of them."""
    about = {"kind": "timeout", "error_type": error, "message": "", "errors": {error: attempt}, "attempts": 5}
    about["http_status"] = 503 if error == "HTTPStatusError" else None
    wanted = {name: value for name, value in about.items() if name in kind.__dataclass_fields__}
    return kind(operation="f", call=call, attempt=attempt, run={"task_run": f"January {task}"}, **(wanted | more))


def failed(task, call, attempt, error="TimedOut"):
    """Return the events of an attempt that fails and is followed by another."""
    limit = {"policy": "timeout", "limit": 5, "stopped": True, "abandoned": False}
    expired = [happened(TimeoutExceeded, task, call, attempt, **limit)] if error == "TimedOut" else []
    return [
        *expired,
        happened(RetryScheduled, task, call, attempt, error, delay=0.2),
        happened(RetryStarted, task, call, attempt + 1),
    ]


@pytest.fixture
def events(tmp_path):
    rows = tmp_path / "page-1.parquet"
    pd.DataFrame({"row": [3, 77]}).to_parquet(rows)
    quarantined = {
        "action": "quarantine",
        "rows": 2500,
        "invalid": 2,
        "reasons": {},
        "path": str(rows),
        "batch": "",
        "schema": "",
    }
    return [
        *failed("page 1", "b", 1, "HTTPStatusError"),
        happened(RowsQuarantined, "page 1", "b", 2, **quarantined),
        happened(RetryRecovered, "page 1", "b", 2),
        *failed("page 2", "c", 1),
        *failed("page 2", "c", 2),
        *failed("page 2", "c", 3),
        happened(RetryRecovered, "page 2", "c", 4),
        *failed("planes", "d", 1),
        happened(RetryExhausted, "planes", "d", 2, "ConnectError", reason="no attempts left"),
        happened(FallbackUsed, "planes", "d", 1, "ConnectError", fallback="the last good result"),
    ]


@pytest.fixture
def compared(tmp_path, events):
    """Return a function that reads the accounts, with some of them changed, and returns them."""

    def read(log=LOG, corrupted=CORRUPTED, events=events, histories=HISTORIES):
        for name, lines in (("requests", log), ("corrupted", corrupted)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        found = Accounts(histories=dict(histories))
        reading.read_api(found, tmp_path)
        reading.read_events(found, events)
        return found

    return read


def dropped_and_doubled(whole):
    """Return each list that comes of dropping one item, and of doubling one."""
    dropped = [[*whole[:at], *whole[at + 1 :]] for at in range(len(whole))]
    return [*dropped, *([*whole[:at], *whole[at - 1 :]] for at in range(1, len(whole) + 1))]


def test_accounts_agree_although_the_machine_was_too_slow_for_some_attempts(compared):
    assert compared().disagreements() == []


@pytest.mark.parametrize("log", dropped_and_doubled(LOG))
def test_each_line_of_the_apis_log_is_needed_once(compared, log):
    assert compared(log=log).disagreements()


def test_each_event_is_needed_once(compared, events):
    for others in dropped_and_doubled(events):
        assert compared(events=others).disagreements()


@pytest.mark.parametrize("corrupted", dropped_and_doubled(CORRUPTED))
def test_each_corrupted_row_is_needed_once(compared, corrupted):
    assert compared(corrupted=corrupted).disagreements() != []


@pytest.mark.parametrize("rows", dropped_and_doubled([3, 77]))
def test_each_quarantined_row_is_needed_once(compared, tmp_path, rows):
    pd.DataFrame({"row": rows}).to_parquet(tmp_path / "page-1.parquet")

    (problem,) = compared().disagreements()

    assert problem == f"January page 1: the API corrupted 2 rows, and {len(rows)} lie in the quarantine"


@pytest.mark.parametrize("task", [task for task in HISTORIES if task != "January retrain"])
def test_each_task_run_is_needed_in_prefects_history(compared, task):
    others = {name: history for name, history in HISTORIES.items() if name != task}

    assert compared(histories=others).disagreements()


@pytest.mark.parametrize("task", HISTORIES)
@pytest.mark.parametrize("change", [{"runs": 5}, {"final": "Failed"}, {"states": ("Retrying 2",)}])
def test_prefects_history_is_compared_attempt_by_attempt(compared, task, change):
    if task == "January retrain":  # it asks the API for nothing
        change = {"states": ("Retrying 2",)}
    others = HISTORIES | {task: replace(HISTORIES[task], **change)}

    assert any(problem.startswith(task) for problem in compared(histories=others).disagreements())


def test_what_the_machine_was_too_slow_for_is_a_line_of_the_report(compared):
    found = compared()

    assert found.slow() == {"late": 1, "unsent": 1, "left": 1}
    assert found.summary() == [
        "the API's log: 8 requests, 3 faults served",
        "the library's events: 6 attempts failed",
        "Prefect's history: 5 task runs",
        ANY,
    ]
    assert found.summary()[-1] == (
        "The machine was too slow for 3 attempts: 1 answered after the limit, 1 given up before the API answered,"
        " 1 given up before the request arrived. That is no failure."
    )


def test_a_fault_that_met_an_expired_limit_is_the_one_cause_of_the_failure(compared):
    hang, timed_out = LOG[7], compared().failed[4]

    assert (hang["id"], hang["fault"]) == ("d/1", "hang")
    assert (timed_out[0].call, timed_out[1]) == ("d", "TimedOut")
    assert compared().slow().total() == 3


@pytest.mark.parametrize("error", ["ConnectError", "ReadError", "KeyError", "InvalidData"])
def test_a_failure_that_is_neither_a_fault_nor_an_expired_limit_is_a_disagreement(compared, events, error):
    others = [event for event in events if event.call != "c" or event.attempt >= 3]
    others += [*failed("page 2", "c", 1, error), *failed("page 2", "c", 2)[:2]]

    assert compared(events=others).disagreements() == [
        f"January page 2, attempt 1: it failed with {error}, and the API served no fault"
    ]


def test_an_attempt_that_the_open_circuit_refused_sends_no_request_and_is_no_disagreement(compared, events):
    refused = [event for event in events if event.call != "c" or event.attempt >= 3]
    refused += [*failed("page 2", "c", 1, "CircuitOpen"), *failed("page 2", "c", 2, "CircuitOpen")[:-1]]
    log = [each | {"number": each["number"] - (each["number"] > 5)} for each in LOG if each["number"] != 5]

    found = compared(log=log, events=refused)

    assert found.disagreements() == []
    assert "The circuit was open for 2 attempts, and no request was sent." in found.summary()


@pytest.mark.parametrize("fault", [None, "reset"])
def test_a_request_of_an_attempt_that_the_open_circuit_refused_is_a_disagreement(compared, events, fault):
    refused = [event for event in events if event.call != "c" or event.attempt >= 2]
    refused += failed("page 2", "c", 1, "CircuitOpen")[:-1]
    log = [each | {"fault": fault} if each["id"] == "c/1" else each for each in LOG]

    assert "January page 2, attempt 1: it failed with CircuitOpen, and the API was asked" in (
        compared(log=log, events=refused).disagreements()
    )


def test_a_fault_that_no_attempt_felt_is_a_disagreement(compared):
    log = [each | {"fault": "reset"} if each["number"] == 4 else each for each in LOG]

    assert compared(log=log).disagreements() == [
        "January page 1, attempt 2: by the API's log it failed (reset in mid-body), and no event reports it"
    ]


def test_a_request_of_another_client_is_a_disagreement_and_one_for_no_page_is_none(compared):
    page = {"month": "1", "page": "1"}
    strange = [line(11, query=page), line(12, "/favicon.ico"), line(13, query={"month": "99"}, status=400)]

    assert compared(log=[*LOG, *strange[1:]]).disagreements() == ["the API's log lacks request number 11"]
    assert compared(log=[*LOG, *strange]).disagreements() == [
        "January page 1: the API's log and the events have attempts [0, 1, 2], Prefect has 2",
        "January page 1: good answers to attempts [0, 2], and Prefect has it as Completed",
    ]


def test_an_answer_that_went_to_another_attempt_is_a_disagreement(compared):
    log = [each | {"id": "a/2"} if each["id"] == "a/1" else each for each in LOG]

    assert compared(log=log).disagreements()


def test_a_page_that_the_machine_was_too_slow_for_at_every_attempt_never_came_and_is_no_disagreement(compared, events):
    log = [*LOG[:5], *(each | {"number": each["number"] - 2} for each in LOG[7:])]
    kept = [event for event in events if event.call != "c"]
    gone = [
        *failed("page 2", "c", 1),
        failed("page 2", "c", 2)[0],
        happened(RetryExhausted, "page 2", "c", 2, reason="no attempts left"),
        happened(CallFailed, "page 2", "c", 1),
    ]
    history = {"January page 2": History(2, "Failed", ("AwaitingRetry 1", "Retrying 2", "Failed"))}
    cell = {"month": 1, "page": 2, "row": 2600, "column": "dest", "became": ""}

    found = compared(log=log, events=[*kept, *gone], histories=HISTORIES | history, corrupted=[*CORRUPTED, cell])

    assert found.disagreements() == []
    assert found.slow().total() == 2


def test_a_task_that_failed_at_its_only_attempt_is_one_failed_attempt(compared, events):
    gone = happened(CallFailed, "index", "a", error="KeyError")
    history = {"January index": History(1, "Failed", ("Failed",))}

    found = compared(events=[*events, gone], histories=HISTORIES | history)

    assert found.disagreements() == ["January index, attempt 1: it failed with KeyError, and the API served no fault"]


def test_the_causes_in_the_picture_are_those_of_the_apis_log_in_their_order(compared):
    assert compared().faults_in("January") == {
        "index": (),
        "page 1": ("status 503",),
        "page 2": (),
        "planes": ("no answer", "connection refused"),
    }
    assert compared().faults_in("February") == {}
    assert compared().quarantined_in("January") == 2


@pytest.mark.parametrize(("fetch", "path"), [(flow.fetch_page.fn, "/flights"), (flow.fetch_planes.fn, "/planes")])
def test_each_request_bears_the_call_and_the_attempt_that_the_events_tell_of(
    fetch, path, resilient_clock, resilient_events, monkeypatch
):
    with FaultyServer() as server:
        server.serve(path, "tailnum\nN1\n", "text/csv", {"X-Rows": "1"})
        server.down(2)
        monkeypatch.setenv("FLIGHT_TIMES_API", server.url)
        fetching = resilient(retry=Retry(attempts=3))(fetch)
        came = fetching(*[1] * fetch.__code__.co_argcount)
        if asyncio.iscoroutine(came):
            asyncio.run(came)
    scheduled = resilient_events.named("retry.scheduled")
    call = scheduled[0].call

    assert [request.id for request in server.requests] == [f"{call}/1", f"{call}/2", f"{call}/3"]
    assert [event.attempt for event in scheduled] == [1, 2]


POISON = [
    {"month": 1, "page": 1, "row": row, "column": "air_time", "became": 6000, "poisoned": True} for row in (3, 77)
]


def test_a_poisoned_page_that_is_taken_for_good_is_a_disagreement(compared):
    assert compared(corrupted=POISON).disagreements() == [
        "January page 1, attempt 2: by the API's log it failed (half in seconds), and no event reports it"
    ]


def test_a_poisoned_page_that_the_schema_refuses_is_a_failure_with_its_cause(compared, events):
    refused = happened(CallFailed, "page 1", "b", 1, "InvalidData")
    exhausted = happened(RetryExhausted, "page 1", "b", 2, "InvalidData", reason="not retried")
    others = [event for event in events if not (event.call == "b" and isinstance(event, RetryRecovered))]
    states = ("AwaitingRetry 1", "Retrying 2", "Failed")

    found = compared(
        corrupted=POISON,
        events=[*others, exhausted, refused],
        histories=HISTORIES | {"January page 1": History(2, "Failed", states)},
    )

    assert found.disagreements() == []
    assert found.faults_in("January")["page 1"] == ("status 503", "half in seconds")


def test_what_is_asked_for_by_airport_is_compared_by_airport(compared):
    page = {"page": "1", "month": "1", "origin": "JFK"}
    cells = [{**cell, "origin": "JFK", "page_at_origin": 1} for cell in CORRUPTED]

    found = compared(log=[line(1, query=page, request_id="a/1")], corrupted=cells, events=[], histories={})

    assert [request.attempt.task for request in found.requests] == ["January JFK page 1"]
    assert found.corrupted == {"January JFK page 1": 2}


def test_the_closing_request_ends_the_apis_log(tmp_path):
    log = tmp_path / "requests.jsonl"
    with FaultyServer(lambda _: "ok", log=log) as server:
        reading.close(server.url)
    found = Accounts()
    (tmp_path / "corrupted.jsonl").touch()
    reading.read_api(found, tmp_path)

    assert found.closed
    assert found.disagreements() == []


def test_tasks_that_call_the_api_are_recognised_by_name():
    asking = ["index", "planes", "page 12", "JFK index", "EWR page 3"]
    others = ["retrain", "record"]

    assert [name for name in (*asking, *others) if accounts.asks_the_api(f"May {name}")] == asking


#: What Prefect and MLflow have about the waits and retries of these events.
WAITED = {"January page 1": 0.2, "January page 2": 0.6, "January planes": 0.2}
BOOKED = [reported.Booked("2013-01", retries=5, waited=1.0, quarantined=2, degraded=1)]
#: Events without which the report has other numbers; the rest is missed by the accounts.
COUNTED = (RetryScheduled, RetryRecovered, FallbackUsed, RowsQuarantined, NotifySent)


class TestTheReport:
    """Its numbers are those of the API's log, of Prefect's history, of MLflow and of Slack."""

    @pytest.fixture
    def happened(self, events):
        return [*events, NotifySent(operation="f", channel="slack", run={"task_run": "January planes"})]

    @pytest.fixture
    def held(self, compared, happened):
        """Return a function that holds the report of some events against the accounts of all of them."""

        def hold(told=None, *, booked=BOOKED, messages=1, log=LOG, **changed):
            histories = {
                name: replace(history, **{"waited": WAITED.get(name, 0.0), **changed.get(name, {})})
                for name, history in HISTORIES.items()
            }
            found = compared(log=log, events=happened, histories=histories)
            return reported.disagreements(RunReport(told or happened).as_dict(), found, booked, messages)

        return hold

    def test_it_agrees_with_them(self, held):
        assert held() == []

    def test_each_event_that_it_counts_is_needed_once(self, held, happened):
        for at, event in enumerate(happened):
            if isinstance(event, COUNTED):
                assert held([*happened[:at], *happened[at + 1 :]]), event
                is_replaced = isinstance(event, RowsQuarantined)  # a batch's last event counts
                assert is_replaced or held([*happened[: at + 1], *happened[at:]]), event

    def test_each_event_is_missed_by_the_report_or_by_the_accounts(self, held, compared, happened):
        for at in range(len(happened)):
            others = [*happened[:at], *happened[at + 1 :]]
            assert held(others) or compared(events=others).disagreements(), happened[at]

    @pytest.mark.parametrize(
        ("number", "sentence"),
        [
            ({"retries": 4}, "retries of the months: the report has 5, MLflow 4"),
            ({"waited": 0.5}, "seconds of waits of the months: the report has 1, MLflow 0.5"),
            ({"quarantined": 3}, "rows in the quarantine: the report has 2, MLflow 3"),
            ({"degraded": 0}, "stand-ins: the report has 1, MLflow 0"),
        ],
    )
    def test_each_number_of_mlflow_is_compared(self, held, number, sentence):
        assert held(booked=[replace(BOOKED[0], **number)]) == [sentence]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"final": "Failed"}, "failed calls: the report has 0, Prefect's history 1"),
            ({"runs": 5}, "retries: the report has 5, Prefect's history 6"),
            ({"runs": 5}, "January page 2: 4 attempts in the report, 5 in Prefect's history"),
            ({"waited": 9.0}, "seconds of waits: the report has 1, Prefect's history 9.4"),
            ({"states": ("Retrying 2",)}, "recovered calls: the report has 2, Prefect's history 1"),
        ],
    )
    def test_each_number_of_prefects_history_is_compared(self, held, change, sentence):
        assert sentence in held(**{"January page 2": change})

    def test_failures_are_compared_by_their_http_status(self, held):
        log = [each | {"status": 500} if each["id"] == "b/1" else each for each in LOG]
        assert held(log=log) == [
            "failures with HTTP 500: the report has 0, the API's log 1",
            "failures with HTTP 503: the report has 1, the API's log 0",
        ]

    def test_alerts_are_compared_with_the_messages_that_arrived(self, held):
        assert held(messages=2) == ["alerts: the report has 1, Slack's stand-in 2"]
