"""A process that ends or stops in the middle of a transfer leaves nothing running, and no two ends out of step."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from resilient_tasks import ProcessDied, TimedOut
from resilient_tasks.subprocess.channel import _LARGE as LARGE


class Acts:
    """Does something when it is unpickled, while the rest of a large value is still in transit."""

    def __init__(self, does, *args):
        self.reduced = does, args

    def __reduce__(self):
        return self.reduced


def noted(path):
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")


def in_the_middle(does, *args):
    return [np.ones(LARGE // 8), Acts(does, *args), np.ones(LARGE)]


class TestAnEndInTheMiddleOfATransfer:
    def test_the_child_dies_while_its_result_is_read(self, in_process, pids):
        def work(path):
            noted(path)
            return in_the_middle(os.kill, os.getpid(), signal.SIGKILL)

        error = in_process(work).outcome(pids.path).error
        assert isinstance(error, ProcessDied)
        assert error.signal == signal.SIGKILL
        assert len(pids()) == 1  # a call that has begun is not repeated

    def test_the_child_dies_while_it_reads_its_arguments(self, in_process):
        error = in_process(len).outcome(in_the_middle(os._exit, 3)).error
        assert isinstance(error, ProcessDied)
        assert error.exitcode == 3

    def test_the_limit_comes_while_the_result_is_read(self, in_process, pids, gone):
        def work(path):
            noted(path)
            return in_the_middle(os.kill, os.getpid(), signal.SIGSTOP)

        error = in_process(work, 0.5).outcome(pids.path).error
        assert isinstance(error, TimedOut)
        assert error.stopped
        assert gone(*pids(), within=0)

    def test_the_limit_comes_while_the_arguments_are_read(self, in_process, pids, gone):
        def work(*_):
            raise AssertionError

        assert in_process(noted)(pids.path) is None
        error = in_process(work, 0.5).outcome([Acts(noted, pids.path), in_the_middle(time.sleep, 60)]).error
        assert isinstance(error, TimedOut)
        assert error.stopped
        assert gone(*pids(), within=0)

    def test_a_result_that_cannot_be_unpickled_keeps_the_child_in_use(self, in_process):
        def work(number):
            return os.getpid() if number else in_the_middle(int, "text")

        call = in_process(work)
        child = call(1)
        with pytest.raises(ValueError, match="text"):
            call(0)
        assert call(1) == child

    def test_an_argument_that_cannot_be_unpickled_keeps_the_child_in_use(self, in_process):
        call = in_process(lambda _: os.getpid())
        child = call(1)
        with pytest.raises(ValueError, match="text"):
            call(in_the_middle(int, "text"))
        assert call(1) == child

    def test_an_interrupt_while_the_result_is_read_leaves_nothing_running(self, in_process, pids, gone):
        def work(path):
            noted(path)
            return in_the_middle(signal.raise_signal, signal.SIGINT)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
        try:
            with pytest.raises(KeyboardInterrupt):
                in_process(work)(pids.path)
        finally:
            signal.signal(signal.SIGINT, before)
        assert gone(*pids(), within=0)
        assert in_process(os.getpid)() not in pids()


SCRIPT = """
    import os, signal, sys
    import numpy as np
    from resilient_tasks import Timeout, resilient

    class Acts:
        def __init__(self, does, *args):
            self.reduced = does, args

        def __reduce__(self):
            return self.reduced

    def given_back(value, there=None):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {os.getppid()} ")
        return value if there is None else [value, there, value]

    path, parent = sys.argv[1], os.getpid()
    call = resilient(timeout=Timeout(60, enforce="process"))(given_back)
    call(1)
    child = int(open(path).read().split()[0])
    half = np.arange(1 << 21)
"""


def script(path, end):
    code = textwrap.dedent(SCRIPT) + textwrap.dedent(end)
    return subprocess.run([sys.executable, "-c", code, path], check=False, timeout=60, capture_output=True, text=True)


@pytest.mark.parametrize(
    "end",
    ["call([half, Acts(os.kill, parent, 9), half])", "call(half, there=Acts(os.kill, parent, 9))"],
    ids=["while the child reads", "while the parent reads"],
)
def test_a_parent_killed_in_the_middle_leaves_nothing_running(end, pids, gone):
    done = script(pids.path, end)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert pids()
    assert gone(*pids())


def test_a_parent_and_a_child_stopped_in_the_middle_continue(pids):
    done = script(
        pids.path,
        """
        halt = f"(kill -STOP {parent} {child}; sleep 0.5; kill -CONT {parent} {child}) > /dev/null 2>&1 &"
        for result in (call([half, Acts(os.system, halt), half]), call(half, there=Acts(os.system, halt))):
            assert (result[0] == half).all() and (result[2] == half).all()
        """,
    )
    assert done.returncode == 0, done.stderr
    assert len(set(pids())) == 2
