"""A slot that a process keeps for its next call: free for all others, and never counted twice."""

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
from resilient_tasks.policies.bulkhead import kept_slot
from resilient_tasks.policies.bulkhead.kept_slot import KeptSlot
from resilient_tasks.policies.bulkhead.machine import Holder, Slots
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
    """The slots of one bulkhead in each of two workers. Neither reuses its slot while others wait."""
    monkeypatch.setattr(kept_slot, "MAX_REUSE", -1)
    both = [HeldSlots(states, KEY) for states in workers.states]
    for each in both:
        each._start_renewing = each._renew = lambda: None
    return both


def take_and_release(held, limit=1):
    assert held.request("", limit, 0, keep=True) == "taken"
    held.release()


def test_a_worker_reuses_its_slot_without_a_request_to_the_store(held, monkeypatch):
    ours, _ = held
    take_and_release(ours)
    ours.try_acquire(1).succeeded()  # reads once what others have written
    for request in ("get", "update"):
        monkeypatch.setattr(SQLiteStore, request, None)
    for _ in range(3):
        ours.try_acquire(1).succeeded()


def test_no_other_worker_takes_a_slot_in_use(held):
    ours, theirs = held
    take_and_release(ours)
    permit = ours.try_acquire(1)
    assert theirs.try_acquire(1) is None
    assert theirs.request("", 1, 0, keep=True) == "full"
    permit.succeeded()
    assert theirs.request("", 1, 0, keep=True) == "taken"
    assert ours.try_acquire(1) is None
    assert ours.request("", 1, 0, keep=True) == "full"


def test_a_worker_gives_its_slot_to_one_that_waits_once_it_has_reused_it_long_enough(held):
    ours, theirs = held
    take_and_release(ours, 1)
    permit = ours.try_acquire(1)
    assert theirs.request("waits", 1, 1) == "queued"
    permit.succeeded()
    assert ours.try_acquire(1) is None
    assert ours.request("later", 1, 2) == "queued"
    assert theirs.request("waits", 1, 2) == "taken"


def test_a_worker_may_reuse_its_slot_for_a_moment_while_another_waits(held, monkeypatch):
    monkeypatch.setattr(kept_slot, "MAX_REUSE", 1e9)
    ours, theirs = held
    take_and_release(ours)
    permit = ours.try_acquire(1)
    assert theirs.request("waits", 1, 1) == "queued"
    permit.succeeded()
    assert ours.try_acquire(1) is permit


def test_a_slot_is_not_reused_under_another_limit(held):
    ours, theirs = held
    assert theirs.request("", 2, 0) == "taken"
    take_and_release(ours, 2)
    assert ours.try_acquire(1) is None


def test_a_slot_whose_lease_soon_expires_is_renewed_before_it_is_reused(workers, held):
    ours, theirs = held
    take_and_release(ours)
    workers.clock.advance(LEASE - 1)
    assert ours.try_acquire(1) is not None
    workers.clock.advance(2)  # the first lease would have expired by now
    assert theirs.request("", 1, 0) == "full"


def test_a_slot_whose_state_was_deleted_is_not_reused(workers, held):
    ours, theirs = held
    take_and_release(ours)
    workers.states[1].update(KEY, lambda *_: (b"garbage", None))
    assert theirs.request("", 1, 0) == "taken"
    assert ours.try_acquire(1) is None


def test_a_slot_that_was_removed_before_the_file_was_reopened_is_not_reused(workers, held):
    ours, theirs = held
    store = workers.states[0]._store
    store.connect()
    take_and_release(ours)
    assert theirs.request("", 1, 0) == "taken"
    store.connect()  # SQLite counts the writes of others from zero for each connection
    assert ours.try_acquire(1) is None


def interruptions(work):
    """Call `work` again and again, interrupted at a later point each time: where a function begins, or one of C ends.

    Yields after each; and after the first call that was not interrupted, which is the last.
    """
    passed, at, interrupted = 0, 0, True

    def interrupt(frame, event, _):
        nonlocal passed
        ours = frame.f_code.co_filename.endswith(("kept_slot.py", "bulkhead/slots.py", "claims.py"))
        if (
            ours
            and event in {"call", "c_return"}
            and frame.f_code not in {HeldSlots.release.__code__, KeptSlot.drop.__code__}
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


def test_a_slot_can_be_used_wherever_an_earlier_call_was_interrupted(held):
    ours, theirs = held

    def work():
        permit = ours.try_acquire(1)
        if permit is None:  # the slot of the interrupted call was dropped
            assert ours.request("", 1, 0, keep=True) == "taken"
            permit = ours.permit
        try:
            permit.succeeded()
        except KeyboardInterrupt as error:
            permit.ended(error)  # as a wrapper does
            raise

    take_and_release(ours)
    for _ in interruptions(work):
        assert (ours._mine.number, ours._kept.state) in {(0, "idle"), (0, "none")}
        take_and_release(theirs)
        take_and_release(ours)


def test_the_count_of_slots_is_right_wherever_a_second_call_is_interrupted(held):
    ours, theirs = held
    assert ours.request("", 2, 0, keep=True) == "taken"

    for _ in interruptions(lambda: ours.request("", 2, 0, keep=True)):
        while ours._mine.number + (ours._kept.state == "used") > 1:
            ours.release()
        assert theirs.request("", 2, 0) == "taken"
        assert theirs.request("", 2, 0) == "full"
        theirs.release()


def test_an_interrupted_claim_can_be_released(tmp_path):
    ours, theirs = (Claims(f"{tmp_path}/claims", 0o600) for _ in range(2))
    for _ in interruptions(lambda: ours.release(1) if ours.take(1) else None):
        ours.release(1)
        assert theirs.take(1)
        theirs.release(1)


def test_a_slot_is_not_kept_once_the_file_of_the_claims_was_deleted(held, tmp_path):
    ours, theirs = held
    take_and_release(ours)
    permit = ours.try_acquire(1)
    (tmp_path / "states.db-slots").unlink()
    assert theirs.request("", 1, 0, keep=True) == "full"
    permit.succeeded()
    take_and_release(ours)
    assert theirs.request("", 1, 0, keep=True) == "taken"


def test_a_slot_is_released_wherever_an_outer_timeout_interrupts_the_call(url, share):
    share(url, 10)
    taking = resilient(bulkhead=Bulkhead("interrupted", 1), timeout=60)(lambda: None)

    def takes():
        while True:
            taking()

    for number in range(8):
        with pytest.raises(TimedOut):
            resilient(timeout=0.002 + number * 0.0005)(takes)()
        taking()


def test_eight_processes_never_exceed_the_limit_of_a_bulkhead(worker_pool, url, tmp_path):
    worker_pool.all(counting.use_store_at, url)
    try:
        seen = worker_pool.all(keeping_slots.be_inside, 0.5, f"{tmp_path}/inside")
    finally:
        worker_pool.all(counting.use_memory)
    assert sum(one.too_many for one in seen) == 0
    assert min(one.calls for one in seen) > 0


def test_the_slot_of_a_killed_process_is_free_at_once(url, share):
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


def test_claims_belong_to_one_open_file(tmp_path):
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
def test_a_forked_child_does_not_inherit_claims(tmp_path):
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


def test_a_kept_slot_counts_only_toward_the_limit():
    slots = Slots()
    assert slots.request("", 1, 0, now=0.0, keep=1.0) == "taken"
    slots.hold("abc@1*", Holder(1, 9.0))
    assert (slots.taken, slots.kept, slots.is_empty) == (0, ["abc@1*"], False)
    assert slots.request("", 1, 0, now=0.0, keep=1.0) == "full"
    assert slots.request("", 1, 0, now=0.0, keep=1.0, idle=["abc@1*"]) == "taken"
    assert slots.is_empty
