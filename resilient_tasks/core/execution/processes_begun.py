"""Child processes that may run on after the call that has started them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from resilient_tasks.core.execution import real_time
from resilient_tasks.core.execution.abandoned import Piece

_helpers: set[int] = set()


def is_helper(pid: int) -> None:
    """Say that a process serves the whole program: it is not a leftover of the call that has started it."""
    _helpers.add(pid)


def piece_of(value: Any, *, known: bool) -> Iterator[Piece]:
    """Yield a process object of the standard library as what runs on, where it does."""
    asynchronous = issubclass(type(value), asyncio.subprocess.Process)
    ours = asynchronous or issubclass(type(value), subprocess.Popen) or _is_multiprocessing(value)
    pid = getattr(value, "pid", None) if ours else None
    if pid is not None and _runs(pid)():
        yield Piece(f"process {pid}", known=known, runs=_runs(pid), thing=pid)


def _is_multiprocessing(value: Any) -> bool:
    module = sys.modules.get("multiprocessing.process")
    return module is not None and issubclass(type(value), module.BaseProcess)


def children() -> Iterator[tuple[Piece, float]]:
    """Yield the child processes and when they were started, on `monotonic`, where the system lists them."""
    try:
        up = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        entries = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except (OSError, ValueError, IndexError):
        return
    now, ticks = real_time.monotonic(), os.sysconf("SC_CLK_TCK")
    helpers = _helpers | _of_multiprocessing()
    for pid in entries:
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent, started = _about(pid)
            if parent == os.getpid() and state not in {"Z", "X"} and pid not in helpers:
                piece = Piece(f"process {pid}", known=False, runs=_runs(pid), thing=pid)
                yield piece, now - up + (started + 1) / ticks


def _about(pid: int) -> tuple[str, int, int]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def _of_multiprocessing() -> set[int]:
    found = set()
    for module, instance, name in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ):
        found.add(getattr(getattr(sys.modules.get(module), instance, None), name, None))
    return {pid for pid in found if pid is not None}


def _runs(pid: int) -> Callable[[], bool]:
    def runs() -> bool:
        if not hasattr(os, "waitid"):
            return False
        try:  # a look that leaves its exit code to whoever started it
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except OSError:
            return False

    return runs
