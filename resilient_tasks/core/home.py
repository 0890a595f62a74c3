"""The folder at home: what the library keeps there quotes errors and runs, so it is for the owner alone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_FOLDER, _FILE = 0o700, 0o600
#: The library's own files there begin so.
_OURS = ("incidents.db", "last_good")


def folder() -> Path:
    """Return the folder that `RESILIENT_TASKS_HOME` names, else `~/.resilient_tasks`."""
    named = os.environ.get("RESILIENT_TASKS_HOME")
    return Path(named).expanduser().absolute() if named else _usual()


def keep_private(file: Path) -> None:
    """Make `file`, and its folder, with rights for the owner alone, if it lies in the folder at home.

    What is there already, and is wider, is narrowed, whatever the umask: SQLite gives the files beside a database the
    rights of that. A folder of `RESILIENT_TASKS_HOME` that holds other things as well keeps its rights.

    Raises:
        OSError: it cannot be made.
    """
    home = folder()
    if home not in file.absolute().parents:
        return
    for made in (home, file.parent):
        made.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    if home == _usual() or all(name.startswith(_OURS) for name in os.listdir(home)):  # noqa: PTH208  # names alone
        _narrow(home, _FOLDER)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, _FILE))
    for beside in ("", "-wal", "-shm", "-journal"):
        _narrow(Path(f"{file}{beside}"), _FILE)


def _usual() -> Path:
    return Path("~/.resilient_tasks").expanduser().absolute()


def _narrow(path: Path, mode: int) -> None:
    """Leave others no rights. What belongs to another user stays as it is: it is not ours to change."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
