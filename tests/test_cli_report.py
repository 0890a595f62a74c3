"""`resilient-tasks report`: in each form, of runs by name, and of two runs compared."""

import json
from pathlib import Path

import pytest

from resilient_tasks.cli import main
from resilient_tasks.core.events import CallFailed, FallbackUsed, RetryRecovered, RetryScheduled
from resilient_tasks.observe import journal

ERROR = {"error_type": "HTTPStatusError", "message": "Server error", "http_status": 503, "kind": "transient"}
ABOUT = {"host": "worker-7", "pid": 7, "process_started": 1.0}


def _run(name, started):
    return {"flow_run_id": f"id-{name}", "flow_run": name}, {"time": started, "operation": "month", "attempt": 1}


@pytest.fixture
def runs(own_settings, monkeypatch, tmp_path):
    """`runs("monday", 10.0, events)` writes the file of a run; without `ended`, it was killed."""
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", "")
    own_settings(events=tmp_path / "runs")

    def write(name, started, events, *, ended=True):
        ids, about = _run(name, started)
        lines = [{"event.name": "file.begun", "time": started, **ABOUT}, {"event.name": "run.started", **ids, **about}]
        lines += [{**event.as_dict(), **ids} for event in events]
        lines += [{"event.name": "run.ended", "time": started + 9, **ids, "how": "completed", "again": False}] * ended
        folder = journal.folder() / f"id-{name}"
        folder.mkdir(parents=True)
        (folder / "worker-7-7-abc.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return write


@pytest.fixture
def report(capsys):
    """Run `resilient-tasks report` with these words; return its exit code, output and errors."""

    def run(*words):
        code = main(["report", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def scheduled(operation="fetch", call="c"):
    return RetryScheduled(operation=operation, call=call, attempt=1, attempts=3, delay=2.0, time=11.0, **ERROR)


def recovered(operation="fetch", call="c"):
    tally = {"errors": {"HTTPStatusError": 1}, "failures": {"HTTP 503": 1}}
    return RetryRecovered(operation=operation, call=call, attempt=2, attempts=3, time=13.0, **tally)


def failed(operation="store", call="d", **more):
    return CallFailed(operation=operation, call=call, time=14.0, **{**ERROR, **more})


def degraded(operation="planes", call="e"):
    return FallbackUsed(operation=operation, call=call, time=14.0, fallback="last good result", **ERROR)


@pytest.fixture
def two(runs):
    runs("monday", 10.0, [scheduled(), recovered(), degraded()])
    runs("tuesday", 20.0, [failed()], ended=False)


def test_the_latest_run_is_reported_if_none_is_named(two, report):
    code, out, _ = report()
    assert code == 0
    assert out.startswith("1 failed, 0 degraded, 0 recovered\nPARTIAL: the run has no end in the files")


def test_a_run_is_found_by_its_name_and_id(two, report):
    assert report("monday") == report("id-monday")
    assert "planes: last good result stands in after HTTPStatusError (HTTP 503)" in report("monday")[1]


def test_the_forms(two, report):
    assert json.loads(report("monday", "--format", "json")[1])["counts"]["degraded"] == 1
    assert report("monday", "--format", "markdown")[1].startswith("## 0 failed, 1 degraded, 1 recovered\n")
    assert report("monday", "--format", "html")[1].lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("name", "begins"), [("r.json", "{"), ("r.md", "## "), ("r.HTML", "<!doctype html>"), ("r.txt", "0 failed")]
)
def test_a_file_gets_the_form_of_its_suffix(two, report, tmp_path, name, begins):
    code, out, _ = report("monday", "--output", tmp_path / name)
    assert (code, out) == (0, f"{tmp_path / name}: written\n")
    assert (tmp_path / name).read_text().lower().startswith(begins)


def test_a_given_form_wins_over_the_suffix(two, report, tmp_path):
    report("monday", "--output", tmp_path / "r.txt", "--format", "json")
    assert json.loads((tmp_path / "r.txt").read_text())["version"] == 1


def test_the_list(two, report):
    _, out, _ = report("--list")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["tuesday", "id-tuesday", "month"],
        ["monday", "id-monday", "month"],
    ]
    found = json.loads(report("--list", "--format", "json")[1])
    assert [(each["name"], each["state"]) for each in found] == [("tuesday", "unknown"), ("monday", "completed")]
    assert Path(found[0]["files"][0]).exists()


def test_a_list_of_nothing_says_where_it_looked(runs, report):
    assert report("--list")[1] == f"no runs in {journal.folder()}\n"


def test_another_folder(two, report, tmp_path, own_settings):
    where = journal.folder()
    own_settings(events=tmp_path / "elsewhere")
    assert "No run has written events to" in report("monday")[2]
    assert report("monday", "--at", where)[0] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("weekly",), "No run weekly is in"),
        (("--at", "/nowhere"), "There is no folder /nowhere"),
        (("monday", "--list"), "report takes one of RUN, --list and --compare"),
        (("--compare", "monday", "tuesday", "--format", "html"), "A comparison is written as text, markdown or json"),
        (("monday", "--output", "/nowhere/r.json"), "No such file or directory"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(two, report, words, why):
    code, out, err = report(*words)
    assert (code, out) == (2, "")
    assert why in err


class TestCompare:
    """What got better or worse, and which failures are new or gone."""

    def compared(self, report, *words):
        return report("--compare", *words)

    def test_operations_failures_and_their_change(self, runs, report):
        runs("monday", 10.0, [scheduled(), recovered(), failed("load", "l1"), failed("load", "l2")])
        runs("tuesday", 20.0, [scheduled(), recovered(), failed("load", "l1"), failed("store", "s")])
        code, out, _ = self.compared(report, "monday", "tuesday")
        assert code == 0
        assert out.splitlines() == [
            "before: monday: 2 failed, 0 degraded, 1 recovered",
            "after: tuesday: 2 failed, 0 degraded, 1 recovered",
            "new: store: failed 0 → 1",
            "better: load: failed 2 → 1",
            "new failures: store HTTP 503 ×1",
        ]

    def test_a_failure_that_is_gone(self, runs, report):
        runs("monday", 10.0, [failed("load", "l1"), failed("load", "l2", http_status=None, error_type="KeyError")])
        runs("tuesday", 20.0, [failed("load", "l1"), failed("load", "l2")])
        found = json.loads(self.compared(report, "monday", "tuesday", "--format", "json")[1])
        assert found["vanished_failures"] == [{"operation": "load", "error": "KeyError", "count": 1}]
        assert found["operations"][0]["change"] == "same"

    def test_an_operation_that_got_worse_comes_first(self, runs, report):
        runs("monday", 10.0, [scheduled("a", "1"), failed("b", "2")])
        runs("tuesday", 20.0, [scheduled("a", "1"), scheduled("a", "2"), scheduled("a", "3"), failed("c", "4")])
        found = json.loads(self.compared(report, "monday", "tuesday", "--format", "json")[1])
        changes = [(each["name"], each["change"]) for each in found["operations"]]
        assert changes == [("a", "worse"), ("c", "new"), ("b", "gone")]

    def test_equal_runs(self, two, report):
        assert self.compared(report, "monday", "monday")[1].splitlines()[-1] == "no operation got better or worse"

    def test_a_partial_run_is_marked(self, two, report):
        _, out, _ = self.compared(report, "monday", "tuesday", "--format", "markdown")
        assert "after: tuesday: 1 failed, 0 degraded, 0 recovered (partial: the run has no end" in out.replace("\\", "")
