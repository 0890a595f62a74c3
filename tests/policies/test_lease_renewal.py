"""The thread that renews the leases of the shared attempts that a process leads."""

import threading
from types import SimpleNamespace

import pytest

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
    return pace


def running():
    return [thread for thread in threading.enumerate() if thread.name == "resilient:single-flight"]


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
