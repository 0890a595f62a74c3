"""The command line for rate limits and bulkheads, which changes numbers of other processes."""

import json

import pytest

from resilient_tasks import Bulkhead, RateLimit, resilient
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
        code = main(["limit", *words, "--store", url])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def use(name="api"):
    resilient(rate_limit=RateLimit(name, 9, 60, wait=False), bulkhead=Bulkhead(name, 2))(lambda: 1)()


def test_limits_are_listed_set_and_reset(run):
    use()
    assert [row.split() for row in run("list")[1].splitlines()[1:]] == [["api", "rate", "limit"], ["api", "bulkhead"]]
    code, out, err = run("set", "api", "calls=3", "per=1m", "--by", "anna")
    assert (code, err) == (0, "")
    assert "calls=3, per=60" in out
    assert "anna" in out
    run("set", "api", "limit=1")
    found = {each["kind"]: each for each in json.loads(run("list", "--json")[1])}
    assert found["rate limit"]["numbers"] == {"calls": 3, "per": 60.0}
    assert found["rate limit"]["changed_by"] == "anna"
    assert found["bulkhead"]["numbers"] == {"limit": 1}
    made = [getattr(resilient(rate_limit=RateLimit("api", 9, 60, wait=False))(lambda: 1).outcome(), "value", 0)] * 3
    assert sum(made) == 3
    assert run("reset", "api")[0] == 0
    assert [each["numbers"] for each in json.loads(run("list", "--json")[1])] == [{}, {}]


def test_a_rate_that_was_set_is_kept_to(run):
    fetch = resilient(rate_limit=RateLimit("api", 9, 3600, wait=False))(lambda: 1)
    run("set", "api", "calls=2")
    assert [getattr(fetch.outcome(), "value", None) for _ in range(3)] == [1, 1, None]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["calls=0"], "whole number of 1 or more"),
        (["calls=2000"], "1,000 are the most"),
        (["limit=1", "calls=1"], "set them one by one"),
        (["limits=1"], "did you mean limit?"),
        (["failures=1"], "A limit has no number 'failures'"),
        (["per=soon"], "is a number of seconds"),
    ],
)
def test_numbers_that_cannot_be_are_refused(run, words, part):
    code, _, err = run("set", "api", *words)
    assert code == 2
    assert part in err
    assert run("list")[1] == "no limits\n"


def test_an_unknown_name_is_set_with_a_remark_and_not_reset(run):
    code, _, err = run("set", "new", "limit=3")
    assert (code, err) == (0, "No call has used a bulkhead new lately. Known: none.\n")
    code, _, err = run("reset", "newer")
    assert (code, "No limit newer is in the store. There: new." in err) == (2, True)


def test_the_memory_of_another_process_is_refused(own_settings, monkeypatch, capsys):
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    own_settings(store="memory:")
    states.shared.close()
    assert main(["limit", "set", "api", "calls=3"]) == 2
    assert "The store is in memory" in capsys.readouterr().err
