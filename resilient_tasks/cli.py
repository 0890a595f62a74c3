"""The command line: `resilient-tasks quarantine list | show | replay | purge`.

Exit codes: 0 done, and of a replay that all rows are released; 1 some rows still wait; 2 what was asked for cannot be.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import settings

if TYPE_CHECKING:
    from resilient_tasks.data.quarantine import Quarantine

_DONE, _STILL_WAITING, _REFUSED = 0, 1, 2
_SHOWN = 20
_WIDEST = 100


class _UsageError(Exception):
    """What was asked for cannot be done; the sentence says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after the program's name; default: those it was called with.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(_quarantine(options), options)
    except (_UsageError, OSError, ValueError, TypeError) as error:
        print(f"resilient-tasks: {error}", file=sys.stderr)  # noqa: T201
        return _REFUSED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="resilient-tasks", description="Resilience policies around Prefect tasks.")
    rooms = parser.add_subparsers(required=True, metavar="quarantine")
    quarantine = rooms.add_parser("quarantine", help="bad rows: see them, and put them back")
    commands = quarantine.add_subparsers(required=True, metavar="list|show|replay|purge")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--at", metavar="URL", help="the quarantine; default: RESILIENT_TASKS_QUARANTINE, or ./quarantine"
    )
    common.add_argument("--json", action="store_true", help="print JSON, for machines")

    listing = commands.add_parser("list", parents=[common], help="the batches that are there")
    listing.add_argument("--operation", help="only those of this operation")
    listing.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="only those written then or later, UTC")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", parents=[common], help="why the rows of a batch are bad")
    show.add_argument("batch", help="its id, or its file")
    show.add_argument(
        "--to", type=Path, metavar="FILE", help="write the waiting rows there to correct: csv, json, parquet"
    )
    show.set_defaults(run=_show)

    replay = commands.add_parser("replay", parents=[common], help="validate again, and release what passes")
    replay.add_argument("batch", help="its id, or its file")
    replay.add_argument("--schema", required=True, metavar="MODULE:NAME", help="today's schema")
    replay.add_argument("--rows", type=Path, metavar="FILE", help="the corrected rows, from show --to")
    replay.set_defaults(run=_replay)

    purge = commands.add_parser("purge", parents=[common], help="remove old batches whose rows are all released")
    purge.add_argument("--older-than", type=float, required=True, metavar="DAYS")
    purge.add_argument("--waiting", action="store_true", help="remove batches with waiting rows too: those are lost")
    purge.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    purge.set_defaults(run=_purge)
    return parser


def _list(quarantine: Quarantine, options: argparse.Namespace) -> int:
    return _print_batches(quarantine.list(options.operation, options.since), options)


def _show(quarantine: Quarantine, options: argparse.Namespace) -> int:
    if options.to:
        from resilient_tasks.data.tables import save_table  # noqa: PLC0415 - heavy

        saved = save_table(quarantine.table(options.batch), options.to)
        _print(f"{saved:,} rows in {options.to}: correct them, then replay with --rows {options.to}")
        return _DONE
    rows = quarantine.read(options.batch).to_dict("records")
    if options.json:
        _print(json.dumps(rows, default=str, ensure_ascii=False))
        return _DONE
    waiting = [row for row in rows if not row["released"]]
    cells = [(row["row"], _why(row["reasons"]), json.dumps(row["values"], default=str)) for row in waiting[:_SHOWN]]
    _print_table(("row", "why", "as read"), cells)
    _print(f"{len(waiting):,} of {len(rows):,} rows wait{f'; {_SHOWN} are shown' if len(waiting) > _SHOWN else ''}")
    return _DONE


def _replay(quarantine: Quarantine, options: argparse.Namespace) -> int:
    from resilient_tasks.data.tables import load_table  # noqa: PLC0415 - heavy

    schema = _imported(options.schema)
    rows = load_table(options.rows, quarantine.table(options.batch)) if options.rows else None
    replay = quarantine.replay(options.batch, schema, rows=rows)
    if options.json:
        failing = [{"row": row, "reasons": [reason._asdict() for reason in why]} for row, why in replay.failing]
        result = {"released": replay.rows, "waiting": replay.waiting, "failing": failing}
        result["frame_errors"] = list(replay.report.frame_errors)
        _print(json.dumps(result, default=str, ensure_ascii=False))
    else:
        _print(f"{replay.rows:,} rows released, {replay.waiting:,} still wait")
        for error in replay.report.frame_errors:
            _print(f"nothing could be judged: {error}")
        failing_rows = [(row, _why([reason._asdict() for reason in why])) for row, why in replay.failing]
        _print_table(("row", "why"), failing_rows[:_SHOWN])
    return _STILL_WAITING if replay.waiting else _DONE


def _purge(quarantine: Quarantine, options: argparse.Namespace) -> int:
    age = dt.timedelta(days=options.older_than)
    removed = quarantine.purge(age, waiting=options.waiting, dry_run=options.dry_run)
    return _print_batches(removed, options, "would be removed" if options.dry_run else "removed")


def _quarantine(options: argparse.Namespace) -> Quarantine:
    from resilient_tasks.data.quarantine import Quarantine  # noqa: PLC0415 - heavy

    return Quarantine(options.at or settings.current.quarantine)


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise _UsageError(f"--schema is MODULE:NAME, such as flights.schemas:Flights; it is {name!r}.")
    sys.path.insert(0, str(Path.cwd()))  # as python -m does: a person stands in the project
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise _UsageError(f"There is no schema {name}: {error}.") from error


def _day(text: str) -> dt.datetime:
    day = dt.datetime.fromisoformat(text)
    return day if day.tzinfo else day.replace(tzinfo=dt.UTC)


def _print_batches(batches: Iterable[Any], options: argparse.Namespace, done: str = "") -> int:
    rows = [
        (b.batch, b.operation, b.when.isoformat(timespec="seconds"), b.rows, b.waiting, str(b.path)) for b in batches
    ]
    head = ("batch", "operation", "when", "rows", "waiting", "path")
    if options.json:
        _print(json.dumps([dict(zip(head, row, strict=True)) for row in rows]))
        return _DONE
    _print_table(head, rows)
    _print(f"{len(rows):,} batches{f' {done}' if done else ''}, {sum(row[4] for row in rows):,} rows wait")
    return _DONE


def _why(reasons: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"{reason['column']}: {reason['check']} ({reason['value']!r})" for reason in reasons)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if not rows:
        return
    cells = [[_cut(str(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _print(line: str) -> None:
    print(line)  # noqa: T201
