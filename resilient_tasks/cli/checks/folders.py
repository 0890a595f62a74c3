"""Checks of the folders for quarantined rows, last good results and runs: writable, with space."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from resilient_tasks.cli.checks.finding import Finding, ok, problem, warning
from resilient_tasks.core import home, settings
from resilient_tasks.core.failures import describe
from resilient_tasks.observe import journal
from resilient_tasks.redaction.text import redact
from resilient_tasks.storage.files import LocalFiles, files_at

#: Bytes, and the share of a disk, that should be free.
_FREE, _SHARE = 1 << 30, 0.05


def quarantine() -> Iterator[Finding]:
    """Check the folder for quarantined rows."""
    yield from _folder(settings.current.quarantine, "RESILIENT_TASKS_QUARANTINE")


def last_good() -> Iterator[Finding]:
    """Check the folder for last good results."""
    yield from _folder(settings.current.last_good or str(home.folder() / "last_good"), "RESILIENT_TASKS_LAST_GOOD")


def runs() -> Iterator[Finding]:
    """Check the folder for the events of runs, from which reports are made."""
    if settings.current.events is False:
        yield ok("no events are written: RESILIENT_TASKS_EVENTS is false")
    else:
        yield from _local(journal.folder(), "RESILIENT_TASKS_EVENTS")


def try_to_create_in(folder: Path) -> None:
    """Create a folder in an existing one, and remove it; permissions alone do not say whether that works.

    Raises:
        OSError: that does not work.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-"):
        pass


def _folder(where: str, variable: str) -> Iterator[Finding]:
    try:
        files = files_at(where, {})
        if isinstance(files, LocalFiles):
            yield from _local(Path(files.root), variable)
            return
        name = f".doctor-{uuid.uuid4().hex}"
        files.write(name, b"doctor")
        files.remove(name)
    except Exception as error:
        yield problem(
            f"{redact(where)} cannot be written: {describe(error)}", f"correct {variable}, or its credentials"
        )
    else:
        yield ok(f"{redact(where)} can be written")


def _local(folder: Path, variable: str) -> Iterator[Finding]:
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    shown = folder.absolute()
    try:
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file")
        if there == folder:
            with tempfile.TemporaryFile(dir=folder, prefix=".doctor-"):
                pass
        else:
            try_to_create_in(there)
        disk = shutil.disk_usage(there)
    except OSError as error:
        yield problem(f"{shown} cannot be written: {describe(error)}", f"correct its permissions, or {variable}")
        return
    free = f"{disk.free / (1 << 30):.1f} GiB free"
    if disk.free < min(_FREE, _SHARE * disk.total):
        yield problem(f"{shown}: {free}", f"make room, or set {variable} to another disk")
    elif disk.free < _SHARE * disk.total:
        yield warning(f"{shown}: {free}, {disk.free / disk.total:.0%} of the disk", "make room")
    else:
        state = "can be written" if there == folder else "does not exist yet; it can be created"
        yield ok(f"{shown} {state}, {free}")
