"""Eight processes on one bulkhead, which is kept in SQLite."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.table import ITSELF, Goal, Row
from bench.timing import BARE, OURS

PROCESSES, SECONDS, RUNS = 8, 2.0, 2
BEFORE = 1874  # calls a second in all, before the states of memory and SQLite were made anew
FASTER, LONGEST = 5, 50.0


def busy_bulkhead() -> Iterator[Row]:
    """Measure with a slot for each process, and with half as many: the calls of the best run, and its longest.

    The longest of as many processes that call a bare function is beside it: how long the machine lets one wait.
    """
    with _processes() as processes:
        pause = _run(processes, 0)["longest"]
        for slots in (PROCESSES, PROCESSES // 2):
            runs = [_run(processes, slots) for _ in range(RUNS)]
            best = max(runs, key=lambda each: each["calls"])
            what = f"{PROCESSES} processes on a SQLite bulkhead of {slots}"
            fast = Goal(ITSELF, FASTER * BEFORE, at_least=True)
            yield Row(what, "", {OURS: best["calls"]}, [fast], unit="calls a second")
            longest = {OURS: best["longest"] * 1000, BARE: pause * 1000}
            yield Row(what, "longest call", longest, [Goal(ITSELF, LONGEST)], unit="ms")
            yield Row(what, "stores lost", {OURS: runs[-1]["lost"]}, [Goal(ITSELF, 0)], unit="")


@contextmanager
def _processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Give processes that are ready to call, and end them."""
    program = Path(__file__).with_name("slots.py")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, str(program), f"sqlite:///{folder}/state.db", str(SECONDS)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started = [subprocess.Popen(command, **pipes) for _ in range(PROCESSES)]
        try:
            for each in started:
                if _line(each) != "ready":
                    raise RuntimeError("a process could not begin to call under the bulkhead")
            yield started
        finally:
            for each in started:
                each.communicate(timeout=60)


def _run(processes: list[subprocess.Popen[str]], slots: int) -> dict[str, float]:
    for each in processes:
        if each.stdin is not None:
            each.stdin.write(f"{slots}\n")
            each.stdin.flush()
    found: list[dict[str, Any]] = [json.loads(_line(each)) for each in processes]
    return {
        "calls": sum(each["calls"] for each in found) / SECONDS,
        "longest": max(each["longest"] for each in found),
        "lost": sum(each["lost"] for each in found),
    }


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip() if process.stdout is not None else ""
