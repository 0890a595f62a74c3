"""Read the three accounts of `accounts.py`: from the API's files, from the library's events, and from Prefect."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from accounts import Accounts, Attempt, History, Request, asks_the_api
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
from prefect.client.schemas.objects import State, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from wording import in_month

from resilient_tasks.core.events import (
    CallFailed,
    Event,
    FallbackUsed,
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    RowsQuarantined,
    TimeoutExceeded,
)

if TYPE_CHECKING:
    from uuid import UUID

#: The id of the request that is sent when the flow has ended: the log is complete if it has this one.
CLOSING = "closing"
#: What a good answer brings in a poisoned month: it has to be refused.
POISONED = "half in seconds"
_ASKED = {"/months": "index", "/planes": "planes", "/flights": "page {page}"}
_REFUSED = {400, 404}  # no such page or month
_FAULTS = {
    "refused": "connection refused",
    "reset": "reset in mid-body",
    "hang": "no answer",
    "truncate": "truncated CSV",
}


def close(api: str) -> None:
    """Send the API the request that closes its log."""
    httpx.get(f"{api}/health", headers={"X-Request-ID": CLOSING}, timeout=60).raise_for_status()


async def gather(folder: Path, events: Iterable[Event], flow_run_id: UUID) -> Accounts:
    """Read all three accounts: the API's from `folder`, Prefect's over its API."""
    accounts = Accounts()
    read_api(accounts, folder)
    read_events(accounts, events)
    await _read_prefect(accounts, flow_run_id)
    return accounts


def read_api(accounts: Accounts, folder: Path) -> None:
    """Read the API's account from its files."""
    lines = sorted(_lines(folder / "requests.jsonl"), key=lambda line: int(line["number"]))
    by_origin = any("origin" in line["query"] for line in lines)
    poisoned = set()
    for cell in _lines(folder / "corrupted.jsonl"):
        origin, page = (cell["origin"], cell["page_at_origin"]) if by_origin else (None, cell["page"])
        accounts.corrupted[name := in_month(cell["month"], f"page {page}", origin)] += 1
        if cell.get("poisoned"):
            poisoned.add(name)
    for line in lines:
        accounts.numbers.append(line["number"])
        accounts.closed |= line["id"] == CLOSING
        if line["path"] in _ASKED and line["status"] not in _REFUSED:
            attempt = _attempt_of(line)
            fault = _fault_of(line) or (POISONED if attempt.task in poisoned else "")
            accounts.requests.append(Request(line["number"], attempt, fault, line["left"]))


def read_events(accounts: Accounts, events: Iterable[Event]) -> None:
    """Read the library's account from its events."""
    exhausted = set()
    for event in events:
        task = event.run.get("task_run", "")
        attempt = Attempt(task, event.call, event.attempt)
        if state := _state_given(event):
            accounts.event_states[task].append(state)
        match event:
            case RetryScheduled() | RetryExhausted():
                accounts.failed.append((attempt, event.error_type))
                if isinstance(event, RetryExhausted):
                    exhausted.add(event.call)
            case FallbackUsed() | CallFailed() if event.call not in exhausted:  # the first attempt was the only one
                accounts.failed.append((attempt, event.error_type))
            case TimeoutExceeded() if asks_the_api(task):
                accounts.expired.append(attempt)
            case RowsQuarantined():
                accounts.quarantined[task] += _rows_in(event.path)


def _state_given(event: Event) -> str:
    """Return the Prefect state of an event, such as "Retrying 2"; nothing if it has none."""
    match event:
        case RetryScheduled() if event.delay > 0:
            return f"AwaitingRetry {event.attempt}"
        case RetryStarted():
            return f"Retrying {event.attempt}"
        case RetryRecovered():
            return f"Completed {event.attempt}"
        case FallbackUsed():
            return "Degraded"
        case CallFailed():
            return "Failed"
    return ""


async def _read_prefect(accounts: Accounts, flow_run_id: UUID) -> None:
    wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run_id]))
    async with get_client() as client:
        page = 200
        for offset in range(0, 10_000, page):
            runs = await client.read_task_runs(
                task_run_filter=wanted, sort=TaskRunSort.ID_DESC, limit=page, offset=offset
            )
            for run in runs:
                accounts.histories[run.name] = await _history(client, run)
            if len(runs) < page:
                break


async def _history(client: PrefectClient, run: TaskRun) -> History:
    states: list[State[Any]] = []
    if run.run_count != 1 or run.state_name != "Completed":
        states = sorted(await client.read_task_run_states(run.id), key=lambda state: state.timestamp)
    return History(run.run_count, str(run.state_name), tuple(_in_short(states)), sum(map(_waited, states)))


def _waited(state: State[Any]) -> float:
    """Return the seconds until the attempt that a state announces; 0 for any other state."""
    when = state.state_details.scheduled_time
    return (when - state.timestamp).total_seconds() if state.name == "AwaitingRetry" and when else 0.0


def _in_short(states: Iterable[State[Any]]) -> Iterator[str]:
    """Yield each attempt's states, such as "Retrying 2", except those that every task run has."""
    attempt = 1
    for state in states:
        attempt += state.name == "Retrying"
        if state.name in {"AwaitingRetry", "Retrying"} or (state.name == "Completed" and attempt > 1):
            yield f"{state.name} {attempt}"
        elif state.name in {"Degraded", "Failed"}:
            yield state.name


def _attempt_of(line: dict[str, Any]) -> Attempt:
    query = line["query"]
    task = in_month(int(query["month"]), _ASKED[line["path"]].format(**query), query.get("origin"))
    call, _, number = line["id"].rpartition("/")
    return Attempt(task, call, int(number) if number else 0)  # other clients send no id


def _fault_of(line: dict[str, Any]) -> str:
    if line["fault"] is None:
        return ""
    return _FAULTS.get(line["fault"]) or f"status {line['status']}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _rows_in(path: str) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415  # from the file itself, not from the event that names it

    return int(pq.read_metadata(path).num_rows)
