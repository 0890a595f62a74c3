"""Messages for the final state of a flow run: recovered and degraded calls, and unobserved failures."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import State

from resilient_tasks.core.events import Event, FallbackUsed, InputDegraded
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.failures import in_words
from resilient_tasks.core.wording import named_few, number_of, was
from resilient_tasks.observe.report import RunReport
from resilient_tasks.prefect import marks, undocumented
from resilient_tasks.prefect.futures import Submitted

#: The most names to list; the rest are counted.
_NAMED = 10
#: Seconds to wait for a task run's name: the server stores the run shortly after its start.
_PATIENCE = 2.0

ADVICE = (
    "Ask each future for its result (in try/except, if the flow can do without it), or return the futures;"
    ' @resilient_flow(on_unobserved="warn") or "ignore" lets such a run complete'
)


def counts(report: RunReport) -> str:
    """Count calls that recovered, were degraded, failed or used degraded data, and quarantined rows; empty if none."""
    numbers = {"recovered": report.recovered, "degraded": report.degraded, "failed": report.failed}
    parts: list[str] = []
    for what, count in numbers.items():
        if count:
            parts.append(f"{count} {what}" if parts else f"{number_of(count, 'call')} {what}")
    if report.quarantined:
        parts.append(report.quarantine())
    if later := sum(isinstance(event, InputDegraded) for event in report.events):
        parts.append(f"{number_of(later, 'call')} computed from degraded input")
    return ", ".join(parts)


def flows_inside(names: Sequence[str], what: str) -> str:
    """Name the subflows of a run that were degraded or quarantined rows; empty if there are none."""
    if not names:
        return ""
    return f"{number_of(len(names), 'flow run')} inside {was(len(names))} {what}: {named_few(names, _NAMED)}"


def unobserved_failures(failed: Sequence[tuple[Submitted, State[Any]]]) -> str:
    """Name the task runs whose failure no code observed."""
    names = _run_names(submitted for submitted, _ in failed)
    named = [f"{name} ({_why(state)})" for name, (_, state) in zip(names, failed, strict=True)]
    return f"{number_of(len(named), 'task run')} failed unobserved: {named_few(named, _NAMED)}"


def degraded_calls(events: Sequence[FallbackUsed]) -> str:
    """Name the degraded calls of a run that has `fail_on_degraded=True`."""
    named = [f"{event.run.get('task_run') or event.operation} ({event.error})" for event in events]
    return f"{number_of(len(named), 'call')} {was(len(named))} degraded: {named_few(named, _NAMED)}"


def event_from_state(state: State[Any]) -> Event | None:
    """Return the event marked on a task run's final state, with the ids of that run; None if there is none."""
    mark, details = marks.mark_of(state) if state.is_completed() else None, state.state_details
    if mark is None or mark.event is None:
        return None
    run = {"flow_run_id": str(details.flow_run_id), "task_run_id": str(details.task_run_id)}
    return replace(mark.event, run={**mark.event.run, **run})


def _why(state: State[Any]) -> str:
    data = undocumented.data_in(state)
    return in_words(data) if isinstance(data, BaseException) else str(state.name)


def _run_names(submitted: Iterable[Submitted]) -> list[str]:
    """Return the names of task runs, from Prefect's server: futures do not have them."""
    all_of_them = list(submitted)
    known: dict[UUID, str] = {}
    ids = {run.future.task_run_id for run in all_of_them[:_NAMED]}
    until = time.monotonic() + _PATIENCE
    try:
        with get_client(sync_client=True) as client:
            wanted = TaskRunFilter(id=TaskRunFilterId(any_=list(ids)))
            while True:
                known = {run.id: run.name for run in client.read_task_runs(task_run_filter=wanted)}
                if len(known) == len(ids) or time.monotonic() > until:
                    break
                time.sleep(0.1)
    except Exception:
        logging.getLogger("resilient_tasks").debug("the task runs' names could not be read", exc_info=True)
    return [known.get(run.future.task_run_id, run.task) for run in all_of_them]
