"""Many threads on one function, a million calls, ten thousand functions."""

import gc
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import hand
from bench.table import ITSELF, Goal, Row
from bench.timing import BARE, HAND, OURS

THREADS, CALLS_OF_A_THREAD, TURNS = 64, 150, 20
MANY, FUNCTIONS = 1_000_000, 10_000
WORK = 400  # turns of a loop: some µs, as a call to anything else takes at the least
FLAT = 1.0  # MiB
PAGE = resource.getpagesize() / 2**20


def scale() -> Iterator[Row]:
    yield threads()
    yield million()
    yield dropped()


def works() -> int:
    return sum(range(WORK)) // sum(range(WORK))


def policies() -> Any:
    from resilient_tasks import CircuitBreaker, Fallback, resilient

    # Of failures in a row, as what is written by hand.
    breaker = CircuitBreaker("bench-scale", failures=hand.IN_A_ROW)
    return resilient(fallback=Fallback(value=0), retry=3, breaker=breaker)


def threads() -> Row:
    """Return the µs of all threads' time for a call, where 64 threads make it at once."""
    runs: dict[str, list[float]] = {OURS: [], BARE: [], HAND: []}
    by_hand = hand.fallback(hand.retry(hand.breaker(works)))
    functions = {OURS: policies()(works), BARE: works, HAND: by_hand}
    for _ in range(TURNS):
        for name in random.sample(list(functions), len(functions)):
            runs[name].append(_together(functions[name]))
    # The least, as in the other rows: what else runs on the machine only adds to it.
    figures = {name: min(several) for name, several in runs.items()}
    what = f"{THREADS} threads on one function"
    return Row(what, "fallback + retry + breaker", figures, [Goal(BARE, 1.05)], remark="wall time, and the work itself")


def _together(fn: Callable[[], Any]) -> float:
    gate = threading.Barrier(THREADS + 1)

    def caller() -> None:
        gate.wait()
        for _ in range(CALLS_OF_A_THREAD):
            fn()

    callers = [threading.Thread(target=caller) for _ in range(THREADS)]
    for each in callers:
        each.start()
    gate.wait()
    began = time.perf_counter()
    for each in callers:
        each.join()
    return (time.perf_counter() - began) / THREADS / CALLS_OF_A_THREAD * 1e6


def million() -> Row:
    """Return the MiB that a million calls leave behind."""
    call = policies()(lambda: 1)
    for _ in range(MANY // 20):
        call()
    before = _held()
    for _ in range(MANY):
        call()
    return Row(f"{MANY:,} calls", "memory left behind", {OURS: _held() - before}, [Goal(ITSELF, FLAT)], unit="MiB")


def dropped() -> Row:
    """Return the MiB that ten thousand functions leave behind, which were decorated, called and dropped."""
    _decorate_and_drop(FUNCTIONS)  # the allocator keeps what it once had: the second time has to do with that
    before = _held()
    _decorate_and_drop(FUNCTIONS)
    what = f"{FUNCTIONS:,} functions decorated, called and dropped"
    return Row(what, "memory left behind", {OURS: _held() - before}, [Goal(ITSELF, FLAT)], unit="MiB")


def _decorate_and_drop(number: int) -> None:
    from resilient_tasks import Fallback, resilient

    for _ in range(number):
        resilient(fallback=Fallback(value=0), retry=3, timeout=20, idempotent=True)(lambda: 1)()


def _held() -> float:
    """Return the MiB that this process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE
