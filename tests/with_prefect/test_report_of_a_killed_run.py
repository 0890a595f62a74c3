"""A run that is killed has a report of what was written until then; the report says that it is partial."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resilient_tasks import Retry, RunReport, resilient_flow, resilient_task
from resilient_tasks.cli import main
from resilient_tasks.observe import journal

FLOWS = Path(__file__).with_name("flows_that_write_events.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def started(resilient_prefect, tmp_path):
    """`started("waits", "a-name")` starts a flow in a process; all are killed at the end."""
    processes = []

    def start(*words):
        environment = {
            **os.environ,
            "PREFECT_API_URL": resilient_prefect,
            "PYTHONPATH": str(ROOT),
            "RESILIENT_TASKS_EVENTS": str(tmp_path),
        }
        out = subprocess.DEVNULL
        processes.append(subprocess.Popen([sys.executable, FLOWS, *words], env=environment, stdout=out, stderr=out))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def _written(folder):
    return [line for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]


def _until(folder, text):
    until = time.monotonic() + 120
    while not any(text in line for line in _written(folder)):
        assert time.monotonic() < until, "the flow wrote no such event"
        time.sleep(0.1)


def test_a_run_killed_in_a_wait_and_one_that_ended(started, tmp_path, capsys):
    ended, killed = started("ends", "good-run"), started("waits", "killed-run")
    _until(tmp_path, '"retry.delay_s":600.0')
    running = RunReport.read(_folder(tmp_path, "killed-run"))
    killed.kill()
    killed.wait()
    assert ended.wait() == 0

    assert "the run is still going on, in process" in running.partial
    report = RunReport.read(_folder(tmp_path, "killed-run"))
    assert f"process {killed.pid} on " in report.partial
    assert "was killed in the middle of the run: its last event is of " in report.partial
    assert (report.failed, report.degraded, report.recovered) == (1, 1, 1)
    assert [call["operation"] for call in report.as_dict()["timeline"]["calls"] if call["outcome"] == "running"] == [
        "waits"
    ]
    starts = [attempt["started"] for call in report.as_dict()["timeline"]["calls"] for attempt in call["attempts"]]
    assert None not in starts

    assert main(["report", "killed-run", "--at", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:2] == ["1 failed, 1 degraded, 1 recovered", f"PARTIAL: {report.partial}"]
    assert "  waits (waits-" in shown
    assert main(["report", "good-run", "--at", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["partial"] is None


def _folder(folder, name):
    return next(path.parent for path in folder.rglob("*.jsonl") if f'"flow_run":"{name}"' in path.read_text())


@pytest.fixture
def written(own_settings, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", "")
    own_settings(events=tmp_path)
    return tmp_path


@resilient_task(retry=Retry(attempts=2, wait=0))
def fetch(left=[1]):  # noqa: B006  # it fails once
    if left:
        left.pop()
        raise ConnectionError("refused")


@pytest.mark.parametrize(
    ("error", "how"), [(None, "completed"), (ValueError("a bug"), "failed"), (SystemExit(1), "SystemExit")]
)
def test_the_end_of_a_run_is_written_however_it_ends(resilient_prefect, written, error, how):
    @resilient_flow
    def daily():
        if error is not None:
            raise error

    try:
        daily()
    except type(error or Exception()):
        pass
    lines = [json.loads(line) for line in _written(written)]
    assert [(line["event.name"], line.get("how")) for line in lines if line["event.name"] == "run.ended"] == [
        ("run.ended", how)
    ]
    assert RunReport.read(written / lines[1]["flow_run_id"]).partial is None


def test_the_report_of_the_files_is_that_of_the_run(resilient_prefect, resilient_events, written):
    @resilient_flow(on_unobserved="ignore")
    def daily():
        for number in range(3):
            fetch.submit([1] * number).wait()

    daily()
    (folder,) = written.iterdir()
    from_files, in_memory = RunReport.read(folder).as_dict(), RunReport(resilient_events).as_dict()
    for name in ("counts", "not_recovered", "degraded", "recovered", "operations", "timeline", "circuits", "rows"):
        assert from_files[name] == in_memory[name], name


def test_a_subflow_has_its_own_report_and_names_its_parent(resilient_prefect, written):
    @resilient_flow
    def inner():
        return 1

    @resilient_flow
    def outer():
        return inner()

    outer()
    starts = [json.loads(line) for line in _written(written) if '"run.started"' in line]
    by_name = {line["operation"].rpartition(".")[2]: line for line in starts}
    assert by_name["inner"]["parent"] == by_name["outer"]["flow_run_id"]
    assert "parent" not in by_name["outer"]


def test_runs_of_tests_do_not_write_to_the_users_home(resilient_prefect):
    @resilient_flow
    def daily():
        return 1

    daily()
    assert "resilient-tasks-" in str(journal.folder())
    assert any(journal.folder().iterdir())
