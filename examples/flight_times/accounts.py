"""Three accounts of one run, and whether they agree: the API's own log, the library's events, and Prefect's history.

None of them is computed from another. The API knows which faults it served, the events which attempts failed, and
Prefect how often each task ran and through which states it went.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
from prefect.client.schemas.sorting import TaskRunSort

from resilient_tasks.core.events import CallFailed, Event, FallbackUsed, RetryScheduled, RowsQuarantined

if TYPE_CHECKING:
    from uuid import UUID

_CAUSES = {
    "refused": "connection refused",
    "reset": "reset in mid-body",
    "hang": "no answer",
    "truncate": "truncated CSV",
}


@dataclass(frozen=True)
class Accounts:
    """What each account says of each task run, by its name ("7 page 3").

    Attributes:
        served: faults that the API served.
        failed: attempts that failed, by the library's events.
        awaited: states `AwaitingRetry`, by Prefect.
        runs: attempts made, by Prefect's `run_count`.
        final: name of the final state, by Prefect.
        causes: by month, for each page asked for ("page 3", "planes", "index"), the causes of the faults served, in
            the order served.
        corrupted: rows with a corrupted cell that the API wrote down, by month.
        quarantined: rows in the quarantine's files, by month.
    """

    served: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    awaited: Counter[str] = field(default_factory=Counter)
    runs: dict[str, int] = field(default_factory=dict)
    final: dict[str, str] = field(default_factory=dict)
    causes: dict[int, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    corrupted: Counter[int] = field(default_factory=Counter)
    quarantined: Counter[int] = field(default_factory=Counter)

    def disagreements(self) -> list[str]:
        """Return a sentence for each task run or month on which the accounts differ; none if they agree."""
        found = []
        for name in sorted({*self.served, *self.failed, *self.awaited}):
            served, failed, awaited = self.served[name], self.failed[name], self.awaited[name]
            # The last attempt of a call that failed or was degraded is followed by no other.
            given_up = int(self.final.get(name) != "Completed")
            runs = self.runs.get(name, 0)
            if not served == failed == awaited + given_up == runs - 1 + given_up:
                found.append(
                    f"{name}: the API served {served} faults, the events tell of {failed} failed attempts, and Prefect"
                    f" of {runs} attempts, {awaited} of them awaited, ending {self.final.get(name)}"
                )
        return [*found, *self._lost_rows()]

    def _lost_rows(self) -> list[str]:
        return [
            f"month {month}: the API corrupted {self.corrupted[month]} rows,"
            f" and {self.quarantined[month]} lie in the quarantine"
            for month in sorted({*self.corrupted, *self.quarantined})
            if self.corrupted[month] != self.quarantined[month]
        ]


async def gather(folder: Path, events: Sequence[Event], flow_run_id: UUID) -> Accounts:
    """Read all three accounts: the API's from `folder`, Prefect's over its API."""
    accounts = Accounts()
    _read_api(accounts, folder)
    _read_events(accounts, events)
    await _read_prefect(accounts, flow_run_id)
    return accounts


def _read_api(accounts: Accounts, folder: Path) -> None:
    # In the order in which they came: a request's line is written when it ends, and one that hangs ends late.
    for request in sorted(_lines(folder / "requests.jsonl"), key=lambda request: request["number"]):
        if "month" not in request["query"]:
            continue  # whether the API is up
        month, page = request["query"]["month"], request["query"].get("page")
        what = f"page {page}" if page else {"/months": "index", "/planes": "planes"}[request["path"]]
        pages = accounts.causes.setdefault(int(month), {})
        pages.setdefault(what, ())
        if request["fault"] is None:
            continue
        accounts.served[f"{month} {what}"] += 1
        cause = _CAUSES.get(request["fault"]) or f"status {request['status']}"
        pages[what] += (cause,)
    accounts.corrupted.update(entry["month"] for entry in _lines(folder / "corrupted.jsonl"))


def _read_events(accounts: Accounts, events: Iterable[Event]) -> None:
    for event in events:
        name = event.run.get("task_run", "")
        if isinstance(event, RetryScheduled | FallbackUsed | CallFailed):
            accounts.failed[name] += 1
        elif isinstance(event, RowsQuarantined):
            accounts.quarantined[int(name.split()[0])] += _rows_in(event.path)


async def _read_prefect(accounts: Accounts, flow_run_id: UUID) -> None:
    wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run_id]))
    async with get_client() as client:
        page = 200
        for offset in range(0, 10_000, page):
            runs = await client.read_task_runs(
                task_run_filter=wanted, sort=TaskRunSort.ID_DESC, limit=page, offset=offset
            )
            for run in runs:
                accounts.runs[run.name], accounts.final[run.name] = run.run_count, str(run.state_name)
                if run.run_count > 1:
                    states = await client.read_task_run_states(run.id)
                    accounts.awaited[run.name] = sum(state.name == "AwaitingRetry" for state in states)
            if len(runs) < page:
                break


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _rows_in(path: str) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415  # from the file itself, not from the event that names it

    return int(pq.read_metadata(path).num_rows)
