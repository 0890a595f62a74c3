"""`resilient-tasks outbox status | flush | purge`: unsent messages."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from resilient_tasks.alerts import gate, registry
from resilient_tasks.alerts.delivery import Delivery
from resilient_tasks.alerts.incident import Incident
from resilient_tasks.alerts.message import lasted
from resilient_tasks.alerts.outbox import Outbox, incident_store
from resilient_tasks.alerts.sender import flush
from resilient_tasks.cli.importing import module_named
from resilient_tasks.cli.printing import (
    DONE,
    STILL_WAITING,
    Subparsers,
    UsageError,
    check_store,
    duration,
    print_table,
    say,
)
from resilient_tasks.core import settings
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.wording import number_of

#: Seconds to wait for the store.
_PATIENCE = 5.0


def add_to(subparsers: Subparsers) -> None:
    """Add this group of commands."""
    outbox = subparsers.add_parser("outbox", help="unsent messages: list, send or delete them")
    commands = outbox.add_subparsers(required=True, metavar="status|flush|purge")
    common = incidents_option()

    status = commands.add_parser("status", parents=[common], help="list the unsent messages, and why they are unsent")
    status.set_defaults(run=_status)

    flushing = commands.add_parser(
        "flush", parents=[common], help="send all unsent messages now, including those given up"
    )
    flushing.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="import the module whose decorators use the channels, such as my_project.flows; may be repeated",
    )
    flushing.add_argument(
        "--within", type=duration("--within", 1), default=60.0, metavar="TIME", help="90, 10m; default: 60s"
    )
    flushing.set_defaults(run=_flush)

    purge = commands.add_parser("purge", parents=[common], help="delete unsent messages")
    purge.add_argument("--channel", help="only those to this channel, a name from `status`")
    purge.add_argument("--operation", help="only those about this function")
    purge.add_argument("--given-up", action="store_true", help="only those given up")
    purge.add_argument("--all", action="store_true", help="all unsent messages")
    purge.set_defaults(run=_purge)


def incidents_option() -> argparse.ArgumentParser:
    """Return the options that all commands about incidents share."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--incidents",
        metavar="URL",
        help="the store of the incidents; default: RESILIENT_TASKS_INCIDENTS or RESILIENT_TASKS_STORE",
    )
    common.add_argument("--json", action="store_true", help="print JSON")
    return common


def open_outbox(options: argparse.Namespace) -> Outbox:
    """Return the outbox; refuse one that other processes cannot see."""
    if options.incidents:
        check_store(options.incidents, "--incidents")
        settings.configure(incidents=options.incidents)
    states = incident_store.states()
    if not states.is_shared:
        raise UsageError(
            "Incidents are in the memory of each process, so this one cannot see them:"
            " use --incidents or RESILIENT_TASKS_INCIDENTS, such as sqlite:///incidents.db or redis://host:6379/0."
        )
    until = time.monotonic() + _PATIENCE
    while not states.is_available:
        if time.monotonic() > until:
            raise UsageError(f"{states.name} does not answer.")
        time.sleep(0.01)
    return Outbox(states)


class _Waiting(NamedTuple):
    operation: str
    incident: Incident
    delivery: Delivery


def _all(outbox: Outbox) -> Iterator[_Waiting]:
    for operation in sorted(outbox.operations()):
        for incident in outbox.incidents(operation).all:
            yield from (_Waiting(operation, incident, delivery) for delivery in incident.deliveries)


def _status(options: argparse.Namespace) -> int:
    outbox = open_outbox(options)
    waiting = list(_all(outbox))
    if options.json:
        say(json.dumps([_as_json(one) for one in waiting]))
    else:
        now, real = outbox.states.now(), outbox.real_now()
        head = ("channel", "operation", "message", "failures", "age", "tries", "next try", "problem")
        print_table(
            head,
            [
                (
                    delivery.channel,
                    operation,
                    delivery.occasion,
                    delivery.count,
                    lasted(now - delivery.created),
                    delivery.tries,
                    _next_try(delivery, outbox.backoff(delivery.channel).next, real),
                    delivery.problem or outbox.backoff(delivery.channel).problem,
                )
                for operation, _, delivery in waiting
            ],
        )
        say(_counted(len(waiting)))
    return STILL_WAITING if waiting else DONE


def _next_try(delivery: Delivery, free: float, real: float) -> str:
    wait = max(delivery.ready_at(real), free) - real
    return "given up" if delivery.dead else "at the next run" if wait <= 0 else f"in {lasted(wait)}"


def _as_json(waiting: _Waiting) -> dict[str, object]:
    operation, incident, delivery = waiting
    known = dataclasses.asdict(delivery)
    return {"key": incident.key(delivery), "operation": operation, "error": incident.facts["error_type"], **known}


def _flush(options: argparse.Namespace) -> int:
    for module in options.module:
        module_named(module, f"--module {module}")
    if gate.is_off():
        raise UsageError("RESILIENT_TASKS_CHANNELS turns channels off, so nothing can be sent.")
    outbox = open_outbox(options)
    before = list(_all(outbox))
    _register_slack_of_environment({waiting.delivery.channel for waiting in before})
    for operation in {waiting.operation for waiting in before}:
        outbox.revive(operation)
    for name in {waiting.delivery.channel for waiting in before}:
        outbox.reset_backoff(name)
    flush(options.within)
    left = list(_all(outbox))
    unknown = sorted({one.delivery.channel for one in left if registry.channel(one.delivery.channel) is None})
    if options.json:
        say(json.dumps({"sent": len(before) - len(left), "left": len(left), "unknown": unknown}))
    else:
        say(f"{len(before) - len(left)} sent, {_counted(len(left))}")
        for name in unknown:
            say(f"Channel {name} is not registered here: pass the module whose decorators use it with --module.")
        for _, _, delivery in left:
            if delivery.problem and delivery.channel not in unknown:
                say(f"{delivery.channel}: {delivery.problem}")
    return STILL_WAITING if left else DONE


def _register_slack_of_environment(names: Iterable[str]) -> None:
    """Register Slack channels that need only the webhook or token in the environment."""
    webhook, token = os.environ.get("SLACK_WEBHOOK_URL"), os.environ.get("SLACK_BOT_TOKEN")
    if not (webhook or token):
        return
    from resilient_tasks.alerts.channels.slack import Slack  # noqa: PLC0415  # only where it is used

    if webhook:
        registry.register(Slack())
    for name in names:
        if re.fullmatch(r"slack:(#.+|[CDG][A-Z0-9]{8,})", name):
            registry.register(Slack(channel=name.removeprefix("slack:")))


def _purge(options: argparse.Namespace) -> int:
    if not (options.all or options.channel or options.operation or options.given_up):
        raise UsageError("Select messages with --channel, --operation, --given-up, or --all.")
    outbox = open_outbox(options)

    def chosen(_: Incident, delivery: Delivery) -> bool:
        is_channel = not options.channel or delivery.channel == options.channel
        return is_channel and (not options.given_up or delivery.dead)

    purged = sum(
        outbox.purge(operation, chosen)
        for operation in outbox.operations()
        if not options.operation or operation == options.operation
    )
    say(json.dumps({"purged": purged}) if options.json else f"{number_of(purged, 'message')} purged")
    return DONE


def _counted(number: int) -> str:
    return f"{number_of(number, 'message')} {'waits' if number == 1 else 'wait'}" if number else "nothing waits"
