"""`@resilient_task`: Prefect's `@task`, with policies around what it does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from prefect import Task, tasks
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

from resilient_tasks import decorate
from resilient_tasks.core import runtime, settings
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.decorate import Plan, PolicyOptions
from resilient_tasks.observe import logs
from resilient_tasks.orchestrate import runs
from resilient_tasks.orchestrate.states import StateSink, data_of, raising_failed_states, told_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OURS = frozenset(PolicyOptions.__annotations__)
_PREFECTS = frozenset(inspect.signature(Task.__init__).parameters) - {"self", "fn"}
_TWO_LOOPS = ("retries", "retry_delay_seconds", "retry_jitter_factor", "retry_condition_fn")


class ResilientTask(Task[P, R]):
    """A Prefect task whose function runs inside a pipeline.

    Everything that Prefect does with a task it does with this one. `outcome(...)` runs it and returns `Ok`, `Degraded`
    or `Failed` to be matched, where calling it returns the result or raises.
    """

    def __init__(self, plan: Plan, **options: Any) -> None:
        super().__init__(fn=_body(plan), **_checked(plan, options))
        self.plan = plan
        if plan.pipeline.policies:
            # Of the user's function: the wrappers of all functions with one name would share one key.
            self.task_key = tasks._generate_task_key(plan.fn)  # noqa: SLF001  # no public way

    def with_options(self, **options: Any) -> ResilientTask[P, R]:
        """Return this task with other options, Prefect's or policies; a policy given here replaces its like.

        Raises:
            PolicyError: the options are contradictory, also with those that stay.
        """
        ours = {name: value for name, value in options.items() if name in _OURS}
        theirs = {name: value for name, value in options.items() if name not in _OURS}
        plan = decorate.replaced(self.plan, cast("PolicyOptions", ours)) if ours else self.plan
        plain = super().with_options(**_checked(plan, theirs))
        other = ResilientTask.__new__(ResilientTask)
        other.__dict__.update(plain.__dict__)
        other.plan, other.task_key = plan, self.task_key
        if ours:
            other.fn = _body(plan)
        # Prefect hands these lists on as they are: a hook added to the copy would run for the original too.
        for hooks in ("on_completion_hooks", "on_failure_hooks", "on_running_hooks"):
            setattr(other, hooks, list(getattr(plain, hooks)))
        return other

    if not TYPE_CHECKING:  # for type checkers, calling it is what calling Prefect's task is

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the task, and return its result (or its state, with `return_state=True`)."""
            result = super().__call__(*args, **kwargs)
            if kwargs.get("return_state"):
                return result
            return _awaited(result) if inspect.iscoroutine(result) else data_of(result)

    @overload
    def outcome(  # type: ignore[overload-overlap]  # a coroutine function's own outcome is awaited
        self: ResilientTask[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Outcome[R]: ...
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the task, and return what came of it, to be matched. Of an async task, an awaitable of that."""
        state = super().__call__(*args, return_state=True, **kwargs)
        if inspect.iscoroutine(state):
            return _awaited_outcome(state)
        return _outcome(cast("State[Any]", state))


async def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return data_of(await coroutine)


async def _awaited_outcome(coroutine: Coroutine[Any, Any, State[Any]]) -> Outcome[Any]:
    state = await coroutine
    return _named(state, await state.aresult(raise_on_failure=False))


def _outcome(state: State[Any]) -> Outcome[Any]:
    return _named(state, state.result(raise_on_failure=False, _sync=True))  # type: ignore[call-overload]


def _named(state: State[Any], result: Any) -> Outcome[Any]:
    if not state.is_completed():
        failed = Failed(result if isinstance(result, Exception) else ResilienceError(state.message or str(state)))
        return failed if settings.current.enabled else failed.unwrap()
    told = told_of(state)
    if state.name == "Degraded":
        because = told.because if isinstance(told, Degraded) else ResilienceError(state.message or "degraded")
        return Degraded(result, because)
    return Ok(result, told.attempts if isinstance(told, Ok) else 1)


def outcome_of(future: PrefectFuture[T]) -> Outcome[T]:
    """Wait for a submitted task, and return what came of it, to be matched.

    A fallback that stood in for a task in another process is `Degraded` too; its `because` is then a `ResilienceError`
    with the words of the state, since the error itself stayed there.
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
    theirs = {name: value for name, value in options.items() if name not in _OURS}
    plan = decorate.make_plan(_plain(fn), cast("PolicyOptions", ours))
    task: ResilientTask[..., Any] = ResilientTask(plan, **theirs)
    task._isclassmethod = isinstance(fn, classmethod)  # noqa: SLF001  # as Task.__init__
    task._isstaticmethod = isinstance(fn, staticmethod)  # noqa: SLF001
    return task


def _plain(fn: Any) -> Callable[..., Any]:
    if isinstance(fn, Task):
        msg = f"{fn.name} is a Prefect task already: replace its @task by @resilient_task instead of stacking them"
        raise PolicyError(msg)
    return cast("Callable[..., Any]", fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn)


def _checked(plan: Plan, options: dict[str, Any]) -> dict[str, Any]:
    """Return Prefect's options, with one retry loop at most."""
    if not any(policy.slot == "retry" for policy in plan.pipeline.policies):
        return options
    for name in _TWO_LOOPS:
        if options.get(name):
            msg = (
                f"{plan.operation} has both retry= and Prefect's {name}=: two retry loops multiply."
                f" Keep retry=Retry(attempts=..., wait=...) and drop {name}="
            )
            raise PolicyError(msg)
    # Also against Prefect's setting PREFECT_TASK_DEFAULT_RETRIES.
    return {**options, "retries": 0}


def _body(plan: Plan) -> Callable[..., Any]:
    """Return the function that Prefect runs: the user's own, inside its pipeline, with Prefect's states as a sink."""
    fn, run = plan.fn, plan.pipeline.run
    if not plan.pipeline.policies:
        return fn
    inside = replace(plan, fn=raising_failed_states(fn))
    if plan.is_async:

        @functools.wraps(fn)
        async def async_body(*args: Any, **kwargs: Any) -> Any:
            if not settings.current.enabled:
                return await fn(*args, **kwargs)
            sink = StateSink()
            return sink.worded(await run(inside.work(args, kwargs, (sink,))))

        return plan.owned_by(async_body)

    @functools.wraps(fn)
    def body(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return fn(*args, **kwargs)
        sink = StateSink()
        return sink.worded(runtime.drive(run(inside.work(args, kwargs, (sink,)))))

    return plan.owned_by(body)
