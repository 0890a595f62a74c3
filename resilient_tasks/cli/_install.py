"""`resilient-tasks alerts install | uninstall`: automations on the Prefect server, for runs that were killed."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from resilient_tasks.cli.printing import DONE, Rooms, UsageError, duration, print_table, say

if TYPE_CHECKING:
    from resilient_tasks.orchestrate.automations import Step

_NAME = "resilient-tasks"
_COOLDOWN = 300.0
_FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"


def add_to(commands: Rooms, common: argparse.ArgumentParser) -> None:
    """Add these commands to those of `alerts`."""
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--name", default=_NAME, help=f"what the names of the automations begin with; default: {_NAME}")
    both.add_argument("--dry-run", action="store_true", help="only say what would be done")

    install = commands.add_parser(
        "install",
        parents=[both, common],
        help="have the Prefect server mark killed flow runs, and send alerts about crashed ones",
        description="Put two automations on the Prefect server that PREFECT_API_URL names, or bring them up to date:"
        " one marks a flow run as Crashed if its heartbeats stop, the other one sends alerts about crashed flow runs.",
    )
    whom = install.add_mutually_exclusive_group(required=True)
    whom.add_argument("--block", metavar="TYPE/NAME", help="the block that sends the alert, such as slack-webhook/ops")
    whom.add_argument("--webhook-block", metavar="NAME", help="short for --block webhook/NAME")
    whom.add_argument("--slack-block", metavar="NAME", help="short for --block slack-webhook/NAME")
    whom.add_argument("--no-notify", action="store_true", help="only mark such runs")
    install.add_argument(
        "--zombie-after",
        type=duration("--zombie-after", 1),
        metavar="TIME",
        help="90, 10m, 2h without a heartbeat until a run counts as crashed; default: the time of three heartbeats",
    )
    install.add_argument(
        "--cooldown",
        type=duration("--cooldown", 1, zero=True),
        default=_COOLDOWN,
        metavar="TIME",
        help=f"90, 10m, 2h without alerts about more crashes of a flow; 0 alerts every time; default: {_COOLDOWN:g}s",
    )
    install.set_defaults(run=_run_install)

    uninstall = commands.add_parser("uninstall", parents=[both, common], help="remove these automations")
    uninstall.set_defaults(run=_run_uninstall)


def _run_install(options: argparse.Namespace) -> int:
    from resilient_tasks.orchestrate import automations  # noqa: PLC0415 - Prefect takes seconds to import

    frequency = automations.heartbeats()
    patience = automations.usual_patience() if options.zombie_after is None else options.zombie_after
    if frequency is not None and patience <= frequency:
        raise UsageError(
            f"Flow runs give a sign of life every {frequency} s ({_FREQUENCY}): after {patience:g} s without one, those"
            f" that live would be marked Crashed. Give --zombie-after {3 * frequency}, or set {_FREQUENCY} to less."
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
    from resilient_tasks.orchestrate import automations  # noqa: PLC0415 - as above

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
        ("what", "automation", "it"),
        [(step.done, step.name, step.purpose + (" (paused: it stays so)" if step.paused else "")) for step in steps],
    )


def _remarks(frequency: int | None, patience: float) -> list[str]:
    """Say what has to be set where flow runs run, for their death to be noticed."""
    if frequency is None:
        remark = (
            f"Here flow runs give no sign of life, so the death of one would not be noticed: set {_FREQUENCY}, to"
            f" {max(30, int(patience / 3))} for example, in the environment of whatever starts them."
        )
        return [remark]
    remark = (
        f"Flow runs give a sign of life every {frequency} s ({_FREQUENCY} as it is here). Where they run it must be"
        f" less than {patience:g} s too, and half of that at the most if one may be late."
    )
    remarks = [remark]
    if patience < 2 * frequency:
        remarks.append("A run that lives is marked Crashed if a single sign of life is late.")
    return remarks
