"""Events of runs in files: each is there at once, none is written twice, and no file ever fails a call."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resilient_tasks import Fallback, PolicyError, Retry, RunReport, resilient
from resilient_tasks.core import settings
from resilient_tasks.core.events import ChaosInjected, NotifySent, RetryStarted, bus
from resilient_tasks.core.settings import Settings
from resilient_tasks.observe import journal, journal_file, journal_room
from resilient_tasks.observe.journal_read import known_runs

RUN = {"flow_run_id": "4f6f5cf0-0000-4000-8000-000000000000", "flow_run": "daily"}


@pytest.fixture
def files(own_settings, tmp_path, monkeypatch, resilient_clock):
    """Write to a folder of its own; `files(run_id)` returns the lines of a run, by file."""
    monkeypatch.setattr(journal, "_files", type(journal._files)())
    monkeypatch.setattr(journal, "_reported", set())
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", "")
    own_settings(events=tmp_path / "runs")
    journal.install()

    def lines(run=RUN["flow_run_id"]):
        return [_lines(path) for path in sorted((tmp_path / "runs" / run).glob("*.jsonl"))]

    yield lines
    for file in journal._files.values():
        file.close()


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(lines):
    return [line["event.name"] for line in lines]


@resilient(retry=Retry(attempts=2, wait=1), fallback=Fallback(value=0))
def fetch():
    raise ConnectionError("refused: password=hunter2secret")


def fail(run=RUN, in_run=None):
    with in_run(**run):
        return fetch()


def test_each_event_of_a_run_is_a_line_when_the_call_goes_on(files, in_run):
    seen = []
    unsubscribe = bus.subscribe(lambda event: seen.append((event.name, names(files()[0])[-1])))
    try:
        fail(in_run=in_run)
    finally:
        unsubscribe()
    assert seen == [(name, name) for name in ("retry.scheduled", "retry.started", "retry.exhausted", "fallback.used")]


def test_a_file_begins_with_the_process_that_writes_it(files, in_run):
    fail(in_run=in_run)
    first = files()[0][0]
    assert (first["event.name"], first["pid"]) == ("file.begun", os.getpid())
    assert first["process_started"] > 0


def test_no_line_holds_a_secret(files, in_run):
    fail(in_run=in_run)
    assert "hunter2secret" not in json.dumps(files())
    assert "refused" in json.dumps(files())


def test_two_runs_have_two_folders(files, in_run):
    fail(in_run=in_run)
    fail({"flow_run_id": "other"}, in_run)
    assert names(files("other")[0]) == names(files()[0])


def test_a_call_outside_of_a_run_is_not_written(files, tmp_path):
    fetch()
    assert not (tmp_path / "runs").exists()


def test_all_calls_are_written_if_the_setting_says_so(own_settings, tmp_path, monkeypatch, files):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path))
    own_settings(events="all")
    with journal.use_folder(tmp_path / "everything"):
        fetch()
        (run,) = known_runs()
        assert RunReport.read(run.files[0]).degraded == 1


def test_nothing_is_written_if_the_setting_is_off(own_settings, tmp_path, in_run, files):
    own_settings(events=False)
    fail(in_run=in_run)
    journal.begin_run(RUN, "daily")
    assert not (tmp_path / "runs").exists()


def test_the_default_is_a_folder_in_the_users_home(own_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "current", Settings())
    monkeypatch.setattr(journal, "_instead", [])
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path))
    assert journal.folder() == tmp_path / "runs"
    monkeypatch.setattr(settings, "current", Settings(events="~/elsewhere"))
    assert journal.folder() == Path("~/elsewhere").expanduser()


@pytest.mark.parametrize(
    ("text", "value"), [("false", False), ("0", False), ("on", True), ("all", "all"), ("/data/runs", "/data/runs")]
)
def test_the_environment_switches_it_off_or_moves_it(monkeypatch, text, value):
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", text)
    assert settings._from_environment().events == value


@pytest.mark.parametrize("wrong", [3, "", b"runs", ["a"]])
def test_another_value_is_refused(own_settings, wrong):
    with pytest.raises(PolicyError, match=r'configure\(events=\.\.\.\) is True, False, "all" or a folder'):
        own_settings(events=wrong)


def test_child_processes_write_to_the_same_folder(own_settings, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", "")
    own_settings(events=tmp_path)
    assert settings._from_environment().events == str(tmp_path)
    own_settings(events=False)
    assert settings._from_environment().events is False


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_only_the_owner_can_read_what_is_written(files, in_run, tmp_path):
    fail(in_run=in_run)
    folder = tmp_path / "runs" / RUN["flow_run_id"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


@pytest.mark.parametrize("run", ["../../elsewhere", "a/b", "..", "", "x" * 300, "ü\n"])
def test_the_name_of_a_run_cannot_lead_out_of_the_folder(files, in_run, tmp_path, run):
    fail({"flow_run_id": run or "."}, in_run)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list((tmp_path / "runs").glob("*/*.jsonl"))) == 1


class TestTroubleWithTheDisk:
    """A call gets its result all the same; the log says it once."""

    @pytest.fixture
    def warned(self, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger("resilient_tasks"), "propagate", True)
        return lambda: [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]

    def test_a_folder_that_cannot_be_made(self, files, in_run, tmp_path, warned):
        (tmp_path / "runs").write_text("a file")
        assert [fail({"flow_run_id": f"run-{number}"}, in_run) for number in range(3)] == [0, 0, 0]
        assert len(warned()) == 1
        assert "the calls go on" in warned()[0]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
    def test_a_full_disk(self, files, in_run, tmp_path, warned):
        folder = tmp_path / "runs" / RUN["flow_run_id"]
        folder.mkdir(parents=True)
        (folder / f"{journal_file.file_name()}.jsonl").symlink_to("/dev/full")
        assert fail(in_run=in_run) == 0
        assert fail(in_run=in_run) == 0
        assert len(warned()) == 1

    def test_it_is_tried_again_later_and_the_gap_is_counted(self, files, in_run, tmp_path, monkeypatch, warned):
        (tmp_path / "runs").write_text("a file")
        fail(in_run=in_run)
        (tmp_path / "runs").unlink()
        fail(in_run=in_run)
        assert not (tmp_path / "runs").exists()
        monkeypatch.setattr(journal_file, "_PAUSE", 0.0)
        journal._files[RUN["flow_run_id"]]._try_after = 0.0
        fail(in_run=in_run)
        journal.end_run(RUN, "completed")
        report = RunReport.read(tmp_path / "runs" / RUN["flow_run_id"])
        assert report.degraded == 1
        assert "8 events could not be kept in the files" in report.partial

    def test_a_line_written_in_part_does_not_spoil_the_next(self, files, in_run, tmp_path, monkeypatch, warned):
        fail(in_run=in_run)
        write, full = os.write, []

        def half(file, line):
            if not full and b"retry.exhausted" in line:
                full.append(write(file, line[:40]))
                return 40
            if full and full[0]:
                full[0] = 0
                raise OSError(28, "No space left on device")
            return write(file, line)

        monkeypatch.setattr(journal_file.os, "write", half)
        monkeypatch.setattr(journal_file, "_PAUSE", 0.0)
        fail(in_run=in_run)
        fail(in_run=in_run)
        monkeypatch.undo()
        report = RunReport.read(tmp_path / "runs" / RUN["flow_run_id"])
        assert report.degraded == 3
        assert "1 event could not be kept in the files (retry.exhausted ×1)" in report.partial
        assert "1 line could not be read, and dropped" in report.remarks


class TestBounds:
    """Files of runs take a bounded number of bytes."""

    @pytest.fixture
    def small(self, monkeypatch):
        monkeypatch.setattr(journal_file, "MOST", 20_000)
        monkeypatch.setattr(journal_file, "LEAST", 4_000)

    def test_a_run_with_too_many_events_keeps_what_matters_most_and_counts_the_rest(
        self, files, in_run, small, tmp_path
    ):
        with in_run(**RUN):
            for number in range(300):
                bus.emit(RetryStarted(operation="f", call=str(number), attempts=3))
        fail(in_run=in_run)
        journal.end_run(RUN, "completed")
        (file,) = (tmp_path / "runs" / RUN["flow_run_id"]).iterdir()
        report = RunReport.read(file)
        kept = names(_lines(file))
        assert file.stat().st_size < 21_000
        assert "fallback.used" in kept
        assert kept[-1] == "events.left_out"
        left_out = _lines(file)[-1]["events"]
        assert left_out["retry.started"] == 301 - kept.count("retry.started")
        assert f"retry.started ×{left_out['retry.started']}" in report.partial

    def test_a_killed_process_has_counted_at_least_half_of_what_it_left_out(self, files, in_run, small):
        with in_run(**RUN):
            for number in range(300):
                bus.emit(RetryStarted(operation="f", call=str(number), attempts=3))
        lines = files()[0]
        counted = [line for line in lines if line["event.name"] == "events.left_out"][-1]["events"]["retry.started"]
        assert 2 * counted >= 300 - names(lines).count("retry.started")

    def test_the_files_of_other_processes_count(self, files, in_run, small, tmp_path):
        folder = tmp_path / "runs" / RUN["flow_run_id"]
        folder.mkdir(parents=True)
        (folder / "other-1-abc.jsonl").write_text("x" * 19_000)
        with in_run(**RUN):
            for number in range(100):
                bus.emit(RetryStarted(operation="f", call=str(number), attempts=3))
        own = next(path for path in folder.iterdir() if "other" not in path.name)
        assert own.stat().st_size < 5_000

    @pytest.fixture
    def runs(self, tmp_path):
        """`runs(30, days=2, size=10)` makes a folder of a run, and returns it."""

        def make(number, days, size=10):
            folder = tmp_path / f"run-{number}"
            folder.mkdir()
            file = folder / "host-1-abc.jsonl"
            file.write_text("x" * size)
            changed = journal_room.time.time() - days * 86_400
            os.utime(file, (changed, changed))
            return folder

        return make

    def test_old_runs_are_removed(self, runs, tmp_path):
        old, young = runs(1, days=31), runs(2, days=29)
        journal_room.make_room(tmp_path, besides=tmp_path / "new")
        assert (old.exists(), young.exists()) == (False, True)

    def test_the_oldest_of_too_many_runs_are_removed(self, runs, tmp_path, monkeypatch):
        monkeypatch.setattr(journal_room, "RUNS", 3)
        each = [runs(number, days=number) for number in range(1, 6)]
        journal_room.make_room(tmp_path, besides=tmp_path / "new")
        assert [folder.exists() for folder in each] == [True, True, False, False, False]

    def test_the_oldest_of_too_large_runs_are_removed(self, runs, tmp_path, monkeypatch):
        monkeypatch.setattr(journal_room, "BYTES", 2500)
        each = [runs(number, days=number, size=1000) for number in range(1, 5)]
        journal_room.make_room(tmp_path, besides=tmp_path / "new")
        assert [folder.exists() for folder in each] == [True, True, False, False]

    def test_a_run_that_still_writes_stays(self, runs, tmp_path, monkeypatch):
        monkeypatch.setattr(journal_room, "RUNS", 1)
        going_on = runs(1, days=0)
        journal_room.make_room(tmp_path, besides=tmp_path / "new")
        assert going_on.exists()

    def test_folders_that_are_not_of_runs_stay(self, runs, tmp_path):
        folder = runs(1, days=99)
        (folder / "thesis.txt").write_text("")
        linked = tmp_path / "linked"
        linked.symlink_to(folder)
        journal_room.make_room(tmp_path, besides=tmp_path / "new")
        assert (folder / "host-1-abc.jsonl").exists()
        assert linked.is_symlink()

    def test_a_new_run_makes_room(self, files, in_run, runs, tmp_path, monkeypatch):
        (tmp_path / "runs").mkdir()
        old = runs(1, days=99).rename(tmp_path / "runs" / "old")
        fail(in_run=in_run)
        assert not old.exists()

    def test_few_files_are_open_at_once(self, files, in_run, monkeypatch):
        monkeypatch.setattr(journal, "_MOST_OPEN", 2)
        for _ in range(2):
            for number in range(4):
                fail({"flow_run_id": f"run-{number}"}, in_run)
        assert len(journal._files) == 2
        assert [names(files(f"run-{number}")[0]).count("fallback.used") for number in range(4)] == [2, 2, 2, 2]


def test_threads_never_mix_their_lines(files, in_run):
    def emit(thread):
        for number in range(50):
            bus.emit(ChaosInjected(operation=f"thread-{thread}", call=str(number), fault="x" * 500))

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
    with in_run(**RUN):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = files()[0][1:]
    assert len(lines) == 400
    assert len({(line["operation"], line["call"]) for line in lines}) == 400


_FORKS = """
import os
from resilient_tasks import Retry, resilient
from resilient_tasks.core.host import Host, use_host
from resilient_tasks.observe import journal

class InRun(Host):
    def run(self):
        return {"flow_run_id": "one-run"}

@resilient(retry=Retry(attempts=2, wait=0))
def fetch():
    raise ConnectionError

journal.install()
with use_host(InRun()):
    fetch.outcome()
    child = os.fork()
    fetch.outcome()
    if child:
        os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_writes_its_own_file(tmp_path):
    environment = {**os.environ, "RESILIENT_TASKS_EVENTS": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", _FORKS], env=environment, check=True, timeout=60, capture_output=True)
    files = [_lines(path) for path in (tmp_path / "one-run").iterdir()]
    assert sorted(names(file).count("call.failed") for file in files) == [1, 2]
    assert all(names(file)[0] == "file.begun" and names(file)[-1] == "process.ended" for file in files)
    assert RunReport.read(tmp_path / "one-run").failed == 3


def test_a_line_that_is_gone_is_noticed_whichever_it_is(files, in_run, tmp_path):
    with in_run(**RUN):
        journal.begin_run(RUN, "daily")
        fetch()
        journal.end_run(RUN, "completed")
    (file,) = (tmp_path / "runs" / RUN["flow_run_id"]).iterdir()
    whole = file.read_text().splitlines(keepends=True)
    assert RunReport.read(file).partial is None
    for at in range(len(whole)):
        file.write_text("".join([*whole[:at], *whole[at + 1 :]]))
        partial = RunReport.read(file).partial
        assert "1 line of the files is gone" in partial or (at == len(whole) - 1 and "the run is still" in partial)


def test_counts_of_left_out_events_survive_the_closing_of_a_file(files, in_run, monkeypatch, tmp_path):
    monkeypatch.setattr(journal_file, "MOST", 5_000)
    monkeypatch.setattr(journal_file, "LEAST", 5_000)
    monkeypatch.setattr(journal, "_MOST_OPEN", 1)
    for _ in range(3):
        with in_run(**RUN):
            for number in range(20):
                bus.emit(RetryStarted(operation="f", call=str(number), attempts=3))
        fail({"flow_run_id": "other"}, in_run)
    kept = names(files()[0]).count("retry.started")
    assert 0 < kept < 60
    assert f"retry.started ×{60 - kept}" in RunReport.read(tmp_path / "runs" / RUN["flow_run_id"]).partial


def test_events_that_the_bus_kept_back_from_a_slow_disk_are_counted(files, in_run, monkeypatch, tmp_path):
    fail(in_run=in_run)
    monkeypatch.setattr(journal, "_lost", journal._mine.lost - 3)
    fail(in_run=in_run)
    with in_run(**RUN):
        journal.end_run(RUN, "completed")
    partial = RunReport.read(tmp_path / "runs" / RUN["flow_run_id"]).partial
    assert "3 events could not be kept in the files (while writing was too slow ×3)" in partial


def test_outside_of_a_run_it_does_not_listen_to_attempts_but_to_alerts_about_one(files, in_run):
    with in_run():
        assert [journal._wants(event) for event in (RetryStarted, NotifySent)] == [False, True]
    with in_run(**RUN):
        assert journal._wants(RetryStarted)
    assert not journal._wants(NotifySent) or journal.host.current is not journal.host.NONE


def test_an_alert_sent_by_a_thread_is_written_to_the_run_that_it_is_about(files, in_run):
    with in_run():
        bus.emit(NotifySent(operation="f", channel="slack", run=RUN))
    assert names(files()[0]) == ["file.begun", "notify.sent"]
