"""Killing a process with all that descends from it."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from collections.abc import Iterable

import psutil

from resilient_tasks.core import real_time as time

#: How long to wait for the end of what was killed, in seconds. Only a process that hangs in the kernel takes longer.
WITHIN = 2.0

_SET_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """On Linux, become the parent of all descendants whose own parent ends, so that none gets out of sight."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """On Linux, be killed as soon as the parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def kill_tree(root: psutil.Process, within: float = WITHIN) -> bool:
    """Kill `root` and its descendants, also those in sessions of their own, and wait for their end.

    All of them are stopped before the first is killed: who is stopped can start nothing that nobody would see, and
    whose parent lives has not been handed on to another.

    Returns:
        Whether all have ended `within` so many seconds.
    """
    tree: set[psutil.Process] = set()
    new = {root}
    while new:
        _signal(new, signal.SIGSTOP)
        tree |= new
        new = _descendants(root) - tree
    _signal(tree, signal.SIGKILL)
    until = time.monotonic() + within
    while left := {process for process in tree if _runs(process)}:
        if time.monotonic() >= until:
            return False
        tree = left
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
