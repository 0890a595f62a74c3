"""How the example ends: it fails where its accounts differ, and only there, and says so everywhere."""

import run
import servers
from accounts import Accounts, Attempt, History, Request
from summary import Month, RunSummary

from resilient_tasks import RunReport
from resilient_tasks.testing import FakeSlack

GOOD = Accounts(
    numbers=[1, 2],
    closed=True,
    requests=[Request(2, Attempt("January index", "a", 1))],
    histories={"January index": History(1, "Completed")},
)
SLOW = Accounts(
    numbers=[1, 2, 3],
    closed=True,
    requests=[Request(2, Attempt("January index", "a", 1)), Request(3, Attempt("January index", "a", 2))],
    failed=[(Attempt("January index", "a", 1), "TimedOut")],
    expired=[Attempt("January index", "a", 1)],
    event_states={"January index": ["AwaitingRetry 1", "Retrying 2", "Completed 2"]},
    histories={"January index": History(2, "Completed", ("AwaitingRetry 1", "Retrying 2", "Completed 2"))},
)


def ended(accounts, tmp_path, **changed):
    rows = {"read": 100, "used": 90, "missing": 7, "quarantined": 3, **changed}
    month = Month("2013-01", True, True, None, None, 9.1, "", **rows, degraded=(), faults_by_page={"index": ()})
    problems = (*accounts.disagreements(), *([] if month.balances else ["2013-01: rows do not balance"]))
    summary = RunSummary(1, (month,), {}, 0, 0, 0, 12, problems)
    with FakeSlack() as slack:
        return run._conclude(summary, RunReport([]), accounts, slack, tmp_path)


def test_accounts_that_agree_end_it_well(tmp_path, capsys):
    assert ended(GOOD, tmp_path) == 0
    said = capsys.readouterr().out
    assert "The three accounts agree on every attempt of every task run. 0 rows lost." in said
    assert "none computed from another" in said
    assert "no row lost" in said


def test_on_a_slow_machine_it_ends_normally_with_a_remark(tmp_path, capsys):
    assert ended(SLOW, tmp_path) == 0
    said = capsys.readouterr().out
    assert "· The machine was too slow for 1 attempt: 1 answered after the limit. That is no failure." in said


def test_accounts_that_differ_end_it_badly_and_nothing_claims_success(tmp_path, capsys):
    differing = Accounts(numbers=[1, 3], closed=True, requests=GOOD.requests, histories=GOOD.histories)

    assert ended(differing, tmp_path) == 1
    said = capsys.readouterr().out
    assert "THE ACCOUNTS DIFFER on 1 point" in said
    assert "DOES NOT BALANCE: the API's log lacks request number 2" in said
    assert "agree" not in said
    assert "no row lost" not in said + (tmp_path / "report.html").read_text()


def test_a_lost_row_ends_it_badly(tmp_path, capsys):
    assert ended(GOOD, tmp_path, used=89) == 1
    said = capsys.readouterr().out
    assert "100 rows read ≠ 89 used + 7 missing + 3 quarantined." in said
    assert "DOES NOT BALANCE: 2013-01: rows do not balance" in said


def test_rows_of_a_page_that_never_came_are_said_and_end_it_well(tmp_path, capsys):
    assert ended(GOOD, tmp_path, absent=1) == 0
    assert "quarantined. 1 row never came." in capsys.readouterr().out


def test_what_takes_long_tells_every_few_seconds_how_long_it_has_taken(capsys, monkeypatch):
    times = iter([0, 2, 5, 6, 11])
    monkeypatch.setattr(servers.time, "monotonic", lambda: next(times))
    waiting = servers.Waiting("starting a server")
    for _ in range(4):
        waiting.report("; 1 line so far")

    assert capsys.readouterr().out.splitlines() == [
        "starting a server ...",
        "    5 s  still starting a server; 1 line so far",
        "   11 s  still starting a server; 1 line so far",
    ]


def test_accounts_are_read_until_they_agree(monkeypatch):
    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    late = Accounts(numbers=[1, 2], closed=True, requests=GOOD.requests)
    answers = iter([late, late, GOOD])

    assert run._settled(lambda: next(answers)) is GOOD


def test_accounts_that_change_no_more_are_taken_as_they_are(monkeypatch):
    now = iter(range(0, 1000, 5))
    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now))

    assert run._settled(lambda: Accounts(numbers=[1, 3])) == Accounts(numbers=[1, 3])
