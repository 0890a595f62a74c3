"""The threads that renew leases: of the shared attempts that a process leads, and of the slots that it holds."""

import os
import threading
from types import SimpleNamespace

import pytest

from resilient_tasks.policies.bulkhead import slots
from resilient_tasks.policies.single_flight import across_workers
from resilient_tasks.policies.single_flight.across_workers import LEASE, LeaseRenewal


class Attempt:
    def __init__(self, *, goes_on=True):
        self.renewed = self.left = 0
        self.goes_on = lambda: goes_on

    def renew(self):
        self.renewed += 1

    def leave(self):
        self.left += 1


class Pace:
    """Stands for the event that the thread waits for between two rounds: each wait ends when the test says so."""

    def __init__(self):
        self.waits, self.came, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def wait(self, seconds):
        self.waits.append(seconds)
        self.came.release()
        assert self.go.acquire(timeout=30)

    def round(self):
        """Let the thread go once around."""
        self.go.release()
        assert self.came.acquire(timeout=30)


@pytest.fixture
def pace(monkeypatch):
    pace = Pace()
    own = SimpleNamespace(Event=lambda: pace, Lock=threading.Lock, Thread=threading.Thread)
    monkeypatch.setattr(across_workers, "threading", own)
    monkeypatch.setattr(slots, "threading", own)
    return pace


def running(name="resilient:single-flight"):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_one_thread_renews_all_leases_in_time_and_ends_with_the_last_attempt(pace):
    before = running()
    renewal, first, second, fenced = LeaseRenewal(), Attempt(), Attempt(), Attempt(goes_on=False)
    for attempt in (first, second, fenced):
        renewal.begin(attempt, attempt.goes_on)
    assert pace.came.acquire(timeout=30)
    (thread,) = [each for each in running() if each not in before]
    assert thread.daemon
    pace.round()
    renewal.end(second)
    pace.round()
    assert [(each.renewed, each.left) for each in (first, second, fenced)] == [(2, 0), (1, 0), (0, 1)]
    assert max(pace.waits) <= LEASE / 3
    renewal.end(first)
    pace.go.release()
    thread.join(30)
    assert not thread.is_alive()
    assert first.renewed == 2


@pytest.mark.parametrize("anew", ["after its end", "in a forked child"])
def test_the_thread_starts_again_for_a_later_attempt(pace, anew):
    renewal, first, later = LeaseRenewal(), Attempt(), Attempt()
    before = running()
    renewal.begin(first, first.goes_on)
    assert pace.came.acquire(timeout=30)
    (thread,) = [each for each in running() if each not in before]
    if anew == "in a forked child":
        renewal.forget()
        renewal.begin(later, later.goes_on)
        assert pace.came.acquire(timeout=30)  # the child's own thread
        renewal.forget()
        pace.go.release(2)
        thread.join(30)
        return
    renewal.end(first)
    pace.go.release()
    thread.join(30)
    renewal.begin(later, later.goes_on)
    assert pace.came.acquire(timeout=30)
    pace.round()
    assert (first.renewed, later.renewed) == (0, 1)
    renewal.end(later)
    pace.go.release()


class Held:
    def __init__(self):
        self.is_needed, self.written = True, 0

    def write(self):
        self.written += 1


def test_one_thread_renews_the_slots_of_all_bulkheads_in_time_while_some_are_held(pace):
    before = running("resilient:bulkhead")
    renewals, first, second = slots._Renewals(), Held(), Held()
    for number in range(2):  # the thread ends, and starts again with the next slot
        first.is_needed = second.is_needed = True
        renewals.add(first), renewals.add(second)
        assert pace.came.acquire(timeout=30)
        (thread,) = [each for each in running("resilient:bulkhead") if each not in before]
        assert thread.daemon
        pace.round()
        second.is_needed = False
        pace.round()
        assert (first.written, second.written) == (2 * number + 2, number + 1)
        first.is_needed = False
        pace.go.release()
        thread.join(30)
        assert not thread.is_alive()
    assert max(pace.waits) <= slots.LEASE / 3


def test_a_thread_that_cannot_start_at_shutdown_is_started_by_the_next_slot(pace, monkeypatch):
    renewals, held = slots._Renewals(), Held()

    def refuses(**_):
        raise RuntimeError("cannot schedule new futures after shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(slots.threading, "Thread", refuses)
        renewals.add(held)
    renewals.add(held)
    assert pace.came.acquire(timeout=30)
    pace.round()
    assert held.written == 1
    held.is_needed = False
    pace.go.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_renews_none_of_its_parents_leases(pace):
    before, attempt = running(), Attempt()
    across_workers.renewal.begin(attempt, attempt.goes_on)
    assert pace.came.acquire(timeout=30)
    (thread,) = [each for each in running() if each not in before]
    if (child := os.fork()) == 0:
        os._exit(len(across_workers.renewal._attempts))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    across_workers.renewal.end(attempt)
    pace.go.release()
    thread.join(30)
