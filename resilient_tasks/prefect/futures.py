"""Prefect's futures: those that no code has observed yet, those of background tasks, and failed ones as arguments.

In Prefect, a flow completes although a submitted task failed, unless it returns the future or reads its result. Here
every future that the run's task runner creates is tracked until code observes it: reads its result or final state,
returns it, or passes it to another task.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import PrefectDistributedFuture, PrefectFuture, PrefectFutureList
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect.utilities.annotations import BaseAnnotation

from resilient_tasks import core, redaction
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.wording import named_few
from resilient_tasks.prefect import undocumented

#: Called with the name of the task's operation and the final state, once code has observed it. Text, because evaluating
#: `State[Any]` would create a class of pydantic here: see `StateWithMessage`.
OnFinalState: TypeAlias = "Callable[[str, State[Any]], None]"

_TRACKER = "_resilient_tracker"
#: Whether a future is waiting for its own result: its use of its `wrapped_future` does not count as observing it.
_is_waiting: contextvars.ContextVar[bool] = contextvars.ContextVar("_is_waiting", default=False)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task run whose outcome no code has observed.

    Attributes:
        future: the run's future.
        task: the task's name.
        operation: the operation in the task's events.
        parent: the task run that submitted this one, or None if the flow itself did.
        attempt: the number of the parent's attempt that submitted it.
    """

    future: PrefectFuture[Any]
    task: str
    operation: str
    parent: TaskRun | None = None
    attempt: int = 0

    def concerns_the_flow(self) -> bool:
        """Return whether the failure would be lost: a failed attempt of the parent already accounts for it."""
        if self.parent is None:
            return True
        state = self.parent.state
        return state is not None and state.is_completed() and self.parent.run_count == self.attempt


class UnobservedFutures:
    """The futures that no code has observed.

    Args:
        on_final_state: called with the final state of each observed task run.
    """

    def __init__(self, on_final_state: OnFinalState) -> None:
        self._on_final_state = on_final_state
        self._open: dict[UUID, Submitted] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self) -> None:
        """Forget the futures of earlier attempts."""
        self._open = {}

    @contextmanager
    def tracking(self, runner: TaskRunner[Any] | None) -> Iterator[None]:
        """Track the futures that `runner`, which serves one flow run only, creates inside the block."""
        if runner is None:
            undocumented.warn_once(undocumented.TASK_RUNNER)
            yield
            return
        in_processes = isinstance(runner, ProcessPoolTaskRunner)
        own = {
            "submit": self._tracked_submit(runner.submit, is_in_processes=in_processes),
            "map": _tracked_map(runner.map),
            _TRACKER: self,
        }
        vars(runner).update(own)
        try:
            yield
        finally:
            for name in own:
                vars(runner).pop(name, None)

    def wait(self) -> None:
        """Wait until every tracked run has ended, including those submitted meanwhile."""
        waited: set[UUID] = set()
        while new := {run: each for run, each in self._open.copy().items() if run not in waited}:
            for run, submitted in new.items():
                waited.add(run)
                with suppress(concurrent.futures.CancelledError):  # its state is Cancelled then
                    submitted.future.wait()

    def failed(self) -> list[tuple[Submitted, State[Any]]]:
        """Return the runs that did not complete, in order of submission. All must have ended."""
        found = []
        for submitted in self._open.copy().values():
            state = submitted.future.state  # which counts as observing it
            if not state.is_completed() and submitted.concerns_the_flow():
                found.append((submitted, state))
        return found

    def observe(self, run: UUID, state: object) -> None:
        """Stop tracking a future: its outcome was observed, or will be."""
        submitted = self._open.pop(run, None)
        if submitted is not None and isinstance(state, State):
            self._on_final_state(submitted.operation, state)

    def _tracked_submit(
        self, submit: Callable[..., PrefectFuture[Any]], *, is_in_processes: bool
    ) -> Callable[..., PrefectFuture[Any]]:
        @functools.wraps(submit)
        def tracked(*args: Any, **kwargs: Any) -> PrefectFuture[Any]:
            if is_in_processes:
                kwargs = _with_dependencies(args, kwargs)
            future = submit(*args, **kwargs)
            try:
                self._add(future, kwargs["task"] if "task" in kwargs else args[0])
            except Exception:  # the task runs, tracked or not
                undocumented.warn_once(undocumented.FUTURES)
            return future

        return tracked

    def _add(self, future: PrefectFuture[Any], task: Any) -> None:
        operation = getattr(getattr(task, "plan", None), "operation", task.name)
        parent, run = _task_run_of_this_flow(), future.task_run_id
        self._open[run] = Submitted(future, task.name, operation, parent, parent.run_count if parent else 0)
        wrapped = getattr(future, "wrapped_future", None)
        if type(wrapped) is concurrent.futures.Future:
            wrapped.add_done_callback(functools.partial(self._remove_completed, run))
        vars(future)[_TRACKER] = self
        future.__class__ = _tracked_class(type(future))

    def _remove_completed(self, run: UUID, done: concurrent.futures.Future[Any]) -> None:
        """Stop tracking a run that completed, so that its result is not kept in memory."""
        if done.cancelled() or done.exception() is not None:
            return
        state = done.result()
        if isinstance(state, State) and state.is_completed():
            self.observe(run, state)


def _with_dependencies(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the task runs from which parameters come: this runner replaces futures by results, and would lose them."""
    from prefect.utilities.engine import collect_task_run_inputs_sync  # noqa: PLC0415  # loads Prefect's engines

    if "parameters" not in kwargs and len(args) < _PARAMETERS + 1:
        return kwargs
    parameters = kwargs["parameters"] if "parameters" in kwargs else args[_PARAMETERS]
    given = kwargs.get("dependencies") or {}  # of a mapped task
    dependencies = {
        name: collect_task_run_inputs_sync(value) | given.get(name, set()) for name, value in parameters.items()
    }
    return {**kwargs, "dependencies": dependencies}


#: The position of the parameters among the arguments of a runner's `submit`.
_PARAMETERS = 1


def is_tracked(runner: TaskRunner[Any] | None) -> bool:
    """Return whether the futures of `runner` are tracked already."""
    return runner is not None and _TRACKER in vars(runner)


def _task_run_of_this_flow() -> TaskRun | None:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is None or flow is None or flow.flow_run is None or task.task_run.flow_run_id != flow.flow_run.id:
        return None  # in a flow called by a task, the context still has that task
    return task.task_run


def _observe(future: PrefectFuture[Any], state: object = None) -> None:
    vars(future)[_TRACKER].observe(future.task_run_id, state or getattr(future, "_final_state", None))


def _observe_unless_waiting(future: PrefectFuture[Any]) -> None:
    if not _is_waiting.get():
        _observe(future)


def _is_finished(future: PrefectFuture[Any]) -> bool:
    """Return whether it has its final state; True if this Prefect keeps that elsewhere."""
    return getattr(future, "_final_state", True) is not None


@contextmanager
def _waiting() -> Iterator[None]:
    before = _is_waiting.set(True)
    try:
        yield
    finally:
        _is_waiting.reset(before)


@functools.cache
def _tracked_class(kind: type[Any]) -> type[Any]:  # noqa: C901  # a class of short methods
    """Return a subclass of `kind` whose futures report when code observes them."""

    class Tracked(kind):  # type: ignore[misc]  # the class depends on the task runner
        __doc__, __module__, __qualname__ = kind.__doc__, kind.__module__, kind.__qualname__

        def wait(self, *args: Any, **kwargs: Any) -> None:
            with _waiting():
                super().wait(*args, **kwargs)

        def result(self, *args: Any, **kwargs: Any) -> Any:
            try:
                with _waiting():
                    return super().result(*args, **kwargs)
            finally:
                if _is_finished(self):
                    _observe(self)

        @property
        def state(self) -> State[Any]:
            state: State[Any] = super().state
            if state.is_final() or _is_finished(self):
                _observe(self, state)
            return state

        if hasattr(kind, "result_async"):

            async def result_async(self, *args: Any, **kwargs: Any) -> Any:
                try:
                    return await super().result_async(*args, **kwargs)
                finally:
                    if _is_finished(self):
                        _observe(self)

        if hasattr(kind, "wrapped_future"):

            @property
            def wrapped_future(self) -> Any:
                # Cluster runners pass this to a task that takes the future as an argument. Ray's futures also use it
                # to wait.
                _observe_unless_waiting(self)
                return super().wrapped_future

    Tracked.__name__ = kind.__name__
    return Tracked


class _TrackedList(PrefectFutureList[Any]):
    """The futures of a mapped task. Reading their results together observes each, even if one raises."""

    def result(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().result(*args, **kwargs)
        finally:
            for future in self:
                _observe(future)


def _tracked_map(map_over: Callable[..., PrefectFutureList[Any]]) -> Callable[..., PrefectFutureList[Any]]:
    @functools.wraps(map_over)
    def tracked(*args: Any, **kwargs: Any) -> PrefectFutureList[Any]:
        return _TrackedList(map_over(*args, **kwargs))  # type: ignore[abstract]  # as in Prefect

    return tracked


R = TypeVar("R")

#: Bounds, in seconds, of the wait for an event before the server is polled: a quarter of the time waited so far. So a
#: short task's end is noticed soon, and a thousand futures of a long queue poll seldom.
_POLL = (1.0, 30.0)


class BackgroundFuture(PrefectDistributedFuture[R]):
    """The future of a task that a task worker runs in the background (`delay`, `apply_async`).

    Prefect's own future waits for an event named after a final state: Completed, Failed, Crashed or Cancelled. A final
    state with another name, such as `Degraded` or Prefect's `TimedOut`, has another event, and a future that started to
    wait before it would wait for ever. This one polls the server as well.
    """

    async def wait_async(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # Prefect's signature
        """Wait until the task run has ended, for at most `timeout` seconds."""
        started = time.monotonic()
        until = started + timeout if timeout is not None else float("inf")
        while self._final_state is None and (left := until - time.monotonic()) > 0:
            wait = sorted((*_POLL, (time.monotonic() - started) / 4))[1]
            await super().wait_async(timeout=min(left, wait))

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Call `fn` with this future once the task run has ended; immediately if it already has."""

        async def call_back() -> None:
            await self.wait_async()
            fn(self)

        if self._final_state is not None:
            fn(self)
        elif not undocumented.run_in_background(call_back):
            super().add_done_callback(fn)


_logger = logging.getLogger("resilient_tasks")

#: The most failed arguments to name.
_NAMED = 3
#: How deep to search arguments for states.
_DEPTH = 6


def warn_if_not_run(operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Log a warning if Prefect did not run a call that returned None: one of its arguments had failed.

    Args:
        operation: the name of the task.
        args: the positional arguments of the call.
        kwargs: its keyword arguments.
    """
    failed = [_described(state) for state in _states_in((args, kwargs), _DEPTH) if not state.is_completed()]
    if failed:
        _logger.warning(
            "%s was not run and returned None: an argument had failed (%s). Prefect continues regardless. Call"
            " .result() on the future first, which raises the error, or pass allow_failure(future)",
            operation,
            redaction.text.redact(named_few(failed, _NAMED)),
        )


def _states_in(value: Any, depth: int) -> Iterator[State[Any]]:
    """Yield the final states in `value`, as Prefect looks for them; skip `allow_failure(...)`."""
    if isinstance(value, PrefectFuture):
        yield value.state
    elif isinstance(value, State):
        yield value
    elif isinstance(value, BaseAnnotation) or not depth:
        return
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _states_in(item, depth - 1)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _states_in(item, depth - 1)


def _described(state: State[Any]) -> str:
    error = undocumented.data_in(state)
    if isinstance(error, BaseException):
        return core.failures.describe(error)  # with its HTTP status, which Prefect's message lacks
    return f"{state.name}: {state.message}" if state.message else str(state.name)
