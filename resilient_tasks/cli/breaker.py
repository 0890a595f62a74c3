"""`resilient-tasks breaker list | status | open | isolate | close | set | reset`: circuits in the store."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from resilient_tasks.cli._numbers import add_numbers, numbers_in, when
from resilient_tasks.cli._numbers import open_store as _open_store
from resilient_tasks.cli.printing import DONE, Subparsers, UsageError, duration, print_table, say
from resilient_tasks.core.wording import named_few
from resilient_tasks.policies.breaker.policy import CircuitBreaker, CircuitStatus
from resilient_tasks.state.changes import Changes


def add_to(subparsers: Subparsers) -> None:
    """Add this group of commands."""
    breaker = subparsers.add_parser("breaker", help="circuits: show their state, open and close them by hand")
    commands = breaker.add_subparsers(required=True, metavar="list|status|open|isolate|close|set|reset")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", metavar="URL", help="the store of the circuits; default: RESILIENT_TASKS_STORE")
    common.add_argument("--json", action="store_true", help="print JSON")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("name", help="the breaker's name")

    commands.add_parser("list", parents=[common], help="show all circuits").set_defaults(run=_list)
    commands.add_parser("status", parents=[named, common], help="show one circuit").set_defaults(run=_status)
    opening = commands.add_parser("open", parents=[named, common], help="reject all calls for a time")
    opening.add_argument(
        "--for", dest="seconds", type=duration("--for", 1), metavar="TIME", help="90, 10m, 2h; default: 30s"
    )
    opening.set_defaults(run=_open)
    isolate = commands.add_parser(
        "isolate", parents=[named, common], help="reject all calls until the circuit is closed"
    )
    isolate.set_defaults(run=_isolate)
    commands.add_parser("close", parents=[named, common], help="allow calls again").set_defaults(run=_close)
    setting = commands.add_parser("set", parents=[named, common], help="change numbers while workers run")
    add_numbers(setting, "open_for=60 failures=5")
    setting.set_defaults(run=_set)
    reset = commands.add_parser("reset", parents=[named, common], help="use the numbers of the code again")
    reset.set_defaults(run=_reset)


def _list(options: argparse.Namespace) -> int:
    _open_store(options)
    return _print([CircuitBreaker(name).status() for name in CircuitBreaker.names()], options)


def _status(options: argparse.Namespace) -> int:
    _open_store(options)
    if options.name not in CircuitBreaker.names():
        raise UsageError(f"No circuit {options.name} is in the store. There: {_named(CircuitBreaker.names())}.")
    return _print([CircuitBreaker(options.name).status()], options)


def _open(options: argparse.Namespace) -> int:
    _open_store(options)
    _warn_if_unknown(options.name)
    CircuitBreaker(options.name).open(options.seconds)
    return _status(options)


def _isolate(options: argparse.Namespace) -> int:
    _open_store(options)
    _warn_if_unknown(options.name)
    CircuitBreaker(options.name).isolate()
    return _status(options)


def _close(options: argparse.Namespace) -> int:
    _open_store(options)
    CircuitBreaker(options.name).close()
    return _status(options)


def _set(options: argparse.Namespace) -> int:
    _open_store(options)
    numbers = numbers_in(options.numbers)
    _warn_if_unknown(options.name)
    CircuitBreaker(options.name).set_numbers(by=options.by, **numbers)
    return _status(options)


def _reset(options: argparse.Namespace) -> int:
    _open_store(options)
    if options.name not in CircuitBreaker.names():
        return _status(options)
    CircuitBreaker(options.name).reset_numbers()
    return _status(options)


def _warn_if_unknown(name: str) -> None:
    """Warn if no call has used a circuit of that name yet: it may be misspelt."""
    known = CircuitBreaker.names()
    if name not in known:
        print(f"No call has used a circuit {name} yet. Known: {_named(known)}.", file=sys.stderr)  # noqa: T201


def _named(names: Sequence[str]) -> str:
    """Name circuits: one policy may have thousands, one for each key."""
    return named_few(names, 10) or "none"


def _print(circuits: Sequence[CircuitStatus], options: argparse.Namespace) -> int:
    if options.json:
        say(json.dumps([dataclasses.asdict(circuit) for circuit in circuits]))
        return DONE
    head: tuple[str, ...] = ("name", "state", "why", "tried again in s", "calls", "failures", "slow", "probes")
    rows: list[tuple[object, ...]] = [
        (each.name, _state(each), each.reason, _seconds(each), each.calls, each.failures, each.slow, each.probes)
        for each in circuits
    ]
    if any(each.numbers for each in circuits):
        head = (*head, "numbers set", "by", "when")
        rows = [(*row, *_numbers(each)) for row, each in zip(rows, circuits, strict=True)]
    print_table(head, rows)
    if not rows:
        say("no circuits")
    return DONE


def _numbers(circuit: CircuitStatus) -> tuple[str, str, str]:
    if circuit.changed_at is None:
        return "", "", ""
    changes = Changes(circuit.numbers, circuit.changed_by, circuit.changed_at)
    return changes.in_words(), changes.by, when(changes.at)


def _state(circuit: CircuitStatus) -> str:
    return f"{circuit.state} (shadow: refuses nothing)" if circuit.shadow else circuit.state


def _seconds(circuit: CircuitStatus) -> str:
    return f"{circuit.retry_in:.1f}" if circuit.state == "open" and circuit.retry_in is not None else ""
