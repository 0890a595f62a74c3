"""The cost of every part, beside other libraries and handwritten code: the table, and its goals.

    python tests/benchmarks/bench_table.py [--only GROUP] [--page docs/measured.md --figure docs/images/bench.png]
                                           [--json FILE] [--from FILE] [--profile ROW]

Contestants take turns in shuffled order, in many short batches; the figure is the least CPU time of a call. Each group
of rows has a process of its own. What is written by hand, or else the bare function, is measured twice in each row:
what differs between those two is noise (A/A), and a goal counts as missed only where it is missed by more than that.
Exits with 1 where a goal is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import (
    calls,
    decorating,
    figure,
    imports,
    in_processes,
    loggings,
    profiles,
    report,
    scale,
    seldom,
    shared,
    tasks,
)
from bench.table import Row, verdicts
from setting import machine, say, write_into

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
    "processes": in_processes.in_processes,
    "scale": scale.scale,
    "tasks": tasks.tasks,
}


def measure(group: str) -> list[Row]:
    """Measure a group in a separate process."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as found:
        command = [sys.executable, __file__, "--only", group, "--json", found.name, "--quiet"]
        subprocess.run(command, check=True)
        say(f"{group}: {time.monotonic() - began:.0f} s")
        return read(Path(found.name))[1]


def read(path: Path) -> tuple[str, list[Row]]:
    """Return the machine and the rows of an earlier run."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["about"], [Row.from_json(each) for each in found["rows"]]


def written(about: str, rows: list[Row], *, markdown: bool) -> str:
    parts = [
        f"{about}:",
        report.judged(rows, markdown=markdown),
        *(report.bullets(said) for said in (report.remarks(rows), report.left_out(rows))),
        "Everyone's figures:",
        report.everyone(rows, markdown=markdown),
    ]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    options = _options()
    if options.profile:
        said = f"{machine()}:\n\n```text\n{profiles.profiled(options.profile)}\n```"
        print(said)
        if options.page:
            write_into(options.page, "bench-profile", said)
        return
    about, rows = read(options.rows) if options.rows else ("", _rows(options))
    if not options.quiet and not about:  # asking for Prefect's version takes a second or two
        about = f"{machine()}; {report.versions()}"
    if options.json:
        found = {"about": about, "rows": [row.as_json() for row in rows]}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if options.quiet:
        return
    print(written(about, rows, markdown=False))
    if options.page:
        write_into(options.page, "bench", written(about, rows, markdown=True))
    if options.figure:
        figure.draw(rows, options.figure)
    missed = [each for each in verdicts(rows) if not each.met]
    print("", f"NOT AS PROMISED: {len(missed)}" if missed else "as promised", *(each.says for each in missed), sep="\n")
    sys.exit(bool(missed))


def _rows(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for group in options.only or GROUPS:
        rows += GROUPS[group]() if options.only else measure(group)
    names = list(dict.fromkeys(row.name for row in rows))
    return sorted(rows, key=lambda row: names.index(row.name))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What every part costs, beside other libraries.")
    parser.add_argument("--only", choices=GROUPS, action="append", help="this group alone, in this process")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    parser.add_argument("--figure", type=Path, help="draw it, too")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--from", type=Path, dest="rows", help="measure nothing: take the figures of this file")
    parser.add_argument("--profile", choices=["all", *profiles.PROFILES], help="say where ours spends its time instead")
    parser.add_argument("--quiet", action="store_true", help="print no table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
