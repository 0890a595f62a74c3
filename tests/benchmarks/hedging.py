"""The effect of hedging on a slow tail: calls to a real HTTP server, every other one hedged.

    python tests/benchmarks/hedging.py [--calls 1500] [--page docs/measured.md]

The server (`slow_tail.py`) is a separate process. Calls start at random times, whether or not earlier ones have been
answered; plain and hedged ones alternate, each under its own path, so that a slow moment of the machine hits both.
Before that, plain calls at the same rate determine the delay of the hedge: the time within which `PERCENTILE` % of them
were answered. The server counts the requests.
"""

import argparse
import asyncio
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

from setting import machine, say, table, write_into
from slow_tail import EVERY, LEAST, SLOW, SPREAD

RATE = 100  # calls a second, in the mean
FIRST, WARM_UP = 100, 1_500  # calls that load modules, and calls that determine the delay
PERCENTILE = 97  # at most 5 % of the calls may be made twice, and 2 % are slow
THREADS = 128  # more than are ever busy at once: no call waits for one
PATHS = ("first/plain", "warm-up/plain", "run/plain", "run/hedged")  # those in one folder are equally slow
CUT, MORE = 3.0, 0.05  # the goals: 99th percentile at most a third, for at most 5 % more requests
HEAD = ("", "calls", "p50 ms", "p95 ms", "p99 ms", "max ms", "requests", "slow ones", "more")


@dataclass
class Calls:
    """Calls of one sort, and the server's counts."""

    path: str
    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    slow: int = 0

    def percentile(self, percent: float) -> float:
        """Return a percentile of the calls' durations, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(len(ordered) * percent / 100) - 1]

    @property
    def more(self) -> float:
        return self.requests / len(self.seconds) - 1


@dataclass
class Measured:
    """Plain and hedged calls of one run; `after` is the hedge's delay."""

    kind: str
    after: float
    plain: Calls
    hedged: Calls

    @property
    def cut(self) -> float:
        return self.plain.percentile(99) / self.hedged.percentile(99)


@contextmanager
def service() -> Iterator[str]:
    """Run the server, and give its address."""
    program = [sys.executable, str(Path(__file__).with_name("slow_tail.py"))]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()
            server.wait(10)


def hedged(get: Callable[[str], Any], after: float) -> Callable[[str], Any]:
    from resilient_tasks import Hedge, resilient

    return resilient(hedge=Hedge(after), idempotent=True)(get)


def decided(warm_up: Calls) -> float:
    """Return the delay of a hedge in seconds."""
    return round(warm_up.percentile(PERCENTILE), 4)


def arrivals(number: int) -> list[float]:
    """Return the seconds at which calls are made: drawn, so that they do not keep step with the answers."""
    draw = random.Random(number)
    return list(accumulate(draw.expovariate(RATE) for _ in range(number)))


async def measure_async(calls: int, address: str) -> Measured:
    import httpx

    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:

        async def get(path: str) -> None:
            (await client.get(path)).raise_for_status()

        async def timed(call: Callable[[str], Any], into: Calls) -> None:
            began = time.perf_counter()
            await call(into.path)
            into.seconds.append(time.perf_counter() - began)

        async def at_a_rate(turns: list[tuple[Callable[[str], Any], Calls]], number: int) -> None:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for turn, at in zip(cycle(turns), arrivals(number), strict=False):
                    await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
                    group.create_task(timed(*turn))

        first, warm_up, plain, ours = (Calls(f"/async/{path}") for path in PATHS)
        await at_a_rate([(get, first)], FIRST)
        await at_a_rate([(get, warm_up)], WARM_UP)
        after = decided(warm_up)
        await at_a_rate([(get, plain), (hedged(get, after), ours)], 2 * calls)
    return Measured("async", after, plain, ours)


def measure_sync(calls: int, address: str) -> Measured:
    import httpx

    with httpx.Client(base_url=address, trust_env=False) as client, ThreadPoolExecutor(THREADS) as pool:

        def get(path: str) -> None:
            client.get(path).raise_for_status()

        def timed(call: Callable[[str], Any], into: Calls) -> None:
            began = time.perf_counter()
            call(into.path)
            into.seconds.append(time.perf_counter() - began)

        def at_a_rate(turns: list[tuple[Callable[[str], Any], Calls]], number: int) -> None:
            began, futures = time.perf_counter(), list[Future[None]]()
            for turn, at in zip(cycle(turns), arrivals(number), strict=False):
                time.sleep(max(0.0, began + at - time.perf_counter()))
                futures.append(pool.submit(timed, *turn))
            for future in futures:
                future.result()

        first, warm_up, plain, ours = (Calls(f"/sync/{path}") for path in PATHS)
        at_a_rate([(get, first)], FIRST)
        at_a_rate([(get, warm_up)], WARM_UP)
        after = decided(warm_up)
        at_a_rate([(get, plain), (hedged(get, after), ours)], 2 * calls)
        time.sleep(2 * SLOW)  # the losers, which are left behind in their threads, still use the client
    return Measured("sync, threads", after, plain, ours)


def measure(calls: int) -> list[Measured]:
    import httpx

    with service() as address:
        say(f"async: {WARM_UP:,} calls to warm up, then {calls:,} plain and {calls:,} hedged ones ...")
        measured = [asyncio.run(measure_async(calls, address))]
        say("sync, the same ...")
        measured.append(measure_sync(calls, address))
        seen = httpx.get(f"{address}/counts", trust_env=False).json()
    for each in measured:
        for sort in (each.plain, each.hedged):
            sort.requests, sort.slow = seen[sort.path]["requests"], seen[sort.path]["slow"]
    return measured


def rows(measured: list[Measured]) -> Iterator[tuple[str, ...]]:
    for each in measured:
        for sort, name in ((each.plain, "plain"), (each.hedged, f"hedged after {each.after * 1000:.1f} ms")):
            times = (f"{sort.percentile(percent) * 1000:.1f}" for percent in (50, 95, 99, 100))
            counts = f"{sort.requests:,}", f"{sort.slow:,}", f"{sort.more:.1%}"
            yield f"{each.kind}, {name}", f"{len(sort.seconds):,}", *times, *counts


def goals(measured: list[Measured]) -> Iterator[tuple[str, bool]]:
    """For each goal: its statement, and whether it is met."""
    for each in measured:
        yield f"{each.kind}: 99th percentile cut {each.cut:.1f}-fold (goal: at least {CUT:g})", each.cut >= CUT
        more = each.hedged.more
        yield f"{each.kind}: {more:.1%} more requests (goal: at most {MORE:.0%})", more <= MORE


def remarks(measured: list[Measured]) -> Iterator[str]:
    """Say what the machine added to the server's times: where that is much, it was busy with other things."""
    quick = 1 - 1 / EVERY
    own = LEAST - SPREAD * math.log(1 - 0.95 / quick)
    for each in measured:
        took = each.plain.percentile(95) * 1000
        yield f"{each.kind}: 95 % of plain calls took up to {took:.0f} ms, of which the server waits {own * 1000:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="A slow tail, plain and hedged, on a real server.")
    parser.add_argument("--calls", type=int, default=1_500, help="calls of each sort (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    options = parser.parse_args()
    measured = measure(options.calls)
    slow, least, spread = (f"{seconds * 1000:g} ms" for seconds in (SLOW, LEAST, SPREAD))
    about = (
        f"{machine()}. One of {EVERY} answers takes {slow}, the others {least} and {spread} more in the mean;"
        f" {RATE} calls a second. `after` is percentile {PERCENTILE} of {WARM_UP:,} plain calls before the run:"
    )
    lines, judged = list(rows(measured)), list(goals(measured))
    said = [f"{what}: {'met' if met else 'MISSED'}" for what, met in judged] + list(remarks(measured))
    print(about, "", table(HEAD, lines, markdown=False), "", *said, sep="\n")
    if options.page:
        list_of_it = "\n".join(f"- {line}" for line in said)
        write_into(options.page, "hedging", f"{about}\n\n{table(HEAD, lines, markdown=True)}\n\n{list_of_it}")
    missed = [what for what, met in judged if not met]
    print("", "NOT AS PROMISED:" if missed else "as promised", *missed, sep="\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
