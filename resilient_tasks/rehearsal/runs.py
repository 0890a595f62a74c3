"""Runs plans in forked children, one at a time, and collects what is known of each run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from resilient_tasks.rehearsal import child, files, trace
from resilient_tasks.rehearsal.child import Setting
from resilient_tasks.rehearsal.faults import Plan
from resilient_tasks.rehearsal.judge import Ran
from resilient_tasks.subprocess import process_tree

if TYPE_CHECKING:
    from resilient_tasks.prefect.rehearsed import Server

#: A run is hung after this many seconds at least.
FLOOR = 3.0
#: Folders that no run needs a copy of.
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "venv", "node_modules", "__pycache__", ".*_cache", ".prefect")
_LAST = 2000


class Runs:
    """The runs of one flow.

    Args:
        flow: the flow.
        parameters: with which it is called.
        folder: of which each run gets a copy to run in; None for an empty one.
        server: the Prefect API.
        patience: seconds after which a run is hung, instead of those that follow from the run without faults.
    """

    def __init__(
        self,
        flow: Callable[..., Any],
        parameters: Mapping[str, Any],
        folder: Path | None,
        server: Server,
        *,
        patience: float | None = None,
    ) -> None:
        self._setting = Setting(flow, parameters, server.address, {})
        self._server = server
        self._folder = folder
        self._patience = patience
        self._bound = patience or 600.0
        self._known: tuple[tuple[str, str], ...] = ()

    @property
    def bound(self) -> float:
        """The seconds after which a run is hung."""
        return self._bound

    def clean(self) -> Ran:
        """Run without faults. The first time, import what the run has imported, so that other runs need not."""
        ran, modules = self._run(())
        for name in modules:
            if _is_installed(name):
                with contextlib.suppress(Exception):
                    import_module(name)
        return ran

    def settle(self, clean: Ran, attempts: int, waits: float) -> None:
        """Take the calls and times of the run without faults as those of all runs.

        Args:
            clean: that run.
            attempts: how often a task may be attempted at most.
            waits: seconds that Prefect itself may wait, which are real.
        """
        slowest = max([0.0, *clean.attempt_seconds.values()])
        seconds = {task: 0.05 + 3 * most for task, most in clean.attempt_seconds.items()}
        again = FLOOR / 2 + 3 * clean.seconds
        self._setting = replace(self._setting, slow_seconds={**seconds, "": again})
        self._bound = self._patience or (
            FLOOR + 4 * clean.seconds + attempts * 3 * (slowest + 0.1) + waits + sum(clean.limits)
        )
        self._known = clean.calls

    def run(self, faults: Plan) -> Ran:
        """Run under faults; after a crash, run the flow again in the same folder, as after a restart."""
        return self._run(faults)[0]

    def _run(self, faults: Plan) -> tuple[Ran, list[str]]:
        with tempfile.TemporaryDirectory(prefix="resilient-tasks-rehearsal-", ignore_cleanup_errors=True) as around:
            folder, path = Path(around, "run"), Path(around, "trace.jsonl")
            if self._folder is None:
                folder.mkdir()
            else:
                shutil.copytree(self._folder, folder, ignore=_NOT_COPIED, symlinks=True)
            self._server.forget()
            before = files.values_of(folder)
            began = time.monotonic()
            is_over = self._fork(faults, folder, path)
            lines = trace.read(path)
            if is_over and not _ends(lines) and any(line["do"] == "struck" for line in lines):
                is_over = self._fork((), folder, path)
                lines = trace.read(path)
            seconds = time.monotonic() - began
            ran = _collected(faults, lines, folder, before, seconds, is_over=is_over)
            if self._server.has_degraded():
                ran = replace(ran, marks={**ran.marks, "the flow run is Degraded": 1})
            return ran, [*_ends(lines).get("modules", ())]

    def _fork(self, faults: Plan, folder: Path, path: Path) -> bool:
        """Run once; return whether the process ended in time."""
        pid = 0
        # Ctrl-C reaches all processes of the terminal: the child has to be in a session of its own before.
        around = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # threads of others do not run in the child
                pid = os.fork()
            if pid == 0:
                _be_the_child(self._setting, faults, self._known, folder, path)
            signal.pthread_sigmask(signal.SIG_SETMASK, around)
            return _wait(pid, self._bound)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, around)
            _kill(pid)


def _be_the_child(setting: Setting, faults: Plan, known: Sequence[tuple[str, str]], folder: Path, path: Path) -> None:
    try:
        child.run(setting, faults, known, folder, path)
    except BaseException:
        traceback.print_exc()
        trace.write(str(path), "end", ending="raised", error=traceback.format_exc(limit=-1).strip().splitlines()[-1])
    finally:
        child.end()


def _wait(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    return False


def _kill(pid: int) -> None:
    """Kill the run's process if it still runs, and what it has started."""
    with contextlib.suppress(psutil.Error):
        process_tree.kill_tree(psutil.Process(pid))
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.waitpid(pid, 0)


def _ends(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next((line for line in reversed(lines) if line["do"] == "end"), {})


def _marks(lines: list[dict[str, Any]]) -> Counter[str]:
    """Return what the last process says of the run; a later attempt says it of its frame anew."""
    last: dict[tuple[str, str], int] = {}
    for line in lines:
        if line["do"] == "begin":
            last.clear()
        elif line["do"] == "mark":
            last[line["text"], line["frame"]] = line["count"]
    marks = Counter[str]()
    for (text, _), count in last.items():
        marks[text] += count
    return marks


def _is_installed(name: str) -> bool:
    """Whether a module is installed: the user's own may do things when it is imported."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return True
    with contextlib.suppress(Exception):
        found = find_spec(top)
        return found is not None and "site-packages" in (found.origin or "")
    return False


def _collected(
    faults: Plan, lines: list[dict[str, Any]], folder: Path, before: Mapping[str, str], seconds: float, *, is_over: bool
) -> Ran:
    """Return what is known of a run, from its trace and its folder."""
    end = _ends(lines)
    of: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of.setdefault(line["do"], []).append(line)
    sent: dict[str, int] = {}
    for line in of.get("sent", ()):
        sent[line["what"]] = sent.get(line["what"], 0) + 1
    longest: dict[str, float] = {}
    for line in of.get("ended", ()):
        longest[line["task"]] = max(line["seconds"], longest.get(line["task"], 0.0))
    values = {name: value for name, value in files.values_of(folder).items() if before.get(name) != value}
    effects = {what: n for what, n in files.effects_of(folder).items() if what.partition(" has ")[0].partition("[")[0]}
    output = folder.with_name("trace.txt")
    return Ran(
        faults,
        struck=frozenset(line["fault"] for line in of.get("struck", ())),
        ending=end.get("ending", "died") if is_over else "hung",
        error=end.get("error", "" if end else "its process died"),
        values={**end.get("values", {}), **values},
        effects={**effects, **sent},
        marks=_marks(lines),
        seconds=seconds,
        calls=tuple((line["task"], line["arguments"]) for line in of.get("call", ())),
        attempt_seconds=longest,
        limits=tuple({line["limit"] for line in of.get("call", ()) if line["limit"]}),
        output=output.read_text(encoding="utf-8", errors="replace")[-_LAST:] if output.exists() else "",
    )
