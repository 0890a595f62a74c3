"""The library's folder in the user's home. Its files quote errors and runs, so only the owner may read them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_FOLDER, _FILE = 0o700, 0o600
#: The names of the library's own files there begin with these.
_OURS = ("incidents.db", "last_good", "runs")


def folder() -> Path:
    """Return the folder in `RESILIENT_TASKS_HOME`, or `~/.resilient_tasks`."""
    named = os.environ.get("RESILIENT_TASKS_HOME")
    return Path(named).expanduser().absolute() if named else _default()


def keep_private(file: Path) -> None:
    """Create `file` and its folder with permissions for the owner only, if it is in the library's folder.

    Narrow wider permissions of what exists, whatever the umask: SQLite gives the files beside a database the same. A
    folder in `RESILIENT_TASKS_HOME` that holds other files as well keeps its permissions.

    Raises:
        OSError: it cannot be created.
    """
    home = folder()
    if home not in file.absolute().parents:
        return
    for path in (home, file.parent):
        path.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    if home == _default() or all(name.startswith(_OURS) for name in os.listdir(home)):  # noqa: PTH208  # names alone
        _narrow(home, _FOLDER)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, _FILE))
    for beside in ("", "-wal", "-shm", "-journal"):
        _narrow(Path(f"{file}{beside}"), _FILE)


def _default() -> Path:
    return Path("~/.resilient_tasks").expanduser().absolute()


def _narrow(path: Path, mode: int) -> None:
    """Remove permissions of others. Leave the files of another user as they are."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
