"""The cost of a call in a child process: `Timeout(enforce="process")` beside pebble, loky and multiprocessing.

    pip install -r tests/benchmarks/bench/requirements.txt
    python tests/benchmarks/processes_peers.py

Each has one warm worker, and they take turns. The figures are of the clock on the wall, for the work is done in two
processes; the least of many repeats. A function is given a number, or an array of 100 MB, and returns it: several times
in a row, for in a virtual machine memory that was never in use before costs more. Takes about half a
minute.
"""

import contextlib
import gc
import importlib.metadata
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from setting import machine, table

from resilient_tasks import Timeout, resilient

OURS, REFERENCE = "ours", "multiprocessing.Pool"
SMALL, LARGE = "small call", "100 MB there and back"
MEGABYTES = 100
LIMIT = 60  # seconds

#: Features that a library lacks, and that its figure therefore does not include.
LEFT_OUT = {
    "pebble": "kills at the limit, but what the function has started lives on; no log records, events, real tracebacks",
    "loky": "no limit for a call; no log records, events, real tracebacks",
    REFERENCE: "no limit for a call, no function but by name; no log records, events, real tracebacks",
}

Call = Callable[[object], object]


def given_back(value: object) -> object:
    """Return the argument."""
    return value


@contextmanager
def _contestants() -> Iterator[dict[str, Call]]:
    """Start one worker of each library that is installed."""
    contestants: dict[str, Call] = {}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(multiprocessing.Pool(1))
        contestants[REFERENCE] = lambda value: pool.apply(given_back, (value,))
        with contextlib.suppress(ImportError):
            contestants["pebble"] = _pebble(stack)
        with contextlib.suppress(ImportError):
            contestants["loky"] = _loky(stack)
        contestants[OURS] = resilient(timeout=Timeout(LIMIT, enforce="process"))(given_back)
        yield contestants


def _pebble(stack: contextlib.ExitStack) -> Call:
    from pebble import ProcessPool

    pool = stack.enter_context(ProcessPool(1))
    return lambda value: pool.schedule(given_back, args=[value], timeout=LIMIT).result()


def _loky(stack: contextlib.ExitStack) -> Call:
    from loky import ProcessPoolExecutor

    pool = stack.enter_context(ProcessPoolExecutor(1))
    return lambda value: pool.submit(given_back, value).result()


def _least(call: Call, value: object, repeats: int) -> float:
    least = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        result = call(value)
        least = min(least, time.perf_counter() - began)
        del result  # giving a large result's memory back is not the call
    return least


def measure(rounds: int = 40, large_rounds: int = 4) -> dict[str, dict[str, float]]:
    """Return for each row the seconds that a call takes with each library, at the least, in interleaved rounds."""
    array = np.arange(MEGABYTES * 1_000_000 // 8, dtype=np.float64)
    measured: dict[str, dict[str, float]] = {}
    with _contestants() as contestants:
        for row, value, times, repeats in ((SMALL, 1, rounds, 100), (LARGE, array, large_rounds, 3)):
            for call in contestants.values():
                if not np.array_equal(call(value), value):  # warm it
                    raise AssertionError("a library gives back another value")
            best = measured[row] = dict.fromkeys(contestants, float("inf"))
            for _ in range(times):
                for name, call in contestants.items():
                    gc.collect()
                    best[name] = min(best[name], _least(call, value, repeats))
    return measured


def main() -> int:
    """Print the figures, and fail where pebble's small call is quicker than ours."""
    measured = measure()
    names = [*measured[SMALL]]
    versions = {name: importlib.metadata.version(name) for name in names if name in ("pebble", "loky")}
    print(
        ", ".join([machine(), f"numpy {np.__version__}", *(f"{name} {version}" for name, version in versions.items())])
    )
    rows = [
        (row, *(f"{best[name] * 1e6:,.0f} µs" if row == SMALL else f"{best[name] * 1e3:,.0f} ms" for name in names))
        for row, best in measured.items()
    ]
    rows += [
        (f"{row}, ours in parts of it", *(f"{best[OURS] / best[name]:.2f}" for name in names))
        for row, best in measured.items()
    ]
    print(table(["", *names], rows, markdown=False))
    for name in names:
        if name in LEFT_OUT:
            print(f"{name}: {LEFT_OUT[name]}")
    small = measured[SMALL]
    return int(small[OURS] > small.get("pebble", float("inf")))


if __name__ == "__main__":
    sys.exit(main())
