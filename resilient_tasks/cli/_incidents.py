"""`resilient-tasks alerts list | silence | unsilence`: open incidents, and silences."""

from __future__ import annotations

import argparse
import json
from typing import Any

from resilient_tasks.alerts.message import lasted
from resilient_tasks.cli.outbox import incidents_option, open_outbox
from resilient_tasks.cli.printing import DONE, UsageError, duration, print_table, say
from resilient_tasks.core.wording import label


def add_to(commands: Any) -> None:
    """Add these commands to the `alerts` group."""
    common = incidents_option()
    commands.add_parser("list", parents=[common], help="list incidents and silences").set_defaults(run=_list)

    silence = commands.add_parser("silence", parents=[common], help="suppress the alerts about a function for a time")
    silence.add_argument("what", help="a function's name (* and ? are wildcards), or an incident's id from `list`")
    silence.add_argument(
        "--for",
        dest="seconds",
        type=duration("--for", 1),
        default="1h",
        metavar="TIME",
        help="90, 10m, 2h, 1d; default: 1h",
    )
    silence.add_argument("--reason", default="", help="the reason, which `list` shows")
    silence.set_defaults(run=_silence)

    unsilence = commands.add_parser("unsilence", parents=[common], help="end a silence")
    unsilence.add_argument("what", help="the name or id given to `silence`")
    unsilence.set_defaults(run=_unsilence)


def _list(options: argparse.Namespace) -> int:
    outbox = open_outbox(options)
    now = outbox.states.now()
    found = [
        (operation, incident)
        for operation in sorted(outbox.operations())
        for incident in outbox.incidents(operation).all
    ]
    silences = outbox.silences()
    if options.json:
        incidents = [
            {
                "incident": incident.fingerprint,
                "operation": operation,
                "status": "recovered" if incident.closed else incident.facts["status"],
                "error_type": incident.facts["error_type"],
                "http_status": incident.facts.get("http_status"),
                "error": incident.facts["error"],
                "failures": incident.total,
                "began": incident.began,
                "last": incident.last,
                "flows": incident.flows,
                "channels": incident.channels,
            }
            for operation, incident in found
        ]
        say(json.dumps({"incidents": incidents, "silences": [silence._asdict() for silence in silences]}))
        return DONE
    print_table(
        ("incident", "operation", "status", "failures", "since", "last", "error"),
        [
            (
                incident.fingerprint,
                operation,
                "recovered" if incident.closed else incident.facts["status"],
                incident.total,
                lasted(now - incident.began),
                f"{lasted(now - incident.last)} ago",
                f"{label(incident.facts['error_type'], incident.facts.get('http_status'))}: {incident.facts['error']}",
            )
            for operation, incident in found
        ],
    )
    if not found:
        say("no incidents")
    for silence in silences:
        why = f" ({silence.reason})" if silence.reason else ""
        say(f"silenced for {lasted(silence.until - now)}: {silence.pattern}{why}")
    return DONE


def _silence(options: argparse.Namespace) -> int:
    seconds: float = options.seconds
    silence = open_outbox(options).add_silence(options.what, seconds, options.reason)
    said = f"{silence.pattern} is silenced for {lasted(seconds)}: failures are counted, and reported afterwards"
    say(json.dumps(silence._asdict()) if options.json else said)
    return DONE


def _unsilence(options: argparse.Namespace) -> int:
    outbox = open_outbox(options)
    known = [silence.pattern for silence in outbox.silences()]
    if not outbox.end_silence(options.what):
        raise UsageError(f"{options.what} is not silenced. Silenced: {', '.join(known) or 'nothing'}.")
    say(json.dumps({"unsilenced": options.what}) if options.json else f"{options.what} sends alerts again")
    return DONE
