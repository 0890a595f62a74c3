"""The futures of a flow run that no code has looked at yet, so that none of them fails unnoticed.

In Prefect a flow whose submitted task failed completes, unless its future is returned or asked for its result. Here
every future that the run's task runner gives out is on a list until code looks at it: asks it for its result or
its final state, returns it, or hands it to another task.
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

from resilient_tasks.orchestrate import undocumented

#: Hears of each final state that comes to be known, with the name of the task's operation.
Told = Callable[[str, State[Any]], None]

_LIST = "_resilient_list"
#: A future is waiting for its own result, so that what it asks of itself is no look from outside.
_waits: contextvars.ContextVar[bool] = contextvars.ContextVar("_waits", default=False)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task run whose outcome no code has looked at.

    Attributes:
        future: the run's future.
        task: the task's name.
        operation: the name by which the task's events are found.
        parent: the task run that submitted this one, or None where the flow itself did.
        attempt: the number of the parent's attempt.
    """

    future: PrefectFuture[Any]
    task: str
    operation: str
    parent: TaskRun | None = None
    attempt: int = 0

    def concerns_the_flow(self) -> bool:
        """Tell whether the failure would be lost: that of a parent's failed attempt is part of what is known of it."""
        if self.parent is None:
            return True
        state = self.parent.state
        return state is not None and state.is_completed() and self.parent.run_count == self.attempt


class Unseen:
    """The list of futures that no code has looked at.

    Args:
        told: hears of the final states of task runs whose futures were waited for.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._open: dict[UUID, Submitted] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self) -> None:
        """Forget what an attempt before this one left behind."""
        self._open = {}

    @contextmanager
    def of(self, runner: TaskRunner[Any] | None) -> Iterator[None]:
        """List what `runner`, which serves one flow run only, gives out inside the block."""
        if runner is None:
            undocumented.say_once(undocumented.TASK_RUNNER)
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
        """Wait until every run on the list has ended, also those that are submitted meanwhile."""
        waited: set[UUID] = set()
        while fresh := {run: of for run, of in self._open.copy().items() if run not in waited}:
            for run, submitted in fresh.items():
                waited.add(run)
                with suppress(concurrent.futures.CancelledError):  # its state will say so
                    submitted.future.wait()

    def failed(self) -> list[tuple[Submitted, State[Any]]]:
        """Return those that did not complete, in the order in which they were submitted. They must have ended."""
        found = []
        for submitted in self._open.copy().values():
            state = submitted.future.state  # from here on it has been looked at
            if not state.is_completed() and submitted.concerns_the_flow():
                found.append((submitted, state))
        return found

    def look(self, run: UUID, state: object) -> None:
        """Take a future off the list: its outcome was looked at, or will be."""
        submitted = self._open.pop(run, None)
        if submitted is not None and isinstance(state, State):
            self._told(submitted.operation, state)

    def _submitting(self, submit: Callable[..., PrefectFuture[Any]]) -> Callable[..., PrefectFuture[Any]]:
        @functools.wraps(submit)
        def listed(*args: Any, **kwargs: Any) -> PrefectFuture[Any]:
            future = submit(*args, **kwargs)
            try:
                self._add(future, kwargs["task"] if "task" in kwargs else args[0])
            except Exception:  # the work goes on, watched or not
                undocumented.say_once(undocumented.FUTURES)
            return future

        return listed

    def _add(self, future: PrefectFuture[Any], task: Any) -> None:
        operation = getattr(getattr(task, "plan", None), "operation", task.name)
        parent, run = _task_run_of_this_flow(), future.task_run_id
        self._open[run] = Submitted(future, task.name, operation, parent, parent.run_count if parent else 0)
        wrapped = getattr(future, "wrapped_future", None)
        if type(wrapped) is concurrent.futures.Future:
            wrapped.add_done_callback(functools.partial(self._let_go, run))
        vars(future)[_LIST] = self
        future.__class__ = _watched(type(future))

    def _let_go(self, run: UUID, done: concurrent.futures.Future[Any]) -> None:
        """Take a run that completed off the list, so that the list does not keep its result in memory."""
        if done.cancelled() or done.exception() is not None:
            return
        state = done.result()
        if isinstance(state, State) and state.is_completed():
            self.look(run, state)


def is_listed(runner: TaskRunner[Any] | None) -> bool:
    """Tell whether the futures of `runner` are on a list already."""
    return runner is not None and _LIST in vars(runner)


def _task_run_of_this_flow() -> TaskRun | None:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is None or flow is None or flow.flow_run is None or task.task_run.flow_run_id != flow.flow_run.id:
        return None  # a flow that a task calls still has that task in its context
    return task.task_run


def _look(future: PrefectFuture[Any], state: object = None) -> None:
    vars(future)[_LIST].look(future.task_run_id, state or getattr(future, "_final_state", None))


def _look_from_outside(future: PrefectFuture[Any]) -> None:
    if not _waits.get():
        _look(future)


def _has_answered(future: PrefectFuture[Any]) -> bool:
    """Tell whether it gave its final state. Where Prefect keeps that elsewhere, being asked counts as an answer."""
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
    """Return a class of futures like `kind` that report when code looks at them."""

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
                    _look(self)

        @property
        def state(self) -> State[Any]:
            state: State[Any] = super().state
            if state.is_final() or _has_answered(self):
                _look(self, state)
            return state

        if hasattr(kind, "result_async"):

            async def result_async(self, *args: Any, **kwargs: Any) -> Any:
                try:
                    return await super().result_async(*args, **kwargs)
                finally:
                    if _has_answered(self):
                        _look(self)

        if hasattr(kind, "wrapped_future"):

            @property
            def wrapped_future(self) -> Any:
                # Runners with a cluster hand this on to a task that takes the future as an argument. Ray's futures use
                # it to wait as well.
                _look_from_outside(self)
                return super().wrapped_future

    Watched.__name__ = kind.__name__
    return Watched


class _WatchedList(PrefectFutureList[Any]):
    """The futures of a mapped task. To ask them together for their results is to look at each, though one raises."""

    def result(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().result(*args, **kwargs)
        finally:
            for future in self:
                _look(future)


def _mapping(map_over: Callable[..., PrefectFutureList[Any]]) -> Callable[..., PrefectFutureList[Any]]:
    @functools.wraps(map_over)
    def listed(*args: Any, **kwargs: Any) -> PrefectFutureList[Any]:
        return _WatchedList(map_over(*args, **kwargs))  # type: ignore[abstract]  # as Prefect makes its own

    return listed
