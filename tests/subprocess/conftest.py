"""Shared by the tests of child processes."""

import os
import time

import psutil
import pytest

from resilient_tasks import Timeout, resilient


@pytest.fixture
def in_process():
    """`in_process(fn)` has `fn` run in a child process, `seconds` at most."""

    def decorate(fn, seconds=20, **options):
        return resilient(timeout=Timeout(seconds, enforce="process"), **options)(fn)

    return decorate


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _gone(*pids, within=5.0):
    until = time.monotonic() + within
    while any(map(runs, pids)):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def gone():
    """`gone(pid, ...)` waits for processes to end, and returns whether they did."""
    return _gone


@pytest.fixture
def pids(tmp_path):
    """A file into which a function writes process ids, one a line; `pids()` reads them."""
    path = tmp_path / "pids"
    path.touch()

    def read():
        return [int(line) for line in path.read_text().split()]

    read.path = path
    read.own = os.getpid()
    return read
