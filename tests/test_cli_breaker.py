"""The command line for circuits, which affects other processes."""

import json
import re

import pytest

from resilient_tasks import CircuitBreaker, CircuitOpen, host_of, resilient
from resilient_tasks.cli import main
from resilient_tasks.state import states


@pytest.fixture
def url(own_settings, monkeypatch, tmp_path):
    """A store in a file, which this process and the command line share."""
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    states.shared.close()
    (tmp_path / "states.db").touch()
    url = f"sqlite:///{tmp_path}/states.db"
    own_settings(store=url, store_timeout=5, store_staleness=0)
    yield url
    states.shared.close()


@pytest.fixture
def run(url, capsys):
    """Run one command on the store, and return its exit code, what it printed, and its errors."""

    def run(*words):
        code = main(["breaker", *words, "--store", url])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@resilient(breaker=CircuitBreaker("flights-api", failures=1))
def fetch(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_circuits_of_keys_are_listed_by_name_and_opened_and_closed_by_hand(run):
    by_host = CircuitBreaker(host_of, failures=1)

    @resilient(breaker=by_host)
    def get(url):
        raise ConnectionError

    for number in range(12):
        get.outcome(f"https://user:hunter22secret@h{number:02}/x")
    _, out, _ = run("list")
    assert [row.split()[0] for row in out.splitlines()[1:]] == [f"h{number:02}" for number in range(12)]
    assert run("close", "h03")[0] == 0
    assert by_host.status(key="h03").state == "closed"
    _, _, err = run("status", "h99")
    assert err.endswith("There: h00, h01, h02, h03, h04, h05, h06, h07, h08, h09 and 2 more.\n")


def test_list_shows_the_circuits_in_the_store(run):
    assert run("list") == (0, "no circuits\n", "")
    fetch.outcome(ConnectionError())
    code, out, _ = run("list")
    head, row = out.splitlines()
    assert code == 0
    assert head.split() == [
        "name",
        "state",
        "why",
        *["tried", "again", "in", "s"],
        "calls",
        "failures",
        "slow",
        "probes",
    ]
    assert row.split()[:4] == ["flights-api", "open", "a", "failure"]
    (found,) = json.loads(run("list", "--json")[1])
    assert (found["name"], found["state"], 0 < found["retry_in"] <= 30) == ("flights-api", "open", True)


def test_a_circuit_opened_by_the_command_is_open_for_calls(run):
    assert fetch("[]") == "[]"
    code, out, _ = run("open", "flights-api", "--for", "600")
    assert (code, out.splitlines()[1].split()[:4]) == (0, ["flights-api", "open", "by", "hand"])
    with pytest.raises(CircuitOpen):
        fetch("[]")
    assert run("close", "flights-api")[0] == 0
    assert fetch("[]") == "[]"
    assert "isolated" in run("isolate", "flights-api")[1]
    with pytest.raises(CircuitOpen, match="isolated, until it is closed by hand"):
        fetch("[]")


def test_status_shows_one_circuit(run):
    fetch.outcome(ConnectionError())
    code, out, _ = run("status", "flights-api", "--json")
    assert (code, json.loads(out)[0]["reason"]) == (0, "a failure")


def test_an_unknown_name_is_refused_with_the_known_ones(run):
    fetch.outcome(ConnectionError())
    code, _, err = run("status", "flight-api")
    assert (code, err) == (2, "resilient-tasks: No circuit flight-api is in the store. There: flights-api.\n")
    assert run("open", "flights-api", "--for", "-1")[0] == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "The store is in memory, so other processes cannot see it"),
        (("--store", "redis://127.0.0.1:1/0"), "redis://127.0.0.1:1/0 does not answer."),
        (("--store", "nonsense"), "a store is memory:"),
    ],
)
def test_a_store_that_is_not_shared_or_not_reachable_is_refused(own_settings, monkeypatch, capsys, words, complaint):
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    states.shared.close()
    assert main(["breaker", "list", *words]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("words", [("list",), ("status", "x"), ("open", "x"), ("isolate", "x"), ("close", "x")])
def test_a_missing_store_file_is_an_error_and_is_not_created(url, tmp_path, capsys, words):
    assert main(["breaker", *words, "--store", f"sqlite:///{tmp_path}/sates.db"]) == 2
    assert "sates.db: --store names the store that the flows use" in capsys.readouterr().err
    assert not (tmp_path / "sates.db").exists()


def test_a_name_that_no_call_has_used_is_reported(run):
    fetch.outcome(ConnectionError())
    code, _, err = run("isolate", "flight-api")
    assert (code, err) == (0, "No call has used a circuit flight-api yet. Known: flights-api.\n")


@pytest.mark.parametrize(("time", "code"), [("90", 0), ("10m", 0), ("1.5 h", 0), ("0", 2), ("soon", 2)])
def test_open_takes_a_time_with_its_unit(run, time, code):
    found, _, err = run("open", "flights-api", "--for", time)
    assert (found, "--for takes a time such as 90, 10m, 2h or 1d" in err) == (code, code == 2)


def test_list_marks_the_circuits_that_refuse_nothing(run):
    watched = resilient(breaker=CircuitBreaker("watched", failures=1, enforce=False))(fetch.__wrapped__)
    watched.outcome(ConnectionError())
    assert watched("still called") == "still called"
    _, out, _ = run("list")
    assert "open (shadow: refuses nothing)" in out
    assert [each["shadow"] for each in json.loads(run("list", "--json")[1])] == [True]
    enforced = resilient(breaker=CircuitBreaker("watched", failures=1))(fetch.__wrapped__)
    assert isinstance(enforced.outcome("not called").error, CircuitOpen)
    assert [each["shadow"] for each in json.loads(run("list", "--json")[1])] == [False]


def test_numbers_are_set_listed_with_who_and_when_and_reset(run):
    fetch("a")
    code, out, _ = run("set", "flights-api", "open_for=10m", "failures=2", "--by", "anna")
    assert code == 0
    assert re.search(r"open_for=600, failures=2 +anna +20\d\d-", out)
    assert [fetch.outcome(ConnectionError()).error.__class__ for _ in range(3)] == [ConnectionError] * 2 + [CircuitOpen]
    (found,) = json.loads(run("list", "--json")[1])
    assert (found["numbers"], found["changed_by"]) == ({"open_for": 600.0, "failures": 2}, "anna")
    assert found["changed_at"] > 1e9
    code, out, _ = run("reset", "flights-api")
    assert (code, "failures=2" in out) == (0, False)
    assert json.loads(run("status", "flights-api", "--json")[1])[0]["numbers"] == {}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["failures=0"], "whole number of 1 or more"),
        (["failures"], "Write NUMBER=VALUE, such as failures=5"),
        (["failures="], "Write NUMBER=VALUE"),
        (["failures=3", "failures=4"], "failures is given twice"),
        (["open_for=soon"], "is a number of seconds"),
        (["opens_for=3"], "did you mean open_for?"),
        (["enforce=false"], "a breaker has no number"),
    ],
)
def test_numbers_that_cannot_be_are_refused(run, words, part):
    code, _, err = run("set", "flights-api", *words)
    assert code == 2
    assert part in err
    assert run("list")[1] == "no circuits\n"


def test_numbers_of_a_circuit_that_no_call_has_used_are_set_with_a_remark(run):
    code, _, err = run("set", "new", "failures=2")
    assert (code, err) == (0, "No call has used a circuit new yet. Known: none.\n")
    assert run("reset", "newer")[0] == 2
