"""The pipeline's events as Prefect's own states, so that Prefect's history tells what was done and why.

Prefect's engine publishes a task run's first state and its last. What lies between them is ours: `AwaitingRetry` with
the reason as its message, then `Retrying`, each through the function by which the engine publishes its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, StateDetails, StateType, TaskRun
from prefect.context import TaskRunContext
from prefect.results import ResultRecord  # type: ignore[attr-defined]  # its public place all the same
from prefect.transactions import get_transaction
from prefect.utilities.asyncutils import run_coro_as_sync

from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.events import Event, FallbackUsed, RetryRecovered, RetryScheduled, RetryStarted
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome

try:  # undocumented; there since 3.0.11
    from prefect.utilities.engine import emit_task_run_state_change_event as _publish
except ImportError:  # pragma: no cover  # no released Prefect 3.8 lacks it
    _publish = None  # type: ignore[assignment]
    logging.getLogger("resilient_tasks").warning(
        "this Prefect cannot publish a task's states from inside: attempts are in the log, not in the state history"
    )


class WordedState(State[Any]):
    """A final state whose words are ours. Whoever calls the task directly gets the data, as if no state were there."""


class ReturnedFailureError(ResilienceError):
    """A task's function returned a failed state that holds no exception."""


_RETURNED = "__resilient_returned__"


def raising_failed_states(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Have a failed state that `fn` returns count as a failed attempt, as it does for Prefect's own retries."""

    def checked(result: Any) -> Any:
        if not (isinstance(result, State) and result.is_failed()):
            return result
        error = result.data if isinstance(result.data, Exception) else ReturnedFailureError(result.message or "failed")
        setattr(error, _RETURNED, result)
        raise error

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            return checked(await fn(*args, **kwargs))

        return awaiting

    @functools.wraps(fn)
    def calling(*args: Any, **kwargs: Any) -> Any:
        return checked(fn(*args, **kwargs))

    return calling


def _returned_by(error: Exception) -> State[Any] | None:
    state = getattr(error, _RETURNED, None)
    return state if isinstance(state, State) else None


class StateSink:
    """Hears of one task run's events, in the thread they happen in, and publishes states for them."""

    def __init__(self) -> None:
        self._recovered: RetryRecovered | None = None
        self._degraded: FallbackUsed | None = None
        self._last: Any = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            when = datetime.now(UTC) + timedelta(seconds=event.delay)
            details = StateDetails(scheduled_time=when)  # type: ignore[arg-type]  # Prefect's own alias of datetime
            self._enter(
                State(type=StateType.SCHEDULED, name="AwaitingRetry", message=event.sentence(), state_details=details)
            )
        elif isinstance(event, RetryStarted):
            self._enter(State(type=StateType.RUNNING, name="Retrying", message=event.sentence()))
        elif isinstance(event, RetryRecovered):
            self._recovered = event
        elif isinstance(event, FallbackUsed):
            self._degraded = event

    def worded(self, outcome: Outcome[Any]) -> Any:
        """Return what the task's body returns for `outcome`: its value, in a state where there is something to say.

        A failed state that the function itself returned is handed on, as Prefect does.

        Raises:
            Exception: the error of a failed outcome. A state of ours in its place would commit a transaction.
        """
        if isinstance(outcome, Failed):
            return _returned_by(outcome.error) or outcome.unwrap()
        remember(outcome)
        if isinstance(outcome, Degraded):
            _keep_out_of_the_cache()
            words = self._degraded.sentence() if self._degraded else "degraded"
            return WordedState(type=StateType.COMPLETED, name="Degraded", message=words, data=outcome.value)
        if self._recovered is None or isinstance(outcome.value, State):
            return outcome.value
        return WordedState(
            type=StateType.COMPLETED, name="Completed", message=self._recovered.sentence(), data=outcome.value
        )

    def _enter(self, state: State[Any]) -> None:
        """Bring the task run into `state`, as the engine's own `set_state` does."""
        context = TaskRunContext.get()
        if context is None or _publish is None:
            return
        run = context.task_run
        before = run.state
        _account(run, before, state)
        self._last = _publish(task_run=run, initial_state=before, validated_state=state, follows=self._last)
        if state.is_running():
            _call_on_running_hooks(context, state)


def _account(run: TaskRun, before: State[Any] | None, state: State[Any]) -> None:
    state.state_details.task_run_id = run.id
    state.state_details.flow_run_id = run.flow_run_id
    run.state, run.state_id, run.state_type, run.state_name = state, state.id, state.type, state.name
    if before is not None and before.is_running():
        run.total_run_time += state.timestamp - before.timestamp
    if state.is_running():
        run.run_count += 1


def _call_on_running_hooks(context: TaskRunContext, state: State[Any]) -> None:
    for hook in context.task.on_running_hooks:
        try:
            result = hook(context.task, context.task_run, state)
            if inspect.iscoroutine(result):
                run_coro_as_sync(result)
        except Exception:
            logging.getLogger("resilient_tasks").exception("the on_running hook %r failed", hook)


def _keep_out_of_the_cache() -> None:
    """Prefect would serve a stand-in as `Cached` from then on."""
    transaction = get_transaction()
    if transaction is not None:
        transaction.write_on_commit = False


#: Outcomes of this process's latest task runs, for what a state cannot say: the error that a fallback stood in for.
_ROOM = 4096
_outcomes: OrderedDict[UUID, Outcome[None]] = OrderedDict()


def remember(outcome: Outcome[Any]) -> None:
    """Keep what a state cannot tell of `outcome`. Its value is not kept."""
    context = TaskRunContext.get()
    if context is None or (isinstance(outcome, Ok) and outcome.attempts == 1):
        return
    told = Degraded(None, outcome.because) if isinstance(outcome, Degraded) else outcome
    _outcomes[context.task_run.id] = Ok(None, told.attempts) if isinstance(told, Ok) else told
    while len(_outcomes) > _ROOM:
        _outcomes.popitem(last=False)


def told_of(state: State[Any]) -> Outcome[None] | None:
    """Return what was kept of the task run that ended in `state`, if it ran in this process and not long ago."""
    run_id = state.state_details.task_run_id
    return _outcomes.get(run_id) if run_id is not None else None


def data_of(value: Any) -> Any:
    """Return the data of a state whose words are ours, and anything else as it is."""
    if not isinstance(value, WordedState):
        return value
    return value.data.result if isinstance(value.data, ResultRecord) else value.data
