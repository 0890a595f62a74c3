"""The alert about a flow run: one message at its end, which rolls up everything that went wrong inside it.

A task's `notify=` sends alerts as its calls fail. A flow's sends one per run, however often its function was tried: if
the run failed or crashed, or completed although calls in it failed or were degraded. A run without trouble ends the
incident.
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
from resilient_tasks.orchestrate import undocumented, verdict

_logger = logging.getLogger("resilient_tasks")

#: The most operations that are named; of more, the number is given.
_NAMED = 7
#: Seconds for which a terminated process waits until its message is sent.
_LAST_WORDS = 3.0

_FAILED = "The flow run failed: what depends on it does not run."
_STOOD_IN = "A fallback stood in for the whole run: what depends on it runs on the stand-in's data."
_DEGRADED = "The flow run completed: what depends on it runs without these calls' data, or on that of their stand-ins."
_CRASHED = "The flow run crashed: it was ended before its end, and what it had begun may be half done."


@dataclass(slots=True)
class Told:
    """The content of an alert about a run.

    Attributes:
        events: the events in it, except those of the call of its own function.
        standing: those of them that no later attempt made good.
        own: the events of the call of its own function.
        began: when the run began, on the clock in use.
        remark: an additional remark of the final state; may be empty.
    """

    events: Sequence[Event]
    standing: Sequence[Event]
    own: Sequence[Event]
    began: float
    remark: str = ""


def untold(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline without its `notify`, which acts at the end of the run, not of an attempt."""
    if not any(isinstance(policy, Notify) for policy in pipeline.policies):
        return pipeline
    return Pipeline(*(policy for policy in pipeline.policies if not isinstance(policy, Notify)))


def is_told(pipeline: Pipeline) -> bool:
    """Return whether this flow's runs send alerts."""
    return any(isinstance(policy, Notify) for policy in pipeline.policies)


def callers() -> Iterator[Work]:
    """Return the calls around this code, innermost first."""
    call = current_call()
    while call is not None:
        yield call.work
        call = call.parent


def is_crash(error: BaseException | None) -> bool:
    """Return whether something ended the run other than a person who cancelled it or pressed Ctrl-C."""
    ended = isinstance(error, ExternalSignal | SystemExit | asyncio.CancelledError)
    return ended and not undocumented.ended_on_request()


def overran(error: BaseException, limit: float | None, seconds: float) -> TimedOut | None:
    """Return the error of a run that Prefect's own `timeout_seconds` has cancelled; None where something else did."""
    if not isinstance(error, asyncio.CancelledError) or not limit or seconds < limit:
        return None
    return TimedOut(f"the flow run took longer than its timeout_seconds={limit:g}", seconds=limit)


def tell(
    pipeline: Pipeline, work: Work, told: Told, error: BaseException | None, because: Exception | None = None
) -> None:
    """Send the alerts about the end of a run.

    Args:
        pipeline: the flow's policies, `notify` among them.
        work: the call of the flow's function.
        told: what happened in the run.
        error: what it failed with, or what ended it; None where it completed.
        because: the error that the flow's own fallback stood in for; None if it did not.
    """
    try:
        _tell_of_end(pipeline, work, told, error, because)
    except Exception:
        _logger.exception("%s: the alert about the end of its run could not be sent", work.operation)


def _tell_of_end(
    pipeline: Pipeline, work: Work, told: Told, error: BaseException | None, because: Exception | None
) -> None:
    if isinstance(error, Exception):
        _tell(pipeline, work, error, notes=rolled_up(told.events), consequence=_FAILED)
    elif error is not None:
        _tell(pipeline, work, _what_ended_it(error), notes=rolled_up(told.events), consequence=_CRASHED)
        if isinstance(error, ExternalSignal):
            sender.flush(_LAST_WORDS)  # Prefect lets the signal end the process, without any farewell
    elif because is not None:
        _tell(pipeline, work, because, "degraded", notes=rolled_up(told.standing), consequence=_STOOD_IN)
    else:
        _tell_of_completion(pipeline, work, told)


def _tell_of_completion(pipeline: Pipeline, work: Work, told: Told) -> None:
    troubles = [event for event in unhealed(told.standing) if isinstance(event, CallFailed | FallbackUsed)]
    if not troubles and not told.remark:
        for policy in _policies(pipeline):
            policy.report_success(Call(work), told.began)
        return
    words = "; ".join(filter(None, [verdict.counts(RunReport(troubles)), told.remark]))
    recovered = tuple(event.sentence() for event in told.own if isinstance(event, RetryRecovered))
    notes = (*recovered, *rolled_up(told.standing))
    _tell(pipeline, work, DegradedRun(words), "degraded", notes=notes, consequence=_DEGRADED)


def rolled_up(events: Sequence[Event]) -> tuple[str, ...]:
    """Say in a line for each operation what went wrong with its calls, and in one each what else there was."""
    standing = unhealed(events)
    lines = [*_failures(standing), *_stand_ins(standing)]
    if len(lines) > _NAMED:
        lines[_NAMED:] = [f"and {len(lines) - _NAMED} more"]
    return (*lines, *_data(events), *_recoveries(events))


def failure_in(operation: str, state: State[Any]) -> CallFailed | None:
    """Return the event of a failed task run whose own events were not heard here, if it has failed.

    It ran in another process, or has no policy and therefore no events.
    """
    if not (state.is_failed() or state.is_crashed()):
        return None
    error, details = undocumented.data_in(state), state.state_details
    run = {"flow_run_id": str(details.flow_run_id), "task_run_id": str(details.task_run_id)}
    told = about(error) if isinstance(error, BaseException) else {"kind": "", "error_type": str(state.name)}
    return CallFailed(operation=operation, run=run, **{**told, "message": state.message or ""})


def unhealed(events: Sequence[Event]) -> list[Event]:
    """Leave out failures inside a task run that came before it recovered, was degraded, or was tried again.

    Later events say how those calls ended. So they do of failures that a call around them took up.
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


def _tell(
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


def _what_ended_it(error: BaseException) -> Exception:
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
        # A refused batch is the call's failure.
        if isinstance(event, RowsInvalid) and not isinstance(event, RowsQuarantined) and event.action != "refused":
            invalid[event.action][event.call, event.part] = event.invalid  # that of the call's last attempt
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
