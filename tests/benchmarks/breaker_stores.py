"""The cost of a closed circuit breaker with a shared store for a successful call: SQLite, and Redis if installed.

    python tests/benchmarks/breaker_stores.py [--page docs/measured.md]

The mean of a run of more than a second: ours asks its store now and then (`store_staleness`), and that is in the mean,
in full. `bench_table.py` has the breaker whose state is in memory, beside other libraries.
"""

import argparse
import gc
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any

from setting import machine, say, table, write_into

Function = Callable[[], Any]

IN_A_ROW, SECONDS = "5 in a row", "half of the last 60 s"
AMORTISED = 10.0  # the goal for Redis, in µs a call
RUN, RUNS = 1.2, 3  # seconds of one run with a store, and how often
HEAD = ("store", "opens at", "µs a call", "questions a second", "a call that asks, µs")
_numbers = count(1)


@dataclass
class Stored:
    """A breaker with one store.

    Attributes:
        store: its kind.
        opens: at how many failures.
        micros: a call took, everything included.
        asked: questions to the store in a second.
        asking: µs that a call takes which asks the store.
    """

    store: str
    opens: str
    micros: float
    asked: float
    asking: float


class Counted:
    """A store that counts requests and unanswered requests."""

    def __init__(self, store: Any) -> None:
        self.asked = self.unanswered = 0
        self.connect, self.now, self.keys, self.close = store.connect, store.now, store.keys, store.close
        self._store = store

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self._answer(self._store.get, key)
        return found

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        found: tuple[bool, bytes | None] = self._answer(self._store.swap, key, old, new, ttl=ttl)
        return found

    def _answer(self, question: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        try:
            return question(*args, **kwargs)
        except Exception:
            self.unanswered += 1
            raise


@contextmanager
def stores() -> Iterator[dict[str, Callable[[], Any]]]:
    """Yield a function to open each store; Redis only if its server is installed."""
    from resilient_tasks.state.redis import RedisStore
    from resilient_tasks.state.sqlite import SQLiteStore

    folder = tempfile.mkdtemp(prefix="breakers-")
    found: dict[str, Callable[[], Any]] = {"SQLite": lambda: SQLiteStore(f"sqlite:///{folder}/state.db")}
    program, server = shutil.which("redis-server"), None
    try:
        if program is not None:
            port = _free_port()
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
            server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
            _wait_for(port)
            found["Redis"] = lambda: RedisStore(f"redis://127.0.0.1:{port}/0")
        yield found
    finally:
        if server is not None:
            server.terminate()
            server.wait(10)
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("redis-server did not start within 5 s")


def with_store(name: str, open_store: Callable[[], Any], opens: str) -> Stored:
    """Call for more than a second, and then so that each call asks the store."""
    from resilient_tasks import CircuitBreaker, configure, resilient
    from resilient_tasks.core import settings
    from resilient_tasks.state.states import use_store

    staleness = settings.current.store_staleness
    store = Counted(open_store())
    options: dict[str, Any] = {"failures": 5} if opens == IN_A_ROW else {}
    call: Function = resilient(breaker=CircuitBreaker(f"measured-{next(_numbers)}", **options))(lambda: 1)
    with use_store(store):
        _calls(call, seconds=2 * staleness)
        before, began = store.asked, time.perf_counter()
        micros = _calls(call, seconds=RUN)
        asked = (store.asked - before) / (time.perf_counter() - began)
        try:
            configure(store_staleness=0)
            _calls(call, seconds=2 * staleness)
            before = store.asked
            asking = _calls(call, seconds=RUN / 4)
        finally:
            configure(store_staleness=staleness)
    if store.unanswered or not asked or store.asked == before:
        raise RuntimeError(f"{name} left {store.unanswered} of {store.asked} questions unanswered: measure again")
    return Stored(name, opens, micros, asked, asking)


def _calls(call: Function, *, seconds: float) -> float:
    """Return the mean µs of the calls made within a number of seconds."""
    calls, began = 0, time.perf_counter_ns()
    until = began + seconds * 1e9
    while (now := time.perf_counter_ns()) < until:
        for _ in repeat(None, 100):
            call()
        calls += 100
    return (now - began) / calls / 1000


def measure() -> list[Stored]:
    """Measure the stores in turns; return the median of each figure."""
    with stores() as found:
        cases = [(name, opens) for name in found for opens in (IN_A_ROW, SECONDS)]
        runs: dict[tuple[str, str], list[Stored]] = {case: [] for case in cases}
        for number in range(RUNS):
            say(f"run {number + 1} of {RUNS} ...")
            for name, opens in random.sample(cases, len(cases)):
                runs[name, opens].append(with_store(name, found[name], opens))
    return [_median(several) for several in runs.values()]


def _median(several: list[Stored]) -> Stored:
    figures = (statistics.median(getattr(each, what) for each in several) for what in ("micros", "asked", "asking"))
    return Stored(several[0].store, several[0].opens, *figures)


def remarks(stored: list[Stored]) -> Iterator[tuple[str, bool]]:
    """The statements about Redis, and whether they hold."""
    of_redis = [one for one in stored if one.store == "Redis"]
    for one in of_redis:
        met = one.micros < AMORTISED
        what = f"{one.opens}, Redis: {one.micros:.2f} µs a call, amortised (goal: under {AMORTISED:g})"
        yield f"{what}: {'met' if met else 'MISSED'}", met
        shares = (f"{one.asking * min(1, one.asked / rate):.1f} µs at {rate:,}" for rate in (100, 1_000, 10_000))
        yield f"{one.opens}, Redis: its questions, shared by the calls of a second, come to {', '.join(shares)}", True
    if not of_redis:
        yield "Redis: skipped, there is no redis-server here", True


def main() -> None:
    parser = argparse.ArgumentParser(description="What a closed circuit breaker costs a call where a store is shared.")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    options = parser.parse_args()
    gc.collect()
    gc.freeze()
    stored = measure()
    lines = [(one.store, one.opens, f"{one.micros:.2f}", f"{one.asked:.1f}", f"{one.asking:.0f}") for one in stored]
    said = list(remarks(stored))
    about = f"{machine()}. The median of {RUNS} runs of {RUN:g} s:"
    bullets = "\n".join(f"- {what}" for what, _ in said)
    print(about, table(HEAD, lines, markdown=False), bullets, sep="\n\n")
    if options.page:
        write_into(options.page, "breakers", f"{about}\n\n{table(HEAD, lines, markdown=True)}\n\n{bullets}")
    sys.exit(not all(met for _, met in said))


if __name__ == "__main__":
    main()
