"""`resilient-tasks limit list | set | reset`: numbers of rate limits and bulkheads in the store."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

from resilient_tasks.cli._numbers import add_numbers, numbers_in, open_store, when
from resilient_tasks.cli.printing import DONE, Subparsers, UsageError, print_table, say
from resilient_tasks.core.parameters import words
from resilient_tasks.core.wording import joined, named_few
from resilient_tasks.policies.bulkhead.policy import NUMBERS as OF_BULKHEAD
from resilient_tasks.policies.bulkhead.policy import Bulkhead
from resilient_tasks.policies.rate_limit.policy import NUMBERS as OF_RATE
from resilient_tasks.policies.rate_limit.policy import RateLimit
from resilient_tasks.state.changes import Changes


class _Kind(NamedTuple):
    title: str
    numbers: tuple[str, ...]
    policy: Any
    arguments: dict[str, int]

    def named(self, name: str) -> Any:
        """Return the policy of this name, with some numbers: those in the store are what counts."""
        return self.policy(name, **self.arguments)


_KINDS = (
    _Kind("rate limit", OF_RATE, RateLimit, {"calls": 1, "per": 1}),
    _Kind("bulkhead", OF_BULKHEAD, Bulkhead, {"limit": 1}),
)


class _Limit(NamedTuple):
    name: str
    kind: str
    changes: Changes | None


def add_to(subparsers: Subparsers) -> None:
    """Add this group of commands."""
    limit = subparsers.add_parser("limit", help="rate limits and bulkheads: change their numbers while workers run")
    commands = limit.add_subparsers(required=True, metavar="list|set|reset")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", metavar="URL", help="the store of the limits; default: RESILIENT_TASKS_STORE")
    common.add_argument("--json", action="store_true", help="print JSON")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("name", help="the name of the rate limit or bulkhead")

    commands.add_parser("list", parents=[common], help="show all limits").set_defaults(run=_list)
    setting = commands.add_parser("set", parents=[named, common], help="change numbers of a limit")
    add_numbers(setting, "calls=20 per=1m of a rate limit, limit=8 of a bulkhead")
    setting.set_defaults(run=_set)
    reset = commands.add_parser("reset", parents=[named, common], help="use the numbers of the code of a limit again")
    reset.set_defaults(run=_reset)


def _list(options: argparse.Namespace) -> int:
    open_store(options)
    return _print(_limits(), options)


def _set(options: argparse.Namespace) -> int:
    open_store(options)
    numbers = numbers_in(options.numbers)
    kind = _kind_of(numbers)
    known = kind.policy.names()
    if options.name not in known:
        there = named_few(known, 10) or "none"
        message = f"No call has used a {kind.title} {options.name} lately. Known: {there}."
        print(message, file=sys.stderr)  # noqa: T201
    kind.named(options.name).set_numbers(by=options.by, **numbers)
    return _print([each for each in _limits() if (each.name, each.kind) == (options.name, kind.title)], options)


def _reset(options: argparse.Namespace) -> int:
    open_store(options)
    found = [each for each in _limits() if each.name == options.name]
    if not found:
        names = named_few(sorted({each.name for each in _limits()}), 10) or "none"
        raise UsageError(f"No limit {options.name} is in the store. There: {names}.")
    for kind in _KINDS:
        if any(each.kind == kind.title and each.changes is not None for each in found):
            kind.named(options.name).reset_numbers()
    return _print([each for each in _limits() if each.name == options.name], options)


def _kind_of(numbers: dict[str, Any]) -> _Kind:
    """Return the kind of limit that has these numbers."""
    kinds = [kind for kind in _KINDS if any(name in kind.numbers for name in numbers)]
    unknown = [name for name in numbers if all(name not in kind.numbers for kind in _KINDS)]
    every = [name for kind in _KINDS for name in kind.numbers]
    if unknown:
        meant = words.did_you_mean(unknown[0], every).replace("=", "")
        there = joined([f"{', '.join(kind.numbers)} of a {kind.title}" for kind in _KINDS])
        there = f"{'There' if meant else 'there'} are {there}"
        raise UsageError(f"A limit has no number {unknown[0]!r}{meant or ':'} {there}.")
    if len(kinds) > 1:
        raise UsageError("A rate limit has calls, per and burst, and a bulkhead limit and queue: set them one by one.")
    return kinds[0]


def _limits() -> list[_Limit]:
    return [_Limit(name, kind.title, kind.named(name).changes()) for kind in _KINDS for name in kind.policy.names()]


def _print(limits: list[_Limit], options: argparse.Namespace) -> int:
    if options.json:
        say(json.dumps([_as_json(each) for each in limits]))
        return DONE
    head = ("name", "kind", "numbers set", "by", "when")
    print_table(head, [(each.name, each.kind, *_shown(each.changes)) for each in limits])
    if not limits:
        say("no limits")
    return DONE


def _as_json(limit: _Limit) -> dict[str, object]:
    changes = limit.changes
    return {
        "name": limit.name,
        "kind": limit.kind,
        "numbers": {} if changes is None else dict(changes.numbers),
        "changed_by": "" if changes is None else changes.by,
        "changed_at": None if changes is None else changes.at,
    }


def _shown(changes: Changes | None) -> tuple[str, str, str]:
    return ("", "", "") if changes is None else (changes.in_words(), changes.by, when(changes.at))
