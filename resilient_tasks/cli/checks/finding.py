"""What a check finds, and how checks are run with a time limit."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.failures import describe

#: Seconds more for a check that says itself what did not answer.
_GRACE = 0.5

Status: TypeAlias = Literal["ok", "skipped", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        status: `problem`: something does not work; `warning`: it works, and may surprise; `skipped`: not checked.
        text: what was found.
        advice: what to do; empty if there is nothing to do.
        about: what it is about, if the check is about several things.
    """

    status: Status
    text: str
    advice: str = ""
    about: str = ""


def ok(text: str, about: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", text, about=about)


def skipped(text: str, about: str = "") -> Finding:
    """Return a finding that something was not checked, and why."""
    return Finding("skipped", text, about=about)


def warning(text: str, advice: str, about: str = "") -> Finding:
    """Return a finding that something works, and may surprise."""
    return Finding("warning", text, advice, about)


def problem(text: str, advice: str, about: str = "") -> Finding:
    """Return a finding that something does not work."""
    return Finding("problem", text, advice, about)


class Check(NamedTuple):
    """A check: its name, and the function that makes it, within about `limit` seconds."""

    name: str
    make: Callable[[], Finding | Iterable[Finding]]
    limit: float


def run(checks: Sequence[Check]) -> list[tuple[str, Finding]]:
    """Run checks at the same time, and return their findings in order. None takes longer than its limit.

    A check that does not end in time is a problem. Its thread does not keep the process from ending.
    """
    found: dict[int, list[Finding]] = {}
    began, threads = time.monotonic(), []
    for number, check in enumerate(checks):
        inside = contextvars.copy_context().run  # Prefect's settings are in the context
        thread = threading.Thread(
            target=inside, args=(_made, check, number, found), name=f"doctor:{check.name}", daemon=True
        )
        thread.start()
        threads.append(thread)
    for thread, check in zip(threads, checks, strict=True):
        thread.join(max(0.0, began + check.limit + _GRACE - time.monotonic()))
    return [
        (check.name, each) for number, check in enumerate(checks) for each in found.get(number, [_late(check.limit)])
    ]


def _late(limit: float) -> Finding:
    return problem(f"no answer within {limit:g} s", "find out what hangs: the address, the file system or the network")


def _made(check: Check, number: int, found: dict[int, list[Finding]]) -> None:
    try:
        made = check.make()
        result = [made] if isinstance(made, Finding) else list(made)
    except Exception as error:  # a check that fails is a finding itself
        result = [problem(f"the check failed: {describe(error)}", "see the error")]
    found[number] = result
