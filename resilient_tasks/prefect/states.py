"""Publish the pipeline's events as Prefect states, so that the state history shows what was done and why.

Prefect's engine publishes the first and the last state of a task run. This module publishes those between them:
`AwaitingRetry` with the reason as its message, then `Retrying`, through the function that the engine uses itself.

A final state carries a machine-readable mark; messages for people are never parsed.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import cloudpickle
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import State, StateDetails, StateType, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.states import is_state_iterable
from prefect.tasks import Task
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import PrivateAttr

from resilient_tasks import redaction, safely
from resilient_tasks.core.call import Call, Proceed
from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.events import (
    Event,
    FallbackUsed,
    FlightJoined,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    RowsQuarantined,
    RowsWarned,
)
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.prefect import raising, undocumented

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
    """

    attempts: int = 1
    degraded: bool = False
    event: MarkedEvent | None = None


class MarkedDetails(StateDetails):
    """The details of a marked state, in this process and pickled from another one.

    The mark is private, so it is in no event and is not sent to the server, which drops unknown details of a state. The
    server keeps the labels of a task run, which arrive with that state.
    """

    _mark: Mark = PrivateAttr(default=Mark())

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


if TYPE_CHECKING:
    _State = State[Any]
else:
    # pydantic creates a class for `State[Any]` in the first module that uses it, which differs between processes: a
    # state of that class cannot be unpickled everywhere.
    _State = State


class StateWithMessage(_State):
    """A final state with a message of this library. A direct call of the task returns its data, not the state."""

    _handed_on: bool = PrivateAttr(default=False)
    _because: Exception | None = PrivateAttr(default=None)

    def __getstate__(self) -> dict[Any, Any]:
        """Drop an error that cannot be pickled, so that the result can cross to another process; redact the error."""
        state = super().__getstate__()
        private = dict(state["__pydantic_private__"] or {})
        try:
            if self._because is not None:
                private["_because"] = redaction.exceptions.redacted(self._because) or self._because
            cloudpickle.loads(cloudpickle.dumps(private["_because"]))
        except Exception:
            private["_because"] = None
        return {**state, "__pydantic_private__": private}

    @property
    def because(self) -> Exception:
        """The error that led to the fallback; one with this state's message if pickling dropped it."""
        return self._because or ResilienceError(self.message or "degraded")

    def because_of(self, error: Exception) -> StateWithMessage:
        """Set the error that led to the fallback, and return this state."""
        self._because = error
        return self

    def handed_on(self) -> StateWithMessage:
        """Mark this state as returned by another task's function, whose caller then gets the state; return it."""
        self._handed_on = True
        return self

    def unwrapped(self) -> Any:
        """Return the data, or the state itself if a task's function returned it."""
        return self if self._handed_on else undocumented.data_in(self)


class ReturnedFailureError(ResilienceError):
    """A task's function returned a failed state without an exception."""


_RETURNED = "__resilient_returned__"


class ReturnedFailures(Policy):
    """Counts a failed state returned by a task's function as a failed attempt, as Prefect's own retries do."""

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        outcome = await proceed(call)
        state = outcome.value if isinstance(outcome, Ok) else None
        if not (isinstance(state, State) and state.is_failed()):
            return outcome
        error = state.data if isinstance(state.data, Exception) else ReturnedFailureError(state.message or "failed")
        safely.own(error, "__dict__")[_RETURNED] = state  # a frozen dataclass refuses assignment
        return Failed(error)


def _returned_state(error: Exception) -> State[Any] | None:
    state = safely.own(error, "__dict__").pop(_RETURNED, None)
    return state if isinstance(state, State) else None


class StateSink:
    """Publishes states for the events of one task run, in the thread that emits them.

    Attributes:
        about_data: the events about quarantined rows and rules that warned.
    """

    def __init__(self) -> None:
        self.about_data: list[Event] = []
        self._failed: RetryScheduled | None = None
        self._recovered: RetryRecovered | None = None
        self._degraded: FallbackUsed | None = None
        self._joined: FlightJoined | None = None
        self._last: Any = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self._failed = event
            if event.delay > 0:  # Prefect's own retries have no such state without a delay
                when = datetime.now(UTC) + timedelta(seconds=event.delay)
                details = StateDetails(scheduled_time=when)  # type: ignore[arg-type]  # Prefect's alias of datetime
                self._publish(StateType.SCHEDULED, "AwaitingRetry", event.sentence(), details)
        elif isinstance(event, RetryStarted):
            self._publish(StateType.RUNNING, "Retrying", self._why(event))
        elif isinstance(event, RetryRecovered):
            self._recovered = event
        elif isinstance(event, FallbackUsed):
            self._degraded = event
        elif isinstance(event, FlightJoined) and event.outcome != "deadline":
            self._joined = event
        elif isinstance(event, RowsQuarantined | RowsWarned):
            self.about_data.append(event)

    def with_message(self, outcome: Outcome[Any]) -> Any:
        """Return the task body's result for `outcome`: its value, in a state if there is a message to show.

        A failed state that the function itself returned is passed on, as Prefect does.

        Raises:
            Exception: the redacted error of a failed outcome. Before Prefect 3.9, returning a failed state instead
                would commit a transaction and be cached.
        """
        if isinstance(outcome, Failed):
            returned = _returned_state(outcome.error)
            return raising.fail(outcome) if returned is None else raising.without_secrets(returned)
        attempts, value = _attempts_of(outcome), outcome.value
        if isinstance(outcome, Degraded):
            message, data = (
                self._degraded.sentence() if self._degraded else "degraded",
                undocumented.outside_the_cache(value),
            )
            if self._joined is not None:
                message = f"{message}; shared with {self._joined.leader}"
            state = _completed("Degraded", message, data).because_of(outcome.because)
            put_mark(state, Mark(attempts, degraded=True, event=self._degraded))
            return state
        event, mark = self._recovered or self._joined, Mark(attempts, event=self._recovered)
        if isinstance(value, State) or _is_interpreted_by_prefect(value):
            return self._passed_on(value, event, mark)
        if event is None:
            _remember(attempts)
            return value
        state = _completed("Completed", event.sentence(), value)
        put_mark(state, mark)
        return state

    def _passed_on(self, value: Any, event: Event | None, mark: Mark) -> Any:
        """Return a value that Prefect turns into something other than a completed state that holds it."""
        if isinstance(value, StateWithMessage):
            value = value.handed_on()
        if event is not None:
            get_run_logger().info("%s", event.sentence())  # the final state has another message
            if event is self._joined and isinstance(value, State):
                value = _unshared(value)
        if isinstance(value, State) and not (value.state_details.flow_run_id or value.state_details.task_run_id):
            put_mark(value, mark)
        else:
            _remember(mark.attempts)
        return value

    def _why(self, event: RetryStarted) -> str:
        if self._failed is None or self._failed.delay > 0:
            return event.sentence()
        return f"{event.sentence()}, after {self._failed.error}"

    def _publish(self, kind: StateType, name: str, message: str, details: StateDetails | None = None) -> None:
        """Set the task run's state, as the engine's own `set_state` does."""
        found = undocumented.engine_run()
        if found is None:
            return
        task, run = found
        state = _State(type=kind, name=name, message=message, state_details=details or StateDetails())
        before = run.state
        _enter_state(run, before, state)
        self._last = undocumented.publish(run, before, state, self._last)
        if state.is_running():
            _call_on_running_hooks(task, run, state)


def _unshared(state: State[Any]) -> State[Any]:
    """Copy a state that task runs share: the engine writes its run's ids into it and refuses those of another run."""
    copy = state.fresh_copy()
    copy.state_details = state.state_details.model_copy(update={"flow_run_id": None, "task_run_id": None})
    return copy


def _is_interpreted_by_prefect(value: Any) -> bool:
    """Return whether Prefect turns `value` into something other than a completed state that holds it."""
    return isinstance(value, GeneratorType) or bool(is_state_iterable(value))


def _completed(name: str, message: str, data: Any) -> StateWithMessage:
    state = StateWithMessage(type=StateType.COMPLETED, name=name, message=message)
    state.data = data  # bypasses Prefect's validation, which converts some dicts
    return state


def _enter_state(run: TaskRun, before: State[Any] | None, state: State[Any]) -> None:
    if before is not None and before.timestamp == state.timestamp:
        state.timestamp += timedelta(microseconds=1)  # states are ordered by time
    state.state_details.task_run_id = run.id
    state.state_details.flow_run_id = run.flow_run_id
    run.state, run.state_id, run.state_type, run.state_name = state, state.id, state.type, state.name
    if before is not None and before.is_running():
        run.total_run_time += state.timestamp - before.timestamp
    if state.is_running():
        run.run_count += 1


def _call_on_running_hooks(task: Task[..., Any], run: TaskRun, state: State[Any]) -> None:
    """Run the hooks as the engine does for the first attempt, with the same log lines."""
    for hook in task.on_running_hooks:
        fn = hook.func if isinstance(hook, functools.partial) else hook
        name = getattr(fn, "__name__", type(fn).__name__)
        logger = get_run_logger()
        try:
            logger.info("Running hook %r in response to entering state %r", name, state.name)
            result = hook(task, run, state)
            if inspect.iscoroutine(result):
                run_coro_as_sync(result)
        except Exception as error:
            shown = redaction.exceptions.redacted(error, chain=True) or error
            logger.error("An error was encountered while running hook %r", name, exc_info=shown)  # noqa: TRY400
        else:
            logger.info("Hook %r finished running successfully", name)


#: The most task runs to remember.
_ROOM = 4096
#: Attempts of this process's latest task runs whose final state Prefect creates itself.
_attempts: OrderedDict[UUID | None, int] = OrderedDict()


def _attempts_of(outcome: Outcome[Any]) -> int:
    context, attempts = TaskRunContext.get(), outcome.attempts if isinstance(outcome, Ok) else 1
    return (
        attempts if context is None else max(attempts, context.task_run.run_count)
    )  # `run_count` counts Prefect's retries too


def _remember(attempts: int) -> None:
    context = TaskRunContext.get() if attempts > 1 else None
    if context is None:
        return
    _attempts[context.task_run.id] = attempts
    while len(_attempts) > _ROOM:
        _attempts.popitem(last=False)


def outcome_of_state(state: State[Any]) -> Ok[None] | Degraded[None]:
    """Return the outcome, without its value, of the task run that completed in `state`."""
    mark = mark_of(state)
    if mark is not None and mark.degraded:
        error = ResilienceError(state.message or "degraded")
        return Degraded(None, state.because if isinstance(state, StateWithMessage) else error)
    return Ok(None, mark.attempts if mark is not None else _attempts.get(state.state_details.task_run_id, 1))


def data_of(value: Any) -> Any:
    """Return the data of a `StateWithMessage`, and any other value unchanged."""
    return value.unwrapped() if isinstance(value, StateWithMessage) else value
