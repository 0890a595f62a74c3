"""Track the futures of a flow run that no code has observed yet, so that none of them fails unnoticed.

In Prefect, a flow completes although a submitted task failed, unless it returns the future or reads its result. Here
every future that the run's task runner creates is tracked until code observes it: reads its result or final state,
returns it, or passes it to another task.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import PrefectFuture, PrefectFutureList
from prefect.task_runners import TaskRunner

from resilient_tasks.prefect import undocumented

#: Called with each observed final state, and the name of the task's operation.
OnFinalState = Callable[[str, State[Any]], None]

_LIST = "_resilient_list"
#: Whether a future is waiting for its own result; reading its own handle then does not count as observing it.
_waits: contextvars.ContextVar[bool] = contextvars.ContextVar("_waits", default=False)


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
    def of(self, runner: TaskRunner[Any] | None) -> Iterator[None]:
        """Track the futures that `runner`, which serves one flow run only, creates inside the block."""
        if runner is None:
            undocumented.warn_once(undocumented.TASK_RUNNER)
            yield
            return
        own = {"submit": self._submitting(runner.submit), "map": _mapping(runner.map), _LIST: self}
        vars(runner).update(own)
        try:
            yield
        finally:
            for name in own:
                vars(runner).pop(name, None)

    def wait(self) -> None:
        """Wait until every tracked run has ended, including those submitted meanwhile."""
        waited: set[UUID] = set()
        while fresh := {run: of for run, of in self._open.copy().items() if run not in waited}:
            for run, submitted in fresh.items():
                waited.add(run)
                with suppress(concurrent.futures.CancelledError):  # its state will say so
                    submitted.future.wait()

    def failed(self) -> list[tuple[Submitted, State[Any]]]:
        """Return the runs that did not complete, in order of submission. All must have ended."""
        found = []
        for submitted in self._open.copy().values():
            state = submitted.future.state  # this observes it
            if not state.is_completed() and submitted.concerns_the_flow():
                found.append((submitted, state))
        return found

    def observe(self, run: UUID, state: object) -> None:
        """Stop tracking a future: its outcome was observed, or will be."""
        submitted = self._open.pop(run, None)
        if submitted is not None and isinstance(state, State):
            self._on_final_state(submitted.operation, state)

    def _submitting(self, submit: Callable[..., PrefectFuture[Any]]) -> Callable[..., PrefectFuture[Any]]:
        @functools.wraps(submit)
        def listed(*args: Any, **kwargs: Any) -> PrefectFuture[Any]:
            future = submit(*args, **kwargs)
            try:
                self._add(future, kwargs["task"] if "task" in kwargs else args[0])
            except Exception:  # the work continues, tracked or not
                undocumented.warn_once(undocumented.FUTURES)
            return future

        return listed

    def _add(self, future: PrefectFuture[Any], task: Any) -> None:
        operation = getattr(getattr(task, "plan", None), "operation", task.name)
        parent, run = _task_run_of_this_flow(), future.task_run_id
        self._open[run] = Submitted(future, task.name, operation, parent, parent.run_count if parent else 0)
        wrapped = getattr(future, "wrapped_future", None)
        if type(wrapped) is concurrent.futures.Future:
            wrapped.add_done_callback(functools.partial(self._remove_completed, run))
        vars(future)[_LIST] = self
        future.__class__ = _watched(type(future))

    def _remove_completed(self, run: UUID, done: concurrent.futures.Future[Any]) -> None:
        """Stop tracking a run that completed, so that its result is not kept in memory."""
        if done.cancelled() or done.exception() is not None:
            return
        state = done.result()
        if isinstance(state, State) and state.is_completed():
            self.observe(run, state)


def is_listed(runner: TaskRunner[Any] | None) -> bool:
    """Return whether the futures of `runner` are tracked already."""
    return runner is not None and _LIST in vars(runner)


def _task_run_of_this_flow() -> TaskRun | None:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is None or flow is None or flow.flow_run is None or task.task_run.flow_run_id != flow.flow_run.id:
        return None  # in a flow called by a task, the context still has that task
    return task.task_run


def _observe(future: PrefectFuture[Any], state: object = None) -> None:
    vars(future)[_LIST].observe(future.task_run_id, state or getattr(future, "_final_state", None))


def _observe_from_outside(future: PrefectFuture[Any]) -> None:
    if not _waits.get():
        _observe(future)


def _has_answered(future: PrefectFuture[Any]) -> bool:
    """Return whether it has its final state. If this Prefect keeps that elsewhere, asking counts as observing."""
    return getattr(future, "_final_state", True) is not None


@contextmanager
def _waiting() -> Iterator[None]:
    before = _waits.set(True)
    try:
        yield
    finally:
        _waits.reset(before)


@functools.cache
def _watched(kind: type[Any]) -> type[Any]:  # noqa: C901  # a class of short methods
    """Return a subclass of `kind` whose futures report when code observes them."""

    class Watched(kind):  # type: ignore[misc]  # of whatever class the task runner's futures are
        __doc__, __module__, __qualname__ = kind.__doc__, kind.__module__, kind.__qualname__

        def wait(self, *args: Any, **kwargs: Any) -> None:
            with _waiting():
                super().wait(*args, **kwargs)

        def result(self, *args: Any, **kwargs: Any) -> Any:
            try:
                with _waiting():
                    return super().result(*args, **kwargs)
            finally:
                if _has_answered(self):
                    _observe(self)

        @property
        def state(self) -> State[Any]:
            state: State[Any] = super().state
            if state.is_final() or _has_answered(self):
                _observe(self, state)
            return state

        if hasattr(kind, "result_async"):

            async def result_async(self, *args: Any, **kwargs: Any) -> Any:
                try:
                    return await super().result_async(*args, **kwargs)
                finally:
                    if _has_answered(self):
                        _observe(self)

        if hasattr(kind, "wrapped_future"):

            @property
            def wrapped_future(self) -> Any:
                # Cluster runners pass this to a task that takes the future as an argument. Ray's futures also use it
                # to wait.
                _observe_from_outside(self)
                return super().wrapped_future

    Watched.__name__ = kind.__name__
    return Watched


class _WatchedList(PrefectFutureList[Any]):
    """The futures of a mapped task. Reading their results together observes each, even if one raises."""

    def result(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().result(*args, **kwargs)
        finally:
            for future in self:
                _observe(future)


def _mapping(map_over: Callable[..., PrefectFutureList[Any]]) -> Callable[..., PrefectFutureList[Any]]:
    @functools.wraps(map_over)
    def listed(*args: Any, **kwargs: Any) -> PrefectFutureList[Any]:
        return _WatchedList(map_over(*args, **kwargs))  # type: ignore[abstract]  # as Prefect makes its own

    return listed
