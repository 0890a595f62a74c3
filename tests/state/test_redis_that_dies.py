"""Redis is killed or hangs under load, and comes back: no call fails because of it, and none waits long."""

import time
from typing import NamedTuple
from uuid import uuid4

import counting
import pytest
import sharing
import under_load

from resilient_tasks import Bulkhead, resilient
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.state import states as shared

#: Seconds that a store may delay a call: the setting's default.
BOUND = 0.05

#: Seconds that the machine may delay a call in addition, beyond the longest delay while the server was up.
ALLOWANCE = 0.015

WORKERS = range(under_load.PROCESSES)

#: Seconds under load with the server, without it, and with it again (reconnecting takes a while).
BEFORE, GONE, AFTER = 0.5, 0.5, 1.2


class Run(NamedTuple):
    """The observations of all processes, with a fault of the server or without."""

    seen: list[under_load.Observed]
    gone: tuple[float, float]

    @property
    def delays(self):
        return sorted(seconds for seen in self.seen for _, seconds, _ in seen.calls)

    @property
    def failures(self):
        return [failure for seen in self.seen for _, _, failure in seen.calls if failure]

    @property
    def calls_meanwhile(self):
        since, until = self.gone
        return [sum(since < began < until for began, _, _ in seen.calls) for seen in self.seen]


def killed(server):
    server.kill()
    return server.start


def hung(server):
    server.stop_answering()
    return server.answer_again


def left_alone(server):
    return lambda: None


def under_load_and(what, worker_pool, server):
    """Make calls in four processes, and meanwhile apply `what` to the server and undo it."""
    worker_pool.submit(WORKERS, under_load.load, time.monotonic() + BEFORE + GONE + AFTER)
    time.sleep(BEFORE)
    since = time.monotonic()
    undo = what(server)
    time.sleep(GONE)
    until = time.monotonic()
    undo()
    return Run(worker_pool.results(WORKERS), (since, until))


def not_held_up(run, control):
    """Whether no call was delayed beyond the bound, and only calls that were waiting when the fault began."""
    usual = control.delays[-1]
    held_up = [delay for delay in run.delays if delay > usual + BOUND / 2]
    return run.delays[-1] <= usual + BOUND + ALLOWANCE and len(held_up) <= under_load.PROCESSES * under_load.THREADS


def told_once(run):
    return all(seen.events == ["store.lost", "store.regained"] for seen in run.seen)


@pytest.fixture
def server(worker_pool, own_redis_server):
    """A server for this test; afterwards the worker pool no longer tries to reach it."""
    worker_pool.all(counting.use_store_at, own_redis_server.url)
    worker_pool.all(under_load.succeed, 1)
    yield own_redis_server
    worker_pool.all(counting.use_memory)


@pytest.mark.parametrize("what", [killed, hung])
def test_calls_continue_while_redis_is_down_and_share_their_state_again_afterwards(what, worker_pool, server, share):
    control = under_load_and(left_alone, worker_pool, server)
    assert not control.failures
    for left in (2, 1, 0):
        run = under_load_and(what, worker_pool, server)
        assert not run.failures
        assert min(run.calls_meanwhile) > 10
        assert_the_state_is_right_again(worker_pool, server, share)
        # A machine that is busy with something else may hold up any call, and a server. It does not do so each time; a
        # library that waits for what is not there does. So only a third time in a row is one too many.
        if not_held_up(run, control) and told_once(run):
            return
        assert left, (control.delays[-5:], run.delays[-20:], [seen.events for seen in run.seen])


def assert_the_state_is_right_again(worker_pool, server, share):
    states = share(server.url)
    slots = Slots.decode(states.get(f"bulkhead/{under_load.BULKHEAD.name}"), states.now())
    assert (slots.taken, len(slots.queue)) == (0, 0)
    key = uuid4().hex
    worker_pool.submit(WORKERS, counting.count_up, key, 10)
    assert sorted(number for each in worker_pool.results(WORKERS) for number in each) == list(range(1, 41))
    time.sleep(under_load.STALE)
    assert worker_pool.one(0, under_load.fail, 2) == ["ConnectionError"] * 2
    assert worker_pool.one(1, under_load.fail, 2) == ["ConnectionError", "CircuitOpen"]
    assert worker_pool.one(2, under_load.fail, 1) == ["CircuitOpen"]
    assert under_load.BREAKER.status().state == "open"
    under_load.BREAKER.close()
    time.sleep(under_load.STALE)


def test_a_slot_requested_while_redis_hung_is_free_when_it_is_back(own_redis_server, share):
    states = share(own_redis_server.url)
    call = resilient(bulkhead=Bulkhead("one at a time", 1))(lambda: "done")
    assert call() == "done"
    own_redis_server.stop_answering()
    # The server processes the request later, and takes a slot for a call that has long ended.
    assert call() == "done"
    own_redis_server.answer_again()
    sharing.until_it_answers()
    time.sleep(0.1)
    assert call() == "done"
    assert Slots.decode(states.get("bulkhead/one at a time"), states.now()).taken == 0
    assert shared.states() is states
