"""One execution of a resilient flow's function: its events, its final state, and its alerts."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator, Mapping
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

from resilient_tasks.core import clock
from resilient_tasks.core import real_time as time
from resilient_tasks.core.call import Work
from resilient_tasks.core.errors import DegradedRun, UnobservedFailure
from resilient_tasks.core.events import CallFailed, Event, FallbackUsed, RetryRecovered, bus
from resilient_tasks.core.outcome import Degraded, Failed, Outcome
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.decorate import Plan
from resilient_tasks.observe.report import RunReport
from resilient_tasks.orchestrate import artifacts, flow_alerts, raising, undocumented, verdict
from resilient_tasks.orchestrate.away import outages
from resilient_tasks.orchestrate.futures import Unseen, is_listed
from resilient_tasks.orchestrate.states import ReturnedFailureError
from resilient_tasks.redaction.redact import redact

_logger = logging.getLogger("resilient_tasks")

#: The attribute with the plan, on the function that replaces the user's own.
MARK = "__resilient_flow__"

#: What happened in a run's failed attempts, where Prefect's own `retries=` makes another one.
_earlier: dict[UUID, Heard] = {}

#: The runs under way in this process, by the call of their function.
_under_way: dict[str, FlowRun] = {}


@dataclass(frozen=True, slots=True)
class Care:
    """What a resilient flow asks of its runs, besides its policies.

    Attributes:
        on_unobserved: how a run ends in which a submitted task failed and no code looked at its future.
        fail_on_degraded: a run in which any call was degraded has failed.
    """

    on_unobserved: str = "fail"
    fail_on_degraded: bool = False


@dataclass(slots=True)
class Heard:
    """What was heard of a run.

    Attributes:
        events: what happened in it.
        below: what happened where its events are not heard: in runs of flows called inside of it that tell nobody
            themselves, and in task runs of which only the end is known.
        own: the calls of its own function, whose events are kept apart from those of the calls inside.
        since: the numbers of `events` and of `below` when the last attempt began.
        degraded: the names of the flows whose runs inside the last attempt were degraded.
        began: when the first attempt began, on the clock in use.
    """

    events: list[Event] = field(default_factory=list)
    below: list[Event] = field(default_factory=list)
    own: set[str] = field(default_factory=set)
    since: tuple[int, int] = (0, 0)
    degraded: list[str] = field(default_factory=list)
    began: float = field(default_factory=clock.now)

    def begin(self) -> None:
        """Begin an attempt: what failed in the one before it is known."""
        self.since, self.degraded = (len(self.events), len(self.below)), []

    def is_own(self, event: Event) -> bool:
        """Tell whether `event` concerns the run's own function."""
        return event.call in self.own

    def told(self, remark: str) -> flow_alerts.Told:
        """Return what there is to tell of it."""
        own = [event for event in self.events if self.is_own(event)]
        others = [event for event in [*self.events, *self.below] if not self.is_own(event)]
        standing = [event for event in self.standing() if not self.is_own(event)]
        return flow_alerts.Told(others, standing, own, self.began, remark)

    def standing(self) -> list[Event]:
        """Return what happened in the last attempt."""
        return self.events[self.since[0] :] + self.below[self.since[1] :]


@dataclass(eq=False)
class FlowRun:
    """One execution of a flow's function by Prefect's engine.

    Attributes:
        plan: the flow's function and its policies.
        care: what the flow asks of its runs.
        context: Prefect's context of this run.
    """

    plan: Plan
    care: Care
    context: FlowRunContext
    _heard: Heard = field(default_factory=Heard)
    _began: float = field(default_factory=time.monotonic)
    _returned: tuple[Exception, Any] | None = None
    _because: Exception | None = None
    _work: Work | None = None
    _failed: bool = False
    _remark: str = ""
    _may_return_state: bool = True
    unseen: Unseen = field(init=False)

    def __post_init__(self) -> None:
        self.unseen = Unseen(self._hear_of)
        found = (_under_way.get(work.id) for work in flow_alerts.callers())
        self._above = next(filter(None, found), None)

    @property
    def _id(self) -> UUID:
        return self._run.id

    @property
    def _run(self) -> PrefectsRun:
        run = self.context.flow_run
        assert run is not None  # noqa: S101  # Prefect's engine has made it before it calls any function
        return run

    @property
    def _is_tried_again(self) -> bool:
        """Whether Prefect makes another attempt if this one fails."""
        return self._run.run_count <= (self._run.empirical_policy.retries or 0)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Gather what happens inside the block, and leave the run's report where that is the end of the run."""
        self._heard = _earlier.pop(self._id, self._heard)
        self._heard.begin()
        if self._run.run_count > 1:
            self._may_return_state = undocumented.forget_earlier_error(self._id)
        try:
            with ExitStack() as stack:
                stack.enter_context(bus.listening(self._hear))
                stack.enter_context(artifacts.gathering(str(self._id)))
                stack.enter_context(self.unseen.of(getattr(self.context, "task_runner", None)))
                yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit, PrefectSignal, ExternalSignal) as error:
            # There is no time left for a report, or the run goes on later.
            if flow_alerts.is_crash(error):
                self._tell(error)
            raise
        except BaseException as error:
            self._failed = True
            self._end(error)
            raise
        else:
            self._end(self._returned[0] if self._failed and self._returned else None)
        finally:
            for call in self._heard.own:
                _under_way.pop(call, None)

    def work(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Work:
        """Return the invocation of the function, whose own events are kept apart from those of the calls inside."""
        self._work = plan.work(args, kwargs)
        self._work.again = self._is_tried_again
        self._heard.own.add(self._work.id)
        _under_way[self._work.id] = self
        return self._work

    def begin(self) -> None:
        """Begin an attempt: what failed in the one before it is known, and not to be held against this one."""
        self.unseen.begin()
        self._heard.begin()

    def settled(self, value: Any) -> Any:
        """Wait for all that was submitted, and return `value` with its futures resolved to states, as Prefect does.

        Raises:
            UnobservedFailure: a task run failed and no code looked at it.
            DegradedRun: a call was degraded, and the flow is not to accept that.
            Exception: the failure that `value` itself is.
        """
        if self.care != _NO_CARE:
            self.unseen.wait()  # Prefect itself cancels what has not begun
        value = resolve_futures_to_states(value)
        for state in _states_in(value):
            if state.is_failed() or state.is_crashed():
                error = _error_in(state)
                self._returned = error, value
                raise error
        self._judge()
        return value

    def worded(self, outcome: Outcome[Any]) -> Any:
        """Return what Prefect's engine is to make the run's final state of.

        Raises:
            Exception: the error of a failed outcome, without secrets.
        """
        if isinstance(outcome, Failed):
            if self._returned is None or outcome.error is not self._returned[0]:
                raising.fail(outcome)
            if self._is_tried_again:  # Prefect 3.8 repeats only what raises
                raising.fail(outcome)
            self._failed = True
            value = self._returned[1]
            return raising.told(value) if isinstance(value, State) else value
        if isinstance(outcome, Degraded):
            self._because = outcome.because
        value = outcome.value
        words = self._words()
        if not words or not self._may_return_state or not _is_ours_to_word(value):
            return value
        is_degraded = isinstance(outcome, Degraded) or self._did_without()
        state: State[Any] = Completed(name="Degraded" if is_degraded else "Completed", message=words)
        state.data = value  # after Prefect's validation, which takes some dicts for something else
        return state

    def _judge(self) -> None:
        failed = self.unseen.failed() if self.care.on_unobserved != "ignore" else []
        if failed:
            message = verdict.nobody_looked(failed)
            if self.care.on_unobserved == "fail":
                raise UnobservedFailure(f"{message}. {verdict.WHAT_TO_DO}")
            _logger.warning("%s: %s", self.plan.operation, message)
            self._remark = message
        degraded = [event for event in self._heard.events[self._heard.since[0] :] if isinstance(event, FallbackUsed)]
        if self._work is not None and (degraded or self._heard.degraded):
            self._work.degraded = sys.maxsize  # in whichever attempt: no result of a stand-in is kept as a good one
        if degraded and self.care.fail_on_degraded:
            raise DegradedRun(verdict.were_degraded(degraded))

    def _did_without(self) -> bool:
        """Tell whether the run went on without the data of a call, or on that of its stand-in."""
        events = flow_alerts.unhealed(self._heard.standing())
        return bool(self._remark or self._heard.degraded) or any(
            isinstance(event, FallbackUsed | CallFailed) for event in events
        )

    def _words(self) -> str:
        heard = self._heard
        own = [event for event in heard.events if heard.is_own(event)]
        parts = [event.sentence() for event in own if isinstance(event, RetryRecovered | FallbackUsed)]
        parts.append(verdict.counts(RunReport(event for event in heard.events if not heard.is_own(event))))
        parts.append(verdict.flows_degraded(heard.degraded))
        parts.append(self._remark)
        return for_terminal(
            redact("; ".join(filter(None, parts))), lines=False
        )  # a task run's name may have been made of a parameter

    def _hear(self, event: Event) -> None:
        if event.run.get("flow_run_id") == str(self._id):
            self._heard.events.append(event)

    def _hear_of(self, operation: str, state: State[Any]) -> None:
        """Add the events in a task run's final state, if it ran where its events could not be heard."""
        event, heard = verdict.retold(state), self._heard.events
        if event is not None and not any(_same_task_run(event, other) for other in heard):
            heard.append(event)
        failure, failures = flow_alerts.failure_in(operation, state), [e for e in heard if isinstance(e, CallFailed)]
        if failure is not None and not any(_same_task_run(failure, other) for other in failures):
            self._heard.below.append(failure)  # to be told, but not counted: that is for what was heard here

    def _end(self, error: BaseException | None) -> None:
        flow = self.context.flow
        if error is not None and flow is not None:
            error = flow_alerts.overran(error, flow.timeout_seconds, time.monotonic() - self._began) or error
        self._hear_of_outages()
        if self._failed and self._is_tried_again and not flow_alerts.is_crash(error):
            _earlier[self._id] = self._heard
            return
        if error is None or isinstance(error, Exception) or flow_alerts.is_crash(error):
            self._tell(error)
        artifacts.leave(self._heard.events)
        if error is None:
            tags = list(self._tags())
            artifacts.tag(self._id, tags)
            if "degraded" in tags and self._above is not None:
                self._above.hear_of_degraded(self.plan.operation)

    def _hear_of_outages(self) -> None:
        for outage in outages.noticed(self._began):
            event = outage.as_event(self.plan.operation)
            bus.emit(event)
            self._heard.events.append(event)

    def _tags(self) -> Iterator[str]:
        if self._because is not None or self._did_without():
            yield "degraded"
        if RunReport(self._heard.events).quarantined:
            yield "quarantined"

    def _tell(self, error: BaseException | None) -> None:
        """Send the alerts about the run that has ended, or hand its events to the run around it."""
        pipeline, work = self.plan.pipeline, self._work or self.plan.work((), {})
        if flow_alerts.is_told(pipeline):
            flow_alerts.tell(pipeline, work, self._heard.told(self._remark), error, self._because)
        elif self._above is not None:
            self._above.hear_from_below(self._heard.standing())

    def hear_from_below(self, events: list[Event]) -> None:
        """Take in what happened in a run inside of this one."""
        self._heard.below += events

    def hear_of_degraded(self, flow: str) -> None:
        """Take in that a run of `flow` inside of this one completed with less than it should have."""
        self._heard.degraded.append(flow)


_NO_CARE = Care(on_unobserved="ignore")


def engaged(plan: Plan, care: Care) -> FlowRun | None:
    """Return the run that Prefect's engine has begun for the function of `plan`; None if other code calls it."""
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow_run is None:
        return None
    is_another = getattr(context.flow.fn, MARK, None) is not plan
    if is_another or is_listed(getattr(context, "task_runner", None)):  # on the list: the function calls its own `fn`
        return None
    return FlowRun(plan, care, context)


def _same_task_run(event: Event, other: Event) -> bool:
    return event.run["task_run_id"] == other.run.get("task_run_id")


def _error_in(state: State[Any]) -> Exception:
    error = undocumented.data_in(state)
    return error if isinstance(error, Exception) else ReturnedFailureError(state.message or "failed")


def _states_in(value: Any) -> list[State[Any]]:
    if isinstance(value, State):
        return [value]
    return list(value) if is_state_iterable(value) else []


def _is_ours_to_word(value: Any) -> bool:
    """Tell whether Prefect would complete the run for `value`, in words of its own."""
    if inspect.isawaitable(value) or isinstance(value, GeneratorType):
        return False  # Prefect goes on to do something with it
    if isinstance(value, State) and not (value.state_details.flow_run_id or value.state_details.task_run_id):
        return False  # the user's own
    return all(state.is_completed() for state in _states_in(value))
