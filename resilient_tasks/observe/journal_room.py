"""Remove the files of old runs, so that all runs together take a bounded number of bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from resilient_tasks.core.execution import real_time as time

#: The most runs to keep, the most bytes of all, and the age in seconds after which a run is removed.
RUNS, BYTES, AGE = 200, 1_000_000_000, 30 * 86_400.0
#: A run whose files changed within these seconds may still go on, and stays.
_RECENT = 3600.0


class _Run(NamedTuple):
    changed: float
    size: int
    folder: Path
    files: tuple[Path, ...]


def make_room(folder: Path, *, besides: Path) -> None:
    """Remove the oldest runs in `folder` that are too many, too large together, or too old.

    A folder that holds anything but event files is not one of a run, and stays. Errors are ignored: another process may
    remove the same run.

    Args:
        folder: has a folder for each run.
        besides: the folder of the run that begins.
    """
    with contextlib.suppress(OSError):
        size, now = 0, time.time()
        for number, run in enumerate(sorted(_runs(folder, besides), reverse=True), 2):
            size += run.size
            if (number > RUNS or size > BYTES or now - run.changed > AGE) and now - run.changed > _RECENT:
                _remove(run)


def _runs(folder: Path, besides: Path) -> Iterator[_Run]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.name != besides.name:
                with contextlib.suppress(OSError):
                    run = _run(Path(entry.path))
                    if run is not None:
                        yield run


def _run(folder: Path) -> _Run | None:
    with os.scandir(folder) as entries:
        files = list(entries)
    if any(not file.name.endswith(".jsonl") or not file.is_file(follow_symlinks=False) for file in files):
        return None
    about = [file.stat() for file in files]
    changed = max((each.st_mtime for each in about), default=folder.stat().st_mtime)
    return _Run(changed, sum(each.st_size for each in about), folder, tuple(Path(file.path) for file in files))


def _remove(run: _Run) -> None:
    with contextlib.suppress(OSError):
        for file in run.files:
            file.unlink(missing_ok=True)
        run.folder.rmdir()
