"""Calls that are made seldom: what keeps state, called every quarter of a second, with real pauses in between.

A processor that did something else meanwhile has forgotten the code, so a call takes ten times what it takes in a row.
The figure is the median of single calls.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench import peers, states
from bench.calls import BOTH, succeeding
from bench.table import FASTEST, Goal, Row
from bench.timing import BARE, Contestant, contestants, quiet

PAUSE, ROUNDS = 0.25, 48
KINDS: dict[str, Callable[..., peers.Recipes]] = {
    "bulkhead": states.bulkhead,
    "rate limit, token bucket": partial(states.rate_limit, sliding=False),
    "rate limit, sliding window": partial(states.rate_limit, sliding=True),
    "breaker, failures in a row": states.breaker_in_a_row,
    "breaker, a rate": states.breaker_of_a_rate,
}


def seldom() -> Iterator[Row]:
    for (what, place), found in asyncio.run(_measured()).items():
        figures = {each.name: each.middle for each in found}
        where = f"{place}, every {PAUSE:g} s"
        yield Row(what, where, figures, [Goal(FASTEST, 1.0)], remark="the median of single calls")


async def _measured() -> dict[tuple[str, str], list[Contestant]]:
    everyone: dict[tuple[str, str], list[Contestant]] = {}
    for is_async, place in BOTH:
        for what, recipes in KINDS.items():
            named = recipes(is_async=is_async) | {BARE: lambda fn: fn}
            everyone[what, place] = contestants(named, partial(succeeding, is_async=is_async))
    turns = [(each, place == "async") for (_, place), several in everyone.items() for each in several]
    with quiet():
        for number in range(-2, ROUNDS):
            await asyncio.sleep(PAUSE)
            for each, is_async in random.sample(turns, len(turns)):
                nanos = await _once(each, is_async=is_async)
                if number >= 0:
                    each.nanos.append(nanos)
    return everyone


async def _once(each: Contestant, *, is_async: bool) -> int:
    if is_async:
        began = time.thread_time_ns()
        await each.call()
        return time.thread_time_ns() - began
    began = time.thread_time_ns()
    each.call()
    return time.thread_time_ns() - began
