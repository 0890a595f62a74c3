"""The alert about a flow run: one message at its end, with a summary of everything that went wrong inside it.

A task's `notify=` sends alerts as its calls fail. A flow's sends one per run, however many attempts its function took:
if the run failed or crashed, or completed although calls in it failed or were degraded. A run without failures ends
the incident.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prefect.client.schemas.objects import State
from prefect.exceptions import ExternalSignal

from resilient_tasks.alerts import sender
from resilient_tasks.alerts.policy import Notify
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.errors import CrashedRun, DegradedRun, ProcessDied, TimedOut
from resilient_tasks.core.events import (
    CallFailed,
    DataDrifted,
    Event,
    FallbackUsed,
    RetryRecovered,
    RowsInvalid,
    RowsQuarantined,
    what_rules_warn_of,
)
from resilient_tasks.core.failures import about
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.core.pipeline import Pipeline
from resilient_tasks.core.wording import counted, number_of
from resilient_tasks.observe.report import RunReport, taken_up
from resilient_tasks.prefect import messages, undocumented

_logger = logging.getLogger("resilient_tasks")

#: The most operations to name; the rest are counted.
_NAMED = 7
#: Seconds that a terminated process waits for its message to be sent.
_FLUSH_AT_TERMINATION = 3.0

_FAILED = "The flow run failed: what depends on it does not run."
_FALLBACK_USED = "A fallback stood in for the whole run: what depends on it runs on the stand-in's data."
_DEGRADED = "The flow run completed: what depends on it runs without these calls' data, or on that of their stand-ins."
_CRASHED = "The flow run crashed: it ended early, and what it had begun may be half done."


@dataclass(slots=True)
class Summary:
    """The content of an alert about a flow run.

    Attributes:
        events: the events in the run, except those about its own function.
        last_attempt: those in the last attempt.
        own: the events about its own function.
        began: when the run began, on the clock in use.
        remark: a remark of the final state, or empty.
    """

    events: Sequence[Event]
    last_attempt: Sequence[Event]
    own: Sequence[Event]
    began: float
    remark: str = ""


def without_notify(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline without `notify`, which acts at the end of the run and not of an attempt."""
    if not any(isinstance(policy, Notify) for policy in pipeline.policies):
        return pipeline
    return Pipeline(*(policy for policy in pipeline.policies if not isinstance(policy, Notify)))


def has_notify(pipeline: Pipeline) -> bool:
    """Return whether this flow's runs send alerts."""
    return any(isinstance(policy, Notify) for policy in pipeline.policies)


def callers() -> Iterator[Work]:
    """Yield the calls around this code, innermost first."""
    call = current_call()
    while call is not None:
        yield call.work
        call = call.parent


def is_crash(error: BaseException | None) -> bool:
    """Return whether the run was ended by something other than a cancellation or Ctrl-C."""
    ended = isinstance(error, ExternalSignal | SystemExit | asyncio.CancelledError)
    return ended and not undocumented.ended_on_request()


def overran(error: BaseException, limit: float | None, seconds: float) -> TimedOut | None:
    """Return the error of a run cancelled by Prefect's own `timeout_seconds`; None if something else ended it.

    Prefect's timer starts before `seconds` are counted, on a busy machine by some tenths of a second.
    """
    if not isinstance(error, asyncio.CancelledError) or not limit or seconds < limit - min(limit / 10, 1.0):
        return None
    return TimedOut(f"the flow run took longer than its timeout_seconds={limit:g}", seconds=limit)


def send(
    pipeline: Pipeline, work: Work, summary: Summary, error: BaseException | None, because: Exception | None = None
) -> None:
    """Send the alerts about the end of a run.

    Args:
        pipeline: the flow's policies, `notify` among them.
        work: the call of the flow's function.
        summary: what happened in the run.
        error: the error that failed or ended it; None if it completed.
        because: the error that made the flow's own fallback stand in; None if it did not.
    """
    try:
        _send_all(pipeline, work, summary, error, because)
    except Exception:
        _logger.exception("%s: the alert about the end of its run could not be sent", work.operation)


def _send_all(
    pipeline: Pipeline, work: Work, summary: Summary, error: BaseException | None, because: Exception | None
) -> None:
    if isinstance(error, Exception):
        _report_failure(pipeline, work, error, notes=summarized(summary.events), consequence=_FAILED)
    elif error is not None:
        _report_failure(pipeline, work, _ending(error), notes=summarized(summary.events), consequence=_CRASHED)
        if isinstance(error, ExternalSignal):
            sender.flush(_FLUSH_AT_TERMINATION)  # Prefect then lets the signal end the process at once
    elif because is not None:
        notes = summarized(summary.last_attempt)
        _report_failure(pipeline, work, because, "degraded", notes=notes, consequence=_FALLBACK_USED)
    else:
        _report_completion(pipeline, work, summary)


def _report_completion(pipeline: Pipeline, work: Work, summary: Summary) -> None:
    troubles = [event for event in unresolved(summary.last_attempt) if isinstance(event, CallFailed | FallbackUsed)]
    if not troubles and not summary.remark:
        for policy in _policies(pipeline):
            policy.report_success(Call(work), summary.began)
        return
    words = "; ".join(filter(None, [messages.counts(RunReport(troubles)), summary.remark]))
    recovered = tuple(event.sentence() for event in summary.own if isinstance(event, RetryRecovered))
    notes = (*recovered, *summarized(summary.last_attempt))
    _report_failure(pipeline, work, DegradedRun(words), "degraded", notes=notes, consequence=_DEGRADED)


def summarized(events: Sequence[Event]) -> tuple[str, ...]:
    """Summarize failures in a line per operation; then quarantined, invalid and drifted data, and recoveries."""
    unresolved_events = unresolved(events)
    lines = [*_failures(unresolved_events), *_stand_ins(unresolved_events)]
    if len(lines) > _NAMED:
        lines[_NAMED:] = [f"and {len(lines) - _NAMED} more"]
    return (*lines, *_data(events), *_recoveries(events))


def failure_from_state(operation: str, state: State[Any]) -> CallFailed | None:
    """Return an event for a failed task run without events in this process, or None if it did not fail.

    Such a task runs in another process, or has no policy and therefore no events.
    """
    if not (state.is_failed() or state.is_crashed()):
        return None
    error, details = undocumented.data_in(state), state.state_details
    run = {"flow_run_id": str(details.flow_run_id), "task_run_id": str(details.task_run_id)}
    facts = about(error) if isinstance(error, BaseException) else {"kind": "", "error_type": str(state.name)}
    return CallFailed(operation=operation, run=run, **{**facts, "message": state.message or ""})


def unresolved(events: Sequence[Event]) -> list[Event]:
    """Drop failures inside a task run that later recovered, was degraded, or was retried.

    Later events report how those calls ended. Failures that an enclosing call handled are dropped for the same reason.
    """
    taken = taken_up(events)
    ended = {
        event.run["task_run_id"]: number
        for number, event in enumerate(events)
        if "task_run_id" in event.run and (isinstance(event, RetryRecovered | FallbackUsed) or _is_repeated(event))
    }
    return [
        event
        for number, event in enumerate(events)
        if not isinstance(event, CallFailed)
        or not (event.again or event.call in taken or number <= ended.get(event.run.get("task_run_id", ""), -1))
    ]


def _is_repeated(event: Event) -> bool:
    return isinstance(event, CallFailed) and bool(event.again)


def _report_failure(
    pipeline: Pipeline,
    work: Work,
    error: Exception,
    status: Literal["failed", "degraded"] = "failed",
    *,
    notes: tuple[str, ...],
    consequence: str,
) -> None:
    for policy in _policies(pipeline):
        policy.report_failure(Call(work), status=status, error=error, notes=notes, consequence=consequence)


def _policies(pipeline: Pipeline) -> Iterable[Notify]:
    return (policy for policy in pipeline.policies if isinstance(policy, Notify))


def _ending(error: BaseException) -> Exception:
    if isinstance(error, ExternalSignal):
        return ProcessDied("a termination signal ended the flow run's process", signal=signal.SIGTERM)
    if isinstance(error, SystemExit):
        return CrashedRun("sys.exit() was called in the flow run")
    return CrashedRun("the flow run was cancelled from outside")


def _failures(events: Iterable[Event]) -> Iterable[str]:
    errors: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if isinstance(event, CallFailed):
            errors[event.operation][event.error_in_brief] += 1
    for operation, types in sorted(errors.items(), key=lambda item: -item[1].total()):
        yield f"{operation}: failed{_times(types)} ({counted(dict(types.most_common()))})"


def _stand_ins(events: Iterable[Event]) -> Iterable[str]:
    errors: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for event in events:
        if isinstance(event, FallbackUsed):
            errors[event.operation, event.fallback][event.error_in_brief] += 1
    for (operation, fallback), types in sorted(errors.items(), key=lambda item: -item[1].total()):
        why = counted(dict(types.most_common()))
        yield f"{operation}: degraded{_times(types)}, {fallback} stands in after {why}"


def _data(events: Sequence[Event]) -> Iterable[str]:
    if quarantined := RunReport(events).quarantine():
        yield quarantined
    if warned := what_rules_warn_of(events):
        yield warned
    invalid: dict[str, dict[tuple[str, str | None], int]] = defaultdict(dict)
    for event in events:
        # A refused batch is already counted as the call's failure.
        if isinstance(event, RowsInvalid) and not isinstance(event, RowsQuarantined) and event.action != "refused":
            invalid[event.action][event.call, event.part] = event.invalid  # the count of the call's last attempt
    for action, of_calls in invalid.items():
        if rows := sum(of_calls.values()):
            yield f"{number_of(rows, 'invalid row')} {action}"
    if drifted := {event.operation for event in events if isinstance(event, DataDrifted) and event.action != "pass"}:
        yield f"data drifted: {', '.join(sorted(drifted))}"


def _recoveries(events: Iterable[Event]) -> Iterable[str]:
    recovered = [event for event in events if isinstance(event, RetryRecovered)]
    if recovered:
        errors: Counter[str] = Counter()
        for event in recovered:
            errors.update(event.failures or event.errors)
        yield f"{number_of(len(recovered), 'call')} recovered ({counted(dict(errors.most_common()))})"


def _times(errors: Counter[str]) -> str:
    return f" {number_of(errors.total(), 'time')}" if errors.total() > 1 else ""
