"""A store that is connected to anew, closed or forked while threads use it: no process dies of that."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resilient_tasks.state.connection import SharedConnection

#: Seconds for which each process is disturbed. A connection that is closed too soon ends it in a tenth of that.
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
def test_a_store_that_threads_use_may_be_connected_anew_closed_and_forked(tmp_path, store_url, mode):
    if mode == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    process = run(tmp_path, mode, store_url)
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr


def test_the_incidents_file_may_be_given_up_while_threads_tell_of_failures(tmp_path):
    process = run(tmp_path, "notify", "")
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr


class Connection:
    closed = False

    def close(self):
        assert not self.closed
        self.closed = True


def test_a_connection_that_is_given_up_is_closed_by_its_last_user():
    connection = Connection()
    lent = SharedConnection(connection)

    def used(lent_one):
        lent.give_up()
        return lent_one.closed

    assert lent.use(used, 1) is False
    assert connection.closed


def test_a_connection_that_no_thread_uses_is_closed_at_once_and_only_once():
    connection = Connection()
    lent = SharedConnection(connection)
    lent.give_up()
    lent.give_up()
    assert connection.closed
    with pytest.raises(ConnectionError, match="given up"):
        lent.use(lambda _: None, 1)


def test_a_thread_waits_for_a_connection_no_longer_than_it_was_told_to():
    lent = SharedConnection(Connection())
    begun, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=lent.use, args=(lambda _: begun.set() or end.wait(10), 1))
    thread.start()
    begun.wait(10)
    with pytest.raises(TimeoutError, match=r"other threads had the connection for 0\.01 s"):
        lent.use(lambda _: None, 0.01)
    end.set()
    thread.join()


def test_a_connection_that_could_not_be_held_for_a_fork_is_never_touched_by_the_child():
    connection = Connection()
    lent = SharedConnection(connection)
    lent.after_a_fork(held=False, in_child=True)
    lent.give_up()
    assert not connection.closed
