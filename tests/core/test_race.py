"""Attempts beside each other run in worker threads, which are kept for the next ones."""

import os
import threading
import time

import pytest

from resilient_tasks.core.execution import race


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_starts_worker_threads_of_its_own():
    done = threading.Event()
    thread = race._in_worker_thread("one", done.set)
    assert done.wait(10)
    patience = time.monotonic() + 10
    while thread not in race._idle and time.monotonic() < patience:
        time.sleep(0.001)
    assert thread in race._idle
    if (child := os.fork()) == 0:
        os._exit(len(race._idle))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
