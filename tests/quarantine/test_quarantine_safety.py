"""Nothing is lost or duplicated: under kills, concurrency, a full disk, and any order of events."""

import collections
import datetime as dt
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilient_tasks import Validate, resilient
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantineError
from resilient_tasks.validation.split import split

KILLED = Path(__file__).with_name("quarantine_under_kill.py")
Positive = pa.DataFrameSchema({"id": pa.Column(int), "n": pa.Column(int, pa.Check.gt(0))})


def frame(*numbers):
    return pd.DataFrame({"id": range(len(numbers)), "n": numbers}, dtype=int)


def test_a_writer_killed_200_times_leaves_every_row_in_exactly_one_place(tmp_path):
    done = subprocess.run(
        [sys.executable, KILLED, tmp_path, "200"], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    killed, batches = map(int, done.stdout.split())
    assert killed >= 200
    store, places = Quarantine(tmp_path / "q"), collections.Counter()
    for path in (tmp_path / "good").glob("[0-9]*.csv"):
        places.update(pd.read_csv(path)["id"])
    for batch in store.list():
        places.update(store.table(batch)["id"])
    places.update(store.release("fetch")["id"])
    assert places == collections.Counter(range(batches * 30))


def _write_eight_hundred(folder, number, start):
    start.wait()
    store = Quarantine(folder)
    for batch in range(10):
        bad = split(frame(*[-1] * 10), Positive)
        store.write(bad, operation="fetch", batch=f"{number}-{batch}")
        store.write(bad, operation="fetch", batch=f"shared-{batch}")


def _replay(folder, start, results):
    start.wait()
    store = Quarantine(folder)
    released = sum(store.replay(batch, Positive, fix=lambda table: table.assign(n=1)).rows for batch in store.list())
    results.put(released)


def test_eight_processes_lose_nothing_and_release_nothing_twice(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resilient_tasks.quarantine.quarantine", "pandera.pandas"])
    start = context.Barrier(8)
    _all(context.Process(target=_write_eight_hundred, args=(tmp_path, number, start)) for number in range(8))
    store = Quarantine(tmp_path)
    assert store.rows() == 8 * 10 * 10 + 10 * 10
    assert {batch.rows for batch in store.list()} == {10}
    assert not list(tmp_path.rglob(".*.tmp"))
    start, results = context.Barrier(3), context.Queue()
    _all(context.Process(target=_replay, args=(tmp_path, start, results)) for _ in range(3))
    assert sum(results.get(timeout=10) for _ in range(3)) == len(store.release("fetch")) == 900
    assert store.rows() == 0


def _all(processes):
    running = list(processes)
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * len(running)


def _fetch(store):
    return resilient(validate=Validate(output=Positive, on_invalid="quarantine", quarantine=store))(
        lambda: frame(1, *[-1] * 5000)
    )


def _fill(folder, answer):
    """Simulate a full disk: one with room for 3,000 bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    try:
        _fetch(Quarantine(folder))()
    except QuarantineError as error:
        answer.send(str(error))
    else:
        answer.send("the good rows went on")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are Unix's")
def test_on_a_full_disk_the_batch_fails_as_a_whole_without_a_partial_file(tmp_path):
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    _all([context.Process(target=_fill, args=(tmp_path, there))])
    assert here.poll(10)
    assert here.recv().startswith("Cannot write batch")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_where_the_folder_cannot_be_written_the_batch_fails_as_a_whole(tmp_path):
    (tmp_path / "q").write_text("a file, not a folder")
    with pytest.raises(QuarantineError, match=r"Cannot write batch .* Not a directory|File exists"):
        _fetch(Quarantine(tmp_path / "q"))()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_the_folder_is_read_only_the_batch_fails_as_a_whole(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(QuarantineError, match="Permission denied"):
        _fetch(Quarantine(tmp_path / "q"))()


BATCHES, VALUES = st.sampled_from("abc"), st.lists(st.integers(-3, 3), max_size=4)


class QuarantineMachine(RuleBasedStateMachine):
    """A model: a dict of waiting rows and a list of released ones."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = Quarantine(self.folder)
        self.parts, self.settled = {}, collections.defaultdict(dict)

    def teardown(self):
        shutil.rmtree(self.folder)

    @rule(batch=BATCHES, values=VALUES)
    def write(self, batch, values):
        self.store.write(split(frame(*values), Positive), operation="fetch", batch=batch)
        rows = {(row, value) for row, value in enumerate(values) if value <= 0}
        self.parts.pop(batch, None)
        if rows:
            self.parts[batch] = rows

    @rule(batch=BATCHES, only=st.sets(st.integers(0, 3)), to=st.integers(-1, 2))
    def replay(self, batch, only, to):
        if batch not in self.parts:
            with pytest.raises(QuarantineError):
                self.store.replay(batch, Positive)
            return

        def fix(table):
            return table[table["__quarantine_row"].isin(only)].assign(n=to)

        replay = self.store.replay(batch, Positive, fix=fix)
        fresh = {key for key in self.waiting(batch) if key[0] in only} if to > 0 else set()
        self.settled[batch] |= dict.fromkeys(fresh, to)
        assert (replay.rows, replay.waiting) == (len(fresh), len(self.waiting(batch)))

    def waiting(self, batch):
        return self.parts[batch] - self.settled[batch].keys()

    @rule(waiting=st.booleans(), dry_run=st.booleans())
    def purge(self, waiting, dry_run):
        removed = self.store.purge(dt.timedelta(0), waiting=waiting, dry_run=dry_run)
        expected = {batch for batch in self.parts if waiting or not self.waiting(batch)}
        assert {batch.batch for batch in removed} == expected
        if not dry_run:
            for batch in {*expected, *(self.settled.keys() - self.parts.keys())}:
                self.parts.pop(batch, None)
                self.settled.pop(batch, None)

    @invariant()
    def what_waits_and_what_is_released_are_as_in_the_model(self):
        waiting = {batch: len(self.waiting(batch)) for batch in self.parts}
        assert {batch.batch: batch.waiting for batch in self.store.list()} == waiting
        assert self.store.rows() == sum(waiting.values())
        rows = self.store.release("fetch")
        released = [value for batch in self.settled.values() for value in batch.values()]
        assert sorted([] if rows is None else rows["n"]) == sorted(released)


QuarantineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
test_any_order_of_events_keeps_every_row = QuarantineMachine.TestCase
