"""At the limit the child is dead with everything it has started, whatever it was doing."""

import contextlib
import functools
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from resilient_tasks import TimedOut, Timeout, resilient
from resilient_tasks.subprocess import process_tree

LIMIT = 0.25


def _note(path):
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")


@pytest.fixture(autouse=True, scope="module")
def warm(tmp_path_factory):
    """Start the fork server before anything is timed."""
    resilient(timeout=Timeout(20, enforce="process"))(noted)(int, tmp_path_factory.mktemp("warm") / "pids")


def tight_loop():
    while True:
        pass


def c_call_that_keeps_the_interpreter_lock():
    re.match("(a+)+$", "a" * 40 + "b")


def swallows_everything():
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(5)


def lock_that_is_never_released():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def read_from_a_silent_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


def subprocess_that_takes_long():
    subprocess.run(["sleep", "60"], check=True)


def noted(fn, path):
    _note(path)
    fn()


@pytest.mark.parametrize("where", ["main thread", "worker thread"])
@pytest.mark.parametrize(
    "work",
    [
        tight_loop,
        c_call_that_keeps_the_interpreter_lock,
        swallows_everything,
        lock_that_is_never_released,
        read_from_a_silent_socket,
        subprocess_that_takes_long,
    ],
    ids=lambda fn: fn.__name__,
)
def test_any_function_is_dead_at_the_limit(work, where, in_process, pids, gone):
    call = functools.partial(in_process(noted, LIMIT).outcome, work, pids.path)
    began = time.monotonic()
    if where == "main thread":
        error = call().error
    else:
        with ThreadPoolExecutor(1) as threads:
            error = threads.submit(call).result().error
    took = time.monotonic() - began
    assert (type(error), error.stopped, error.abandoned) == (TimedOut, True, False)
    assert LIMIT <= took < LIMIT + 2  # a busy machine; on a quiet one it is 0.05
    (pid,) = pids()
    assert gone(pid, within=0)


def family(path):
    """Start a subprocess, one in a session of its own, and one whose parent has ended."""
    children = [subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sleep", "60"], start_new_session=True)]
    orphaning = "setsid sleep 60 >/dev/null 2>&1 & echo $!"
    orphan = subprocess.run(["sh", "-c", orphaning], check=True, capture_output=True)
    pids = [os.getpid(), *(child.pid for child in children), int(orphan.stdout)]
    path.write_text("\n".join(map(str, pids)))


def test_its_subprocesses_die_with_it_also_those_in_other_sessions(in_process, pids, gone):
    def work(path):
        family(path)
        time.sleep(60)

    with pytest.raises(TimedOut):
        in_process(work, 0.5)(pids.path)
    assert len(pids()) == 4
    assert gone(*pids(), within=0)


def test_subprocesses_of_a_dead_child_are_killed_too(in_process, pids, gone):
    def work(path):
        family(path)
        os._exit(0)

    in_process(work).outcome(pids.path)
    assert len(pids()) == 4
    assert gone(*pids())


def test_a_tree_is_killed_whole(gone):
    """Without a server that kills the orphans."""
    code = """
        import subprocess, sys, time
        from resilient_tasks.subprocess import process_tree

        process_tree.adopt_orphans()
        subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null & echo $!"])
        print(subprocess.Popen(["sleep", "60"], start_new_session=True).pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as root:
        orphan, other = (int(root.stdout.readline()) for _ in range(2))
        assert process_tree.kill_tree(psutil.Process(root.pid))
        assert gone(root.pid, orphan, other, within=0)


PARENT = """
    import atexit, os, psutil, subprocess, sys, threading, time
    from pathlib import Path

    def left():
        pids = (int(pid) for pid in path.read_text().split())
        print(*(pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"))

    atexit.register(left)  # registered first, called last
    from resilient_tasks import Timeout, resilient

    def work(path):
        other = subprocess.Popen(["sleep", "60"], start_new_session=True)
        path.write_text(f"{{os.getpid()}} {{os.getppid()}} {{other.pid}}")
        time.sleep(60)

    path = Path({path!r})
    threading.Thread(target=resilient(timeout=Timeout(60, enforce="process"))(work), args=[path], daemon=True).start()
    while len(path.read_text().split()) < 3:
        time.sleep(0.01)
    {end}
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit(0)"])
def test_nothing_outlives_the_parent(end, pids, gone):
    code = textwrap.dedent(PARENT).format(path=str(pids.path), end=end)
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30, capture_output=True, text=True)
    assert len(pids()) == 3
    assert gone(*pids())
    assert done.stdout.strip() == ""


def test_a_killed_attempt_may_be_followed_by_another_though_it_is_not_idempotent(in_process, pids, gone):
    def work(path):
        _note(path)
        if len(path.read_text().split()) < 2:
            tight_loop()
        return "done"

    assert in_process(work, LIMIT, retry=2)(pids.path) == "done"
    assert len(set(pids())) == 2
    assert gone(pids()[0], within=0)


def test_an_interrupted_caller_leaves_nothing_running(in_process, pids, gone):
    """As Prefect cancels: an exception that another thread sets in this one."""
    import ctypes

    class Cancelled(BaseException):
        pass

    raised = []

    def caller():
        try:
            in_process(noted, 60)(tight_loop, pids.path)
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    while not pids():
        time.sleep(0.01)
    began = time.monotonic()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Cancelled))
    thread.join(5)
    assert time.monotonic() - began < 1
    assert len(raised) == 1
    assert gone(*pids(), within=0)
