# ruff: noqa: PLC0415 - pyarrow loads on first use
"""Batches in a quarantine's files: finding one, listing it, and telling which of its rows wait."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilient_tasks.data._files import Files
from resilient_tasks.data._parts import QuarantineError, explained, facts_of, safe
from resilient_tasks.data.ledger import Ledger, key_of
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
    with explained(f"Cannot list the quarantine {folder}"):
        names = named(files, "", text)
    if len(names) == 1:
        return names[0]
    if names:
        paths = ", ".join(str(files.place(name)) for name in names)
        raise QuarantineError(f"Several operations have a batch {text}; give the path of one: {paths}")
    raise QuarantineError(f"There is no batch {text} in the quarantine {folder}; list() names those it has.")


def waiting(files: Files, wanted: Wanted) -> Batch:
    """A batch with those of its rows that no replay has released."""
    name = found(files, wanted)
    with explained(f"Cannot read {files.place(name)}"):
        table, facts, ledger = opened(files, name)
        verdicts = ledger.verdicts()
    rows, values = table["row"].to_pylist(), table["values"].to_pylist()
    keyed = {key_of(row, text): text for row, text in zip(rows, values, strict=True)}
    open_rows = {key: text for key, text in keyed.items() if verdicts.get(key) != ""}
    settled = frozenset(key.row for key in keyed.keys() - open_rows.keys())
    return Batch(facts["operation"], facts["batch"], open_rows, settled, facts, ledger)


def named(files: Files, folder: str, batch: str) -> list[str]:
    """Where a batch was written, on whatever day."""
    return [name for name in files.names(folder) if name.endswith(f"/{safe(batch)}.parquet")]


def opened(files: Files, name: str) -> tuple[Any, dict[str, str], Ledger]:
    """One file: its table, what holds for it as a whole, and its ledger."""
    import pyarrow.parquet as pq

    with files.open(name) as file:
        facts, _ = facts_of(file, files.place(name))
        file.seek(0)
        # A pool of threads that read from Python may abort the process, if that ends soon: the command line does.
        table = pq.read_table(file, use_threads=False)
    return table, facts, Ledger.beside(files, safe(facts["operation"]), safe(facts["batch"]))


def listed(files: Files, name: str, replayed: set[str]) -> QuarantinedBatch:
    """One file as an item of a list. `replayed` are the folders of all ledgers."""
    with files.open(name) as file:
        facts, rows = facts_of(file, files.place(name))
    ledger = Ledger.beside(files, safe(facts["operation"]), safe(facts["batch"]))
    waiting = rows
    if ledger.folder in replayed:
        verdicts = ledger.verdicts()
        table, _, _ = opened(files, name)
        keys = map(key_of, table["row"].to_pylist(), table["values"].to_pylist())
        waiting = sum(verdicts.get(key) != "" for key in keys)
    when = dt.datetime.fromisoformat(facts["quarantined_at"])
    return QuarantinedBatch(files.place(name), facts["operation"], facts["batch"], rows, when, waiting)
