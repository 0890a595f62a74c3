"""Splitting a frame into good and bad rows: ours beside pandera, dataframely and a mask written by hand, in one run.

    python tests/benchmarks/splitting.py [--quick] [--page docs/measured.md] [--figure docs/images/splitting.png]

All contestants split the same frames by the same ten rules, and have to give the same rows before anything is measured.
They take turns in random order, and a time is compared with the mask's of the same round, so that a slow minute of the
machine hits all of them. Peak memory is that of a fresh process each. A second table, of `bad_rows.py`, is of what bad
rows cost, beside an earlier build. Ends with an error if a goal is missed. Takes about fifteen minutes and 8 GB.
"""

import argparse
import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bad_rows
import numpy as np
from cliffs import cliffs
from contestants import BY_HAND_TELLS, CONTESTANTS, DATAFRAMELY, MASK, OURS, OURS_TELLS, Contestant
from flights import flights, load
from peak import GIVE_BACK, SELF
from setting import machine, say, table, write_into

CASES = [(1_000_000, 0.0), (1_000_000, 0.01), (1_000_000, 0.2), (10_000_000, 0.01)]
QUICK = [(200_000, share) for share in (0.0, 0.01, 0.2)]
ROUNDS = 9
ENOUGH = 8.0  # seconds: a slower contestant skips the other rounds
NOISE = 8.0  # MiB: a clean frame's mask in polars takes one, and twice that is noise
WITHIN, FASTER = 1.5, 15.0  # the goals, as ratios to the mask, and to pandera and a split by hand
HEAD = ("rows", "bad", "library", "way", "seconds", "/ mask", "peak MiB", "/ mask")


@dataclass
class Result:
    """Time and memory of one contestant for one frame.

    Attributes:
        seconds: of each round.
        peak: MiB above what the frame takes; None if it cannot be measured.
    """

    rows: int
    share: float
    contestant: Contestant
    seconds: list[float] = field(default_factory=list)
    peak: float | None = None

    def slower(self, other: "Result") -> float:
        """Return the time as a ratio to another's, by the median of the rounds that both took part in."""
        return statistics.median(mine / its for mine, its in zip(self.seconds, other.seconds, strict=False))

    def larger(self, other: "Result") -> float | None:
        return self.peak / other.peak if self.peak is not None and other.peak else None


def measure(rows: int, share: float) -> list[Result]:
    """Measure all contestants on one frame."""
    label = f"{rows:,} rows, {share:.0%} bad"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "flights.parquet")
        say(f"{label}: making the frame ...")
        flights(rows, round(rows * share)).write_parquet(path)
        results = [Result(rows, share, contestant) for contestant in CONTESTANTS]
        say(f"{label}: do all give the same rows?")
        frames = {library: load(path, library) for library in ("pandas", "polars")}
        compare(frames, round(rows * share))
        take_turns(results, frames, label)
        frames.clear()
        for result in results:
            say(f"{label}: peak memory of {result.contestant.library}, {result.contestant.name} ...")
            result.peak = peak(path, result.contestant)
    return results


def compare(frames: dict[str, Any], bad: int) -> None:
    """Check that all contestants return the same rows in the same order.

    Raises:
        AssertionError: one of them does not.
    """
    expected = None
    for contestant in CONTESTANTS:
        ids = [part["id"].to_numpy() for part in contestant.split(frames[contestant.library])]
        expected = expected or ids
        same = all(np.array_equal(mine, its) for mine, its in zip(ids, expected, strict=True))
        if not same or len(ids[1]) != bad:
            raise AssertionError(f"{contestant.library}, {contestant.name} gives other rows: {[*map(len, ids)]}")


def take_turns(results: list[Result], frames: dict[str, Any], label: str) -> None:
    for number in range(ROUNDS):
        playing = [result for result in results if sum(result.seconds) < ENOUGH]
        say(f"{label}: round {number + 1} of {ROUNDS}, {len(playing)} contestants ...")
        for result in random.sample(playing, len(playing)):
            frame = frames[result.contestant.library]
            gc.collect()
            began = time.perf_counter()
            parts = result.contestant.split(frame)
            result.seconds.append(time.perf_counter() - began)
            del parts


def peak(path: Path, contestant: Contestant) -> float | None:
    """Return the MiB that a split adds to the memory of a fresh process."""
    if not SELF.joinpath("clear_refs").exists():
        return None
    program = [sys.executable, str(Path(__file__).with_name("peak.py"))]
    answer = subprocess.run(
        [*program, str(path), contestant.library, contestant.name],
        env={**os.environ, **GIVE_BACK},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(f"{contestant.name} could not be measured:\n{answer.stderr[-3000:]}")
    return float(answer.stdout)


def of(results: Iterable[Result], library: str, name: str) -> Result | None:
    wanted = (library, name)
    return next((each for each in results if (each.contestant.library, each.contestant.name) == wanted), None)


def rows(results: list[Result]) -> Iterator[tuple[str, ...]]:
    for result in results:
        bound = of(results, result.contestant.library, MASK)
        larger = result.larger(bound)
        yield (
            f"{result.rows:,}",
            f"{result.share:.0%}",
            result.contestant.library,
            result.contestant.name,
            f"{statistics.median(result.seconds):.3f}",
            f"{result.slower(bound):.2f}",
            "" if result.peak is None else f"{result.peak:.0f}",
            "" if larger is None else f"{larger:.2f}",
        )


def goals(results: list[Result]) -> Iterator[tuple[str, float, float, str]]:
    """For each goal of one frame: its name, the figure, its limit, and the unit."""
    case = f"{results[0].rows:,} rows, {results[0].share:.0%} bad"
    for library in ("pandas", "polars"):
        mine, bound = of(results, library, OURS), of(results, library, MASK)
        yield f"time, {library}, {case}", mine.slower(bound), WITHIN, "x mask"
        larger = mine.larger(bound)
        if larger is not None and mine.peak > NOISE:
            yield f"peak memory, {library}, {case}", larger, WITHIN, "x mask"
    yield f"time, polars, {case}", mine.slower(of(results, "polars", DATAFRAMELY)), 1.0, "x dataframely"
    if results[0].share == 0.2:
        ratio = of(results, "pandas", OURS_TELLS).slower(of(results, "pandas", BY_HAND_TELLS))
        yield f"time, pandas, {case}, reasons on each bad row", ratio, 1 / FASTER, "x pandera split by hand"


def said(goal: tuple[str, float, float, str]) -> str:
    what, figure, most, unit = goal
    return f"{what}: {figure:.3g} {unit} (goal: at most {most:.3g}): {'met' if figure <= most else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Good and bad rows: ours beside pandera, dataframely and a mask.")
    parser.add_argument("--quick", action="store_true", help="200,000 rows for a look; the goals are for a million")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    parser.add_argument("--figure", type=Path, help="draw the table into this PNG or SVG file")
    options = parser.parse_args()
    measured = [measure(*case) for case in (QUICK if options.quick else CASES)]
    say("the two cliffs ...")
    judged = [*(goal for results in measured for goal in goals(results)), *cliffs()]
    costs = bad_rows.measure(quick=options.quick)
    judged += bad_rows.goals(costs)
    lines, others = [line for results in measured for line in rows(results)], bad_rows.lines(costs)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pandas", "polars", "pandera", "dataframely"))
    about = f"{machine()}, {libraries}. Median of up to {ROUNDS} rounds:\n"
    print(about, table(HEAD, lines, markdown=False), "", table(bad_rows.HEAD, others, markdown=False), "", sep="\n")
    print(*map(said, judged), sep="\n")
    if options.page:
        remarks = "\n".join(f"- {said(goal)}" for goal in judged)
        tables = f"{table(HEAD, lines, markdown=True)}\n\n{table(bad_rows.HEAD, others, markdown=True)}"
        write_into(options.page, "splitting", f"{about}\n{tables}\n\n{remarks}")
    if options.figure:
        from bars import draw

        draw(measured, options.figure)
    missed = [said(goal) for goal in judged if goal[1] > goal[2]]
    if options.quick:
        print("", "a quick look: nothing is judged", sep="\n")
    else:
        print("", "NOT AS PROMISED:" if missed else "as promised", *missed, sep="\n")
        sys.exit(bool(missed))


if __name__ == "__main__":
    main()
