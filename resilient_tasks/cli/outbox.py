"""`resilient-tasks outbox status | flush | purge`: messages that wait to be sent."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import NamedTuple

from resilient_tasks.cli.printing import (
    DONE,
    STILL_WAITING,
    Rooms,
    UsageError,
    check_store,
    duration,
    print_table,
    say,
)
from resilient_tasks.core import real_time as time
from resilient_tasks.core import settings
from resilient_tasks.core.wording import number_of
from resilient_tasks.machines.incident import Incident
from resilient_tasks.machines.letters import Letter
from resilient_tasks.notify import gate, registry
from resilient_tasks.notify.message import lasted
from resilient_tasks.notify.outbox import Outbox, kept
from resilient_tasks.notify.sender import flush

#: Seconds for which a store is waited for; a command has more time than a task.
_PATIENCE = 5.0


def add_to(rooms: Rooms) -> None:
    """Add these commands to the command line's."""
    outbox = rooms.add_parser("outbox", help="unsent messages: list, send or delete them")
    commands = outbox.add_subparsers(required=True, metavar="status|flush|purge")
    common = incidents_option()

    status = commands.add_parser("status", parents=[common], help="list the unsent messages, and why they wait")
    status.set_defaults(run=_status)

    flushing = commands.add_parser(
        "flush", parents=[common], help="send all unsent messages now, also those that were given up"
    )
    flushing.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="import it for the channels that its decorators name, such as my_project.flows; may be repeated",
    )
    flushing.add_argument(
        "--within", type=duration("--within", 1), default=60.0, metavar="TIME", help="90, 10m; default: 60s"
    )
    flushing.set_defaults(run=_flush)

    purge = commands.add_parser("purge", parents=[common], help="delete unsent messages")
    purge.add_argument("--channel", help="those to this channel, as status names it")
    purge.add_argument("--operation", help="those of this function")
    purge.add_argument("--given-up", action="store_true", help="those that were given up")
    purge.add_argument("--all", action="store_true", help="all of them")
    purge.set_defaults(run=_purge)


def incidents_option() -> argparse.ArgumentParser:
    """Return the options that all commands about incidents have."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--incidents",
        metavar="URL",
        help="where incidents are kept; default: as RESILIENT_TASKS_INCIDENTS and _STORE say",
    )
    common.add_argument("--json", action="store_true", help="print JSON, for machines")
    return common


def reach_the_outbox(options: argparse.Namespace) -> Outbox:
    """Return the outbox, and refuse where no other process could see what is done there."""
    if options.incidents:
        check_store(options.incidents, "--incidents")
        settings.configure(incidents=options.incidents)
    states = kept.states()
    if not states.is_shared:
        raise UsageError(
            "Incidents are kept in the memory of each process, which no other process can see:"
            " give --incidents or RESILIENT_TASKS_INCIDENTS, such as sqlite:///incidents.db or redis://host:6379/0."
        )
    until = time.monotonic() + _PATIENCE
    while not states.is_there:
        if time.monotonic() > until:
            raise UsageError(f"{states.name} does not answer.")
        time.sleep(0.01)
    return Outbox(states)


class _Waiting(NamedTuple):
    operation: str
    incident: Incident
    letter: Letter


def _all(outbox: Outbox) -> Iterator[_Waiting]:
    for operation in sorted(outbox.operations()):
        for incident in outbox.incidents(operation).all:
            yield from (_Waiting(operation, incident, letter) for letter in incident.letters)


def _status(options: argparse.Namespace) -> int:
    outbox = reach_the_outbox(options)
    waiting = list(_all(outbox))
    if options.json:
        say(json.dumps([_as_json(one) for one in waiting]))
    else:
        now, real = outbox.states.now(), outbox.real()
        head = ("channel", "operation", "message", "failures", "age", "tries", "next try", "problem")
        print_table(
            head,
            [
                (
                    letter.channel,
                    operation,
                    letter.occasion,
                    letter.count,
                    lasted(now - letter.made),
                    letter.tries,
                    _next_try(letter, outbox.pace(letter.channel).next, real),
                    letter.problem or outbox.pace(letter.channel).problem,
                )
                for operation, _, letter in waiting
            ],
        )
        say(_counted(len(waiting)))
    return STILL_WAITING if waiting else DONE


def _next_try(letter: Letter, free: float, real: float) -> str:
    wait = max(letter.free(real), free) - real
    return "given up" if letter.dead else "at the next run" if wait <= 0 else f"in {lasted(wait)}"


def _as_json(waiting: _Waiting) -> dict[str, object]:
    operation, incident, letter = waiting
    known = dataclasses.asdict(letter)
    return {"key": incident.key(letter), "operation": operation, "error": incident.facts["error_type"], **known}


def _flush(options: argparse.Namespace) -> int:
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # as `python -m` does: flows are found where the command is run
    for module in options.module:
        try:
            import_module(module)
        except ImportError as error:
            raise UsageError(f"--module {module} cannot be imported: {error}.") from error
    if gate.is_off():
        raise UsageError("Channels are off, so nothing can be sent: RESILIENT_TASKS_CHANNELS says so.")
    outbox = reach_the_outbox(options)
    before = list(_all(outbox))
    _know_the_environments_slack({waiting.letter.channel for waiting in before})
    for operation in {waiting.operation for waiting in before}:
        outbox.revive(operation)
    for name in {waiting.letter.channel for waiting in before}:
        outbox.clear(name)
    flush(options.within)
    left = list(_all(outbox))
    unknown = sorted({one.letter.channel for one in left if registry.channel(one.letter.channel) is None})
    if options.json:
        say(json.dumps({"sent": len(before) - len(left), "left": len(left), "unknown": unknown}))
    else:
        say(f"{len(before) - len(left)} sent, {_counted(len(left))}")
        for name in unknown:
            say(f"No channel {name} is known here: name the module whose decorators have it, with --module.")
        for _, _, letter in left:
            if letter.problem and letter.channel not in unknown:
                say(f"{letter.channel}: {letter.problem}")
    return STILL_WAITING if left else DONE


def _know_the_environments_slack(names: Iterable[str]) -> None:
    """A webhook or token in the environment is all that many programs have; their channels need no module."""
    webhook, token = os.environ.get("SLACK_WEBHOOK_URL"), os.environ.get("SLACK_BOT_TOKEN")
    if not (webhook or token):
        return
    from resilient_tasks.notify.slack import Slack  # noqa: PLC0415  # only where it is used

    if webhook:
        registry.know(Slack())
    for name in names:
        if re.fullmatch(r"slack:(#.+|[CDG][A-Z0-9]{8,})", name):
            registry.know(Slack(channel=name.removeprefix("slack:")))


def _purge(options: argparse.Namespace) -> int:
    if not (options.all or options.channel or options.operation or options.given_up):
        raise UsageError("Say which: --channel, --operation, --given-up, or --all.")
    outbox = reach_the_outbox(options)

    def chosen(_: Incident, letter: Letter) -> bool:
        return (not options.channel or letter.channel == options.channel) and (not options.given_up or letter.dead)

    thrown = sum(
        outbox.purge(operation, chosen)
        for operation in outbox.operations()
        if not options.operation or operation == options.operation
    )
    say(json.dumps({"thrown_away": thrown}) if options.json else f"{thrown} thrown away")
    return DONE


def _counted(number: int) -> str:
    return f"{number_of(number, 'message')} {'waits' if number == 1 else 'wait'}" if number else "nothing waits"
