"""Child processes that may outlive the call that started them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from resilient_tasks.core.execution import real_time
from resilient_tasks.core.execution.abandoned import Leftover


def leftover_of(value: Any, *, known: bool) -> Iterator[Leftover]:
    """Yield a leftover for a process object of the standard library that still runs."""
    asynchronous = issubclass(type(value), asyncio.subprocess.Process)
    ours = asynchronous or issubclass(type(value), subprocess.Popen) or _is_multiprocessing(value)
    pid = getattr(value, "pid", None) if ours else None
    if pid is not None and _runs(pid)():
        yield Leftover(f"process {pid}", known=known, runs=_runs(pid), identity=pid)


def _is_multiprocessing(value: Any) -> bool:
    module = sys.modules.get("multiprocessing.process")
    return module is not None and issubclass(type(value), module.BaseProcess)


def children() -> Iterator[tuple[Leftover, float]]:
    """Yield the child processes and when they were started, on `monotonic`; none if the system has no `/proc`."""
    try:
        up = float(_read("/proc/uptime").split()[0])
        entries = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  # a third of the time
    except (OSError, ValueError, IndexError):
        return
    now, ticks = real_time.monotonic(), os.sysconf("SC_CLK_TCK")
    helpers = _helpers_of_multiprocessing()
    for pid in entries:
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent, started = _stat(pid)
            if parent == os.getpid() and state not in {"Z", "X"} and pid not in helpers:
                child = Leftover(f"process {pid}", known=False, runs=_runs(pid), identity=pid)
                yield child, now - up + (started + 1) / ticks


def _stat(pid: int) -> tuple[str, int, int]:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[1]), int(fields[19])


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # of each process of the system: a third of the time
        return file.read()


def _helpers_of_multiprocessing() -> set[int]:
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
        try:  # without reaping it, which is up to its parent code
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except OSError:
            return False

    return runs
