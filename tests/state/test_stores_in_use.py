"""Reconnecting, closing or forking while threads use a store does not kill the process."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resilient_tasks.state.connection import SharedConnection

#: Seconds for which each process is disturbed. A connection closed too soon kills it in a tenth of that.
SECONDS = 2


def run(tmp_path, mode, url):
    return subprocess.run(
        [sys.executable, Path(__file__).with_name("in_use.py"), mode, url, str(SECONDS)],
        env={**os.environ, "RESILIENT_TASKS_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", ["connect", "close", "fork"])
def test_a_store_in_use_may_be_reconnected_closed_and_forked(tmp_path, store_url, mode):
    if mode == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    process = run(tmp_path, mode, store_url)
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr


def test_the_incidents_file_may_be_closed_while_threads_report_failures(tmp_path):
    process = run(tmp_path, "notify", "")
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr


class Connection:
    closed = False

    def close(self):
        assert not self.closed
        self.closed = True


def test_a_retired_connection_is_closed_by_its_last_user():
    connection = Connection()
    shared = SharedConnection(connection)

    def used(connection):
        shared.retire()
        return connection.closed

    assert shared.use(used, 1) is False
    assert connection.closed


def test_an_idle_connection_is_closed_at_once_and_only_once():
    connection = Connection()
    shared = SharedConnection(connection)
    shared.retire()
    shared.retire()
    assert connection.closed
    with pytest.raises(ConnectionError, match="replaced or closed"):
        shared.use(lambda _: None, 1)


def test_a_thread_waits_for_a_connection_no_longer_than_its_limit():
    shared = SharedConnection(Connection())
    begun, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=shared.use, args=(lambda _: begun.set() or end.wait(10), 1))
    thread.start()
    begun.wait(10)
    with pytest.raises(TimeoutError, match=r"other threads used the connection for 0\.01 s"):
        shared.use(lambda _: None, 0.01)
    end.set()
    thread.join()


def test_a_connection_in_use_during_a_fork_is_never_touched_by_the_child():
    connection = Connection()
    shared = SharedConnection(connection)
    shared.after_fork(held=False, in_child=True)
    shared.retire()
    assert not connection.closed
