"""A slot that a process keeps after a call, for its next one: free for all others, and never counted twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import counting
import keeping_slots
import pytest
from two_workers import Workers

from resilient_tasks import Bulkhead, BulkheadFull, TimedOut, resilient
from resilient_tasks.policies.bulkhead import kept
from resilient_tasks.policies.bulkhead.kept import KeptSlot
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.policies.bulkhead.slots import LEASE, HeldSlots
from resilient_tasks.state.claims import POSSIBLE, Claims
from resilient_tasks.state.sqlite import SQLiteStore

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="this system has no claims")
KEY = "bulkhead/x"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/states.db"


@pytest.fixture
def workers(url):
    workers = Workers(url)
    try:
        yield workers
    finally:
        workers.end()


@pytest.fixture
def held(workers, monkeypatch):
    """What each of two workers holds of one bulkhead. Their turns are over at once where others wait."""
    monkeypatch.setattr(kept, "TURN", -1)
    both = [HeldSlots(states, KEY) for states in workers.states]
    for each in both:
        each._keep_renewing = each._renew = lambda: None
    return both


def take_and_leave(held, limit=1):
    assert held.ask("", limit, 0, keep=True) == "taken"
    held.leave()


def test_a_worker_uses_its_slot_again_without_asking_the_store(held, monkeypatch):
    ours, _ = held
    take_and_leave(ours)
    ours.acquire(1).succeeded()  # looks once what else was written meanwhile
    for question in ("get", "update"):
        monkeypatch.setattr(SQLiteStore, question, None)
    for _ in range(3):
        ours.acquire(1).succeeded()


def test_a_slot_in_use_is_nobody_elses(held):
    ours, theirs = held
    take_and_leave(ours)
    leave = ours.acquire(1)
    assert theirs.acquire(1) is None
    assert theirs.ask("", 1, 0, keep=True) == "full"
    leave.succeeded()
    assert theirs.ask("", 1, 0, keep=True) == "taken"
    assert ours.acquire(1) is None
    assert ours.ask("", 1, 0, keep=True) == "full"


def test_a_worker_whose_turn_is_over_leaves_its_slot_to_one_that_waits(held):
    ours, theirs = held
    take_and_leave(ours, 1)
    leave = ours.acquire(1)
    assert theirs.ask("waits", 1, 1) == "queued"
    leave.succeeded()
    assert ours.acquire(1) is None
    assert ours.ask("later", 1, 2) == "queued"
    assert theirs.ask("waits", 1, 2) == "taken"


def test_a_worker_whose_turn_is_not_over_may_use_its_slot_first(held, monkeypatch):
    monkeypatch.setattr(kept, "TURN", 1e9)
    ours, theirs = held
    take_and_leave(ours)
    leave = ours.acquire(1)
    assert theirs.ask("waits", 1, 1) == "queued"
    leave.succeeded()
    assert ours.acquire(1) is leave


def test_a_slot_is_not_used_again_where_the_limit_is_another_one(held):
    ours, theirs = held
    assert theirs.ask("", 2, 0) == "taken"
    take_and_leave(ours, 2)
    assert ours.acquire(1) is None


def test_a_slot_is_not_used_again_where_it_could_not_be_renewed_in_time(workers, held):
    ours, theirs = held
    take_and_leave(ours)
    workers.clock.advance(LEASE - 1)
    assert ours.acquire(1) is not None
    workers.clock.advance(2)  # what was told first would be over now
    assert theirs.ask("", 1, 0) == "full"


def test_a_slot_whose_state_was_deleted_is_asked_for_anew(workers, held):
    ours, theirs = held
    take_and_leave(ours)
    workers.states[1].update(KEY, lambda *_: (b"garbage", None))
    assert theirs.ask("", 1, 0) == "taken"
    assert ours.acquire(1) is None


def test_a_slot_that_was_taken_away_before_the_file_was_opened_again_is_not_used_again(workers, held):
    ours, theirs = held
    store = workers.states[0]._store
    store.connect()
    take_and_leave(ours)
    assert theirs.ask("", 1, 0) == "taken"
    store.connect()  # SQLite counts what others have written anew for each connection
    assert ours.acquire(1) is None


def interruptions(work):
    """Call `work` again and again, interrupted at a later point each time: where a function begins, or one of C ends.

    Yields after each; and after the first call that was not interrupted, which is the last.
    """
    passed, at, interrupted = 0, 0, True

    def interrupt(frame, event, _):
        nonlocal passed
        ours = frame.f_code.co_filename.endswith(("kept.py", "bulkhead/slots.py", "claims.py"))
        if (
            ours
            and event in {"call", "c_return"}
            and frame.f_code not in {HeldSlots.leave.__code__, KeptSlot.drop.__code__}
        ):
            passed += 1
            if passed == at:
                sys.setprofile(None)
                raise KeyboardInterrupt

    while interrupted and at < 1000:
        passed, at, interrupted = 0, at + 1, False
        sys.setprofile(interrupt)
        try:
            work()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setprofile(None)
        yield


def test_a_slot_is_used_again_wherever_an_earlier_call_was_interrupted(held):
    ours, theirs = held

    def work():
        leave = ours.acquire(1)
        if leave is None:  # the slot of the call that was interrupted was given up
            assert ours.ask("", 1, 0, keep=True) == "taken"
            leave = ours.leave_given
        try:
            leave.succeeded()
        except KeyboardInterrupt as error:
            leave.ended(error)  # as a wrapper does
            raise

    take_and_leave(ours)
    for _ in interruptions(work):
        assert (ours._mine.number, ours._kept.state) in {(0, "idle"), (0, "none")}
        take_and_leave(theirs)
        take_and_leave(ours)


def test_slots_are_counted_right_wherever_a_call_beside_the_one_that_keeps_its_own_is_interrupted(held):
    ours, theirs = held
    assert ours.ask("", 2, 0, keep=True) == "taken"

    for _ in interruptions(lambda: ours.ask("", 2, 0, keep=True)):
        while ours._mine.number + (ours._kept.state == "used") > 1:
            ours.leave()
        assert theirs.ask("", 2, 0) == "taken"
        assert theirs.ask("", 2, 0) == "full"
        theirs.leave()


def test_a_claim_that_was_interrupted_is_given_back(tmp_path):
    ours, theirs = (Claims(f"{tmp_path}/claims", 0o600) for _ in range(2))
    for _ in interruptions(lambda: ours.release(1) if ours.take(1) else None):
        ours.release(1)
        assert theirs.take(1)
        theirs.release(1)


def test_a_slot_is_no_more_kept_where_the_file_of_the_claims_was_deleted(held, tmp_path):
    ours, theirs = held
    take_and_leave(ours)
    leave = ours.acquire(1)
    (tmp_path / "states.db-slots").unlink()
    assert theirs.ask("", 1, 0, keep=True) == "full"
    leave.succeeded()
    take_and_leave(ours)
    assert theirs.ask("", 1, 0, keep=True) == "taken"


def test_a_slot_is_given_back_wherever_a_limit_around_the_call_comes(url, share):
    share(url, 10)
    taking = resilient(bulkhead=Bulkhead("interrupted", 1), timeout=60)(lambda: None)

    def takes():
        while True:
            taking()

    for number in range(8):
        with pytest.raises(TimedOut):
            resilient(timeout=0.002 + number * 0.0005)(takes)()
        taking()


def test_no_more_than_the_limit_are_inside_a_bulkhead_that_eight_processes_want(worker_pool, url, tmp_path):
    worker_pool.all(counting.go_by, url)
    try:
        seen = worker_pool.all(keeping_slots.be_inside, 0.5, f"{tmp_path}/inside")
    finally:
        worker_pool.all(counting.go_alone)
    assert sum(one.too_many for one in seen) == 0
    assert min(one.calls for one in seen) > 0


def test_the_slot_of_a_process_that_was_killed_is_free_at_once(url, share):
    share(url, 10)
    program = Path(__file__).with_name("keeping_slots.py")
    process = subprocess.Popen([sys.executable, program, url], stdout=subprocess.PIPE, text=True)
    call = resilient(bulkhead=Bulkhead("one at a time", 1))(lambda: "done")
    try:
        assert process.stdout.readline() == "inside\n"
        with pytest.raises(BulkheadFull):
            call()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert call() == "done"


def test_claims_are_of_one_opening_of_the_file(tmp_path):
    ours, theirs = (Claims(f"{tmp_path}/claims", 0o640) for _ in range(2))
    assert (tmp_path / "claims").stat().st_mode & 0o777 == 0o640
    assert ours.take(7)
    assert not ours.take(7)
    assert not theirs.take(7)
    assert theirs.take(8)
    theirs.release(7)
    assert not theirs.take(7)
    ours.close()
    assert theirs.take(7)
    assert not ours.take(9)
    assert (ours.is_current, theirs.is_current) == (False, True)
    (tmp_path / "claims").unlink()
    assert not theirs.is_current


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child runs nothing but what is below
def test_a_forked_child_has_no_claim_of_its_parent(tmp_path):
    ours, theirs = (Claims(f"{tmp_path}/claims", 0o600) for _ in range(2))
    assert ours.take(7)
    leave, stay = os.pipe()
    child = os.fork()
    if not child:
        os.close(stay)
        os.read(leave, 1)  # until the parent has looked
        os._exit(0)
    try:
        until = time.monotonic() + 60
        ours.close()
        while not theirs.take(7):  # the child has closed its copy once it runs
            assert time.monotonic() < until
            time.sleep(0.001)
    finally:
        os.close(stay)
        os.close(leave)
        os.waitpid(child, 0)


def test_what_is_kept_counts_as_a_slot_only_for_the_limit():
    slots = Slots()
    assert slots.ask("", 1, 0, now=0.0, keep=1.0) == "taken"
    slots.holding("abc@1*", 1, 9.0)
    assert (slots.taken, slots.kept, slots.is_empty) == (0, ["abc@1*"], False)
    assert slots.ask("", 1, 0, now=0.0, keep=1.0) == "full"
    assert slots.ask("", 1, 0, now=0.0, keep=1.0, idle=["abc@1*"]) == "taken"
    assert slots.is_empty
