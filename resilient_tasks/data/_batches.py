"""Batches in a quarantine's files: finding one, listing it, and telling which of its rows wait."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilient_tasks.data._files import Files
from resilient_tasks.data._parts import Part, QuarantineError, explained, facts_of, read, safe
from resilient_tasks.data.ledger import Key, Ledger
from resilient_tasks.data.replay import Batch


@dataclass(frozen=True)
class QuarantinedBatch:
    """One file in the quarantine.

    Attributes:
        path: The file: a path in a local folder, else a URL.
        operation: The operation whose data it was.
        batch: The batch's id.
        rows: Bad rows in it.
        when: When it was written, UTC.
        waiting: How many of the rows no replay has released.
    """

    path: Any
    operation: str
    batch: str
    rows: int
    when: dt.datetime
    waiting: int


Wanted = str | os.PathLike[str] | QuarantinedBatch


def found(files: Files, wanted: Wanted) -> str:
    """The name of a batch's file.

    Args:
        files: The quarantine's.
        wanted: A batch's id, its file, or an item of a list.

    Raises:
        QuarantineError: If there is no such batch, or several operations have one.
    """
    text = os.fspath(wanted.path if isinstance(wanted, QuarantinedBatch) else wanted)
    folder = os.fspath(files.place("x"))[:-1]
    if text.endswith(".parquet"):
        inside = text.removeprefix(folder)
        return Path(text).absolute().as_posix() if inside == text else Path(inside).as_posix()
    with explained(f"Cannot list the quarantine {folder}", files.advice):
        names = named(files, "", text)
    if len(names) == 1:
        return names[0]
    if names:
        paths = ", ".join(str(files.place(name)) for name in names)
        raise QuarantineError(f"Several operations have a batch {text}; give the path of one: {paths}")
    listed = "`resilient-tasks quarantine list` shows its batches"
    raise QuarantineError(f"There is no batch {text} in the quarantine {folder}: {listed}, as does list().")


def waiting(files: Files, wanted: Wanted) -> Batch:
    """A batch with those of its rows that no replay has released."""
    name = found(files, wanted)
    with explained(f"Cannot read {files.place(name)}", files.advice):
        part, ledger = opened(files, name)
        keys = keys_of(part)
        verdicts = ledger.verdicts()
    released = {key for key in keys if verdicts.get(key) == ""}
    open_rows = [at for at, key in enumerate(keys) if key not in released]
    return Batch(
        part.take(open_rows), tuple(keys[at] for at in open_rows), frozenset(key.row for key in released), ledger
    )


def keys_of(part: Part) -> list[Key]:
    """The key of each row."""
    return list(map(Key, part.rows, part.digests()))


def named(files: Files, folder: str, batch: str) -> list[str]:
    """Where a batch was written, on whatever day."""
    return [name for name in files.names(folder) if name.endswith(f"/{safe(batch)}.parquet")]


def opened(files: Files, name: str) -> tuple[Part, Ledger]:
    """One file, and its ledger."""
    with files.open(name) as file:
        part = read(file, files.place(name))
    return part, Ledger.beside(files, safe(part.facts["operation"]), safe(part.facts["batch"]))


def listed(files: Files, name: str, replayed: set[str]) -> QuarantinedBatch:
    """One file as an item of a list. `replayed` are the folders of all ledgers."""
    with files.open(name) as file:
        facts, rows = facts_of(file, files.place(name))
    ledger = Ledger.beside(files, safe(facts["operation"]), safe(facts["batch"]))
    waiting = rows
    if ledger.folder in replayed:
        released = {key for key, reasons in ledger.verdicts().items() if not reasons}
        numbers = {key.row for key in released}
        part, _ = opened(files, name)
        maybe = part.take([at for at, row in enumerate(part.rows) if row in numbers])
        waiting -= sum(key in released for key in keys_of(maybe))
    when = dt.datetime.fromisoformat(facts["quarantined_at"])
    return QuarantinedBatch(files.place(name), facts["operation"], facts["batch"], rows, when, waiting)
