"""`resilient-tasks quarantine list | show | replay | purge`: bad rows, and how to replay them."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.cli.importing import module_named
from resilient_tasks.cli.printing import (
    DONE,
    STILL_WAITING,
    Subparsers,
    UsageError,
    as_json,
    duration,
    print_table,
    say,
)
from resilient_tasks.core import settings
from resilient_tasks.core.wording import number_of
from resilient_tasks.redaction.text import redact

if TYPE_CHECKING:
    from resilient_tasks.quarantine.quarantine import Quarantine

_SHOWN = 20


def add_to(subparsers: Subparsers) -> None:
    """Add this group of commands."""
    quarantine = subparsers.add_parser("quarantine", help="bad rows: inspect, correct and replay them")
    commands = quarantine.add_subparsers(required=True, metavar="list|show|replay|purge")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--at", metavar="URL", help="the quarantine; default: RESILIENT_TASKS_QUARANTINE, or ./quarantine"
    )
    common.add_argument("--json", action="store_true", help="print JSON")

    listing = commands.add_parser("list", parents=[common], help="list the batches")
    listing.add_argument("--operation", help="only those of this operation")
    listing.add_argument(
        "--since", type=_day, metavar="YYYY-MM-DD", help="only those written on that day (UTC) or later"
    )
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", parents=[common], help="show why the rows of a batch are bad")
    show.add_argument("batch", help="the batch's id or file")
    show.add_argument(
        "--to", type=Path, metavar="FILE", help="write the waiting rows to a .csv, .json or .parquet file to correct"
    )
    show.set_defaults(run=_show)

    replay = commands.add_parser("replay", parents=[common], help="validate rows again, and release those that pass")
    replay.add_argument("batch", help="the batch's id or file")
    replay.add_argument("--schema", required=True, metavar="MODULE:NAME", help="the current schema")
    replay.add_argument("--rows", type=Path, metavar="FILE", help="the file of corrected rows, from show --to")
    replay.add_argument(
        "--unchanged", action="store_true", help="also validate uncorrected rows again, and release those that pass"
    )
    replay.set_defaults(run=_replay)

    purge = commands.add_parser("purge", parents=[common], help="remove old batches whose rows are all released")
    days = "30d, 12h; a number alone is days"
    purge.add_argument(
        "--older-than", type=duration("--older-than", 86400, zero=True), required=True, metavar="TIME", help=days
    )
    purge.add_argument("--waiting", action="store_true", help="also remove batches with waiting rows, which are lost")
    purge.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    purge.set_defaults(run=_purge)


def _list(options: argparse.Namespace) -> int:
    quarantine = _quarantine(options)
    return _print_batches(quarantine.list(options.operation, options.since), options)


def _show(options: argparse.Namespace) -> int:
    quarantine = _quarantine(options)
    if options.to:
        from resilient_tasks.quarantine.tables import save_table  # noqa: PLC0415 - heavy

        saved = save_table(quarantine.table(options.batch), options.to)
        them = "it" if saved == 1 else "them"
        say(f"{number_of(saved, 'row')} in {options.to}: correct {them}, then replay with --rows {options.to}")
        return DONE
    rows = quarantine.read(options.batch).to_dict("records")
    if options.json:
        say(as_json(rows))
        return DONE
    waiting = [row for row in rows if not row["released"]]
    cells = [(row["row"], _why(row["reasons"]), json.dumps(row["values"], default=str)) for row in waiting[:_SHOWN]]
    print_table(("row", "why", "as read"), cells)
    shown = f"; {_SHOWN} are shown" if len(waiting) > _SHOWN else ""
    say(f"{len(waiting):,} of {number_of(len(rows), 'row')} {_wait(len(waiting))}{shown}")
    return DONE


def _replay(options: argparse.Namespace) -> int:
    quarantine = _quarantine(options)
    from resilient_tasks.quarantine.tables import load_table  # noqa: PLC0415 - heavy

    schema = _imported(options.schema)
    rows = load_table(options.rows, quarantine.table(options.batch)) if options.rows else None
    replay = quarantine.replay(options.batch, schema, rows=rows, unchanged=options.unchanged)
    if options.json:
        failing = [{"row": row, "reasons": [reason._asdict() for reason in why]} for row, why in replay.failing]
        result = {"released": replay.rows, "waiting": replay.waiting, "failing": failing}
        result["frame_errors"] = list(replay.report.frame_errors)
        say(as_json(result))
    else:
        say(f"{number_of(replay.rows, 'row')} released, {replay.waiting:,} still {_wait(replay.waiting)}")
        for error in replay.report.frame_errors:
            say(f"no row could be validated: {redact(str(error))}")
        failing_rows = [(row, _why([reason._asdict() for reason in why])) for row, why in replay.failing]
        print_table(("row", "why"), failing_rows[:_SHOWN])
    return STILL_WAITING if replay.waiting else DONE


def _purge(options: argparse.Namespace) -> int:
    quarantine = _quarantine(options)
    age = dt.timedelta(seconds=options.older_than)
    removed = quarantine.purge(age, waiting=options.waiting, dry_run=options.dry_run)
    return _print_batches(removed, options, "would be removed" if options.dry_run else "removed")


def _quarantine(options: argparse.Namespace) -> Quarantine:
    from resilient_tasks.quarantine.quarantine import Quarantine  # noqa: PLC0415 - heavy

    quarantine = Quarantine(options.at or settings.current.quarantine)
    if not quarantine.exists():
        missing = f"There is no quarantine at {redact(str(quarantine.folder))}"
        if options.at:
            raise UsageError(f"{missing}: --at names the folder, or the URL, that the flows write to.")
        print(f"{missing} yet: --at names another one.", file=sys.stderr)  # noqa: T201
    return quarantine


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UsageError(f"--schema is MODULE:NAME, such as flights.schemas:Flights; it is {name!r}.")
    there = module_named(module, f"There is no schema {name}: {module}")
    try:
        return getattr(there, attribute)
    except AttributeError as error:
        raise UsageError(f"There is no schema {name}: {error}.") from error


def _day(text: str) -> dt.datetime:
    try:
        day = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since takes a day such as 2013-07-31, or 2013-07-31T12:00, not {text!r}.") from None
    return day if day.tzinfo else day.replace(tzinfo=dt.UTC)


def _print_batches(batches: Iterable[Any], options: argparse.Namespace, done: str = "") -> int:
    rows = [
        (b.batch, b.operation, b.when.isoformat(timespec="seconds"), b.rows, b.waiting, str(b.path)) for b in batches
    ]
    head = ("batch", "operation", "when", "rows", "waiting", "path")
    if options.json:
        say(json.dumps([dict(zip(head, row, strict=True)) for row in rows]))
        return DONE
    print_table(head, rows)
    batches, waiting = number_of(len(rows), "batch", "batches"), sum(row[4] for row in rows)
    say(f"{batches}{f' {done}' if done else ''}, {number_of(waiting, 'row')} {_wait(waiting)}")
    return DONE


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"


def _why(reasons: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"{reason['column']}: {reason['check']} ({reason['value']!r})" for reason in reasons)
