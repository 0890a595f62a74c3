"""A busy store, or a process that was stopped for a while, does not mean that the store is lost."""

import os
import signal
import time

import busy
import counting
import pytest

from resilient_tasks.core.execution import patience as patiences
from resilient_tasks.core.execution.patience import Patience
from resilient_tasks.core.store import Contended
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.state.sqlite import SQLiteStore

#: Seconds that a request may wait for others; a call here makes three. A busy machine adds to that.
BOUND = 0.55

WORKERS = range(8)


@pytest.fixture
def shared_url(worker_pool, store_url):
    """The URL of a store that eight processes share, with the default bound."""
    worker_pool.all(counting.use_store_at, store_url)
    yield store_url
    worker_pool.all(counting.use_memory)


def test_a_store_that_eight_processes_keep_busy_counts_as_available_in_all_of_them(worker_pool, shared_url, share):
    seen = worker_pool.all(busy.hot, 2)
    assert [one.events for one in seen] == [[]] * 8
    assert max(one.longest for one in seen) < 3 * BOUND + 1
    assert min(one.calls for one in seen) > 0
    states = share(shared_url)
    assert Slots.decode(states.get("bulkhead/hot"), states.now()).taken == 0


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows stops no process")
def test_a_process_that_is_stopped_for_a_second_keeps_using_the_store_and_loses_nothing(worker_pool, shared_url):
    one, counted = [7], []
    for number in range(2):
        worker_pool.submit(one, busy.hot, 2.0, 4)
        time.sleep(0.2 + number / 10)
        os.kill(worker_pool.pids[7], signal.SIGSTOP)
        time.sleep(1.1)
        os.kill(worker_pool.pids[7], signal.SIGCONT)
        (seen,) = worker_pool.results(one)
        assert seen.events == []
        counted += seen.counted
    # Each number occurs once: no process counted in its own memory, and no count was lost.
    assert sorted(counted) == list(range(1, len(counted) + 1))


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that the test advances."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(patiences, "time", clock)
    return clock


def test_time_during_which_a_process_was_stopped_does_not_count_as_waiting(clock):
    patience = Patience(0.05)
    clock.now += 0.01
    assert not patience.is_over
    clock.now += 3600
    assert not patience.is_over
    clock.now += 0.019
    assert not patience.is_over
    clock.now += 0.002
    assert patience.is_over


def test_a_locked_file_is_contended_only_if_others_keep_writing_to_it(tmp_path, monkeypatch):
    ours, theirs = (SQLiteStore(f"sqlite:///{tmp_path}/states.db", bound=0.01) for _ in range(2))
    ours.connect()
    theirs.connect()
    with theirs._connection._connection as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="database is locked"):
            ours.update("k", lambda _: (b"1", None), within=0.2)

        def write_and_lock_again(_):
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO states VALUES ('theirs', '', NULL)")

        monkeypatch.setattr("resilient_tasks.state.sqlite.time.sleep", write_and_lock_again)
        with pytest.raises(Contended, match=r"others kept writing to .* for 0\.05 s"):
            ours.update("k", lambda _: (b"1", None), within=0.05)
        connection.execute("COMMIT")
    ours.update("k", lambda found: (b"1" if found is None else None, None), within=0.05)
    assert ours.get("k") == b"1"
    ours.close()
    theirs.close()
