"""One execution of a resilient flow's function: its events, its final state, and its alerts."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import GeneratorType
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun as PrefectsRun
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import ExternalSignal, PrefectSignal
from prefect.futures import resolve_futures_to_states
from prefect.states import Completed, is_state_iterable

from resilient_tasks.core.call import Work
from resilient_tasks.core.errors import DegradedRun, UnobservedFailure
from resilient_tasks.core.events import (
    CallFailed,
    Event,
    FallbackUsed,
    InputDegraded,
    RetryRecovered,
    RowsQuarantined,
    bus,
    run_ids,
)
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.outcome import Degraded, Failed, Outcome
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.decorators.decorate import Plan
from resilient_tasks.observe import journal
from resilient_tasks.observe.report import RunReport
from resilient_tasks.prefect import artifacts, flow_alerts, inputs, messages, raising, tagging, undocumented
from resilient_tasks.prefect.futures import UnobservedFutures, is_tracked
from resilient_tasks.prefect.outages import outages
from resilient_tasks.prefect.states import ReturnedFailureError
from resilient_tasks.redaction.text import redact

_logger = logging.getLogger("resilient_tasks")

#: The attribute that holds the plan, on the function that replaces the user's own.
PLAN = "__resilient_flow__"

#: The history of a run's failed attempts while Prefect's own `retries=` makes another one.
_earlier: dict[UUID, RunHistory] = {}

#: The active runs of this process, by the id of their function's call.
_active: dict[str, FlowRun] = {}


def is_of_run(work: Work) -> bool:
    """Return whether this work is the function of a flow run."""
    return work.id in _active


@dataclass(frozen=True, slots=True)
class RunConditions:
    """A resilient flow's conditions on its runs, besides its policies.

    Attributes:
        on_unobserved: how a run ends if a submitted task failed and no code checked its future.
        fail_on_degraded: whether a run fails if any call in it was degraded.
    """

    on_unobserved: str = "fail"
    fail_on_degraded: bool = False


@dataclass(slots=True)
class RunHistory:
    """The events of a run so far.

    Attributes:
        events: the events in the run.
        nested: events from subflows without `notify=`, and failures of task runs whose events did not reach this
            process.
        own: ids of the calls of the flow's function, whose events are reported apart from those of calls inside.
        since: the lengths of `events` and `nested` when the last attempt began.
        inside: by each tag, the flows whose runs inside got it in the last attempt.
        began: the start of the first attempt, on the clock in use.
    """

    events: list[Event] = field(default_factory=list)
    nested: list[Event] = field(default_factory=list)
    own: set[str] = field(default_factory=set)
    since: tuple[int, int] = (0, 0)
    inside: dict[str, list[str]] = field(default_factory=dict)
    began: float = field(default_factory=clock.now)

    def begin(self) -> None:
        """Begin an attempt; failures of the one before are handled."""
        self.since = (len(self.events), len(self.nested))
        self.inside = {}

    def is_own(self, event: Event) -> bool:
        """Return whether `event` is about the run's own function."""
        return event.call in self.own

    def summary(self, remark: str) -> flow_alerts.Summary:
        """Return the content of an alert about the run."""
        own = [event for event in self.events if self.is_own(event)]
        others = [event for event in [*self.events, *self.nested] if not self.is_own(event)]
        last = [event for event in self.last_attempt() if not self.is_own(event)]
        return flow_alerts.Summary(others, last, own, self.began, remark)

    def last_attempt(self) -> list[Event]:
        """Return the events of the last attempt."""
        return self.events[self.since[0] :] + self.nested[self.since[1] :]


@dataclass(eq=False)
class FlowRun:
    """One execution of a flow's function by Prefect's engine.

    Attributes:
        plan: the flow's function and its policies.
        conditions: the flow's conditions on its runs.
        context: Prefect's context of this run.
    """

    plan: Plan
    conditions: RunConditions
    context: FlowRunContext
    _history: RunHistory = field(default_factory=RunHistory)
    _began: float = field(default_factory=time.monotonic)
    _returned: tuple[Exception, Any] | None = None
    _because: Exception | None = None
    _work: Work | None = None
    _failed: bool = False
    _remark: str = ""
    _may_return_state: bool = True
    _given: tuple[inputs.Origin, ...] = ()
    unobserved: UnobservedFutures = field(init=False)

    def __post_init__(self) -> None:
        self.unobserved = UnobservedFutures(self._on_final_state)
        found = (_active.get(work.id) for work in flow_alerts.callers())
        self._parent = next(filter(None, found), None)

    @property
    def _id(self) -> UUID:
        return self._run.id

    @property
    def _run(self) -> PrefectsRun:
        run = self.context.flow_run
        assert run is not None  # noqa: S101  # the engine creates it before it calls any function
        return run

    @property
    def _is_tried_again(self) -> bool:
        """Whether Prefect retries the run if this attempt fails."""
        return self._run.run_count <= (self._run.empirical_policy.retries or 0)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Collect the events inside the block; at the end of the run, create its report and send its alerts."""
        self._history = _earlier.pop(self._id, self._history)
        self._history.begin()
        if self._run.run_count > 1:
            self._may_return_state = undocumented.forget_earlier_error(self._id)
        try:
            with ExitStack() as stack:
                stack.enter_context(bus.listening(self._on_event))
                stack.enter_context(artifacts.gathering(str(self._id)))
                stack.enter_context(tagging.deciding(self._id, self._on_tags))
                stack.enter_context(self.unobserved.tracking(getattr(self.context, "task_runner", None)))
                self._write_begin()
                yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit, PrefectSignal, ExternalSignal) as error:
            # There is no time for a report, or the run continues later.
            if flow_alerts.is_crash(error):
                self._send_alerts(error)
            self._write_end(type(error).__name__)
            raise
        except BaseException as error:
            self._failed = True
            self._end(error)
            self._write_end("failed")
            raise
        else:
            self._end(self._returned[0] if self._failed and self._returned else None)
            self._write_end("failed" if self._failed else "completed")
        finally:
            for call in self._history.own:
                _active.pop(call, None)

    def work(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Work:
        """Return the invocation of the function, whose events are reported apart from those of calls inside."""
        self._work = plan.work(args, kwargs)
        self._work.again = self._is_tried_again
        self._history.own.add(self._work.id)
        _active[self._work.id] = self
        self._given = inputs.of_arguments(args, kwargs)
        if self._given and self._run.run_count <= 1:
            bus.emit(inputs.event(self.plan.operation, self._work.id, self._given))
        return self._work

    def begin(self) -> None:
        """Begin an attempt; failures of the one before do not count against it."""
        self.unobserved.begin()
        self._history.begin()

    def resolved(self, value: Any) -> Any:
        """Wait for all submitted tasks; return `value` with its futures resolved to states, as Prefect does.

        Raises:
            UnobservedFailure: a task run failed and no code checked its future.
            DegradedRun: a call was degraded, and the flow has `fail_on_degraded=True`.
            Exception: the error of a failed state in `value`.
        """
        if self.conditions != _UNCONDITIONAL:
            self.unobserved.wait()  # Prefect would cancel those that have not begun
        value = resolve_futures_to_states(value)
        for state in _states_in(value):
            if state.is_failed() or state.is_crashed():
                error = _error_in(state)
                self._returned = error, value
                raise error
        self._check_tasks()
        return value

    def with_message(self, outcome: Outcome[Any]) -> Any:
        """Return what the function gives to Prefect's engine: its value, or a final state with a message.

        Raises:
            Exception: the error of a failed outcome, without secrets.
        """
        if isinstance(outcome, Failed):
            if self._returned is None or outcome.error is not self._returned[0]:
                raising.fail(outcome)
            if self._is_tried_again:  # Prefect 3.8 retries only if the function raises
                raising.fail(outcome)
            self._failed = True
            value = self._returned[1]
            return raising.without_secrets(value) if isinstance(value, State) else value
        if isinstance(outcome, Degraded):
            self._because = outcome.because
        value = outcome.value
        if origins := self._origins():
            inputs.remember(self._id, origins, value)
        message = self._message()
        if not message or not self._may_return_state or not _may_set_message(value):
            return value
        is_degraded = isinstance(outcome, Degraded) or self._is_degraded()
        state: State[Any] = Completed(name="Degraded" if is_degraded else "Completed", message=message)
        state.data = value  # bypasses Prefect's validation, which converts some dicts
        return state

    def _check_tasks(self) -> None:
        failed = self.unobserved.failed() if self.conditions.on_unobserved != "ignore" else []
        if failed:
            message = messages.unobserved_failures(failed)
            if self.conditions.on_unobserved == "fail":
                raise UnobservedFailure(f"{message}. {messages.ADVICE}")
            _logger.warning("%s: %s", self.plan.operation, message)
            self._remark = message
        events = self._history.events[self._history.since[0] :]
        degraded = [event for event in events if isinstance(event, FallbackUsed)]
        if self._work is not None and (degraded or self._history.inside.get("degraded")):
            # In any attempt: a result made from stand-ins is not kept as a last good one.
            self._work.degraded = sys.maxsize
        if degraded and self.conditions.fail_on_degraded:
            raise DegradedRun(messages.degraded_calls(degraded))

    def _is_degraded(self) -> bool:
        """Return whether the run continued without the data of a call, or with a fallback's."""
        events = flow_alerts.unresolved(self._history.last_attempt())
        return bool(self._remark or "degraded" in self._history.inside) or any(
            isinstance(event, FallbackUsed | CallFailed) for event in events
        )

    def _origins(self) -> tuple[inputs.Origin, ...]:
        """Return where the data was degraded that the result may be made from."""
        events = flow_alerts.unresolved(self._history.last_attempt())
        own = [inputs.origin_of(event) for event in events if isinstance(event, FallbackUsed)]
        own += inputs.quarantined(event for event in events if isinstance(event, RowsQuarantined))
        own += [inputs.Origin(flow, "a degraded flow run") for flow in self._history.inside.get("degraded", ())]
        own += [
            inputs.Origin(flow, "rows quarantined", is_stand_in=False)
            for flow in self._history.inside.get("quarantined", ())
        ]
        return inputs.merged(own, self._given)

    def _message(self) -> str:
        history = self._history
        own = [event for event in history.events if history.is_own(event)]
        parts = [event.sentence() for event in own if isinstance(event, RetryRecovered | FallbackUsed)]
        parts.append(messages.counts(RunReport([event for event in history.events if not history.is_own(event)])))
        parts.append(messages.flows_inside(history.inside.get("degraded", ()), "degraded"))
        parts.append(messages.flows_inside(history.inside.get("quarantined", ()), "with quarantined rows"))
        parts.append(inputs.message(self._given))
        parts.append(self._remark)
        text = redact("; ".join(filter(None, parts)))  # a task run's name may contain a parameter
        return for_terminal(text, lines=False)

    def _on_event(self, event: Event) -> None:
        if event.run.get("flow_run_id") == str(self._id):
            self._history.events.append(event)

    def _on_final_state(self, operation: str, state: State[Any]) -> None:
        """Add the event in a task run's final state, if its events did not reach this process."""
        event, history = messages.event_from_state(state), self._history.events
        if event is not None and not any(_same_task_run(event, other) for other in history):
            history.append(event)
        failure = flow_alerts.failure_from_state(operation, state)
        failures = [event for event in history if isinstance(event, CallFailed)]
        if failure is not None and not any(_same_task_run(failure, other) for other in failures):
            self._history.nested.append(failure)  # alerts include it; the counts of the final state do not

    def _end(self, error: BaseException | None) -> None:
        flow = self.context.flow
        if error is not None and flow is not None:
            error = flow_alerts.overran(error, flow.timeout_seconds, time.monotonic() - self._began) or error
        self._add_outages()
        if self._failed and self._is_tried_again and not flow_alerts.is_crash(error):
            _earlier[self._id] = self._history
            return
        if error is None or isinstance(error, Exception) or flow_alerts.is_crash(error):
            self._send_alerts(error)
        artifacts.create(self._history.events)
        if error is None and (tags := list(self._tags())):
            tagging.tag(self._id, tags)
            tagging.tag_runs_around(self._run, tags, self.plan.operation)

    def _write_begin(self) -> None:
        parent = "" if self._parent is None else str(self._parent._id)  # noqa: SLF001  # same class
        journal.begin_run(run_ids(), self.plan.operation, attempt=self._run.run_count, parent=parent)

    def _write_end(self, how: str) -> None:
        journal.end_run(run_ids(), how, again=self._failed and self._is_tried_again)

    def _add_outages(self) -> None:
        for outage in outages.noticed(self._began):
            event = outage.as_event(self.plan.operation)
            bus.emit(event)
            self._history.events.append(event)

    def _tags(self) -> Iterator[str]:
        if self._because is not None or self._is_degraded():
            yield "degraded"
        if "quarantined" in self._history.inside or RunReport(self._history.events).quarantined:
            yield "quarantined"
        later = any(isinstance(event, InputDegraded) for event in self._history.events)
        if self._given or later or "degraded-input" in self._history.inside:
            yield "degraded-input"

    def _send_alerts(self, error: BaseException | None) -> None:
        """Send the alerts about the ended run, or pass its events to the run around it."""
        pipeline, work = self.plan.pipeline, self._work or self.plan.work((), {})
        if flow_alerts.has_notify(pipeline):
            flow_alerts.send(pipeline, work, self._history.summary(self._remark), error, self._because)
        elif self._parent is not None:
            self._parent.add_nested(self._history.last_attempt())

    def add_nested(self, events: list[Event]) -> None:
        """Add the events of a subflow run."""
        self._history.nested += events

    def _on_tags(self, flow: str, tags: Collection[str]) -> None:
        """Record the tags of a run of the subflow `flow`."""
        for tag in tags:
            self._history.inside.setdefault(tag, []).append(flow)


_UNCONDITIONAL = RunConditions(on_unobserved="ignore")


def started_run(plan: Plan, conditions: RunConditions) -> FlowRun | None:
    """Return the run that Prefect's engine started for the function of `plan`; None if other code calls it."""
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow_run is None:
        return None
    is_another = getattr(context.flow.fn, PLAN, None) is not plan
    if is_another or is_tracked(getattr(context, "task_runner", None)):  # tracked already: it calls its own `fn`
        return None
    return FlowRun(plan, conditions, context)


def _same_task_run(event: Event, other: Event) -> bool:
    return event.run["task_run_id"] == other.run.get("task_run_id")


def _error_in(state: State[Any]) -> Exception:
    error = undocumented.data_in(state)
    return error if isinstance(error, Exception) else ReturnedFailureError(state.message or "failed")


def _states_in(value: Any) -> list[State[Any]]:
    if isinstance(value, State):
        return [value]
    return list(value) if is_state_iterable(value) else []


def _may_set_message(value: Any) -> bool:
    """Return whether Prefect would complete the run with `value` and its own message."""
    if inspect.isawaitable(value) or isinstance(value, GeneratorType):
        return False  # Prefect consumes it first
    if isinstance(value, State) and not (value.state_details.flow_run_id or value.state_details.task_run_id):
        return False  # a custom state
    return all(state.is_completed() for state in _states_in(value))
