"""The cost of bad rows beside handwritten code: splitting, quarantining, writing, finding none, and records.

    python tests/benchmarks/bad_rows.py [--quick]

Ours as it is now, and as it was at an earlier commit if the clone has it, each in a process of its own; the peers are
in the first of them. All take turns in random order, and a time is compared with the peer's of the same round.
"""

import argparse
import gc
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from setting import machine, say, table

EARLIER = "7fe3d57"
ROOT = Path(__file__).parents[2]
ROUNDS, QUICK_ROUNDS = 7, 3
NOW, BEFORE, PEER = "now", "before", "peer"
HEAD = ("what", "beside", "ours / peer", f"at {EARLIER}", "goal")

Run = Callable[[], object]


@dataclass
class Row:
    """One task, by ours and by a peer.

    Attributes:
        goal: The most that ours may take, as a ratio to the peer.
        peer: Makes what is timed, of the peer.
        ours: Makes what is timed, of ours.
        times: How often it is done for one time.
        seconds: Who took how long, by round.
    """

    what: str
    beside: str
    goal: float
    peer: Callable[[], Run]
    ours: Callable[[], Run]
    times: int = 1
    seconds: dict[str, list[float]] = field(default_factory=lambda: {NOW: [], BEFORE: [], PEER: []})

    def ratio(self, who: str) -> float | None:
        """Return the median of the rounds' ratios to the peer; None without one."""
        ratios = [mine / its for mine, its in zip(self.seconds[who], self.seconds[PEER], strict=False)]
        return statistics.median(ratios) if ratios else None


def every_row(size: int) -> list[Row]:
    """Make the rows for frames of `size` rows."""
    import contestants
    import records

    made: list[Row] = []
    masks = {"pandas": contestants.pandas_mask, "polars": contestants.polars_mask}
    for library, mask in masks.items():
        what = f"split and quarantine, {size:,} rows, 20 % bad, {library}"
        made.append(Row(what, "mask by hand", 3.0, lambda a=library, b=mask: by_mask(a, size, b), kept(library, size)))
    for library in masks:
        what = f"write {size // 5:,} bad rows, {library}"
        made.append(Row(what, "plain Parquet write", 3.0, plain_write(library, size), write(library, size)))
    validated, filtered = small("pandas", by_pandera), small("polars", contestants.dataframely_filter)
    label = "100 rows, all good"
    made.append(Row(f"{label}, pandas", "schema.validate", 0.5, validated, small("pandas", ours("pandas")), 50))
    made.append(Row(f"{label}, polars", "dataframely filter", 1.0, filtered, small("polars", ours("polars")), 50))
    for share in (0.01, 0.2):
        what = f"20,000 records, {share:.0%} bad"
        made.append(Row(what, "TypeAdapter loop", 1.2, records.looped(share), records.ours(share)))
    return made


@cache
def frame(library: str, size: int, bad: int) -> Any:
    from flights import flights

    made = flights(size, bad)
    return made.to_pandas() if library == "pandas" else made


def by_mask(library: str, size: int, mask: Callable[[Any], object]) -> Run:
    data = frame(library, size, size // 5)
    return lambda: mask(data)


def by_pandera(data: Any) -> object:
    from contestants import schema

    return schema("pandas").validate(data, lazy=True)


def ours(library: str) -> Callable[[Any], object]:
    from contestants import schema

    from resilient_tasks.validation.split import split

    return lambda data: split(data, schema(library))


def small(library: str, way: Callable[[Any], object]) -> Callable[[], Run]:
    def make() -> Run:
        data = frame(library, 100, 0)
        return lambda: way(data)

    return make


def kept(library: str, size: int) -> Callable[[], Run]:
    def make() -> Run:
        data, way, keep = frame(library, size, size // 5), ours(library), quarantine()
        return lambda: keep(way(data))

    return make


def write(library: str, size: int) -> Callable[[], Run]:
    def make() -> Run:
        parts, keep = ours(library)(frame(library, size, size // 5)), quarantine()
        return lambda: keep(parts)

    return make


def plain_write(library: str, size: int) -> Callable[[], Run]:
    def make() -> Run:
        bad: Any = ours(library)(frame(library, size, size // 5))
        path = emptied() / "bad.parquet"
        return lambda: (bad.bad.to_parquet if library == "pandas" else bad.bad.write_parquet)(path)

    return make


def quarantine() -> Callable[[Any], object]:
    from resilient_tasks.quarantine.quarantine import Quarantine

    place = Quarantine(emptied())
    return lambda parts: place.write(parts, operation="flights", batch="1")


def emptied() -> Path:
    """Return the empty folder that the process writes to."""
    folder = Path(tempfile.gettempdir(), f"bad-rows-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def serve(size: int) -> None:
    """Run the tasks from standard input and print the seconds: the process of one build."""
    rows = every_row(size)
    for line in sys.stdin:
        at, who = json.loads(line)
        row = rows[at]
        run = (row.peer if who == PEER else row.ours)()
        gc.collect()
        began = time.perf_counter()
        for _ in range(row.times):
            run()
        print((time.perf_counter() - began) / row.times, flush=True)
    shutil.rmtree(emptied(), ignore_errors=True)


@contextmanager
def build(package: Path, size: int) -> Iterator[Callable[[int, str], float]]:
    """Start a process with the package of one build; yields a function that runs a task in it, in seconds."""
    command = [sys.executable, "-W", "ignore", __file__, "--serve", str(size)]
    paths = {"PYTHONPATH": os.pathsep.join([str(package), str(Path(__file__).parent)])}
    with subprocess.Popen(
        command, env={**os.environ, **paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(at: int, who: str) -> float:
            process.stdin.write(json.dumps([at, who]) + "\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield ask


@contextmanager
def checked_out(commit: str) -> Iterator[Path | None]:
    """Extract the package of a commit into a folder; None if the clone does not have the commit."""
    with tempfile.TemporaryDirectory() as folder:
        made = None
        with suppress(OSError, subprocess.CalledProcessError):
            packed = ["git", "-C", str(ROOT), "archive", commit, "resilient_tasks"]
            archive = subprocess.run(packed, capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
            made = Path(folder)
        yield made


def measure(*, quick: bool = False) -> list[Row]:
    """Measure all rows in one run."""
    size = 100_000 if quick else 1_000_000
    rows = every_row(size)
    with ExitStack() as stack:
        builds = {NOW: stack.enter_context(build(ROOT, size))}
        earlier = stack.enter_context(checked_out(EARLIER))
        if earlier is not None:
            builds[BEFORE] = stack.enter_context(build(earlier, size))
        contenders = [(who, builds[NOW if who == PEER else who]) for who in (PEER, *builds)]
        for number in range(-1, QUICK_ROUNDS if quick else ROUNDS):  # the first warms up
            say(f"bad rows: round {number + 1} of {QUICK_ROUNDS if quick else ROUNDS} ...")
            for at, row in enumerate(rows):
                for who, ask in random.sample(contenders, len(contenders)):
                    seconds = ask(at, who)
                    if number >= 0:
                        row.seconds[who].append(seconds)
    return rows


def lines(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return the cells of the table."""
    shown = [(row, row.ratio(NOW), row.ratio(BEFORE)) for row in rows]
    return [
        (row.what, row.beside, f"{now:.2f}", "" if then is None else f"{then:.2f}", f"≤ {row.goal:g}")
        for row, now, then in shown
    ]


def goals(rows: list[Row]) -> Iterator[tuple[str, float, float, str]]:
    """For each row: its name, the figure, its limit, and the unit."""
    for row in rows:
        yield row.what, row.ratio(NOW), row.goal, f"x {row.beside}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What bad rows cost, beside what is done by hand.")
    parser.add_argument("--quick", action="store_true", help="frames of 100,000 rows and three rounds")
    parser.add_argument("--serve", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    rows = measure(quick=options.quick)
    print(machine(), table(HEAD, lines(rows), markdown=False), sep="\n")


if __name__ == "__main__":
    main()
