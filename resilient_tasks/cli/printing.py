"""Shared by all commands: exit codes, tables and usage errors."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.shown import for_terminal

#: argparse has no public name for it.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

DONE, STILL_WAITING, REFUSED = 0, 1, 2
#: As shells have it for a command that Ctrl-C ends.
INTERRUPTED = 130
_WIDEST = 100


class UsageError(Exception):
    """The command cannot be run; the message says why."""


def duration(option: str, bare: float, *, zero: bool = False) -> Callable[[str], float]:
    """Return the parser of an option that is a duration: `90`, `10m`, `2h`, `1d`.

    Args:
        option: the option's name.
        bare: the unit of a number without one, in seconds.
        zero: whether 0 is allowed.
    """

    def read(text: str) -> float:
        try:
            return durations.seconds(text, option, zero=zero, bare=bare)
        except PolicyError:
            message = f"{option} takes a time such as 90, 10m, 2h or 1d, not {text!r}."
        raise UsageError(message)

    return read


def check_store(url: str, option: str) -> None:
    """Refuse a store whose file does not exist: opening it would create an empty one.

    Raises:
        UsageError: the file does not exist.
    """
    if not url.startswith("sqlite:"):
        return
    path = Path(unquote(url.removeprefix("sqlite://").removeprefix("/")))
    if not path.is_file():
        raise UsageError(f"There is no file {path}: {option} names the store that the flows use.")


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their headings; print nothing if there are no rows.

    A terminal's width folds long cells; in a file or a pipe each row is one line.
    """
    if not rows:
        return
    from rich.console import Console  # noqa: PLC0415  # only where it is used
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def cell(value: Any) -> Text:
        text = Text(for_terminal(" ".join(str(value).split())))
        text.truncate(_WIDEST, overflow="ellipsis")
        return text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in head:
        table.add_column(cell(title), overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    console = Console()
    if not console.is_terminal:
        console.width = len(head) * (_WIDEST + 2)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))  # noqa: T201


def say(line: str) -> None:
    """Print text with its control characters escaped."""
    print(for_terminal(line))  # noqa: T201


def as_json(value: Any) -> str:
    """Return JSON, in ASCII if a terminal could not show it otherwise."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if for_terminal(text) == text else json.dumps(value, default=str)
