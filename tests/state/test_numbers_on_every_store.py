"""Numbers that one process changes are used by all others, on every shared store, and outlive a restart."""

import itertools
import time

import numbers_at_work as work
import pytest
from sharing import PATIENT

from resilient_tasks import Bulkhead, CircuitBreaker, RateLimit, resilient
from resilient_tasks.state.states import shared

_names = itertools.count()


@pytest.fixture
def name(store_url, share, worker_pool):
    """The name of a state that three workers and this process share."""
    share(store_url, PATIENT)
    for number in range(3):
        worker_pool.one(number, work.at, store_url)
    return f"numbers {next(_names)}"


@pytest.fixture
def each(worker_pool):
    """`each(work.failures, name, 2)` has three workers do it, one after the other."""
    return lambda what, *given: [worker_pool.one(number, what, *given) for number in range(3)]


def wait_for(workers, folder):
    """Wait until this many workers hold a slot."""
    until = time.monotonic() + 30
    while len(list(folder.glob("held by *"))) < workers:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_workers_that_have_used_a_circuit_use_its_new_numbers(name, each):
    assert each(work.successes, name, 3) == [[7, 7, 7]] * 3
    CircuitBreaker(name).set_numbers(failures=4)
    assert each(work.failures, name, 2) == [["ConnectionError"] * 2, ["ConnectionError"] * 2, ["CircuitOpen"] * 2]
    CircuitBreaker(name).close()
    CircuitBreaker(name).reset_numbers()
    assert each(work.failures, name, 5) == [["ConnectionError"] * 5] * 3


def test_workers_use_a_new_rate_with_their_next_call(name, each):
    assert each(work.limited, name, 2) == [2, 2, 2]
    RateLimit(name, 1, 1).set_numbers(calls=9)
    assert each(work.limited, name, 2) == [2, 1, 0]
    RateLimit(name, 1, 1).reset_numbers()
    assert each(work.limited, name, 2) == [2, 2, 2]


def test_workers_that_keep_a_slot_give_it_up_if_there_are_fewer(name, each):
    assert each(work.slots, name, 3) == [3, 3, 3]
    hold = resilient(bulkhead=Bulkhead(name, 4))
    Bulkhead(name, 4).set_numbers(limit=1)
    assert hold(lambda: each(work.slots, name, 2))() == [0, 0, 0]
    assert each(work.slots, name, 2) == [2, 2, 2]
    Bulkhead(name, 4).reset_numbers()
    assert hold(lambda: each(work.slots, name, 2))() == [2, 2, 2]


def test_slots_that_workers_keep_count_towards_a_lower_limit(name, each, worker_pool, tmp_path):
    assert each(work.slots, name, 3) == [3, 3, 3]
    Bulkhead(name, 4).set_numbers(limit=2)
    worker_pool.submit([0, 1], work.hold_a_slot, name, tmp_path)
    wait_for(2, tmp_path)
    assert worker_pool.one(2, work.slots, name, 1) == 0
    (tmp_path / "end").touch()
    assert worker_pool.results([0, 1]) == [1, 1]


def test_this_process_looks_again_before_it_reuses_a_slot_that_it_keeps(name, worker_pool, tmp_path):
    worker_pool.submit([0], work.hold_a_slot, name, tmp_path)
    wait_for(1, tmp_path)
    assert work.slots(name, 3) == 3
    Bulkhead(name, 4).set_numbers(limit=1)
    assert work.slots(name, 1) == 0
    (tmp_path / "end").touch()
    assert worker_pool.results([0]) == [1]


def test_numbers_outlive_the_processes_that_use_them(name, each, store_url):
    CircuitBreaker(name).set_numbers(failures=1, by="anna")
    RateLimit(name, 1, 1).set_numbers(calls=1)
    Bulkhead(name, 1).set_numbers(limit=2)
    shared.close()
    each(work.restarted, store_url)
    assert each(work.failures, name, 1) == [["ConnectionError"], ["CircuitOpen"], ["CircuitOpen"]]
    assert each(work.limited, name, 1) == [1, 0, 0]
    assert CircuitBreaker(name).status().changed_by == "anna"
    assert Bulkhead(name, 1).changes().numbers == {"limit": 2}


def test_a_circuit_in_shadow_is_marked_for_every_process(name):
    watched = resilient(breaker=CircuitBreaker(name, failures=1, enforce=False))

    @watched
    def fetch():
        raise ConnectionError("refused")

    assert [type(fetch.outcome().error) for _ in range(3)] == [ConnectionError] * 3
    status = CircuitBreaker(name).status()
    assert (status.state, status.shadow) == ("open", True)


def test_a_limit_and_a_bulkhead_in_shadow_let_all_workers_through(name):
    limit = RateLimit(name, 1, 3600, enforce=False)
    bulkhead = Bulkhead(name, 1, enforce=False)
    fetch = resilient(rate_limit=limit, bulkhead=bulkhead)(lambda more: fetch(more - 1) if more else "done")
    assert fetch(3) == "done"
