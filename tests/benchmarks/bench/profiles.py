"""Where ours spends its time: the functions called in one call of a row, with counts.

For the rows that had furthest to go. The counts do not depend on the machine, and the shares hardly.
"""

import cProfile
import pstats
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import peers, states
from bench.calls import failing_twice, silenced, succeeding
from bench.imports import FUNCTIONS, TASKS
from bench.seldom import PAUSE
from bench.timing import OURS

CALLS, SELDOM = 2000, 12
LINES = 10
HERE = Path(__file__).parent  # the functions that are called are not ours
Recipe = Callable[[], peers.Recipes]


def _call(recipe: Recipe, *, make: Callable[..., Any] = succeeding) -> Callable[[], Any]:
    call: Callable[[], Any] = recipe()[OURS](make(is_async=False))
    return call


def often(recipe: Recipe, *, make: Callable[..., Any] = succeeding, nested: bool = False) -> str:
    """Profile calls in a row."""
    call = _call(recipe, make=make)
    profile = cProfile.Profile()

    def batch() -> None:
        for _ in range(CALLS):
            call()
        profile.enable()
        for _ in range(CALLS):
            call()
        profile.disable()

    (recipe()[OURS](batch) if nested else batch)()
    return _written(profile, CALLS)


def seldom(recipe: Recipe) -> str:
    """Profile calls with a pause before each."""
    call, profile = _call(recipe), cProfile.Profile()
    call()
    for _ in range(SELDOM):
        time.sleep(PAUSE)
        profile.enable()
        call()
        profile.disable()
    return _written(profile, SELDOM)


def _written(profile: cProfile.Profile, calls: int) -> str:
    """Write how many calls of functions there were for each call, and the functions that took longest."""
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = vars(pstats.Stats(profile))["stats"]
    found = {key: entry for key, entry in stats.items() if "_lsprof" not in key[2] and Path(key[0]).parent != HERE}
    in_python = sum(entry[1] for key, entry in found.items() if key[0] != "~")
    in_c = sum(entry[1] for key, entry in found.items() if key[0] == "~")
    whole = sum(entry[2] for entry in found.values())
    lines = [f"{in_python / calls:.0f} calls of Python functions, {in_c / calls:.0f} of C functions; the longest:"]
    longest = sorted(found.items(), key=lambda each: -each[1][2])[:LINES]
    for (file, _, name), entry in longest:
        lines.append(f"{entry[2] / whole:6.1%} {entry[1] / calls:6.1f} x  {_where(file, name)}")
    return "\n".join(lines)


def _where(file: str, name: str) -> str:
    if file == "~":
        return name.strip("<>")
    parts = Path(file).parts
    if "resilient_tasks" in parts[:-1]:
        at = parts.index("resilient_tasks") + 1
    else:
        at = -2 if parts[-1] == "__init__.py" else -1
    return f"{'/'.join(parts[at:])}: {name}"


def importing(statement: str) -> str:
    """Say which packages an import loads, by the time of their own modules."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    subprocess.run(command, check=True, capture_output=True)  # writes the bytecode
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    micros: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for line in lines:
        own, _, rest = line.removeprefix("import time:").partition("|")
        if own.strip().isdigit():
            package = rest.partition("|")[2].strip().partition(".")[0]
            micros[package] += int(own)
            modules[package] += 1
    whole = sum(micros.values())
    head = f"{sum(modules.values()):,} modules; the packages that take longest:"
    said = [f"{each / whole:6.1%} {modules[name]:6,} modules  {name}" for name, each in micros.most_common(LINES)]
    return "\n".join([head, *said])


_retry: Recipe = partial(peers.retry, is_async=False)
PROFILES: dict[str, Callable[[], str]] = {
    "success": partial(often, _retry),
    "success inside another such call": partial(often, _retry, nested=True),
    "fallback + deadline + retry + breaker": partial(often, partial(peers.four, is_async=False, main=True)),
    "two failures and a success": partial(often, _retry, make=failing_twice),
    "bulkhead": partial(often, partial(states.bulkhead, is_async=False)),
    "rate limit": partial(often, partial(states.rate_limit, is_async=False, sliding=False)),
    "breaker every 0.25 s": partial(seldom, partial(states.breaker_of_a_rate, is_async=False)),
    "import resilient": partial(importing, FUNCTIONS),
    "import resilient_task": partial(importing, TASKS),
}


def profiled(which: str) -> str:
    """Profile a row, or all."""
    names = list(PROFILES) if which == "all" else [which]
    with silenced():
        return "\n\n".join(f"{name}: {PROFILES[name]()}" for name in names)
