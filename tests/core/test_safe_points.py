"""A limit leaves no lock held: where code may be interrupted, and what is released afterwards."""

import contextlib
import io
import logging
import queue
import signal
import subprocess
import sys
import threading
import time

import left_over
import pytest

from resilient_tasks import Bulkhead, TimedOut, resilient
from resilient_tasks.core.execution import interrupt, safe_points, threads

pytestmark = pytest.mark.filterwarnings("ignore:.*has a timeout and a retry")

CALLS = 30


class SlowToLock(logging.StreamHandler):
    """Takes its lock slowly, so that an interrupt hits it often."""

    def acquire(self):
        super().acquire()
        for _ in range(200):
            pass

    def release(self):
        for _ in range(200):
            pass
        super().release()


@pytest.fixture(params=["main thread", "worker thread"])
def interrupted(request):
    """Calls a function that never ends repeatedly under a short limit, in one of two threads."""

    def each(function):
        over = threading.Event()

        @resilient(timeout=0.01)
        def for_ever():
            while not over.is_set():
                function()

        errors = []

        def calls():
            errors.extend(for_ever.outcome().error for _ in range(CALLS))

        if request.param == "main thread":
            calls()
        else:
            worker = threading.Thread(target=calls, daemon=True)
            worker.start()
            worker.join(60)
        over.set()  # on a busy machine an attempt may be abandoned, and would go on using what the test looks at
        left_over.wait_for_the_end()
        assert [type(error) for error in errors] == CALLS * [TimedOut]

    return each


def works_elsewhere(function):
    """Return whether another thread can complete a call of the function."""
    other = threading.Thread(target=function, daemon=True)
    other.start()
    other.join(5)
    return not other.is_alive()


@pytest.fixture
def logger():
    return logging.Logger("tight")  # noqa: LOG001  # not shared with other tests


@pytest.mark.parametrize("handler", [logging.StreamHandler, SlowToLock])
def test_another_thread_can_log_after_a_function_that_logs_was_interrupted(interrupted, logger, handler):
    logger.addHandler(handler(io.StringIO()))
    interrupted(lambda: logger.info("a line of %s", "the log"))
    assert works_elsewhere(lambda: logger.info("another line"))


def test_another_thread_can_ask_for_a_logger(interrupted):
    interrupted(lambda: logging.getLogger("tight.new").isEnabledFor(10))
    assert works_elsewhere(lambda: logging.getLogger("tight.newer").isEnabledFor(10))


def locked_by_hand(lock):
    lock.acquire()
    try:
        pass
    finally:
        lock.release()


@contextlib.contextmanager
def in_a_generator(lock):
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def locked_by_a_generator(lock):
    with in_a_generator(lock):
        pass


def locked_by_a_block(lock):
    with lock:
        pass


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (threading.Lock, locked_by_hand),
        (threading.Lock, locked_by_a_generator),
        (threading.Lock, locked_by_a_block),
        (threading.RLock, locked_by_hand),
        (threading.Condition, locked_by_a_block),
    ],
)
def test_a_lock_of_the_users_own_is_free_afterwards(interrupted, kind, way):
    lock = kind()
    interrupted(lambda: way(lock))
    assert works_elsewhere(lambda: way(lock))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")
def test_an_interrupt_while_the_previous_one_is_postponed_leaves_no_lock_taken(monkeypatch):
    put_off = interrupt._interrupt

    def put_off_and_stand_still(*about):
        put_off(*about)
        until = time.monotonic() + 2 * safe_points.PAUSE  # as on a busy machine
        while time.monotonic() < until:
            pass

    monkeypatch.setattr(interrupt, "_interrupt", put_off_and_stand_still)
    lock = threading.Lock()

    @resilient(timeout=0.01)
    def for_ever():
        while True:
            _ = lock.acquire(), sum(range(500))
            try:
                sum(range(2000))
            finally:
                lock.release()

    for _ in range(CALLS):
        assert isinstance(for_ever.outcome().error, TimedOut)
        assert not lock.locked()


def test_a_queue_can_be_used_afterwards(interrupted):
    line = queue.Queue()

    def use():
        line.put(1)
        line.get()

    interrupted(use)
    assert works_elsewhere(lambda: line.put(1))


class Moment:
    """Records whether the code that calls it may be interrupted there."""

    def __init__(self):
        self.safe = []

    def look(self):
        self.safe.append(safe_points.is_safe(sys._getframe(1), Moment.look.__code__))

    acquire = __enter__ = look

    def __exit__(self, *_):
        pass


def test_code_right_after_taking_a_lock_is_unsafe():
    moment = Moment()
    moment.look()
    moment.acquire()
    moment.acquire(
        # on its own line
    )
    moment.look()
    assert moment.safe == [True, False, False, True]


@pytest.mark.parametrize(
    "name", ["acquire", "_acquireLock", "release", "__enter__", "__exit__", "__aexit__", "__del__"]
)
def test_a_function_that_takes_or_releases_a_lock_is_unsafe(name):
    moment, found = Moment(), {}
    exec(f"def {name}(): moment.look()", {"moment": moment}, found)  # a name that varies
    found[name]()
    assert moment.safe == [False]


def test_a_callback_of_the_garbage_collector_is_unsafe():
    moment, found = Moment(), {}
    exec("def callback(): moment.look()", {"moment": moment, "__name__": "weakref"}, found)
    found["callback"]()
    assert moment.safe == [False]


@pytest.mark.parametrize(
    ("module", "name", "safe"),
    [
        ("resilient_tasks.policies.bulkhead.slots", "take", False),
        ("resilient_tasks.policies.bulkhead.policy", "around", False),
        ("resilient_tasks.policies.retry.policy", "sleep", True),
        ("resilient_tasks.core.execution.runtime", "drive", True),
        ("the_users_own", "take", True),
    ],
)
def test_code_that_takes_a_slot_or_gives_it_back_is_unsafe(module, name, safe):
    moment = Moment()
    found = {"__name__": module, "moment": moment}
    exec(f"def {name}(): moment.look()", found)
    found[name]()
    assert moment.safe == [safe]


def test_a_slot_is_given_back_wherever_the_limit_around_the_call_comes():
    taking = resilient(bulkhead=Bulkhead("interrupted", 1), timeout=60)(lambda: None)

    def takes():
        while True:
            taking()

    for number in range(60):
        with pytest.raises(TimedOut):
            resilient(timeout=0.002 + number * 0.00001)(takes)()
        taking()


def test_a_wait_in_a_condition_is_safe_and_its_lock_is_restored():
    condition, frames = threading.Condition(), []

    def waits():
        with condition:
            condition.wait(5)

    waiting = threading.Thread(target=waits)
    waiting.start()
    until = time.monotonic() + 5
    while not condition._waiters and time.monotonic() < until:
        threading.Event().wait(0.001)
    frame = sys._current_frames()[waiting.ident]
    while frame.f_code is not threading.Condition.wait.__code__:
        frame = frame.f_back
    frames.append(safe_points.is_safe(frame, waits.__code__))
    with condition:
        condition.notify()
    waiting.join()
    assert frames == [True]


def test_postponing_ends_if_code_waits_in_c_and_if_it_never_becomes_safe():
    patience, frame = safe_points.Postponement(), None

    def acquire():
        nonlocal frame
        frame = sys._getframe()

    acquire()
    looks = [patience.may_deliver(frame, acquire.__code__.replace()) for _ in range(safe_points.WAITS + 2)]
    assert True in looks[1:]
    assert looks[0] is False
    endless = safe_points.Postponement()
    frames = [sys._getframe()] * 2  # any frame, made to look as if it moved

    def moves(number):
        endless._seen = (None, number)
        return endless.may_deliver(frame, frames[0].f_code)

    assert [moves(number) for number in range(safe_points.LOOKS)].index(True) == safe_points.LOOKS - 1


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("acquire", False),
        ("_acquireLock", False),
        ("release_save", False),
        ("__exit__", False),
        ("acquire_images", True),
        ("release_model", True),
        ("enter_order", True),
    ],
)
def test_only_code_named_after_locks_postpones_an_interrupt(name, safe):
    named = {}
    exec(f"import sys\ndef {name}(): return sys._getframe()", named)
    assert safe_points.is_safe(named[name](), test_code_with_no_frame_may_be_interrupted.__code__) is safe


def test_code_with_no_frame_may_be_interrupted():
    assert safe_points.is_safe(None, test_code_with_no_frame_may_be_interrupted.__code__)
    assert safe_points.Postponement().may_deliver(None, safe_points.is_safe.__code__)


class Holder:
    def __init__(self):
        self.lock = threading.RLock()


def careless():
    """Return a function that takes two locks and never releases them, and one that returns which are free."""
    holder, handler = Holder(), logging.StreamHandler(io.StringIO())

    def take():
        holder.lock.acquire()
        handler.lock.acquire()
        time.sleep(20)

    def use():
        for lock in (holder.lock, handler.lock):
            lock.acquire()
            lock.release()

    return take, use


def test_a_reentrant_lock_left_held_is_released_with_the_work():
    take, use = careless()
    assert resilient(timeout=0.05)(take).outcome().error.stopped
    assert works_elsewhere(use)


def test_a_lock_that_the_code_around_holds_stays_taken():
    lock = threading.RLock()

    def work():
        assert lock
        time.sleep(20)

    with lock:
        resilient(timeout=0.05)(work).outcome()
        assert lock._is_owned()


def test_a_thread_that_went_on_is_not_interrupted_at_an_unchecked_place(monkeypatch):
    looks = []

    def never_safe(frame, end):
        looks.append(frame)
        return False

    monkeypatch.setattr(safe_points, "is_safe", never_safe)
    gate, errors = threading.Event(), []
    caller = threading.Thread(
        target=lambda: errors.append(resilient(timeout=0.02)(lambda: gate.wait(20)).outcome().error)
    )
    caller.start()
    caller.join(10)
    gate.set()
    assert errors[0].abandoned
    assert 1 < len(looks) <= safe_points.LOOKS


@pytest.mark.skipif(sys.version_info < (3, 13), reason="earlier, it is raised where the thread stands")
def test_the_place_after_the_next_call_counts_too():
    class Probe:
        def look(self):
            return safe_points.goes_on_safely(sys._getframe(1))

    probe, lock = Probe(), threading.Lock()

    def before_a_lock():
        safe = probe.look()
        lock.acquire()  # one line
        lock.release()
        return safe

    def before_the_end_of_a_block():
        with lock:
            safe = probe.look()
        return safe  # noqa: RET504  # the block ends in between

    def before_anything_else():
        safe = probe.look()
        len("")
        return safe

    assert [before_a_lock(), before_the_end_of_a_block(), before_anything_else()] == [False, False, True]


STANDS_STILL = """
import asyncio, threading, time
from resilient_tasks import resilient

ready, errors = threading.Semaphore(0), []

@resilient(timeout=0.8)
def in_a_thread():
    ready.release()
    time.sleep(3)

@resilient(timeout=0.8)
async def in_a_loop():
    ready.release()
    await asyncio.sleep(20)

@resilient(timeout=0.8)
def in_the_main_thread():
    ready.acquire(), ready.acquire()
    print("begun", flush=True)
    time.sleep(20)

others = [
    threading.Thread(target=lambda: errors.append(in_a_thread.outcome().error)),
    threading.Thread(target=lambda: errors.append(asyncio.run(in_a_loop.outcome()).error)),
]
[other.start() for other in others]
errors.append(in_the_main_thread.outcome().error)
[other.join() for other in others]
print(*errors, sep="\\n", flush=True)
"""


def test_a_process_paused_at_its_limit_is_reported_accurately():
    process = subprocess.Popen(  # the same interpreter
        [sys.executable, "-c", STANDS_STILL], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        lines = process.stdout.read().splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "exceeded its timeout of 0.8 s" in line
        assert "its process was paused" in line


def test_postponing_an_interrupt_never_makes_it_late():
    assert safe_points.PAUSE * safe_points.LOOKS < interrupt.LATE
    assert threads._GRACE < interrupt.LATE


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a thread has an ident of its own from the beginning")
def test_no_interrupt_reaches_the_thread_that_the_interrupted_one_is_starting():
    stands = []

    class Started(threading.Event):
        def wait(self, timeout=None):
            stands.append(safe_points.is_safe(sys._getframe(), None))
            return super().wait(timeout)

    thread = threading.Thread(target=lambda: None)
    thread._started = Started()
    thread.start()
    thread.join()
    assert stands[0] is False
