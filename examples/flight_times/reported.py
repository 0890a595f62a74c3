"""The run report, held against the other accounts: each of its numbers has a counterpart elsewhere.

The report is computed from the event files alone. Its failures by HTTP status are in the API's log, its failed,
degraded and recovered calls, its retries and its waits are in Prefect's history, its rows lie in the quarantine, its
alerts arrived at Slack's stand-in, and MLflow has the retries, waits and rows of each month.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts import Accounts, History
from wording import counted

AGREED = "Each number of the run report has its counterpart in the other accounts."
#: The report of a month is written by this task, which therefore does not count itself.
_WRITER = "record"
_STATUS = re.compile(r"status (\d+)")
#: Prefect takes down the end of a wait some moments after the event, in seconds for each wait.
_SLACK_S = 0.25

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Booked:
    """What MLflow has about a month: its retries, the seconds of its waits, its quarantined rows, and its stand-ins."""

    month: str
    retries: int
    waited: float
    quarantined: int
    degraded: int


def disagreements(report: Report, accounts: Accounts, booked: Sequence[Booked], messages: int) -> list[str]:
    """Return a sentence for each number of the report that differs from its counterpart.

    Args:
        report: `RunReport.as_dict()`, of the event files.
        accounts: the API's log, Prefect's history, and the quarantine.
        booked: by MLflow, each month.
        messages: how many messages Slack's stand-in got.
    """
    numbers = [*_by_prefect(report, accounts), *_by_the_api(report, accounts), *_by_mlflow(report, booked)]
    counts = report["counts"]
    numbers += [
        ("rows in the quarantine", counts["quarantined"], accounts.quarantined.total(), "the quarantine's files"),
        ("alerts", counts["alerts_sent"], messages, "Slack's stand-in"),
    ]
    found = [
        f"{what}: the report has {mine:g}, {whose} {theirs:g}"
        for what, mine, theirs, whose in numbers
        if mine != theirs
    ]
    if report["partial"]:
        found.append(f"the report is partial: {report['partial']}")
    return [*found, *_calls(report, accounts.histories)]


def _by_prefect(report: Report, accounts: Accounts) -> Iterator[tuple[str, float, float, str]]:
    counts, whose, histories = report["counts"], "Prefect's history", accounts.histories.values()
    finals = Counter(history.final for history in histories)
    recovered = sum(any(state.startswith("Completed") for state in history.states) for history in histories)
    yield "failed calls", counts["failed"], finals["Failed"], whose
    yield "degraded calls", counts["degraded"], finals["Degraded"], whose
    yield "recovered calls", counts["recovered"], recovered, whose
    yield "retries", counts["retries"], sum(history.runs - 1 for history in histories), whose
    waited, waits = (
        sum(history.waited for history in histories),
        sum(state.startswith("AwaitingRetry") for history in histories for state in history.states),
    )
    if abs(counts["waited_s"] - waited) > _SLACK_S * waits:
        yield "seconds of waits", counts["waited_s"], waited, whose


def _by_the_api(report: Report, accounts: Accounts) -> Iterator[tuple[str, float, float, str]]:
    """Compare failures by HTTP status; an answer that came after the limit was not seen."""
    served: Counter[str] = Counter()
    late = set(accounts.expired)
    for request in accounts.requests:
        status = _STATUS.fullmatch(request.fault)
        if status and request.attempt not in late and not request.left:
            served[f"HTTP {status[1]}"] += 1
    reported: Counter[str] = Counter()
    for operation in report["operations"]:
        reported.update({error: count for error, count in operation["errors"].items() if error.startswith("HTTP ")})
    for error in sorted({*served, *reported}):
        yield f"failures with {error}", reported[error], served[error], "the API's log"


def _by_mlflow(report: Report, booked: Sequence[Booked]) -> Iterator[tuple[str, float, float, str]]:
    others = [operation for operation in report["operations"] if operation["name"] != _WRITER]
    whose = "MLflow"
    yield "retries of the months", sum(each["retries"] for each in others), sum(each.retries for each in booked), whose
    yield (
        "seconds of waits of the months",
        round(sum(each["waited_s"] for each in others), 3),
        round(sum(each.waited for each in booked), 3),
        whose,
    )
    yield "rows in the quarantine", report["counts"]["quarantined"], sum(each.quarantined for each in booked), whose
    yield "stand-ins", report["counts"]["degraded"], sum(each.degraded for each in booked), whose


def _calls(report: Report, histories: Mapping[str, History]) -> Iterator[str]:
    """Compare the attempts and the outcome of each call on the time line with those of its task run."""
    finals = {"failed": "Failed", "degraded": "Degraded", "recovered": "Completed", "ok": "Completed"}
    for call in report["timeline"]["calls"]:
        history = histories.get(call["task_run"] or "")
        if history is None:
            continue
        attempts, task = len(call["attempts"]), call["task_run"]
        if call["outcome"] != "ok" and attempts != history.runs:
            yield f"{task}: {counted(attempts, 'attempt')} in the report, {history.runs} in Prefect's history"
        if finals.get(call["outcome"]) != history.final:
            yield f"{task}: {call['outcome']} in the report, {history.final} in Prefect's history"
