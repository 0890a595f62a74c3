"""What a closed circuit breaker costs a call that succeeds: ours beside four other libraries, in one interleaved run.

    python tests/benchmarks/breakers.py [--rounds 300] [--page docs/measured.md]

Each round gives every contender one batch of calls, in random order, so that a slow moment of the machine hits all of
them; the ratio shown is the median of the rounds' own ratios. The loop and the function are in every figure. All keep
their state in memory there. What a store adds is measured after that, as the mean of a run of more than a second:
ours asks its store now and then (`store_staleness`), and that is in the mean, in full.
"""

import argparse
import asyncio
import gc
import logging
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
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from breaker_peers import CALLS, IN_A_ROW, SECONDS, Breaker, Function, breakers, check, ours, versions
from setting import machine, say, table, write_into

BATCH, WARM_UP = 2_000, 10  # calls of each contender in a round; rounds that are not counted
WITHIN = 1.5  # the goal, as a ratio to the fastest peer
AMORTISED = 10.0  # the goal for Redis, in µs a call
RUN, RUNS = 1.2, 3  # seconds of one run with a store, and how often
HEAD = ("", "breaker", "opens at", "min µs", "median µs", "/ fastest peer")
STORES_HEAD = ("store", "opens at", "µs a call", "questions a second", "a call that asks, µs")


@dataclass
class Timed:
    """A contender, and the µs that a call took in each round."""

    breaker: Breaker
    call: Function
    micros: list[float] = field(default_factory=list)

    def ratio(self, other: "Timed") -> float:
        return statistics.median(mine / its for mine, its in zip(self.micros, other.micros, strict=True))


@dataclass
class Stored:
    """Ours with one store, sync.

    Attributes:
        micros: a call took, everything included.
        asked: questions to the store in a second; None where there is nobody to ask.
        asking: µs that a call takes which asks the store.
    """

    store: str
    opens: str
    micros: float
    asked: float | None
    asking: float


def own(*, is_async: bool) -> Function:
    """Give each contender a function of its own."""

    def function() -> int:
        return 1

    async def coroutine_function() -> int:
        return 1

    return coroutine_function if is_async else function


async def batch(call: Function, *, is_async: bool) -> float:
    """Return the µs that a call took in one batch."""
    began = time.perf_counter_ns()
    if is_async:
        for _ in repeat(None, BATCH):
            await call()
    else:
        for _ in repeat(None, BATCH):
            call()
    return (time.perf_counter_ns() - began) / BATCH / 1000


async def measure(rounds: int, *, is_async: bool) -> list[Timed]:
    """Give each contender its turn in every round."""
    contenders = [Timed(each, each.decorator()(own(is_async=is_async))) for each in breakers(is_async=is_async)]
    for number in range(-WARM_UP, rounds):
        for contender in random.sample(contenders, len(contenders)):
            micros = await batch(contender.call, is_async=is_async)
            if number >= 0:
                contender.micros.append(micros)
    return contenders


class Counted:
    """A store that counts its questions, and those that it did not answer."""

    def __init__(self, store: Any) -> None:
        self.asked = self.unanswered = 0
        self.connect, self.now, self.keys, self.close = store.connect, store.now, store.keys, store.close
        self._store = store

    def get(self, key: str) -> bytes | None:
        return self._answer(self._store.get, key)

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        return self._answer(self._store.swap, key, old, new, ttl=ttl)

    def _answer(self, question: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        try:
            return question(*args, **kwargs)
        except Exception:
            self.unanswered += 1
            raise


@contextmanager
def stores() -> Iterator[dict[str, Callable[[], Any]]]:
    """Give what opens each store, Redis too where its server is installed."""
    from resilient_tasks.core.store import MemoryStore
    from resilient_tasks.stores.redis import RedisStore
    from resilient_tasks.stores.sqlite import SQLiteStore

    folder = tempfile.mkdtemp(prefix="breakers-")
    found: dict[str, Callable[[], Any]] = {
        "memory": MemoryStore,
        "SQLite": lambda: SQLiteStore(f"sqlite:///{folder}/state.db"),
    }
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
        return held.getsockname()[1]


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("redis-server did not start within 5 s")


def with_store(name: str, open_store: Callable[[], Any], breaker: Breaker) -> Stored:
    """Call for more than a second, and then so that each call asks the store."""
    from resilient_tasks import configure
    from resilient_tasks.core import settings
    from resilient_tasks.shared.states import use_store

    staleness = settings.current.store_staleness
    store = open_store() if name == "memory" else Counted(open_store())
    call = breaker.decorator()(own(is_async=False))
    with use_store(store):
        _calls(call, seconds=2 * staleness)
        before, began = getattr(store, "asked", 0), time.perf_counter()
        micros = _calls(call, seconds=RUN)
        asked = (getattr(store, "asked", 0) - before) / (time.perf_counter() - began)
        try:
            configure(store_staleness=0)
            _calls(call, seconds=2 * staleness)
            before = getattr(store, "asked", 0)
            asking = _calls(call, seconds=RUN / 4)
        finally:
            configure(store_staleness=staleness)
    if isinstance(store, Counted) and (store.unanswered or not asked or store.asked == before):
        raise RuntimeError(f"{name} left {store.unanswered} of {store.asked} questions unanswered: measure again")
    return Stored(name, breaker.opens, micros, asked if isinstance(store, Counted) else None, asking)


def _calls(call: Function, *, seconds: float) -> float:
    """Return the mean µs of as many calls as fit into so many seconds."""
    calls, began = 0, time.perf_counter_ns()
    until = began + seconds * 1e9
    while (now := time.perf_counter_ns()) < until:
        for _ in repeat(None, 100):
            call()
        calls += 100
    return (now - began) / calls / 1000


def measure_stores() -> list[Stored]:
    """Measure each store in turn, and again; what is kept is the median of each figure."""
    with stores() as found:
        cases = [(name, each) for name in found for each in ours() if each.opens != CALLS]
        runs: dict[tuple[str, str], list[Stored]] = {(name, each.opens): [] for name, each in cases}
        for number in range(RUNS):
            say(f"stores: run {number + 1} of {RUNS} ...")
            for name, each in random.sample(cases, len(cases)):
                runs[name, each.opens].append(with_store(name, found[name], each))
    return [_median(several) for several in runs.values()]


def _median(several: list[Stored]) -> Stored:
    micros, asking = (statistics.median(getattr(each, what) for each in several) for what in ("micros", "asking"))
    asked = None if several[0].asked is None else statistics.median(each.asked or 0 for each in several)
    return Stored(several[0].store, several[0].opens, micros, asked, asking)


def fastest(contenders: list[Timed], *opens: str) -> Timed:
    peers = (each for each in contenders if each.breaker.opens in opens and not each.breaker.is_ours)
    return min(peers, key=lambda each: statistics.median(each.micros))


def rows(kind: str, contenders: list[Timed]) -> Iterator[tuple[str, ...]]:
    best = fastest(contenders, IN_A_ROW, SECONDS, CALLS)
    for each in sorted(contenders, key=lambda each: statistics.median(each.micros)):
        times = (f"{of(each.micros):.2f}" for of in (min, statistics.median))
        yield kind, each.breaker.library, each.breaker.opens, *times, f"{each.ratio(best):.2f}"


def store_rows(stored: list[Stored]) -> Iterator[tuple[str, ...]]:
    for each in stored:
        asked = "none" if each.asked is None else f"{each.asked:.1f}"
        yield each.store, each.opens, f"{each.micros:.2f}", asked, f"{each.asking:.0f}"


def goals(contenders: list[Timed], stored: list[Stored]) -> Iterator[tuple[str, bool]]:
    """For each goal: what is said of it, and whether it is met."""
    best = fastest(contenders, IN_A_ROW, SECONDS, CALLS)
    for each in contenders:
        if each.breaker.is_ours:
            ratio = each.ratio(best)
            what = f"{each.breaker.opens}, memory: {ratio:.2f} x {best.breaker.library}, the fastest peer"
            yield f"{what} (goal: at most {WITHIN})", ratio <= WITHIN
    for one in stored:
        if one.store == "Redis":
            what = f"{one.opens}, Redis: {one.micros:.2f} µs a call, amortised"
            yield f"{what} (goal: under {AMORTISED:g})", one.micros < AMORTISED


def remarks(contenders: list[Timed], stored: list[Stored]) -> Iterator[str]:
    """What is not judged, but worth knowing."""
    for opens in (SECONDS, CALLS):
        mine = next(each for each in contenders if each.breaker.is_ours and each.breaker.opens == opens)
        best = fastest(contenders, opens)
        yield f"{opens}, memory: {mine.ratio(best):.2f} x {best.breaker.library}, the fastest peer that does the same"
    for one in stored:
        if one.store == "Redis" and one.asked is not None:
            shares = (f"{one.asking * min(1, one.asked / rate):.1f} µs at {rate:,}" for rate in (100, 1_000, 10_000))
            yield f"{one.opens}, Redis: its questions, shared by the calls of a second, come to {', '.join(shares)}"
    if not any(one.store == "Redis" for one in stored):
        yield "Redis: skipped, there is no redis-server here"


def main() -> None:
    parser = argparse.ArgumentParser(description="What a closed circuit breaker costs a call, beside its peers.")
    parser.add_argument("--rounds", type=int, default=300, help="batches of each contender (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="put the tables into this page too")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # for the breakers that are opened on purpose
    for is_async in (False, True):
        for breaker in breakers(is_async=is_async):
            check(breaker, is_async=is_async)
    gc.collect()
    gc.freeze()  # a full collection takes longer than a batch, whoever's turn it is
    say(f"sync: {options.rounds} rounds of {BATCH:,} calls ...")
    in_sync = asyncio.run(measure(options.rounds, is_async=False))
    say(f"async: {options.rounds // 3} rounds of {BATCH:,} calls ...")
    in_async = asyncio.run(measure(options.rounds // 3, is_async=True))
    stored = measure_stores()
    lines = [*rows("sync", in_sync), *rows("async", in_async)]
    judged = list(goals(in_sync, stored))
    said = [f"{what}: {'met' if met else 'MISSED'}" for what, met in judged] + list(remarks(in_sync, stored))
    about = f"{machine()}; {versions()}. {options.rounds} rounds of {BATCH:,} calls, a third of the rounds for async:"
    more = f"Ours with each store, sync, the median of {RUNS} runs of {RUN:g} s:"
    store_lines = list(store_rows(stored))
    print(about, "", table(HEAD, lines, markdown=False), "", sep="\n")
    print(more, "", table(STORES_HEAD, store_lines, markdown=False), "", *said, sep="\n")
    if options.page:
        tables = table(HEAD, lines, markdown=True), table(STORES_HEAD, store_lines, markdown=True)
        text = "\n\n".join((about, tables[0], more, tables[1], "\n".join(f"- {line}" for line in said)))
        write_into(options.page, "breakers", text)
    missed = [what for what, met in judged if not met]
    print("", "NOT AS PROMISED:" if missed else "as promised", *missed, sep="\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
