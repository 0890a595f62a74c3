"""A call in a child process, beside pebble and loky: measured by `processes_peers.py`, compared with its goals here."""

from collections.abc import Iterator

import processes_peers

from bench.table import Goal, Row

SMALL, LARGE = "small call", "100 MB there and back"
PEBBLE, LOKY = "pebble", "loky"
#: A fifth of what ours took before, 494 ms in a run in which loky took 516.
A_FIFTH = 0.2 * 494 / 516


def in_processes() -> Iterator[Row]:
    found = processes_peers.measure()
    goals = {SMALL: (Goal(PEBBLE, 1.0), 1e6, "µs"), LARGE: (Goal(LOKY, A_FIFTH), 1e3, "ms")}
    for what, (goal, factor, unit) in goals.items():
        figures = {name: seconds * factor for name, seconds in found[what].items()}
        left = [name for name in figures if name == "multiprocessing.Pool"]
        yield Row(f'enforce="process", {what}', "", figures, [goal], unit=unit, also_ran=left, remark="on the wall")
