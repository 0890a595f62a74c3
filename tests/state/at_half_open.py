"""Calls of many threads to a circuit whose open time is over."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import counting
import sharing
import worker_pool

from resilient_tasks import CircuitBreaker, CircuitOpen, resilient
from resilient_tasks.policies.breaker.machine import Circuit
from resilient_tasks.state.states import states

#: Threads of each process.
THREADS = 20

#: Seconds for which it was open. A probe counts as lost after the same time, so none does here.
OPEN_FOR = 600


def open_until_now(name):
    """Store a circuit whose open time is just over."""

    def change(state, now):
        return Circuit(state="open", generation=1, since=now - OPEN_FOR, open_for=OPEN_FOR).encode(), None

    states().update(f"breaker/{name}", change)


def stampede(meet, name, probes):
    """Make a call from each of 20 threads at once, and return their results.

    `meet()` waits for all threads of all processes: before each call, and once it was admitted or rejected. So each
    probe runs until the last call has been decided.
    """

    @resilient(breaker=CircuitBreaker(name, failures=3, open_for=OPEN_FOR, probes=probes))
    def ask():
        meet()
        return "let through"

    def call(_):
        meet()
        try:
            return ask()
        except CircuitOpen:
            meet()
            return "turned away"

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(call, range(THREADS)))


def stampede_of_processes(url, name, probes):
    """As `stampede`, from each process of the worker pool."""
    counting.use_store_at(url, sharing.PATIENT)
    return stampede(lambda: worker_pool.barrier.wait(30), name, probes)


def stampede_of_threads(name, probes):
    """As `stampede`, from this process alone."""
    place = threading.Barrier(THREADS)
    return stampede(lambda: place.wait(30), name, probes)
