"""Machine-readable marks on final states: how a task run ended. Messages for people are never parsed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import State, StateDetails, TaskRun
from pydantic import PrivateAttr

from resilient_tasks.core.events import FallbackUsed, RetryRecovered
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.prefect import inputs, undocumented
from resilient_tasks.prefect.inputs import Origin

#: Seconds to wait for the server to store a state that it has already published.
_PATIENCE = 5.0

MarkedEvent: TypeAlias = RetryRecovered | FallbackUsed
_EVENTS: Mapping[str, type[MarkedEvent]] = {RetryRecovered.name: RetryRecovered, FallbackUsed.name: FallbackUsed}

#: The labels: the id of the state that they describe, whether its data is a fallback's, and the event as JSON.
STATE, DEGRADED, EVENT = "resilient_tasks.state_id", "resilient_tasks.degraded", "resilient_tasks.event"


@dataclass(frozen=True, slots=True)
class Mark:
    """The outcome of a completed task run.

    Attributes:
        attempts: the number of attempts.
        degraded: whether the data is a fallback's.
        event: how it recovered or was degraded, if it was.
        origins: where the data was degraded that the result holds or was computed from.
    """

    attempts: int = 1
    degraded: bool = False
    event: MarkedEvent | None = None
    origins: tuple[Origin, ...] = ()


class MarkedDetails(StateDetails):
    """The details of a marked state, in this process and pickled from another one.

    The mark is private, so it is in no event and is not sent to the server, which drops unknown details of a state. The
    server keeps the labels of a task run, which arrive with that state.
    """

    _mark: Mark = PrivateAttr(default=Mark())

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore the details from another process, and remember here that the run's result is degraded."""
        super().__setstate__(state)
        if self._mark.origins and self.task_run_id is not None:
            inputs.learn(self.task_run_id, self._mark.origins)

    @property
    def mark(self) -> Mark:
        """The mark."""
        return self._mark


def put_mark(state: State[Any], mark: Mark) -> None:
    """Mark a state before its task run enters it, and label that task run."""
    details = MarkedDetails(**state.state_details.model_dump(exclude_unset=True))
    details._mark = mark  # noqa: SLF001  # pydantic takes no private attribute as an argument
    state.state_details = details
    found = undocumented.engine_run()
    if found is not None and (mark.degraded or mark.event is not None):
        _, run = found
        event = {} if mark.event is None else {EVENT: _encode(mark.event)}
        run.labels = {**run.labels, STATE: str(state.id), DEGRADED: mark.degraded, **event}


def mark_of(state: State[Any]) -> Mark | None:
    """Return the mark of a completed state; None if it is Prefect's own or a custom one.

    For a state read from the server, the labels and the run count of its task run are read as well.
    """
    details = state.state_details
    if isinstance(details, MarkedDetails):
        return details.mark
    if details.task_run_id is None or not undocumented.comes_from_the_server(state):
        return None
    try:
        return _mark_in(_run_in(state, details.task_run_id), state)
    except Exception:
        message = "could not read from the server how the task run %s ended: counted as completed on the first attempt"
        logging.getLogger("resilient_tasks").warning(message, details.task_run_id, exc_info=True)
        return None


def _run_in(state: State[Any], run_id: UUID) -> TaskRun:
    """Return the task run from the server, once it is in `state` there.

    Raises:
        TimeoutError: it did not reach that state in time.
    """
    filter_, until = TaskRunFilter(id=TaskRunFilterId(any_=[run_id])), time.monotonic() + _PATIENCE
    with get_client(sync_client=True) as client:
        while True:
            for run in client.read_task_runs(task_run_filter=filter_):
                if run.state_id == state.id:
                    return run
            if time.monotonic() > until:
                raise TimeoutError(f"the server does not have the task run in state {state.id}")
            time.sleep(0.1)


def _mark_in(run: TaskRun, state: State[Any]) -> Mark:
    labels = run.labels
    if labels.get(STATE) != str(state.id):
        return Mark(max(run.run_count, 1))
    return Mark(max(run.run_count, 1), labels.get(DEGRADED) is True, _decode(labels.get(EVENT), run))


def _encode(event: MarkedEvent) -> str:
    return json.dumps({"name": event.name, **asdict(replace(event, run={}))})


def _decode(text: object, run: TaskRun) -> MarkedEvent | None:
    if not isinstance(text, str):
        return None
    values = json.loads(text)
    kind = _EVENTS[values["name"]]
    known = {part.name for part in fields(kind)}  # another version of this library may have written more
    ids = {"task_run_id": str(run.id), **({"flow_run_id": str(run.flow_run_id)} if run.flow_run_id else {})}
    return kind(**{**{name: value for name, value in values.items() if name in known}, "run": ids})
