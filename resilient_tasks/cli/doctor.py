"""`resilient-tasks doctor`: what does not work here, and what to do; one line for each check."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from resilient_tasks.cli.printing import DONE, STILL_WAITING, Subparsers, duration, say
from resilient_tasks.redaction.text import redact
from resilient_tasks.redaction.values import clean

if TYPE_CHECKING:
    from resilient_tasks.cli.checks.finding import Check, Finding

_WITHIN = 5.0


def add_to(subparsers: Subparsers) -> None:
    """Add this command."""
    doctor = subparsers.add_parser("doctor", help="check versions, stores, folders, channels and Prefect's server")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("--offline", action="store_true", help="leave out the channels and Prefect's server")
    doctor.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="import the module whose decorators use the channels, such as my_project.flows; may be repeated",
    )
    doctor.add_argument(
        "--within",
        type=duration("--within", 1),
        default=_WITHIN,
        metavar="TIME",
        help="the longest time for each check: 5, 1m; default: 5s",
    )
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from resilient_tasks.cli.checks import finding, outside  # noqa: PLC0415  # as in `_checks`

    found = finding.run(_checks(options))
    if not options.offline:
        found += finding.run(outside.channels(options.within))  # after the modules, whose decorators name them
    if options.json:
        # Value by value: redacted as a whole, the text might be JSON no more.
        say(json.dumps(clean([{"check": name, **dataclasses.asdict(each)} for name, each in found])))
    else:
        for name, each in found:
            say(redact(_line(name, each)))
    return STILL_WAITING if any(each.status == "problem" for _, each in found) else DONE


def _checks(options: argparse.Namespace) -> list[Check]:
    from resilient_tasks.cli.checks import folders, installed, outside, stores  # noqa: PLC0415  # other commands need none
    from resilient_tasks.cli.checks.finding import Check  # noqa: PLC0415

    within: float = options.within
    importing = within + outside.IMPORTING
    checks = [
        Check("versions", installed.versions, within),
        Check("configuration", installed.configuration, within),
        Check("store", lambda: stores.shared_store(within), within),
        Check("incidents", lambda: stores.incidents(within), within),
        Check("quarantine", folders.quarantine, within),
        Check("last good", folders.last_good, within),
        Check("runs", folders.runs, within),
        Check("clock", lambda: stores.clock(within), within),
    ]
    if options.module:
        checks.append(Check("modules", lambda: outside.modules(options.module), importing))
    if not options.offline:
        checks.append(Check("prefect", lambda: outside.prefect(within), importing))
    return checks


def _line(name: str, found: Finding) -> str:
    about = f"{found.about}: " if found.about else ""
    advice = f"; {found.advice}" if found.advice else ""
    return f"{found.status:8} {name:14} {about}{found.text}{advice}"
