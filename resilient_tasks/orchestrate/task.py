"""`@resilient_task`: Prefect's `@task`, with policies around what it does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from prefect import Task, tasks
from prefect.client.schemas.objects import State
from prefect.futures import PrefectDistributedFuture, PrefectFuture

from resilient_tasks import decorate
from resilient_tasks.core import settings
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.redacted import original_of
from resilient_tasks.decorate import Plan
from resilient_tasks.keywords import PolicyOptions
from resilient_tasks.observe import logs
from resilient_tasks.orchestrate import not_ready, runs, undocumented
from resilient_tasks.orchestrate.background import BackgroundFuture
from resilient_tasks.orchestrate.body import Body
from resilient_tasks.orchestrate.loops import with_one_loop
from resilient_tasks.orchestrate.states import data_of, told_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OURS = frozenset(PolicyOptions.__annotations__)
_PREFECTS = frozenset(inspect.signature(Task.__init__).parameters) - {"self", "fn"}
# The decorator's own: with those of the class, a task would not print into the log as its flow does.
_DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(tasks.task).parameters.items() if name in _PREFECTS
}
_TWO_LOOPS = ("retries", "retry_delay_seconds", "retry_jitter_factor", "retry_condition_fn")


class ResilientTask(Task[P, R]):
    """A Prefect task whose function runs inside a pipeline.

    Everything that Prefect does with a task it does with this one, and `fn` is the user's own function. `outcome(...)`
    runs the task and returns `Ok`, `Degraded` or `Failed` to be matched, where calling it returns the result or raises.
    """

    plan: Plan
    _body: Body | None

    def __init__(self, fn: Callable[P, R], plan: Plan, **options: Any) -> None:
        self.plan = plan
        super().__init__(fn=fn, **with_one_loop(plan, options, _TWO_LOOPS))
        self._arm(plan)

    @property
    def fn(self) -> Callable[P, R]:
        """The user's own function; for Prefect's engine, when it runs this task, the function in its pipeline."""
        if self._body is not None and undocumented.asked_by_the_engine(self):
            return self._body
        return cast("Callable[P, R]", self.__dict__["fn"])

    @fn.setter
    def fn(self, fn: Callable[P, R]) -> None:
        self.__dict__["fn"] = fn
        self.plan = self.plan if fn is self.plan.fn else replace(self.plan, fn=fn, owner=[])
        self._body = Body(self.plan) if self.plan.pipeline.policies else None

    def _arm(self, plan: Plan) -> None:
        """Take up the work of `plan`, after Prefect has set up everything else."""
        self.plan, self.fn = plan, plan.fn
        # Prefect copies the function's own attributes on to the task: one of a decorator underneath hides ours.
        self.__dict__.pop("outcome", None)
        if self._body is not None:
            undocumented.forget_policies_in_source(self, _OURS)

    def with_options(self, **options: Any) -> ResilientTask[P, R]:
        """Return this task with other options, Prefect's or policies; a policy given here replaces its like.

        Raises:
            PolicyError: the options are contradictory, also with those that stay.
        """
        ours = {name: value for name, value in options.items() if name in _OURS}
        theirs = {name: value for name, value in options.items() if name not in _OURS}
        plan = decorate.replaced(self.plan, cast("PolicyOptions", ours)) if ours else self.plan
        plain = super().with_options(**with_one_loop(plan, theirs, _TWO_LOOPS))
        other = ResilientTask.__new__(ResilientTask)
        other.__dict__.update(plain.__dict__)
        # Prefect hands these lists on as they are: a hook added to the copy would run for the original too.
        for hooks in ("on_completion_hooks", "on_failure_hooks", "on_running_hooks"):
            setattr(other, hooks, list(getattr(plain, hooks)))
        other._arm(plan)  # noqa: SLF001  # another of this very class
        return other

    if not TYPE_CHECKING:  # for type checkers, calling it is what calling Prefect's task is

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the task, and return its result (or its state, with `return_state=True`)."""
            result = super().__call__(*args, **kwargs)
            if self._body is None or kwargs.get("return_state"):
                return result
            if self.isasync and not self.isgenerator:
                return self._awaited(result, args, kwargs)
            if result is None:
                not_ready.say_if_not_run(self.plan.operation, args, kwargs)
            return data_of(result)

        async def _awaited(self, coroutine: Coroutine[Any, Any, Any], args: Any, kwargs: Any) -> Any:
            result = await coroutine
            if result is None:
                not_ready.say_if_not_run(self.plan.operation, args, kwargs)
            return data_of(result)

    def apply_async(self, *args: Any, **kwargs: Any) -> PrefectDistributedFuture[R]:
        """Have a task worker run this task, as Prefect's `apply_async`; `delay` comes here too."""
        future = super().apply_async(*args, **kwargs)
        return future if self._body is None else BackgroundFuture(future.task_run_id)

    @overload
    def outcome(  # type: ignore[overload-overlap]  # a coroutine function's own outcome is awaited
        self: ResilientTask[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(  # type: ignore[overload-overlap]  # pyright's type of the same, and a task's result is invariant
        self: ResilientTask[P, CoroutineType[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Outcome[R]: ...
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the task, and return what came of it, to be matched. Of an async task, an awaitable of that."""
        state = super().__call__(*args, return_state=True, **kwargs)
        if inspect.iscoroutine(state):
            return _awaited_outcome(state)
        return _outcome(cast("State[Any]", state))


async def _awaited_outcome(coroutine: Coroutine[Any, Any, State[Any]]) -> Outcome[Any]:
    state = await coroutine
    return _named(state, await state.aresult(raise_on_failure=False))


def _outcome(state: State[Any]) -> Outcome[Any]:
    return _named(state, state.result(raise_on_failure=False, _sync=True))  # type: ignore[call-overload]


def _named(state: State[Any], result: Any) -> Outcome[Any]:
    if not state.is_completed():
        error = original_of(result) if isinstance(result, Exception) else ResilienceError(state.message or str(state))
        return Failed(error) if settings.current.enabled else Failed(error).unwrap()
    told = told_of(state)
    return Degraded(result, told.because) if isinstance(told, Degraded) else Ok(result, told.attempts)


def outcome_of(future: PrefectFuture[T]) -> Outcome[T]:
    """Wait for a submitted task, and return what came of it, to be matched.

    Where the error that a fallback stood in for could not come along from another process, `because` is a
    `ResilienceError` with the words of the state.
    """
    future.wait()
    return _outcome(future.state)


@overload
def resilient_task(fn: Callable[P, R], /) -> ResilientTask[P, R]: ...
@overload
def resilient_task(**options: Any) -> Callable[[Callable[P, R]], ResilientTask[P, R]]: ...
def resilient_task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a Prefect task with policies around its function. Used bare, it is Prefect's `@task`.

    Takes the keywords of `resilient` (`retry=`, `deadline=`, `timeout=`, `validate=`, `fallback=`, `notify=`,
    `policies=`, `idempotent=`) and every keyword of Prefect's `@task`.

    Retries are published as Prefect states with their reasons; a task that recovered says so in its final state's
    message, and one whose fallback stood in completes as `Degraded`.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_make, options=options)
    return _make(fn, options)


def _make(fn: Callable[..., Any], options: dict[str, Any]) -> ResilientTask[..., Any]:
    logs.install()
    runs.connect()
    unknown = [name for name in options if name not in _OURS | _PREFECTS]
    if unknown:
        msg = f"@resilient_task has no keyword {unknown[0]!r}; it takes {', '.join(sorted(_OURS))}, and those of @task"
        raise PolicyError(msg)
    ours = {name: value for name, value in options.items() if name in _OURS}
    theirs = {**_DEFAULTS, **{name: value for name, value in options.items() if name not in _OURS}}
    plan = decorate.make_plan(_plain(fn), cast("PolicyOptions", ours))
    # Prefect wants to see what kind of method it is.
    given = type(fn)(plan.fn) if isinstance(fn, classmethod | staticmethod) else plan.fn
    return ResilientTask(given, plan, **theirs)


def _plain(fn: Any) -> Callable[..., Any]:
    if isinstance(fn, Task):
        msg = f"{fn.name} is a Prefect task already: replace its @task by @resilient_task instead of stacking them"
        raise PolicyError(msg)
    return cast("Callable[..., Any]", fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn)
