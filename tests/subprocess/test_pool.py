"""Children are kept warm, replaced when they have died, and never mixed up."""

import copy
import logging
import multiprocessing
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from resilient_tasks import (
    Chaos,
    Deadline,
    DeadlineExceeded,
    Pipeline,
    ProcessDied,
    Retry,
    TimedOut,
    Timeout,
    resilient,
)
from resilient_tasks.core.execution.interrupt import Overrun
from resilient_tasks.core.execution.runtime import drive
from resilient_tasks.subprocess import pool as pools
from resilient_tasks.subprocess import runtime

PROCESS = Timeout(20, enforce="process")


@pytest.fixture
def own_pool(monkeypatch):
    """A pool of the test's own, ended with all its children."""
    own = pools.Pool()
    monkeypatch.setattr(pools, "pool", own)
    yield own
    own.close()


def test_a_child_is_reused(own_pool, in_process):
    assert len({in_process(os.getpid)() for _ in range(3)}) == 1


def test_children_that_died_between_calls_are_replaced_without_an_error(own_pool, in_process, gone, monkeypatch):
    monkeypatch.setattr(pools, "KEPT", 3)
    barrier = threading.Barrier(3)

    def work(_):
        barrier.wait()
        return in_process(lambda: time.sleep(0.2) or os.getpid())()

    with ThreadPoolExecutor(3) as threads:
        children = {*threads.map(work, range(3)), *(child._process.pid for child in own_pool._idle)}
    for child in children:
        os.kill(child, 9)
    assert gone(*children)
    assert in_process(os.getpid)() not in children


def test_a_child_that_dies_just_as_it_is_called_is_replaced_without_an_error(own_pool, in_process, monkeypatch, gone):
    first = in_process(os.getpid)()
    monkeypatch.setattr(pools.Child, "alive", lambda child: True)
    os.kill(first, 9)
    assert gone(first)
    assert in_process(os.getpid)() != first


def test_a_fork_server_that_was_killed_is_replaced_without_an_error(own_pool, in_process, gone):
    child, server = in_process(lambda: (os.getpid(), os.getppid()))()
    os.kill(server, 9)
    assert gone(server, child)  # on Linux a child does not outlive its server
    assert in_process(os.getppid)() != server


def test_twenty_threads_get_a_child_each_and_their_own_results(own_pool, in_process):
    barrier = threading.Barrier(20)

    def work(number):
        time.sleep(0.05)
        return number, os.getpid()

    call = in_process(work)

    def caller(number):
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(20) as threads:
        results = list(threads.map(caller, range(20)))
    assert [number for number, _ in results] == list(range(20))
    assert len({pid for _, pid in results}) > pools.KEPT
    assert len(own_pool._idle) <= pools.KEPT


def test_twenty_threads_at_their_limit_all_return_in_time_and_leave_nothing(own_pool, in_process, pids, gone):
    def work(path):
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        while True:
            pass

    call = in_process(work, 0.3)
    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(lambda _: call.outcome(pids.path), range(20)))
    assert {type(outcome.error) for outcome in outcomes} == {TimedOut}
    assert all(outcome.error.stopped for outcome in outcomes)
    assert gone(*pids(), within=0)


def test_modules_are_loaded_once_for_all_children(own_pool, in_process, tmp_path, monkeypatch, gone):
    path = tmp_path / "slow_to_import.py"
    path.write_text("import os\nwhere = os.getpid()\ndef loaded_in():\n    return where, os.getpid()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import slow_to_import

    monkeypatch.setitem(sys.modules, "slow_to_import", slow_to_import)
    stale = in_process(os.getpid)()
    call = in_process(slow_to_import.loaded_in)
    where, first = call()
    assert stale != first
    assert gone(stale)
    os.kill(first, 9)
    again, second = call()
    assert where == again == own_pool._server._process.pid
    assert first != second


@pytest.mark.parametrize(
    "start",
    [
        "threading.Thread(target=time.sleep, args=[60], daemon=True).start()",
        "import _thread; _thread.start_new_thread(time.sleep, (60,))",  # as C code starts its own
    ],
    ids=["of Python", "of another language"],
)
def test_a_module_that_leaves_a_thread_running_is_not_loaded_by_the_server(
    start, own_pool, in_process, tmp_path, monkeypatch
):
    path = tmp_path / "busy_module.py"
    path.write_text(
        f"import os, threading, time\n{start}\nwhere = os.getpid()\ndef loaded_in():\n    return where == os.getpid()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import busy_module

    monkeypatch.setitem(sys.modules, "busy_module", busy_module)
    assert in_process(busy_module.loaded_in)()
    assert in_process(os.getppid)() == own_pool._server._process.pid


def test_loading_does_not_count_towards_the_limit_but_is_bounded(own_pool, in_process, tmp_path, monkeypatch, gone):
    path = tmp_path / "slow_module.py"
    path.write_text("import os, time\ntime.sleep(float(os.environ.get('SLOW', 0)))\ndef work():\n    return 'done'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import slow_module

    monkeypatch.setitem(sys.modules, "slow_module", slow_module)
    monkeypatch.setenv("SLOW", "0.4")
    assert in_process(slow_module.work, 0.3)() == "done"
    own_pool.close()
    monkeypatch.setenv("SLOW", "60")
    assert isinstance(in_process(slow_module.work, 0.3, deadline=0.3).outcome().error, DeadlineExceeded)
    monkeypatch.setattr(runtime, "LOADING", 0.3)
    before = psutil.Process().children()
    error = in_process(slow_module.work, 0.3).outcome().error
    assert isinstance(error, ProcessDied)
    assert "was not loaded in its process within 0.3 s" in str(error)
    assert gone(*{process.pid for process in psutil.Process().children() if process not in before}, within=0)


def test_children_draw_different_random_numbers(own_pool):
    numbers = pytest.importorskip("numpy.random")

    def draw():
        time.sleep(0.1)
        return random.random(), numbers.random()

    call = resilient(timeout=PROCESS)(draw)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: call(), range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


def _in_a_fork(queue):
    queue.put(resilient(timeout=PROCESS)(os.getppid)())


def test_a_forked_process_has_its_own_pool(own_pool, in_process):
    server = in_process(os.getppid)()
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    process = fork.Process(target=_in_a_fork, args=[queue])
    process.start()
    other = queue.get(timeout=20)
    process.join(20)
    assert other != server
    assert in_process(os.getppid)() == server


FORKING = """
    import os, sys
    from resilient_tasks import Timeout, resilient

    server = resilient(timeout=Timeout(20, enforce="process"))(os.getppid)
    before = server()
    pid = os.fork()
    if pid == 0:
        sys.exit(server() == before)
    assert os.waitpid(pid, 0)[1] == 0
    assert server() == before
"""


def test_a_fork_that_exits_leaves_the_fork_server_of_its_parent_alone():
    code = textwrap.dedent(FORKING)
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_policies_inside_the_timeout_run_in_the_caller_within_its_limit(own_pool, resilient_events):
    calls = []

    def spy(error):
        calls.append(os.getpid())
        return True

    def work():
        raise ConnectionError

    pipeline = Pipeline(Timeout(1, enforce="process"), Retry(on=spy, attempts=50, wait=0.2))
    began = time.monotonic()
    with pytest.raises(TimedOut) as info:
        pipeline.call(work)
    assert 1 <= time.monotonic() - began < 3
    assert info.value.stopped
    assert set(calls) == {os.getpid()}


def test_a_deadline_inside_the_timeout_kills_too_and_the_next_attempt_gets_a_new_child(own_pool, pids):
    def work(path):
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(path.read_text().split()) < 2:
            time.sleep(60)
        return "done"

    pipeline = Pipeline(PROCESS, Retry(attempts=2, wait=0), Deadline(1.0))
    assert pipeline.call(work, pids.path) == "done"
    assert len(set(pids())) == 2


def test_a_call_inside_a_child_has_its_own_child_that_dies_with_it(own_pool, in_process, pids, gone):
    def inner(path):
        with path.open("a") as file:
            file.write(f"{os.getpid()} {os.getppid()}\n")
        time.sleep(60)

    def outer(path):
        resilient(timeout=Timeout(50, enforce="process"))(inner)(path)

    assert isinstance(in_process(outer, 1.5).outcome(pids.path).error, TimedOut)
    assert len(pids()) == 2
    assert gone(*pids(), within=0)


def test_the_pool_logs_nothing_itself(own_pool, in_process, caplog):
    with caplog.at_level(logging.DEBUG):
        in_process(len)("abc")
    here = (os.getpid(), threading.get_ident())  # other threads of this session may log
    assert [record for record in caplog.records if record.process != here[0] or record.thread == here[1]] == []


def test_the_latency_of_chaos_is_cut_too(own_pool):
    call = resilient(timeout=Timeout(0.3, enforce="process"), policies=[Chaos(latency=30)])(len)
    began = time.monotonic()
    assert isinstance(call.outcome("abc").error, TimedOut)
    assert time.monotonic() - began < 5


def test_nothing_begins_after_a_wait_that_reached_the_limit():
    begun = []

    async def proceed(_):
        await waiting.sleep(30)
        begun.append(1)

    waiting = runtime.ProcessRuntime("work")
    assert drive(waiting.limit(None, proceed, 0.1, "process")) == Overrun(stopped=True)
    assert begun == []


def test_no_file_descriptor_is_lost(own_pool, in_process):
    large = bytearray(10_000_000)

    class Unmade:
        def __reduce__(self):
            return int, ("text",)

    def one_of_each():
        in_process(len)("abc")
        in_process(copy.copy)(large)
        in_process(len).outcome([large, Unmade(), large])
        in_process(lambda: threading.Lock()).outcome()  # noqa: PLW0108  # pickled by value
        in_process(time.sleep, 0.1).outcome(60)
        in_process(os._exit).outcome(3)

    def held():
        this = psutil.Process()
        return this.num_fds() - len(this.net_connections("inet"))  # those are of other threads of this session

    one_of_each()
    before = held()
    one_of_each()
    one_of_each()
    assert held() == before
