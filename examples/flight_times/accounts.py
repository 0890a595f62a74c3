"""Three accounts of one run, and whether they agree on every attempt.

The API knows what it did with each request, the library's events show which attempts failed, and Prefect's history
how often each task ran and through which states it went. None of them is computed from another.

An attempt that failed has exactly one cause: a fault that the API served, a limit that expired although no fault was
served, because the machine was too slow, or the open circuit, which lets no request through. Anything else is a
disagreement.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wording import counted

EXPLANATION = (
    "Three accounts of this run are compared, none computed from another: the API's log of what it did with each"
    " request, the library's events, and Prefect's run counts and state histories. Each failed attempt needs exactly"
    " one cause: a fault that the API served, a limit that expired because the machine was too slow, or a circuit that"
    " was open and let no request through."
)
AGREED = "The three accounts agree on every attempt of every task run."
_ASKS = re.compile(r"\w+ (index|planes|page \d+|[A-Z]{3} (index|page \d+))")  # "May page 3", "May JFK page 3"
_EXPIRED = {"TimedOut", "DeadlineExceeded"}
_REFUSED = "CircuitOpen"
_SLOW = {
    "late": "answered after the limit",
    "left": "given up before the API answered",
    "unsent": "given up before the request arrived",
}


class Attempt(NamedTuple):
    """One attempt: of which task run ("January page 3"), in which call of the library, and which number it has."""

    task: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.task}, attempt {self.number}"


@dataclass(frozen=True)
class Request:
    """One request, from the API's log.

    Attributes:
        number: 1 for the first request, and so on.
        attempt: the attempt that sent it, from its header.
        fault: the fault that it met, in words; empty for a good answer.
        left: the client had closed the connection before anything was sent.
    """

    number: int
    attempt: Attempt
    fault: str = ""
    left: bool = False


@dataclass(frozen=True)
class History:
    """One task run, from Prefect.

    Attributes:
        runs: its run count.
        final: its final state.
        states: the states in between ("Retrying 2").
        waited: seconds of the waits before its retries.
    """

    runs: int
    final: str
    states: tuple[str, ...] = ()
    waited: float = 0.0


@dataclass
class Accounts:
    """All records of one run.

    Attributes:
        requests: by the API's log, every request for data.
        numbers: by the API's log, the numbers of all requests, those for its health included.
        closed: the API's log ends with the request that was sent when the flow had ended.
        failed: by the events, each attempt that failed, with the type of its error.
        expired: by the events, each attempt whose limit expired.
        event_states: the Prefect states of each task run, by the events.
        histories: by Prefect, each task run.
        corrupted, quarantined: rows by page ("January page 3"): by the API's log, and in the quarantine's files.
    """

    requests: list[Request] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    closed: bool = False
    failed: list[tuple[Attempt, str]] = field(default_factory=list)
    expired: list[Attempt] = field(default_factory=list)
    event_states: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    histories: dict[str, History] = field(default_factory=dict)
    corrupted: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)

    def disagreements(self) -> list[str]:
        """Return a sentence for each point on which the accounts differ; none if they agree."""
        return [*self._gaps(), *self._unexplained(), *self._other_histories(), *self._lost_rows()]

    def slow(self) -> Counter[str]:
        """Count the attempts that failed although the API served no fault, by cause."""
        asked = {request.attempt: request for request in self.requests}
        return Counter(
            _how_slow(asked.get(attempt)) for attempt, error in self.failed if _is_slow(error, asked.get(attempt))
        )

    def faults_in(self, month: str) -> dict[str, tuple[str, ...]]:
        """Return for all that was asked for in a month ("January") the faults served, in their order."""
        found: dict[str, tuple[str, ...]] = {}
        for request in self.requests:
            at, _, what = request.attempt.task.partition(" ")
            if at == month:
                found[what] = (*found.get(what, ()), *filter(None, [request.fault]))
        return found

    def quarantined_in(self, month: str) -> int:
        """Return the number of a month's rows in the quarantine."""
        return sum(rows for page, rows in self.quarantined.items() if page.startswith(f"{month} "))

    def summary(self) -> list[str]:
        """Summarise each account in a few lines."""
        faults, slow = sum(bool(request.fault) for request in self.requests), self.slow()
        lines = [
            f"the API's log: {counted(len(self.requests), 'request')}, {counted(faults, 'fault')} served",
            f"the library's events: {counted(len(self.failed), 'attempt')} failed",
            f"Prefect's history: {counted(len(self.histories), 'task run')}",
        ]
        if refused := sum(error == _REFUSED for _, error in self.failed):
            lines.append(f"The circuit was open for {counted(refused, 'attempt')}, and no request was sent.")
        if slow:
            how = ", ".join(f"{slow[kind]} {words}" for kind, words in _SLOW.items() if slow[kind])
            lines.append(f"The machine was too slow for {counted(slow.total(), 'attempt')}: {how}. That is no failure.")
        return lines

    def _gaps(self) -> Iterator[str]:
        known = Counter(self.numbers)
        for number in range(1, max(known, default=0) + 1):
            if known[number] == 0:
                yield f"the API's log lacks request number {number}"
            elif known[number] > 1:
                yield f"the API's log has request number {number} more than once"
        if not self.closed:
            yield "the API's log lacks the request that closes it"

    def _unexplained(self) -> Iterator[str]:
        asked: defaultdict[Attempt, list[Request]] = defaultdict(list)
        for request in self.requests:
            asked[request.attempt].append(request)
        failed: defaultdict[Attempt, list[str]] = defaultdict(list)
        for attempt, error in self.failed:
            failed[attempt].append(error)
        expired = Counter(self.expired)
        for attempt in sorted({*asked, *failed, *expired}):
            why = _why_not(asked[attempt], failed[attempt], expired[attempt])
            if why:
                yield f"{attempt}: {why}"

    def _other_histories(self) -> Iterator[str]:
        failed = {attempt for attempt, _ in self.failed}
        made: defaultdict[str, set[Attempt]] = defaultdict(set)
        for attempt in {*failed, *(request.attempt for request in self.requests)}:
            made[attempt.task].add(attempt)
        for task in sorted({*made, *self.event_states, *self.histories}):
            history = self.histories.get(task, History(0, "never begun"))
            numbers = sorted(attempt.number for attempt in made[task])
            good = [attempt.number for attempt in sorted(made[task] - failed)]
            if asks_the_api(task) or numbers:
                if numbers != list(range(1, history.runs + 1)):
                    yield f"{task}: the API's log and the events have attempts {numbers}, Prefect has {history.runs}"
                if good != ([history.runs] if history.final == "Completed" else []):
                    yield f"{task}: good answers to attempts {good}, and Prefect has it as {history.final}"
            emitted = self.event_states.get(task, [])
            final = next((state for state in emitted if state in {"Degraded", "Failed"}), "Completed")
            if history.final != final:
                yield f"{task}: by the events it ended {final}, by Prefect's history {history.final}"
            if sorted(emitted) != sorted(history.states):
                known = (", ".join(states) or "no other state" for states in (emitted, history.states))
                yield f"{task}: the events have {next(known)}, Prefect's history has {next(known)}"

    def _lost_rows(self) -> Iterator[str]:
        for page in sorted({*self.corrupted, *self.quarantined}):
            if self.histories.get(page, History(0, "")).final != "Completed" and not self.quarantined[page]:
                continue  # it never came
            if self.corrupted[page] != self.quarantined[page]:
                yield (
                    f"{page}: the API corrupted {counted(self.corrupted[page], 'row')},"
                    f" and {self.quarantined[page]} lie in the quarantine"
                )


def asks_the_api(task: str) -> bool:
    """Return whether a task run sends requests, by its name."""
    return _ASKS.fullmatch(task) is not None


def _why_not(requests: list[Request], errors: list[str], expired: int) -> str:
    """Return how the accounts of one attempt contradict each other; empty if they agree."""
    if len(requests) > 1:
        return f"the API's log has {len(requests)} requests of it"
    if len(errors) > 1:
        return f"the events have {len(errors)} failures of it"
    request, error = next(iter(requests), None), next(iter(errors), "")
    if expired != (error in _EXPIRED):
        return f"the events have {counted(expired, 'expired limit')}, and {error or 'no failure'}"
    if error and not _is_explained(error, request):
        return f"it failed with {error}, and the API {'was asked' if error == _REFUSED else 'served no fault'}"
    if not error and request and (request.fault or request.left):
        met = request.fault or "the client had left"
        return f"by the API's log it failed ({met}), and no event reports it"
    return ""


def _is_explained(error: str, request: Request | None) -> bool:
    if error == _REFUSED:
        return request is None
    return bool(request and request.fault) or _is_slow(error, request)


def _is_slow(error: str, request: Request | None) -> bool:
    return error in _EXPIRED and not (request and request.fault)


def _how_slow(request: Request | None) -> str:
    if request is None:
        return "unsent"
    return "left" if request.left else "late"
