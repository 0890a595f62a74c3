"""`resilient-tasks alerts install | uninstall`: automations on the Prefect server, for runs that were killed."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from resilient_tasks.cli.printing import DONE, Subparsers, UsageError, duration, print_table, say

if TYPE_CHECKING:
    from resilient_tasks.prefect.automations import Step

_NAME = "resilient-tasks"
_COOLDOWN = 300.0
_FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"


def add_to(commands: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add these commands to the `alerts` group."""
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--name", default=_NAME, help=f"prefix of the automations' names; default: {_NAME}")
    both.add_argument("--dry-run", action="store_true", help="only print what would be done")

    install = commands.add_parser(
        "install",
        parents=[both, common],
        help="have the Prefect server mark killed flow runs, and alert on crashed ones",
        description="Create or update two automations on the Prefect server at PREFECT_API_URL: one marks a flow run"
        " as Crashed when its heartbeats stop, the other sends alerts about crashed flow runs.",
    )
    whom = install.add_mutually_exclusive_group(required=True)
    whom.add_argument("--block", metavar="TYPE/NAME", help="the block that sends the alert, such as slack-webhook/ops")
    whom.add_argument("--webhook-block", metavar="NAME", help="short for --block webhook/NAME")
    whom.add_argument("--slack-block", metavar="NAME", help="short for --block slack-webhook/NAME")
    whom.add_argument("--no-notify", action="store_true", help="only mark killed runs, and send no alerts")
    install.add_argument(
        "--zombie-after",
        type=duration("--zombie-after", 1),
        metavar="TIME",
        help="mark a run Crashed after 90, 10m, 2h without a heartbeat; default: three heartbeat intervals",
    )
    install.add_argument(
        "--cooldown",
        type=duration("--cooldown", 1, zero=True),
        default=_COOLDOWN,
        metavar="TIME",
        help=f"least time between alerts about one flow: 90, 10m, 2h; 0 alerts every time; default: {_COOLDOWN:g}s",
    )
    install.set_defaults(run=_run_install)

    uninstall = commands.add_parser("uninstall", parents=[both, common], help="remove these automations")
    uninstall.set_defaults(run=_run_uninstall)


def _run_install(options: argparse.Namespace) -> int:
    from resilient_tasks.prefect import automations  # noqa: PLC0415 - Prefect takes seconds to import

    frequency = automations.heartbeats()
    patience = automations.usual_patience() if options.zombie_after is None else options.zombie_after
    if frequency is not None and patience <= frequency:
        raise UsageError(
            f"Flow runs send a heartbeat every {frequency} s ({_FREQUENCY}): with a limit of {patience:g} s, live runs"
            f" would be marked Crashed. Use --zombie-after {3 * frequency}, or lower {_FREQUENCY}."
        )
    recipe = automations.Recipe(options.name, _block(options), patience, options.cooldown)
    steps = automations.install(recipe, dry_run=options.dry_run)
    remarks = _remarks(frequency, patience)
    if options.json:
        say(json.dumps({"automations": [dataclasses.asdict(step) for step in steps], "remarks": remarks}))
        return DONE
    _print(steps)
    for remark in remarks:
        say(remark)
    return DONE


def _run_uninstall(options: argparse.Namespace) -> int:
    from resilient_tasks.prefect import automations  # noqa: PLC0415 - Prefect takes seconds to import

    steps = automations.uninstall(options.name, dry_run=options.dry_run)
    if options.json:
        say(json.dumps({"automations": [dataclasses.asdict(step) for step in steps]}))
        return DONE
    _print(steps)
    if not steps:
        say(f"no automations of {options.name}")
    return DONE


def _block(options: argparse.Namespace) -> str:
    if options.webhook_block:
        return f"webhook/{options.webhook_block}"
    return f"slack-webhook/{options.slack_block}" if options.slack_block else options.block or ""


def _print(steps: Sequence[Step]) -> None:
    print_table(
        ("action", "automation", "purpose"),
        [(step.done, step.name, step.purpose + (" (still paused)" if step.paused else "")) for step in steps],
    )


def _remarks(frequency: int | None, patience: float) -> list[str]:
    """Return what to set where flow runs run, so that killed runs are noticed."""
    if frequency is None:
        remark = (
            f"Flow runs send no heartbeats here, so killed runs would go unnoticed: set {_FREQUENCY}, for example to"
            f" {max(30, int(patience / 3))}, in the environment that starts them."
        )
        return [remark]
    remark = (
        f"Flow runs send a heartbeat every {frequency} s ({_FREQUENCY} in this environment). Where they run, it must"
        f" also be less than {patience:g} s, and at most half of that to allow for a late one."
    )
    remarks = [remark]
    if patience < 2 * frequency:
        remarks.append("A live run is marked Crashed if a single heartbeat is late.")
    return remarks
