"""Write the events of runs to files, one JSON object a line, so that a run can be reported whatever became of it.

Each process has its own file in the run's folder, `runs/<flow run id>/<host>-<process id>-<random>.jsonl`, so that
processes and machines that share the folder never write to one file. Each line is written before the call goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import home, host, settings
from resilient_tasks.core.events import (
    Event,
    RetryMultiplied,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    bus,
)
from resilient_tasks.core.events.sinks import Subscription
from resilient_tasks.core.execution import real_time as time

if TYPE_CHECKING:
    from resilient_tasks.observe.journal_file import RunFile

_logger = logging.getLogger("resilient_tasks")

#: Open files of this process; with more runs at once, the file of the oldest is closed until its next event.
_MOST_OPEN = 32

_files: OrderedDict[str, RunFile] = OrderedDict()
_lock = threading.RLock()  # a signal handler may emit an event while its thread holds it
_installed = False
_mine: Subscription | None = None
_lost = 0  # events that the bus did not pass on, as far as they are written
_instead: list[Path] = []
_reported: set[str] = set()


def install() -> None:
    """Start writing the events of runs, unless the setting `events` is off. Cheap to call again."""
    global _installed, _mine  # noqa: PLW0603  # once per process
    if not _installed:
        _installed = True
        bus.subscribe(write, _wants, name="events.jsonl")
        _mine = next(sink for sink in bus.sinks if sink.sink is write)
        atexit.register(_close_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_begin_anew)


def folder() -> Path:
    """Return the folder with a folder for each run."""
    return _folder(settings.current.events, _instead[-1] if _instead else None, os.environ.get("RESILIENT_TASKS_HOME"))


@functools.lru_cache(8)  # it is asked for at each event
def _folder(place: bool | str, instead: Path | None, _home: str | None) -> Path:  # noqa: FBT001  # keywords slow the cache
    if isinstance(place, str) and place != "all":
        return Path(place).expanduser().absolute()
    return instead or home.folder() / "runs"


@contextmanager
def use_folder(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inside the block, write to `path` instead of to the user's home."""
    _instead.append(Path(path).absolute())
    try:
        yield
    finally:
        _instead.remove(Path(path).absolute())


#: Events whose listeners slow a retry down: outside of runs, this sink wants none. Others also come from threads that
#: send alerts about a run.
_OF_ATTEMPTS = frozenset((RetryMultiplied, RetryRecovered, RetryScheduled, RetryStarted))


def _wants(event: type[Event]) -> bool:
    place, orchestrator = settings.current.events, host.current
    if place == "all":
        return True
    return bool(place) and orchestrator is not host.NONE and (event not in _OF_ATTEMPTS or orchestrator.in_run())


def write(event: Event) -> None:
    """Append an event to the file of its run; one outside of any run only with the setting `"all"`."""
    run = event.run.get("flow_run_id") or event.run.get("task_run_id")
    if run is None:
        if settings.current.events != "all":
            return
        from resilient_tasks.observe.journal_file import file_name  # noqa: PLC0415  # loaded with the first event

        run = f"process-{file_name()}"
    _append(run, event.as_dict(), event.name)


def begin_run(run: Mapping[str, str], operation: str, *, attempt: int = 1, parent: str = "") -> None:
    """Write that a flow run begins in this process.

    Args:
        run: its ids and names.
        operation: the flow's function.
        attempt: counts the runs of the function by the orchestrator, from 1.
        parent: the id of the flow run around it, if it is one of a subflow.
    """
    about = {"operation": operation, "attempt": attempt, **({"parent": parent} if parent else {})}
    _note(run, "run.started", **about)


def end_run(run: Mapping[str, str], how: str, *, again: bool = False) -> None:
    """Write that a flow run ended in this process, and how; with `again`, another attempt follows."""
    _note(run, "run.ended", how=how, again=again)
    with _lock:
        file = None if again else _files.pop(run.get("flow_run_id", ""), None)
        if file is not None:
            file.close()


def _note(run: Mapping[str, str], name: str, **about: Any) -> None:
    if settings.current.events and "flow_run_id" in run:
        line = {"event.name": name, "time": time.time(), **run, **about}
        with contextlib.suppress(Exception):  # it never fails a run
            _append(run["flow_run_id"], line, name)


def _append(run: str, values: dict[str, Any], name: str) -> None:
    with _lock:
        file = _files.get(run)
        if file is None or file.folder.parent != folder():
            from resilient_tasks.observe.journal_file import RunFile, plain_name  # noqa: PLC0415  # as above

            file = _files[run] = RunFile(folder() / plain_name(run))
            _close_some()
        try:
            _count_lost(file)
            file.write(values, name)
        except OSError as problem:
            _report(file, problem)


def _count_lost(file: RunFile) -> None:
    """Count the events that the bus has kept from this sink while it was suspended: a disk may be slow."""
    global _lost  # noqa: PLW0603  # of the one sink of this process
    if _mine is not None and _mine.lost != _lost:
        file.lose("while writing was too slow", _mine.lost - _lost)
        _lost = _mine.lost


def _report(file: RunFile, problem: OSError) -> None:
    """Log once per process and reason that events cannot be written; no call fails because of it."""
    why = problem.strerror or str(problem)
    if why not in _reported:
        _reported.add(why)
        message = "events cannot be written to %s (%s): the calls go on, and the run report will lack these events"
        _logger.warning(message, file.folder, why)


def _close_some() -> None:
    while len(_files) > _MOST_OPEN:
        _files.popitem(last=False)[1].pause()


def _close_all() -> None:
    """Write that this process ends, into the files that are still open."""
    with _lock:
        for file in _files.values():
            with contextlib.suppress(OSError):
                file.end_process()
            file.close()
        _files.clear()


def _begin_anew() -> None:
    """In a forked child, leave the files to the parent."""
    global _lock  # noqa: PLW0603  # another thread of the parent may hold it
    _lock = threading.RLock()
    for file in _files.values():
        file.close()
    _files.clear()
