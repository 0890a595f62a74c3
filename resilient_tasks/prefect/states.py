"""Publish the pipeline's events as Prefect states, so that the state history shows what was done and why.

Prefect's engine publishes the first and the last state of a task run. This module publishes those between them:
`AwaitingRetry` with the reason as its message, then `Retrying`, through the function that the engine uses itself.

A final state carries a machine-readable mark; messages for people are never parsed.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from types import GeneratorType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import cloudpickle
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
    bus,
    in_the_quarantine,
    rows_quarantined,
    why_and_where,
)
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.prefect import inputs, raising, tagging, undocumented
from resilient_tasks.prefect.inputs import Origin
from resilient_tasks.prefect.marks import Mark, mark_of, put_mark

#: The reason of a result that was built on the stand-in of a nested call.
INSIDE = "a call inside it was degraded"

if TYPE_CHECKING:
    _State = State[Any]
else:
    # pydantic creates a class for `State[Any]` in the first module that uses it, which differs between processes: a
    # state of that class cannot be unpickled everywhere.
    _State = State


class StateWithMessage(_State):
    """A final state with a message of this library. A direct call of the task returns its data, not the state."""

    _handed_on: bool = PrivateAttr(default=False)
    _wraps: bool = PrivateAttr(default=False)
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

    def wrap(self) -> None:
        """Mark this state as made for a task without policies, whose direct call returns its data."""
        self._wraps = True

    def take_wrapping(self) -> bool:
        """Return whether it was made for a task without policies, the first time that this is asked."""
        wraps, self._wraps = self._wraps, False
        return wraps

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
    """Publishes states for the events of one task run, in the thread that emits them, and words its final state.

    Args:
        operation: the task's operation.
        origins: where the data was degraded that the task run is given.

    Attributes:
        about_data: the events about quarantined rows and rules that warned.
        tags: tags of this task run and its flow run, once this task run has concluded.
    """

    def __init__(self, operation: str = "", origins: tuple[Origin, ...] = ()) -> None:
        self.about_data: list[Event] = []
        self.tags: tuple[str, ...] = ()
        self._operation = operation
        self._given = origins
        self._own: tuple[Origin, ...] = ()
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

    @property
    def _batches(self) -> list[RowsQuarantined]:
        return in_the_quarantine(self.about_data) if self.about_data else []

    def report_inputs(self, call: str = "") -> None:
        """Emit the event that this task run is given degraded data, for its first attempt by Prefect."""
        found = undocumented.engine_run()
        if self._given and (found is None or found[1].run_count <= 1):
            bus.emit(inputs.event(self._operation, call, self._given))

    def conclude(self, outcome: Outcome[Any], degraded_in: int = 0) -> bool:
        """Determine the origins and tags of the result, before `with_message`; return whether to call `report`.

        Args:
            outcome: the outcome of the task's function under its policies.
            degraded_in: the last attempt in which a call inside was degraded; 0 if none.
        """
        if not (self._degraded or degraded_in or self._given or self.about_data or type(outcome) is Degraded):
            return False
        is_degraded = isinstance(outcome, Degraded)
        own: list[Origin] = []
        if is_degraded:
            own.append(inputs.origin_of(self._degraded) if self._degraded else Origin(self._operation, "a fallback"))
        elif isinstance(outcome, Ok) and outcome.attempts <= degraded_in:
            own.append(Origin(self._operation, INSIDE))
        tags = ["degraded"] if own else []
        if batches := self._batches:
            own += inputs.quarantined(batches)
            tags.append("quarantined")
        if self._given:
            tags.append("degraded-input")
        self._own, self.tags = tuple(own), tuple(tags)
        tagging.tag_this_task_run(tags)
        return bool(self.about_data) or tagging.has_to_tag(self._flow_run_id(), self.tags)

    @staticmethod
    def _flow_run_id() -> UUID | None:
        found = undocumented.engine_run()
        return None if found is None else found[1].flow_run_id

    def report(self) -> None:
        """Tag the flow run and create the artifact about bad data, unless a resilient flow's run will. It blocks."""
        tagging.tag_with_those_around(self._flow_run_id(), self.tags)
        if self.about_data:
            from resilient_tasks.prefect import artifacts  # noqa: PLC0415  # for runs that create some

            if artifacts.has_ungathered(self.about_data):
                artifacts.create_quality(self.about_data)

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
        origins = inputs.merged(self._own, self._given) if self._own or self._given else ()
        if isinstance(outcome, Degraded):
            state = _completed("Degraded", self._message(self._how_degraded()), undocumented.outside_the_cache(value))
            state = state.because_of(outcome.because)
            return self._marked(state, Mark(attempts, degraded=True, event=self._degraded, origins=origins), value)
        event, is_data = self._recovered or self._joined, not isinstance(value, State)
        if is_data and event is None and not origins and not _is_interpreted_by_prefect(value):
            _remember(attempts)
            return value
        mark = Mark(attempts, event=self._recovered, origins=origins)
        message = self._message(event.sentence() if event else "")
        if not is_data or _is_interpreted_by_prefect(value):
            return self._passed_on(value, message, mark)
        # Cached, it would be served although the service has long been back.
        data = undocumented.outside_the_cache(value) if any(origin.is_stand_in for origin in origins) else value
        return self._marked(_completed("Completed", message, data), mark, value)

    def _how_degraded(self) -> str:
        message = self._degraded.sentence() if self._degraded else "degraded"
        return message if self._joined is None else f"{message}; shared with {self._joined.leader}"

    def _message(self, first: str) -> str:
        """Return the message of a completed state: how the task ended, and what its data lacks."""
        if not (self._own or self._given):
            return first
        batches = self._batches
        rows = f"{rows_quarantined(batches)}{why_and_where(batches)}" if batches else ""
        inside = INSIDE if any(origin.reason == INSIDE for origin in self._own) else ""
        return "; ".join(filter(None, [first, inside, rows, inputs.message(self._given)]))

    def _marked(self, state: StateWithMessage, mark: Mark, value: Any) -> StateWithMessage:
        put_mark(state, mark)
        self._remember_result(mark, value)
        return state

    def _remember_result(self, mark: Mark, value: Any) -> None:
        found = undocumented.engine_run() if mark.origins else None
        if found is not None:
            inputs.remember(found[1].id, mark.origins, value)

    def _passed_on(self, value: Any, message: str, mark: Mark) -> Any:
        """Return a value that Prefect turns into something other than a completed state that holds it."""
        if isinstance(value, StateWithMessage):
            value = value.handed_on()
        if message:
            get_run_logger().info("%s", message)  # the final state has another message
            if self._joined is not None and self._recovered is None and isinstance(value, State):
                value = _unshared(value)
        self._remember_result(mark, undocumented.data_in(value) if isinstance(value, State) else None)
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
