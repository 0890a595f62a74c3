"""Limits at little cost: the watch of the main thread, the timer of a loop, the helper thread of a worker."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref

import pytest

from resilient_tasks import Failed, resilient
from resilient_tasks.core.execution import interrupt, limits, threads
from resilient_tasks.core.execution.watch import NEVER, Watch

pytestmark = pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")

unix = pytest.mark.skipif(not hasattr(signal, "SIGURG"), reason="Windows has no such signal")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


LATE = {interrupt.HELD, interrupt.BLOCKED}


class Attempt:
    """The part of a call that a limit uses."""

    operation, parent = "work", None

    def __init__(self):
        self.fenced = False

    def fence(self):
        self.fenced = True


def was_cut(overrun):
    """Return whether work was ended by its limit, perhaps late on a busy machine."""
    return isinstance(overrun, interrupt.Overrun) and (overrun.stopped or overrun.reason in LATE)


def until(happened, seconds=20):
    """Wait until something has happened."""
    late = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < late, "it did not happen"
        time.sleep(0.001)


def elsewhere(function):
    """Call in a worker thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(60)
    return results[0]


class TestWatch:
    @pytest.fixture
    def kept(self):
        return []

    @pytest.fixture
    def rang(self):
        return []

    @pytest.fixture
    def watch(self, kept, rang):
        watch = Watch(lambda: min(kept, default=NEVER), lambda: rang.append(time.monotonic()))
        yield watch
        watch.stop()

    def test_it_rings_when_the_first_time_has_come(self, watch, kept, rang):
        now = time.monotonic()
        kept += [now + 60, now + 0.05]
        watch.look_by(min(kept))
        until(lambda: rang)
        assert rang[0] >= now + 0.05

    def test_it_rings_for_an_earlier_time_added_while_it_sleeps(self, watch, kept, rang):
        kept.append(time.monotonic() + 60)
        watch.look_by(kept[0])
        until(lambda: watch.looks_at == kept[0])
        kept.append(time.monotonic() + 0.02)
        watch.look_by(kept[1])
        until(lambda: rang)

    def test_it_rings_again_until_the_time_is_removed(self, watch, kept, rang):
        kept.append(time.monotonic())
        watch.look_by(kept[0])
        until(lambda: len(rang) >= 3)
        kept.clear()
        until(lambda: watch.looks_at == NEVER)

    def test_it_does_not_ring_for_a_removed_time(self, watch, kept, rang):
        kept.append(time.monotonic() + 0.02)
        watch.look_by(kept[0])
        kept.clear()
        until(lambda: watch.looks_at == NEVER)
        assert rang == []

    def test_a_time_that_no_lock_could_wait_for_is_kept(self, watch, kept, rang):
        kept.append(1e30)
        watch.look_by(1e30)
        until(lambda: watch.looks_at == 1e30)
        kept.append(time.monotonic())
        watch.look_by(kept[1])
        until(lambda: rang)

    def test_it_goes_on_after_a_fork(self, watch, kept, rang):
        kept.append(time.monotonic() + 0.1)
        watch.look_by(kept[0])
        watch.stop()
        watch._restart()
        until(lambda: rang)

    def test_it_raises_if_threads_have_been_replaced(self, watch, monkeypatch):
        monkeypatch.setattr("_thread.start_new_thread", lambda *_: None)
        with pytest.raises(RuntimeError, match="no thread of the system can be started"):
            watch.look_by(1.0)
        assert watch.looks_at == NEVER


@unix
class TestInTheMainThread:
    @pytest.fixture
    def urgent(self):
        before = signal.getsignal(interrupt._SIGNAL)
        yield lambda handler: signal.signal(interrupt._SIGNAL, handler)
        signal.signal(interrupt._SIGNAL, before)

    def test_a_value_and_an_error_of_the_work_pass(self):
        assert limits.in_time(max, 5, Attempt(), (1, 2), {"key": lambda n: -n}) == 1
        with pytest.raises(KeyError):
            limits.in_time({}.__getitem__, 5, Attempt(), ("mine",))

    def test_no_thread_is_seen_and_no_alarm_is_touched(self):
        before = threading.enumerate(), signal.getsignal(signal.SIGALRM)

        def look():
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
            return threading.enumerate(), signal.getsignal(signal.SIGALRM)

        assert limits.in_time(look, 5, Attempt()) == before
        assert look() == before

    def test_work_that_uses_the_alarm_for_itself_is_interrupted_all_the_same(self):
        rang = []

        def own_alarm():
            before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            try:
                time.sleep(0.05)
                time.sleep(20)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)

        assert was_cut(limits.in_time(own_alarm, 0.3, Attempt()))
        assert rang == [1]

    def test_many_limits_that_are_not_reached_send_no_signal(self, monkeypatch):
        sent = []
        monkeypatch.setattr(interrupt._watch, "_ring", lambda: sent.append(1))
        for _ in range(200):
            limits.in_time(lambda: None, 0.02, Attempt())
        until(lambda: interrupt._watch.looks_at == NEVER)
        assert sent == []

    def test_a_signal_that_was_lost_is_sent_again(self, monkeypatch):
        send, lost = interrupt._watch._ring, []

        def lose_some():
            if len(lost) < 3:
                lost.append(1)
            else:
                send()

        monkeypatch.setattr(interrupt._watch, "_ring", lose_some)
        assert was_cut(limits.in_time(time.sleep, 0.02, Attempt(), (20,)))
        assert len(lost) == 3

    def test_limits_inside_each_other_end_from_the_inside_out(self):
        ended = []

        def nest(depth):
            if not depth:
                return time.sleep(20)
            overrun = limits.in_time(nest, {1: 0.02, 2: 0.5, 3: 1.0}[depth], Attempt(), (depth - 1,))
            ended.append((depth, was_cut(overrun)))
            return time.sleep(20 if depth < 3 else 0)

        nest(3)
        assert ended == [(1, True), (2, True), (3, True)]

    def test_an_existing_handler_gets_the_other_signals(self, urgent):
        received = []
        urgent(lambda *_: received.append(1))
        interrupt._watch.looks_at = NEVER
        assert was_cut(limits.in_time(time.sleep, 0.02, Attempt(), (20,)))
        signal.raise_signal(interrupt._SIGNAL)
        assert received == [1]

    def test_a_limit_whose_handler_was_replaced_is_reported_as_not_stopped(self, urgent):
        def replace():
            urgent(signal.SIG_IGN)
            time.sleep(0.1)

        overrun = limits.in_time(replace, 0.02, Attempt())
        assert (overrun.stopped, overrun.reason) == (False, "")

    def test_a_limit_after_the_handler_was_replaced_is_enforced_again(self, urgent):
        def replace():
            urgent(signal.SIG_DFL)
            time.sleep(0.1)

        for _ in range(3):  # without a pause in which the watch could notice
            assert not was_cut(limits.in_time(replace, 0.02, Attempt()))
            assert was_cut(limits.in_time(time.sleep, 0.3, Attempt(), (20,)))

    def test_a_handler_that_calls_the_previous_one_is_called_once(self, urgent):
        received = []
        assert was_cut(limits.in_time(time.sleep, 0.02, Attempt(), (20,)))
        before = signal.getsignal(interrupt._SIGNAL)

        def receive(*args):
            received.append(1)
            before(*args)

        urgent(receive)
        assert was_cut(limits.in_time(time.sleep, 0.02, Attempt(), (20,)))
        signal.raise_signal(interrupt._SIGNAL)
        assert received == [1]

    def test_work_that_is_interrupted_from_outside_leaves_no_limit_behind(self):
        def outside():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            limits.in_time(outside, 0.01, Attempt())
        assert interrupt._innermost is None
        time.sleep(0.03)

    def test_a_paused_process_is_reported_as_held(self):
        pid = os.getpid()
        other = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.1; kill -STOP {pid}; sleep 1; kill -CONT {pid}"])
        overrun = limits.in_time(time.sleep, 0.3, Attempt(), (20,))
        assert other.wait(20) == 0
        assert (overrun.stopped, overrun.reason) == (False, interrupt.HELD)

    @forks
    def test_at_a_fork_after_a_limit_the_process_has_one_thread(self):
        script = (
            "import os, time, warnings\n"
            "from resilient_tasks import resilient, DeadlineExceeded\n"
            "warnings.simplefilter('error')\n"
            "call = resilient(deadline=0.5)(time.sleep)\n"
            "for _ in range(5):\n"
            "    call(0)\n"
            "    if (child := os.fork()) == 0:\n"
            "        os._exit(0 if isinstance(call.outcome(20).error, DeadlineExceeded) else 1)\n"
            "    assert os.waitpid(child, 0)[1] == 0\n"
            "assert isinstance(call.outcome(20).error, DeadlineExceeded)\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

    @forks
    def test_a_fork_inside_of_the_work_leaves_the_limit_to_the_parent(self):
        def fork():
            child = os.fork()
            if not child:
                time.sleep(0.2)
                os._exit(7)
            _, status = os.waitpid(child, 0)
            time.sleep(20)
            return status

        exits = []
        waitpid = os.waitpid

        def noted(*about):
            result = waitpid(*about)
            exits.append(os.waitstatus_to_exitcode(result[1]))
            return result

        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of other tests' threads
            patch.setattr(os, "waitpid", noted)
            assert isinstance(limits.in_time(fork, 0.1, Attempt()), interrupt.Overrun)
        if not exits:
            waitpid(-1, 0)

    def test_it_holds_while_the_interpreter_shuts_down(self):
        script = (
            "import atexit, time\n"
            "from resilient_tasks import resilient\n"
            "atexit.register(lambda: print(type(resilient(deadline=0.2)(time.sleep).outcome(20).error)))\n"
        )
        done = subprocess.run([sys.executable, "-c", script], check=True, timeout=15, capture_output=True, text=True)
        assert "DeadlineExceeded" in done.stdout

    def test_if_no_thread_can_be_started_a_timer_enforces_the_limit(self, monkeypatch):
        def none_left(_):
            raise RuntimeError

        monkeypatch.setattr(interrupt._watch, "look_by", none_left)
        monkeypatch.setattr(interrupt._watch, "looks_at", NEVER)
        before = signal.getsignal(signal.SIGALRM)
        try:
            lock = threading.Lock()

            def for_ever():
                while True:
                    with lock:
                        sum(range(50))

            assert was_cut(limits.in_time(for_ever, 0.05, Attempt()))
            assert not lock.locked()
            until(lambda: signal.getitimer(signal.ITIMER_REAL) == (0, 0))
        finally:
            signal.signal(signal.SIGALRM, before)


class TestInAWorkerThread:
    def test_calls_of_one_thread_are_done_by_one_other(self):
        @resilient(deadline=5)
        def who():
            return threading.current_thread(), threading.current_thread().name

        def calls():
            return [who() for _ in range(3)], threading.current_thread()

        done, caller = elsewhere(calls)
        assert len({thread for thread, _ in done}) == 1
        assert len({name for _, name in done}) == 3
        assert all(name.startswith("resilient:") and "who" in name for _, name in done)
        assert done[0][0] is not caller
        assert not done[0][0].name.startswith("resilient:")

    def test_each_caller_has_its_own_thread(self):
        who = resilient(deadline=5)(threading.get_ident)
        both = threading.Barrier(2)

        def call():
            both.wait(20)
            found = {who() for _ in range(20)}
            both.wait(20)
            return found

        found = []
        workers = [threading.Thread(target=lambda: found.append(call())) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert len(found[0]) == len(found[1]) == 1
        assert found[0] != found[1]

    def test_an_abandoned_thread_serves_no_other_call_and_ends_with_its_work(self):
        gate = threading.Event()

        @resilient(timeout=0.05)
        def stuck(gate):
            thread = threading.current_thread()
            gate.wait(20)
            return thread

        def calls():
            error = stuck.outcome(gate).error
            (left,) = [each for each in threading.enumerate() if each.name == error.thread]
            free = threading.Event()
            free.set()
            return left, stuck(free)

        left, other = elsewhere(calls)
        assert left is not other
        gate.set()
        left.join(20)
        assert not left.is_alive()

    def test_an_idle_thread_ends(self, monkeypatch):
        monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.01)
        who = resilient(deadline=5)(threading.current_thread)

        def calls():
            first = who()
            first.join(20)
            return first, who()

        first, second = elsewhere(calls)
        assert not first.is_alive()
        assert first is not second

    def test_nothing_of_a_call_is_kept_by_the_thread(self):
        class Big:
            pass

        @resilient(deadline=5)
        def fail(big):
            raise KeyError(big)

        @resilient(deadline=5)
        def give(big):
            return big

        def calls():
            given, failed = Big(), Big()
            refs = weakref.ref(given), weakref.ref(failed)
            assert give(given) is given
            assert isinstance(fail.outcome(failed), Failed)
            del given, failed
            gc.collect()
            return [ref() for ref in refs]

        assert elsewhere(calls) == [None, None]

    def test_a_thread_is_not_tied_to_one_call(self):
        """Threads that it starts later would be attributed to that call."""
        from resilient_tasks.core.execution import thread_starts

        who = resilient(deadline=5)(threading.current_thread)
        assert elsewhere(lambda: thread_starts.call_of(who())) == (None, None)

    @forks
    def test_a_fork_inside_of_the_work_ends_with_it_in_the_child(self):
        script = (
            "import os, threading, warnings\n"
            "from resilient_tasks import resilient\n"
            "warnings.simplefilter('ignore')\n"
            "children = []\n"
            "def fork():\n"
            "    child = os.fork()\n"
            "    if child: children.append(child)\n"
            "call = resilient(deadline=20)(fork)\n"
            "worker = threading.Thread(target=call)\n"
            "worker.start()\n"
            "worker.join()\n"
            "print(os.waitpid(children[0], 0)[1])\n"
        )
        done = subprocess.run([sys.executable, "-c", script], check=True, timeout=30, capture_output=True, text=True)
        assert done.stdout.strip() == "0"

    @forks
    def test_a_worker_that_forks_gets_another_thread_in_the_child(self):
        script = (
            "import os, threading, warnings\n"
            "from resilient_tasks import resilient\n"
            "warnings.simplefilter('ignore')\n"
            "call = resilient(deadline=20)(lambda: 'done')\n"
            "def work():\n"
            "    call()\n"
            "    child = os.fork()\n"
            "    if not child:\n"
            "        other = threading.Thread(target=lambda: os._exit(0 if call() == 'done' else 1))\n"
            "        call()\n"
            "        other.start()\n"
            "        other.join()\n"
            "    print(os.waitpid(child, 0)[1])\n"
            "worker = threading.Thread(target=work)\n"
            "worker.start()\n"
            "worker.join()\n"
        )
        done = subprocess.run([sys.executable, "-c", script], check=True, timeout=30, capture_output=True, text=True)
        assert done.stdout.strip() == "0"


class TestInAnEventLoop:
    def test_many_limits_at_different_times_are_each_kept(self):
        async def main():
            began = time.monotonic()

            async def call(seconds):
                overrun = await limits.in_time_async(asyncio.sleep(20), seconds, Attempt())
                return time.monotonic() - began - seconds, overrun

            ends = await asyncio.gather(*(call(0.1 + number * 0.001) for number in range(100)))
            assert all(late >= -0.001 for late, _ in ends)
            assert all(isinstance(overrun, interrupt.Overrun) for _, overrun in ends)

        asyncio.run(main())

    def test_a_loop_has_one_timer_for_all_of_them(self):
        async def main():
            loop = asyncio.get_running_loop()
            for _ in range(100):
                await limits.in_time_async(asyncio.sleep(0), 60, Attempt())
            return len([timer for timer in loop._scheduled if not timer.cancelled()])

        assert asyncio.run(main()) == 1

    def test_a_limit_earlier_than_the_previous_ones_is_enforced_and_then_they_are(self):
        async def main():
            async def outer():
                inner = await limits.in_time_async(asyncio.sleep(20), 0.02, Attempt())
                assert was_cut(inner)
                await asyncio.sleep(20)

            return await limits.in_time_async(outer(), 0.1, Attempt())

        assert was_cut(asyncio.run(main()))

    def test_a_limit_inside_of_one_that_is_due_at_the_same_time_lets_that_end_both(self):
        async def main():
            async def outer():
                await limits.in_time_async(asyncio.sleep(20), 0.05, Attempt())
                return "went on"

            return await limits.in_time_async(outer(), 0.05, Attempt())

        assert isinstance(asyncio.run(main()), interrupt.Overrun)

    def test_one_loop_after_the_other_and_one_inside_the_other_keep_their_limits(self):
        async def cut(seconds):
            return was_cut(await limits.in_time_async(asyncio.sleep(20), seconds, Attempt()))

        async def main():
            first = asyncio.create_task(cut(0.1))
            await asyncio.sleep(0)
            other = await asyncio.to_thread(lambda: asyncio.run(cut(0.02)))
            return other, await first, await cut(0.02)

        assert asyncio.run(main()) == (True, True, True)
        assert asyncio.run(main()) == (True, True, True)

    def test_a_loop_that_was_closed_is_not_kept(self):
        async def main():
            await limits.in_time_async(asyncio.sleep(0), 60, Attempt())
            return weakref.ref(asyncio.get_running_loop())

        loop = asyncio.run(main())
        gc.collect()
        assert loop() is None

    def test_a_loop_with_its_own_clock_uses_it(self):
        class Swift(asyncio.SelectorEventLoop):
            """Let waits end at once."""

            ahead = 0.0

            def time(self):
                return super().time() + self.ahead

            def _run_once(self):
                if not self._ready and self._scheduled:
                    self.ahead += max(0.0, self._scheduled[0].when() - self.time())
                super()._run_once()

        async def main():
            return await limits.in_time_async(asyncio.sleep(7200), 3600, Attempt())

        loop = Swift()
        try:
            assert was_cut(loop.run_until_complete(main()))
        finally:
            loop.close()

    def test_a_limit_is_enforced_in_time_that_freezes_while_another_waits(self):
        from unittest import mock

        async def main():
            await limits.in_time_async(asyncio.sleep(0), 60, Attempt())
            with mock.patch("time.monotonic", return_value=5.0):
                frozen = await limits.in_time_async(asyncio.Event().wait(), 0.02, Attempt())
            thawed = await limits.in_time_async(asyncio.Event().wait(), 0.02, Attempt())
            return was_cut(frozen), was_cut(thawed)

        assert asyncio.run(main()) == (True, True)
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())

    def test_an_error_in_the_search_for_leftovers_does_not_prevent_the_cancellation(self, monkeypatch):
        def fail(*_):
            raise ValueError

        monkeypatch.setattr("resilient_tasks.core.execution.leftovers.Leftovers.look", fail)

        async def main():
            return await limits.in_time_async(asyncio.sleep(20), 0.02, Attempt())

        assert isinstance(asyncio.run(main()), interrupt.Overrun)


@pytest.mark.parametrize("policy", ["deadline=5", "timeout=5", "fallback=Fallback(print, timeout=5)"])
def test_what_enforces_a_limit_is_loaded_before_the_first_call(policy):
    """The import takes a tenth of a second, which must not count against the first call."""
    script = (
        "import sys\n"
        "from resilient_tasks import Fallback, resilient\n"
        f"resilient({policy})(len)\n"
        "assert 'resilient_tasks.core.execution.limits' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
