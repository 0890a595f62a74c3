"""Event files are read back as they were written, whatever a kill, a newer version or a person did to them."""

import dataclasses
import itertools
import json
import socket
import subprocess
import sys
import typing
from collections.abc import Mapping

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import RunReport
from resilient_tasks.core.events import EVENTS, CallFailed, RetryRecovered, RetryScheduled, RetryStarted
from resilient_tasks.observe.journal_read import event_of, known_runs

OWN_EVENTS = [event for event in EVENTS.values() if event.__module__.startswith("resilient_tasks.")]
RUN = {"flow_run_id": "4f6f5cf0-0000-4000-8000-000000000000", "flow_run": "daily"}
TASK = {**RUN, "task_run_id": "1", "task_run": "fetch-0", "url": "http://127.0.0.1:9/runs/task-run/1"}
GONE = {"event.name": "file.begun", "time": 1.0, "host": socket.gethostname(), "pid": 2**22 + 1, "process_started": 1.0}
STARTED = {"event.name": "run.started", "time": 2.0, **RUN, "url": "http://127.0.0.1:9/runs/flow-run/4f"}
STARTED |= {"operation": "daily_flow", "attempt": 1}
ENDED = {"event.name": "run.ended", "time": 99.0, **RUN, "how": "completed", "again": False}
ERROR = {"error_type": "ConnectionError", "message": "refused", "kind": "transient"}


def here():
    me = psutil.Process()
    return {**GONE, "pid": me.pid, "process_started": me.create_time()}


def events(call="c"):
    about = {"operation": "fetch", "call": call, "run": TASK}
    return [
        RetryScheduled(**about, attempt=1, time=10.0, attempts=2, delay=1.0, seconds=0.5, **ERROR),
        RetryStarted(**about, attempt=2, time=11.0, attempts=2),
        RetryRecovered(**about, attempt=2, time=12.0, attempts=2, errors={"ConnectionError": 1}, seconds=1.0),
        CallFailed(**{**about, "call": f"{call}-2"}, time=13.0, seconds=0.25, **ERROR),
    ]


LINES = [event.as_dict() for event in events()]


@pytest.fixture
def written(tmp_path):
    """`written([...], [...])` writes a run with a file of lines for each process, and returns its folder."""

    def write(*files, run="4f6f5cf0"):
        folder = tmp_path / "runs" / run
        folder.mkdir(parents=True)
        for number, lines in enumerate(files):
            text = "".join(line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines)
            (folder / f"host-{number}-abc.jsonl").write_text(text)
        return folder

    return write


@pytest.fixture
def runs(own_settings, written, tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", "")
    own_settings(events=tmp_path / "runs")
    return written


def _value(kind):
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is Mapping:
        return {"ConnectError": 2}
    if typing.get_origin(kind) is tuple:
        return ["load (3 attempts)"]
    return (
        {str: "text", int: 3, float: 1.5, bool: True}[kind]
        if type(None) not in typing.get_args(kind)
        else _value(parts[0])
    )


@pytest.mark.parametrize("kind", OWN_EVENTS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("is_full", [True, False], ids=["every field", "required fields"])
def test_each_event_comes_back_as_it_was_written(kind, is_full):
    hints = typing.get_type_hints(kind)
    parts = {part.name: _value(hints[part.name]) for part in dataclasses.fields(kind)}
    if not is_full:
        parts = {name: value for name, value in parts.items() if name not in {*kind._defaults, *kind._made}}
    event = kind(**{**parts, "operation": "fetch", "run": TASK})
    assert event_of(json.loads(json.dumps(event.as_dict()))) == event


def test_a_line_without_a_required_field_is_no_event():
    values = {**LINES[0]}
    del values["retry.delay_s"]
    assert event_of(values) is None


def test_a_complete_run_has_its_names_and_times(written):
    report = RunReport.read(written([GONE, STARTED, *LINES, ENDED]))
    assert report.partial is None
    assert dict(report.run) == {
        "id": RUN["flow_run_id"],
        "name": "daily",
        "url": "http://127.0.0.1:9/runs/flow-run/4f",
        "started": 2.0,
        "ended": 99.0,
    }
    assert report.headline() == "1 failed, 0 degraded, 1 recovered"


def test_the_files_of_several_processes_are_one_run(written):
    others = [event.as_dict() for event in events("d")]
    report = RunReport.read(written([GONE, STARTED, ENDED], [GONE, *LINES], [GONE, *others]))
    assert (report.failed, report.recovered, report.partial) == (2, 2, None)


@pytest.mark.parametrize("order", [1, -1])
def test_a_failure_that_another_process_handled_counts_once(written, order):
    inner = CallFailed(operation="fetch", call="in", run=TASK, inside=True, **ERROR).as_dict()
    outer = CallFailed(operation="flow", call="out", run=RUN, of="in", **ERROR).as_dict()
    report = RunReport.read(written(*[[GONE, inner], [GONE, STARTED, outer, ENDED]][::order]))
    assert report.failed == 1


class TestPartial:
    """A report says that it is partial, and why."""

    def test_a_killed_process(self, written):
        report = RunReport.read(written([GONE, STARTED, *LINES]))
        assert report.partial == (
            f"process {2**22 + 1} on {socket.gethostname()} was killed in the middle of the run:"
            " its last event is of 1970-01-01 00:00 UTC"
        )
        assert report.failed == 1

    def test_a_run_that_goes_on(self, written):
        assert "the run is still going on, in process" in RunReport.read(written([here(), STARTED, *LINES])).partial

    def test_another_process_with_the_same_number_is_not_taken_for_it(self, written):
        reused = {**here(), "process_started": 1.0}
        assert "was killed in the middle of the run" in RunReport.read(written([reused, STARTED])).partial

    def test_a_machine_that_cannot_be_asked(self, written):
        elsewhere = {**GONE, "host": "worker-7"}
        partial = RunReport.read(written([elsewhere, STARTED])).partial
        assert "the run has no end in the files, and process" in partial
        assert "on worker-7 cannot be asked from here" in partial

    def test_an_attempt_of_the_flow_that_another_should_have_followed(self, written):
        again = {**ENDED, "how": "failed", "again": True}
        assert "was killed in the middle" in RunReport.read(written([GONE, STARTED, again])).partial
        assert RunReport.read(written([GONE, STARTED, again, STARTED, ENDED], run="b")).partial is None

    def test_a_run_that_another_process_took_up_and_ended(self, written):
        later = {**STARTED, "time": 50.0}
        assert RunReport.read(written([GONE, STARTED, *LINES], [GONE, later, ENDED])).partial is None

    def test_tasks_of_a_plain_flow_have_no_end_that_could_be_missing(self, written):
        assert RunReport.read(written([GONE, *LINES])).partial is None
        assert (
            "still running, and the flow is no @resilient_flow"
            in RunReport.read(written([here(), *LINES], run="b")).partial
        )

    def test_calls_under_way_when_the_process_was_killed_are_listed(self, written):
        text = RunReport.read(written([GONE, STARTED, LINES[0]])).text()
        assert "Under way\n  fetch (fetch-0): waits 1.0 s for attempt 2: retry after ConnectionError" in text

    def test_events_that_were_left_out(self, written):
        left = {"event.name": "events.left_out", "time": 50.0, "events": {"retry.started": 1200, "hedge.started": 1}}
        assert RunReport.read(written([GONE, STARTED, left, ENDED])).partial == (
            "1,201 events could not be kept in the files (retry.started ×1,200, hedge.started ×1)"
        )


class TestStrangeLines:
    """What cannot be read is counted, and changes nothing else."""

    def test_a_line_that_was_cut_short_is_dropped(self, written):
        report = RunReport.read(written([GONE, STARTED, *LINES, json.dumps(LINES[0])[:50]]))
        assert report.remarks[-1] == "1 line cut short at the end of a file, and dropped"
        assert report.failed == 1

    @pytest.mark.parametrize("line", ["\n", "   \n"])
    def test_an_empty_line_is_nothing(self, written, line):
        assert not RunReport.read(written([GONE, STARTED, line, *LINES, ENDED])).remarks

    @pytest.mark.parametrize("line", ["[1]\n", "{\n", "\x00\x00\n", "null\n", '{"event.name": \n'])
    def test_a_line_that_is_no_event_is_dropped(self, written, line):
        report = RunReport.read(written([GONE, STARTED, line, *LINES, ENDED]))
        assert report.remarks == ("1 line could not be read, and dropped",)

    def test_events_of_a_newer_version_are_counted(self, written):
        newer = {**LINES[0], "event.name": "retry.imagined"}
        report = RunReport.read(written([GONE, STARTED, newer, newer, *LINES, ENDED]))
        assert report.remarks == ("events of a class that this version does not know: retry.imagined ×2",)
        assert report.failed == 1

    def test_new_fields_of_known_events_are_ignored(self, written):
        report = RunReport.read(written([GONE, STARTED, {**LINES[0], "retry.moon_phase": "full"}, ENDED]))
        assert (report.remarks, report.operations[0].retries) == ((), 1)

    @pytest.mark.parametrize(
        "field", ["retry.delay_s", "time", "error.type", "flow_run", "attempt", "call", "event.name", "duration_s"]
    )
    @pytest.mark.parametrize("value", [None, "text", [], {}, -1e300, 1e300])
    def test_a_value_of_another_type_stops_no_report(self, written, field, value):
        report = RunReport.read(written([GONE, STARTED, {**LINES[0], field: value}, *LINES[2:], ENDED]))
        assert report.failed == 1
        report.text(), report.json(), report.markdown(), report.html()

    @given(at=st.integers(0, 2500))
    def test_a_file_may_end_anywhere(self, tmp_path_factory, at):
        each = [f"{json.dumps(line)}\n".encode() for line in [GONE, STARTED, *LINES, ENDED]]
        whole = b"".join(each)
        file = tmp_path_factory.mktemp("run") / "a.jsonl"
        file.write_bytes(whole[:at])
        report = RunReport.read(file)
        ends = itertools.accumulate(map(len, each))
        complete = sum(at >= end - 1 for end in ends)  # the last line may lack its line break
        assert report._tally.events == max(0, min(complete - 2, 4))
        assert (report.partial is None) == (complete < 2 or complete == len(each))


class TestFindingARun:
    """By id, its beginning, a name, a folder or a file."""

    @pytest.fixture
    def both(self, runs):
        runs([GONE, STARTED, *LINES, ENDED], run="4f6f5cf0-first")
        runs([GONE, {**STARTED, "time": 30.0, "flow_run": "nightly"}, *LINES], run="4f6f5cf0-second")

    def name(self, which):
        return RunReport.read(which).run["name"]

    def test_each_way(self, both, tmp_path):
        folder = tmp_path / "runs" / "4f6f5cf0-first"
        for which in ("4f6f5cf0-first", "4f6f5cf0-f", "daily", folder, str(folder), folder / "host-0-abc.jsonl"):
            assert self.name(which) == "daily"
        assert self.name("latest") == self.name("nightly") == "nightly"
        assert RunReport.read().run["name"] == "nightly"

    def test_a_name_of_two_runs_is_refused(self, both, runs):
        with pytest.raises(
            LookupError, match="2 runs are called 4f6: give the id of one of them: 4f6f5cf0-second, 4f6"
        ):
            RunReport.read("4f6")

    def test_an_unknown_name_is_refused_with_those_that_there_are(self, both):
        with pytest.raises(LookupError, match=r"No run weekly is in .*runs\. There: nightly, daily\."):
            RunReport.read("weekly")

    def test_without_any_run(self, runs):
        with pytest.raises(LookupError, match=r"No run has written events to .* yet"):
            RunReport.read("latest")

    def test_the_list_has_the_state_of_each(self, both, runs):
        runs([here(), {**STARTED, "time": 60.0}], run="c")
        runs([{**STARTED, "time": 1.5}, {**ENDED, "how": "failed"}], run="d")
        runs([GONE, *LINES], run="e").parent.joinpath("empty").mkdir()
        assert [(run.id, run.state) for run in known_runs()] == [
            ("c", "running"),
            ("4f6f5cf0-second", "killed"),
            ("4f6f5cf0-first", "completed"),
            ("d", "failed"),
            ("e", "unknown"),
        ]

    def test_the_list_reads_only_the_ends_of_large_files(self, runs):
        runs([GONE, STARTED, *LINES * 500, ENDED], run="large")
        assert [(run.name, run.operation, run.state) for run in known_runs()] == [("daily", "daily_flow", "completed")]


def test_a_process_that_has_just_ended_is_not_alive(written):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    about = {**GONE, "pid": process.pid, "process_started": psutil.Process(process.pid).create_time()}
    folder = written([about, STARTED])
    assert "still going on" in RunReport.read(folder).partial
    process.kill()
    process.wait()
    assert "was killed" in RunReport.read(folder).partial
