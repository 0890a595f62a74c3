"""What every part costs, ours beside other libraries and beside what is written by hand: the table, and its goals.

    python tests/benchmarks/bench_table.py [--only GROUP] [--page docs/measured.md --figure docs/images/bench.png]
                                           [--json FILE] [--profile ROW]

Contestants take turns in shuffled order, in many short batches; the figure is the least CPU time of a call. Each group
of rows has a process of its own. What is written by hand, or else the bare function, is measured twice in each row:
what differs between those two is noise, the spread, and a goal counts as missed only where it is missed by more than
that. Exits with 1 where a goal is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from bench import calls, decorating, imports, loggings, scale, seldom, shared, tasks
from bench.peers import LIBRARIES
from bench.table import Row, verdicts
from bench.timing import BARE, HAND, OURS
from setting import machine, say, table

GROUPS: dict[str, Callable[[], Iterable[Row]]] = {
    "success": calls.success,
    "several": calls.several,
    "limits": calls.limits,
    "failing": calls.failing,
    "logging": loggings.with_logging,
    "states": calls.states_in_memory,
    "seldom": seldom.seldom,
    "decorating": decorating.decorating,
    "imports": imports.imports,
    "sqlite": shared.busy_bulkhead,
    "scale": scale.scale,
    "tasks": tasks.tasks,
}
HEAD = ("", "where", "unit", "ours", "spread", "by hand", "fastest peer", "", "ours / by hand", "ours / fastest")


def measure(group: str) -> list[Row]:
    """Measure a group in a process of its own."""
    say(f"{group} ...")
    with tempfile.NamedTemporaryFile(suffix=".json") as found:
        command = [sys.executable, __file__, "--only", group, "--json", found.name, "--quiet"]
        subprocess.run(command, check=True)
        return read(Path(found.name))


def read(path: Path) -> list[Row]:
    return [Row.from_json(each) for each in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def lines(rows: list[Row]) -> Iterable[tuple[str, ...]]:
    for row in rows:
        by_hand, fastest = row.figures.get(HAND), row.fastest
        ratios = [row.ratio(HAND), row.ratio(fastest) if fastest else None]
        yield (
            *(row.name, row.place, row.unit, f"{row.figures[OURS]:.2f}", f"{row.spread:.2f}"),
            *("" if by_hand is None else f"{by_hand:.2f}", "" if fastest is None else f"{row.figures[fastest]:.2f}"),
            *(fastest or "", *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)),
        )


def everyone(rows: list[Row], *, markdown: bool) -> str:
    """Lay out the figures of all contestants; a dash where a library has no such thing."""
    head = ("", "where", OURS, HAND, BARE, *LIBRARIES)
    cells = (
        (row.name, row.place, *("-" if name not in row.figures else f"{row.figures[name]:.2f}" for name in head[2:]))
        for row in rows
    )
    return table(head, cells, markdown=markdown)


def versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


def main() -> None:
    parser = argparse.ArgumentParser(description="What every part costs, beside other libraries.")
    parser.add_argument("--only", choices=GROUPS, action="append", help="this group alone, in this process")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--quiet", action="store_true", help="print no table")
    options = parser.parse_args()
    rows: list[Row] = []
    for group in options.only or GROUPS:
        rows += GROUPS[group]() if options.only else measure(group)
    if options.json:
        about = {"machine": machine(), "versions": versions(), "rows": [row.as_json() for row in rows]}
        options.json.write_text(json.dumps(about, indent=1), encoding="utf-8")
    if options.quiet:
        return
    print(
        f"{machine()}; {versions()}\n\n{everyone(rows, markdown=False)}\n\n{table(HEAD, lines(rows), markdown=False)}\n"
    )
    missed = [each for each in verdicts(rows) if not each.met]
    for each in verdicts(rows):
        print(f"{'met   ' if each.met else 'MISSED'} {each.says}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
