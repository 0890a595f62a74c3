"""What an attempt has started may outlive its limit: `stopped` is true only if everything has stopped."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import multiprocessing.pool
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from resilient_tasks import Bulkhead, Hedge, Pipeline, Retry, TimedOut, resilient
from resilient_tasks.core.execution import interrupt
from resilient_tasks.core.execution.abandoned import abandoned
from resilient_tasks.core.outcome import Failed

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*has a timeout and a retry", "ignore:.*has a limit"),
    pytest.mark.usefixtures("each_call"),
]

SLEEPS = [sys.executable, "-c", "import time; time.sleep(20)"]


class Work:
    """Work that lasts until the test opens its gate, in any thread, task or process."""

    def __init__(self):
        self.gate = threading.Event()
        self.begun = self.ended = self.calls = 0
        self.pool = concurrent.futures.ThreadPoolExecutor(3)
        self.processes = []

    def insert(self):
        self.begun += 1
        self.gate.wait(20)
        self.ended += 1

    async def ainsert(self):
        self.begun += 1
        while not self.gate.is_set():  # noqa: ASYNC110  # set in a thread
            await asyncio.sleep(0.005)
        self.ended += 1

    def process(self):
        self.processes.append(subprocess.Popen(SLEEPS))  # this very interpreter
        return self.processes[-1]

    def let_go(self):
        self.gate.set()
        for process in self.processes:
            process.kill()
            process.wait()
        self.pool.shutdown()


@pytest.fixture
def work():
    work = Work()
    yield work
    work.let_go()


def loop():
    return asyncio.get_running_loop()


async def to_thread(work):
    await asyncio.to_thread(work.insert)


async def waited_for(work):
    await asyncio.wait_for(asyncio.to_thread(work.insert), 20)


async def default_executor(work):
    await loop().run_in_executor(None, work.insert)


async def own_executor(work):
    await loop().run_in_executor(work.pool, work.insert)


async def own_executor_that_nothing_awaits(work):
    loop().run_in_executor(work.pool, work.insert)
    await asyncio.sleep(20)


async def gathered(work):
    await asyncio.gather(*(loop().run_in_executor(work.pool, work.insert) for _ in range(2)))


async def wrapped(work):
    await asyncio.wrap_future(work.pool.submit(work.insert))


async def shielded(work):
    await asyncio.shield(work.ainsert())


async def shielded_executor(work):
    await asyncio.shield(loop().run_in_executor(work.pool, work.insert))


async def task_left_running(work):
    task = asyncio.create_task(work.ainsert())
    await asyncio.wait([task])


async def anyio_thread(work):
    import anyio.to_thread

    await anyio.to_thread.run_sync(work.insert, abandon_on_cancel=True)


async def queued_behind_another(work):
    for _ in range(4):  # one more than there are threads
        loop().run_in_executor(work.pool, work.insert)
    await asyncio.sleep(20)


async def subprocess_that_is_awaited(work):
    process = await asyncio.create_subprocess_exec(*SLEEPS)
    work.processes.append(_Killable(process))
    await process.wait()


class _Killable:
    """A process of asyncio that can be ended without its loop."""

    def __init__(self, process):
        self.pid = process.pid

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        """Its loop's watcher reaps it."""


async def popen_in_a_coroutine(work):
    work.process()
    await asyncio.sleep(20)


ASYNC = (
    to_thread,
    waited_for,
    default_executor,
    own_executor,
    own_executor_that_nothing_awaits,
    gathered,
    wrapped,
    shielded,
    shielded_executor,
    task_left_running,
    anyio_thread,
    queued_behind_another,
    popen_in_a_coroutine,
)


def submitted(work):
    work.pool.submit(work.insert).result()


def submitted_several(work):
    futures = [work.pool.submit(work.insert) for _ in range(2)]
    concurrent.futures.wait(futures)


def thread_started(work):
    threading.Thread(target=work.insert).start()
    time.sleep(20)


def thread_joined(work):
    thread = threading.Thread(target=work.insert)
    thread.start()
    thread.join()


def pool_of_multiprocessing(work):
    with multiprocessing.pool.ThreadPool(2) as pool:
        pool.map(lambda _: work.insert(), [1])


def thread_in_a_context(work):
    threading.Thread(target=contextvars.copy_context().run, args=(work.insert,)).start()
    time.sleep(20)


def popen(work):
    work.process()
    time.sleep(20)


def popen_waited_for(work):
    work.process().wait()


SYNC = (
    submitted,
    submitted_several,
    thread_started,
    thread_joined,
    thread_in_a_context,
    pool_of_multiprocessing,
    popen,
    popen_waited_for,
)


def limited(function, work, **options):
    """Put a timeout and a retry around the function, and count its calls."""
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def counted():
            work.calls += 1
            await function(work)

    else:

        @functools.wraps(function)
        def counted():
            work.calls += 1
            function(work)

    return resilient(timeout=0.15, retry=Retry(attempts=3, wait=0), **options)(counted)


def check_reports(error, events):
    """Check that error, event and `abandoned()` agree about an attempt that still runs."""
    assert isinstance(error, TimedOut)
    assert error.stopped is not True
    assert error.abandoned
    (event,) = events.named("timeout.exceeded")
    assert (event.stopped, event.abandoned, event.thread) == (error.stopped, True, error.thread)
    assert error.thread in {about.thread for about in abandoned()}
    assert "still running" in str(error)


@pytest.mark.parametrize("function", ASYNC, ids=lambda function: function.__name__)
def test_what_an_async_function_has_started_runs_on_if_no_cancellation_reaches_it(function, work, resilient_events):
    async def main():
        if function is anyio_thread:  # its first use is slow
            import anyio.to_thread

            await anyio.to_thread.run_sync(int)
        outcome = await limited(function, work).outcome()
        check_reports(outcome.error, resilient_events)
        work.let_go()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert work.calls == 1


@pytest.mark.parametrize("function", SYNC, ids=lambda function: function.__name__)
def test_what_a_function_in_the_main_thread_has_started_runs_on(function, work, resilient_events):
    work.pool.submit(int).result()  # not all of its threads are new
    check_reports(limited(function, work).outcome().error, resilient_events)
    assert work.calls == 1


def test_what_an_attempt_interrupted_in_a_worker_thread_has_started_runs_on(work, resilient_events):
    def spins(work):
        threading.Thread(target=work.insert).start()
        while not work.gate.is_set():
            pass

    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(limited(spins, work).outcome()))
    thread.start()
    thread.join(20)
    check_reports(outcomes[0].error, resilient_events)
    assert work.calls == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the child watcher of Python 3.11 waits in a thread for the end")
def test_a_subprocess_that_a_coroutine_waits_for_runs_on(work, resilient_events):
    async def main():
        check_reports((await limited(subprocess_that_is_awaited, work).outcome()).error, resilient_events)
        work.let_go()

    asyncio.run(main())
    assert work.calls == 1


def test_an_idempotent_operation_is_retried_beside_it(work):
    outcome = asyncio.run(_outcome_and_end(limited(to_thread, work, idempotent=True), work))
    assert work.calls == 3
    assert outcome.error.abandoned


async def _outcome_and_end(decorated, work):
    outcome = await decorated.outcome()
    work.let_go()
    return outcome


def test_a_thread_that_it_has_started_is_its_own(work, resilient_events):
    def starts_another(work):
        threading.Thread(target=lambda: threading.Thread(target=work.insert, name="grandchild").start()).start()
        time.sleep(20)

    error = limited(starts_another, work).outcome().error
    assert (error.stopped, error.thread) == (False, "grandchild")


def test_a_thread_that_others_start_meanwhile_is_not_its_own(work):
    go, started = threading.Event(), threading.Event()

    def start_one():
        go.wait(20)
        threading.Thread(target=work.insert).start()
        started.set()

    def waits():
        go.set()
        started.wait(20)
        time.sleep(20)

    threading.Thread(target=start_one).start()
    error = resilient(timeout=0.2)(waits).outcome().error
    assert started.is_set()
    assert (error.stopped, error.abandoned) == (True, False)


@pytest.mark.skipif(sys.platform != "linux", reason="child processes are listed on Linux")
def test_a_process_of_unknown_origin_is_reported_as_unknown(work, resilient_events):
    def starts_one(work):
        work.process()
        time.sleep(20)

    error = limited(starts_one, work).outcome().error
    assert error.stopped is None
    assert "whether it was stopped is unknown" in str(error)
    (event,) = resilient_events.named("timeout.exceeded")
    assert "perhaps still running in the process" in event.sentence()


def test_what_ran_before_the_call_is_not_its_own(work):
    threading.Thread(target=work.insert).start()
    work.pool.submit(work.insert)
    work.process()
    time.sleep(0.05)  # the system has start times of processes in hundredths of a second
    error = resilient(timeout=0.05)(time.sleep).outcome(20).error
    assert (error.stopped, error.abandoned) == (True, False)


def test_what_another_call_has_started_is_not_its_own(work):
    async def main():
        others = asyncio.create_task(own_executor(work))
        too = asyncio.create_task(to_thread(work))
        await asyncio.sleep(0.01)
        error = (await resilient(timeout=0.05)(asyncio.sleep).outcome(20)).error
        work.let_go()
        await asyncio.gather(others, too)
        return error

    error = asyncio.run(main())
    assert (error.stopped, error.abandoned) == (True, False)


def test_a_future_in_its_arguments_is_not_its_own(work):
    future = work.pool.submit(work.insert)
    error = resilient(timeout=0.05)(lambda future: future.result()).outcome(future).error
    assert (error.stopped, error.abandoned) == (True, False)


def test_tasks_that_end_with_it_do_not_count():
    async def children():
        mine = asyncio.create_task(asyncio.sleep(20))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(20))
        finally:
            mine.cancel()

    error = asyncio.run(resilient(timeout=0.05)(children).outcome()).error
    assert (error.stopped, error.abandoned) == (True, False)


def test_a_job_that_ran_at_the_limit_and_then_to_its_end_was_not_stopped(work):
    async def cleans_up():
        try:
            await asyncio.to_thread(work.insert)
        finally:
            work.gate.set()
            while not work.ended:  # noqa: ASYNC110  # set in a thread
                await asyncio.sleep(0.005)

    error = asyncio.run(resilient(timeout=0.1)(cleans_up).outcome()).error
    assert (error.stopped, error.abandoned) == (False, False)
    assert str(error).endswith(interrupt.RAN_TO_ITS_END)


def test_a_pool_that_its_block_waits_for_is_reported_as_late(work):
    @resilient(timeout=0.1)
    def pooled():
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pool.submit(time.sleep, 0.2 + interrupt.LATE)

            time.sleep(20)

    error = pooled.outcome().error
    assert error.stopped is False
    assert not error.abandoned
    assert str(error).endswith("s after its limit")


def test_a_slot_stays_taken_until_what_runs_on_has_ended(work, resilient_clock):
    decorated = limited(to_thread, work, bulkhead=Bulkhead("api", 1))

    async def main():
        await decorated.outcome()
        assert isinstance(Pipeline(Bulkhead("api", 1)).outcome(int), Failed)
        work.let_go()
        for _ in range(1000):
            outcome = Pipeline(Bulkhead("api", 1)).outcome(int)
            if not isinstance(outcome, Failed):
                break
            await asyncio.sleep(0.01)
        return outcome

    assert asyncio.run(main()).value == 0


def test_a_slot_of_a_call_that_its_caller_cancels_stays_taken_too(work, resilient_clock):
    decorated = resilient(bulkhead=Bulkhead("api", 1))(functools.partial(to_thread, work))

    async def main():
        task = asyncio.ensure_future(decorated())
        while not work.begun:  # noqa: ASYNC110  # set in a thread
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        assert isinstance(Pipeline(Bulkhead("api", 1)).outcome(int), Failed)
        work.let_go()

    asyncio.run(main())


@pytest.mark.parametrize("way", [to_thread, own_executor], ids=lambda way: way.__name__)
def test_what_the_losing_call_of_a_hedge_has_started_is_counted(way, work):
    @resilient(hedge=Hedge(after=0.05), idempotent=True)
    async def hedged():
        work.calls += 1
        if work.calls == 1:
            await way(work)
        return "second"

    async def main():
        assert await hedged() == "second"
        await asyncio.sleep(0.02)
        (left,) = abandoned()
        assert left.operation.endswith("hedged")
        work.let_go()

    asyncio.run(main())


def test_leftovers_emit_no_event_and_begin_no_attempt(work, resilient_events):
    async def fails_late():
        async def late():
            await work.ainsert()
            await resilient(retry=3)(work.ainsert)()

        await asyncio.shield(late())

    async def main():
        await resilient(timeout=0.05)(fails_late).outcome()
        before = resilient_events.names
        work.let_go()
        await asyncio.sleep(0.05)
        assert resilient_events.names == before

    asyncio.run(main())
    assert work.begun == 1
