"""Checks of the stores: shared state, incidents, and messages that were not sent."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from resilient_tasks.alerts.message import lasted
from resilient_tasks.alerts.outbox import Outbox, incident_url
from resilient_tasks.cli.checks.finding import Finding, ok, problem, skipped, warning
from resilient_tasks.cli.checks.folders import try_to_create_in
from resilient_tasks.core import home, settings
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.failures import describe
from resilient_tasks.core.store import StateStore, opened_by
from resilient_tasks.core.wording import number_of
from resilient_tasks.state.client import States

#: Bytes from which a file of incidents is unusually large.
_LARGE = 200 << 20
#: Seconds for which a message may wait before that is a problem, and for which clocks may differ.
_LONG, _MOST_SKEW = 3600.0, 2.0
#: File systems on which SQLite's locks do not work.
_NETWORK = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "9p", "fuse.sshfs", "afpfs"}
_HOW = "see the address in {variable}, and that the server runs"


def shared_store(within: float) -> Iterator[Finding]:
    """Check that the store of shared state can be written, and how fast it answers."""
    where = settings.current.store
    if where == "memory:":
        yield ok("in memory: each process has its own circuits and limits; RESILIENT_TASKS_STORE shares them")
        return
    bound = settings.current.store_timeout
    for found in _of_store(where, "RESILIENT_TASKS_STORE", within):
        if isinstance(found, Finding):
            yield found
            continue
        name, seconds = found
        text = f"{name} can be written, and answers in {seconds * 1000:.1f} ms"
        if seconds > bound:
            advice = f"calls wait {bound * 1000:g} ms for it and then go on without: set RESILIENT_TASKS_STORE_TIMEOUT"
            yield warning(text, advice)
        else:
            yield ok(text)


def incidents(within: float) -> Iterator[Finding]:
    """Check the store of incidents, and, if that is a file, its size and permissions; then the unsent messages."""
    where = incident_url()
    file = _file_of(where)
    variable = "RESILIENT_TASKS_INCIDENTS or RESILIENT_TASKS_STORE"
    if where == "memory:":
        yield warning("incidents are in memory: unsent messages are lost with their process", f"set {variable}")
        return
    usable = True
    for found in _of_store(where, variable, within):
        if isinstance(found, Finding):
            usable = usable and found.status != "problem"
            yield found
        else:
            yield ok(f"{found[0]} can be written")
    if file is not None and file.is_file():
        yield from _of_file(file)
    elif file is not None:
        return
    if usable:
        yield from _unsent(where, within)


def clock(within: float) -> Iterator[Finding]:
    """Compare this machine's clock with that of a store on another machine."""
    where = settings.current.store
    if not isinstance(where, str) or where.startswith(("memory:", "sqlite:")):
        return
    with contextlib.suppress(Exception), _connected(where, within) as (store, _):
        yield skew(store.now() - time.time(), "the store")


def skew(seconds: float, server: str) -> Finding:
    """Return the finding for a difference of clocks; positive if the server's is ahead."""
    text = f"this machine's clock is {abs(seconds):.1f} s {'behind' if seconds > 0 else 'ahead of'} that of {server}"
    if abs(seconds) <= _MOST_SKEW:
        return ok(f"this machine's clock agrees with that of {server}")
    return problem(text, "synchronize both with NTP: schedules, leases and the ages of data go by them")


# The store.


def _of_store(where: StateStore | str, variable: str, within: float) -> Iterator[Finding | tuple[str, float]]:
    """Yield findings about a store; or its name, and the seconds that a write and a read took."""
    file = _file_of(where)
    if file is not None and not file.exists():
        yield _new_file(file, variable)
        return
    try:
        if file is not None:
            yield from _network_drive(file)
            yield f"sqlite:///{file}", _try_file(file, within)
        else:
            with _connected(where, within) as (store, name):
                yield name, _try(store)
    except sqlite3.DatabaseError as error:
        locked = isinstance(error, sqlite3.OperationalError) and "lock" in str(error)
        what = "another process holds its lock" if locked else describe(error)
        advice = "end that process" if locked else "restore the file, or move it away: the next run then makes another"
        yield problem(f"{file}: {what}", advice)
    except Exception as error:
        yield problem(f"{_shown(where)} cannot be used: {describe(error)}", _HOW.format(variable=variable))


def _new_file(file: Path, variable: str) -> Finding:
    folder = next(each for each in (file.parent, *file.parent.parents) if each.exists())
    with contextlib.suppress(OSError):
        try_to_create_in(folder)
        return ok(f"{file} does not exist yet; it can be created")
    return problem(f"{file} does not exist, and {folder} cannot be written", f"correct {variable}, or the permissions")


def _try_file(file: Path, within: float) -> float:
    """Lock a file to write it, as a store does, and write nothing; return the seconds that this took."""
    began = time.monotonic()
    if not os.access(file, os.W_OK):
        raise PermissionError(f"{file} cannot be written by this user")
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=within)) as opened:
        opened.execute("SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 1)").fetchone()
        opened.execute("BEGIN IMMEDIATE")
        opened.execute("ROLLBACK")
    return time.monotonic() - began


def _try(store: StateStore) -> float:
    key, value = f"is-there/doctor-{uuid.uuid4().hex}", b"doctor"
    began = time.monotonic()
    done, _ = store.swap(key, None, value, ttl=10.0)
    if not done or store.get(key) != value:
        raise OSError("what was written cannot be read")
    return (time.monotonic() - began) / 2


@contextlib.contextmanager
def _connected(where: StateStore | str, within: float) -> Iterator[tuple[StateStore, str]]:
    store, name = opened_by(where, within)
    store.connect()
    try:
        yield store, name
    finally:
        if isinstance(where, str):
            store.close()


def _network_drive(file: Path) -> Iterator[Finding]:
    import psutil  # noqa: PLC0415  # only here

    place = file.resolve()
    mounts = [each for each in psutil.disk_partitions(all=True) if place.is_relative_to(each.mountpoint)]
    if mounts and (kind := max(mounts, key=lambda each: len(each.mountpoint)).fstype.lower()) in _NETWORK:
        text = f"{file} is on a network file system ({kind}), where SQLite's locks do not work"
        yield problem(text, "move it to a local disk, or use redis://")


def _file_of(where: StateStore | str) -> Path | None:
    if not isinstance(where, str) or not where.startswith("sqlite:"):
        return None
    return Path(unquote(where.removeprefix("sqlite://").removeprefix("/")))


def _shown(where: StateStore | str) -> str:
    """Return an address without its password."""
    if not isinstance(where, str):
        return type(where).__name__
    scheme, _, rest = where.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


# The file of incidents.


def _of_file(file: Path) -> Iterator[Finding]:
    known = file.stat()
    size = known.st_size + sum(
        Path(f"{file}{end}").stat().st_size for end in ("-wal",) if Path(f"{file}{end}").exists()
    )
    if size > _LARGE:
        yield warning(f"{file} has {size >> 20} MiB", "see `resilient-tasks outbox status`: unsent messages are kept")
    yield from permissions(file)
    if home.folder() in file.absolute().parents:
        yield from permissions(home.folder())


def permissions(path: Path) -> Iterator[Finding]:
    """Yield a problem if other users can read a file, or the folder, that holds errors and arguments."""
    if os.name != "posix" or not path.exists():
        return
    known = path.stat()
    wanted = 0o700 if path.is_dir() else 0o600
    if known.st_uid != os.getuid() and os.getuid() != 0:
        yield problem(f"{path} belongs to another user", f"chown {os.getuid()} {path}, or set RESILIENT_TASKS_HOME")
    if known.st_mode & 0o077:
        yield problem(f"{path} can be read by other users ({known.st_mode & 0o777:o})", f"chmod {wanted:o} {path}")


# Messages that wait.


def _unsent(where: StateStore | str, within: float) -> Iterator[Finding]:
    store, name = opened_by(where, within)
    states = States(store, name, bound=within, stand_in=False)
    try:
        outbox = Outbox(states)
        waiting: list[Any] = [
            delivery
            for operation in outbox.operations()
            for incident in outbox.incidents(operation).all
            for delivery in incident.deliveries
        ]
        now = states.now()
    except Exception as error:
        yield skipped(f"unsent messages: {describe(error)}")
        return
    finally:
        states.close()
    if not waiting:
        yield ok("no message waits to be sent")
        return
    oldest = min(waiting, key=lambda delivery: float(delivery.created))
    age, dead = now - oldest.created, sum(delivery.dead for delivery in waiting)
    why = f": {oldest.problem}" if oldest.problem else ""
    given_up = f", {number_of(dead, 'of them', 'of them')} given up" if dead else ""
    count = f"{number_of(len(waiting), 'message')} {'waits' if len(waiting) == 1 else 'wait'}"
    text = f"{count}{given_up}, the oldest for {lasted(age)}, to {oldest.channel}{why}"
    if age > _LONG or dead:
        yield problem(text, "`resilient-tasks outbox flush --module YOUR_FLOWS` sends them; `outbox purge` drops them")
    else:
        yield ok(text)
