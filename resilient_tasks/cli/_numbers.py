"""Numbers that are changed while workers run, as commands take and show them."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from resilient_tasks.cli.printing import UsageError, check_store
from resilient_tasks.core import settings
from resilient_tasks.state.states import States, states


def add_numbers(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the arguments of a command that sets numbers."""
    parser.add_argument("numbers", nargs="+", metavar="NUMBER=VALUE", help=f"what to change, such as {example}")
    parser.add_argument("--by", metavar="NAME", help="who changes it, for the lists; default: this user and machine")


def numbers_in(words: list[str]) -> dict[str, Any]:
    """Return the numbers of `open_for=10m failures=5`.

    Raises:
        UsageError: a word has another form, or a number is given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name or not text.strip():
            raise UsageError(f"Write NUMBER=VALUE, such as failures=5, not {word!r}.")
        if name in found:
            raise UsageError(f"{name} is given twice.")
        found[name] = _number(text.strip())
    return found


def _number(text: str) -> float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text  # a duration, such as 10m; anything else is refused by the policy


def when(time: float) -> str:
    """Return a time for people, in UTC."""
    return dt.datetime.fromtimestamp(time, tz=dt.UTC).isoformat(sep=" ", timespec="seconds")


def open_store(options: argparse.Namespace) -> States:
    """Return the shared state; refuse a store that other processes cannot see."""
    if options.store:
        check_store(options.store, "--store")
        settings.configure(store=options.store)
    shared = states()
    if not shared.is_shared:
        raise UsageError(
            "The store is in memory, so other processes cannot see it:"
            " use --store or RESILIENT_TASKS_STORE, such as sqlite:///state.db or redis://host:6379/0."
        )
    if not shared.is_available:
        raise UsageError(f"{shared.name} does not answer.")
    return shared
