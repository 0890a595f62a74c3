"""Kill a process with everything that it has started."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from collections.abc import Iterable

import psutil

from resilient_tasks.core.execution import real_time as time

#: Seconds to wait until killed processes are gone. Only one that hangs in the kernel takes longer.
WITHIN = 2.0


def adopt_orphans() -> None:
    """On Linux, become the parent of every descendant whose own parent ends, so that none is lost."""
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def die_with_parent() -> None:
    """On Linux, be killed as soon as the parent is gone."""
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def kill_tree(root: psutil.Process, within: float = WITHIN) -> bool:
    """Kill `root` and its descendants, also those in sessions of their own, and wait until they are gone.

    All are stopped before the first is killed: a stopped process starts nothing new, and its children are not handed
    to another parent.

    Returns:
        Whether all were gone `within` that many seconds.
    """
    tree: set[psutil.Process] = set()
    new = {root}
    while new:
        _signal(new, signal.SIGSTOP)
        tree |= new
        new = _descendants(root) - tree
    _signal(tree, signal.SIGKILL)
    until = time.monotonic() + within
    while any(map(_runs, tree)):  # not psutil.wait_procs: a zombie counts as gone
        if time.monotonic() >= until:
            return False
        time.sleep(0.002)
    return True


def _descendants(process: psutil.Process) -> set[psutil.Process]:
    try:
        return set(process.children(recursive=True))
    except psutil.Error:
        return set()


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
