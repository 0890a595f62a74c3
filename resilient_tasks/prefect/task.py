"""`@resilient_task`: Prefect's `@task`, with policies around what it does."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import replace
from types import CoroutineType, MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, cast, overload

from prefect import tasks
from prefect.client.schemas.objects import State
from prefect.futures import PrefectDistributedFuture, PrefectFuture
from prefect.settings import PREFECT_TASK_DEFAULT_RETRIES
from prefect.tasks import Task

from resilient_tasks import redaction
from resilient_tasks.core import call as calls
from resilient_tasks.core import settings
from resilient_tasks.core.call import Work
from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.execution import runtime, streams
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import Pipeline
from resilient_tasks.decorators import decorate, misuse
from resilient_tasks.decorators.decorate import Plan, Resilient
from resilient_tasks.decorators.keywords import PolicyOptions
from resilient_tasks.observe import logs
from resilient_tasks.prefect import bare, inputs, loops, methods, raising, runs, undocumented
from resilient_tasks.prefect.futures import BackgroundFuture, warn_if_not_run
from resilient_tasks.prefect.states import ReturnedFailures, StateSink, data_of, outcome_of_state

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable

    from prefect.assets import Asset
    from prefect.cache_policies import CachePolicy
    from prefect.context import TaskRunContext
    from prefect.results import ResultSerializer, ResultStorage
    from prefect.tasks import RetryConditionCallable, StateHookCallable
    from prefect.transactions import Transaction
    from prefect.utilities.annotations import NotSet

    from resilient_tasks.explanation.explanation import Explanation

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OURS = PolicyOptions.__annotations__
_PREFECTS = frozenset(inspect.signature(Task.__init__).parameters) - {"self", "fn"}
# Those of the decorator: the class's defaults would keep a task from inheriting `log_prints` of its flow.
_DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(tasks.task).parameters.items() if name in _PREFECTS
}
_RETRIES = ("retries", "retry_delay_seconds", "retry_jitter_factor", "retry_condition_fn")


#: The key of degraded results in a pickled task.
_KNOWN = "_degraded_results"


class TaskOptions(PolicyOptions, total=False):
    """Keywords of `@resilient_task`: the policies, and those of Prefect's `@task` (3.8 and 3.9)."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    cache_policy: CachePolicy | type[NotSet] | None
    cache_key_fn: Callable[[TaskRunContext, dict[str, Any]], str | None] | None
    cache_expiration: dt.timedelta | None
    task_run_name: Callable[..., str] | str | None
    retries: int | None
    retry_delay_seconds: float | list[float] | Callable[[int], list[float]] | None
    retry_jitter_factor: float | None
    retry_condition_fn: RetryConditionCallable | None
    persist_result: bool | None
    result_storage: ResultStorage | None
    result_storage_key: str | None
    result_serializer: ResultSerializer | None
    cache_result_in_memory: bool
    timeout_seconds: float | None
    log_prints: bool | None
    refresh_cache: bool | None
    on_completion: list[StateHookCallable] | None
    on_failure: list[StateHookCallable] | None
    on_running: list[StateHookCallable] | None
    on_rollback: list[Callable[[Transaction], None]] | None
    on_commit: list[Callable[[Transaction], None]] | None
    viz_return_value: Any
    asset_deps: list[str | Asset] | None


class ResilientTask(Task[P, R]):
    """A Prefect task whose function runs inside a pipeline.

    Prefect treats it like any task, and `fn` is the user's own function. Calling it returns the result or raises;
    `outcome(...)` returns `Ok`, `Degraded` or `Failed` to match on.
    """

    plan: Plan
    _body: Body | None

    isasync: bool

    def __init__(self, fn: Callable[P, R], plan: Plan, **options: Any) -> None:
        self.plan = plan
        super().__init__(fn=fn, **loops.with_one_loop(plan, options, _RETRIES))
        self._install(plan)

    @property
    def fn(self) -> Callable[P, R]:
        """The user's own function; for Prefect's engine, while it runs this task, the function in its pipeline."""
        if self._body is not None:
            if undocumented.read_by_the_engine(self):
                return self._body
        elif (inputs.any_known() or calls.rehearse_function) and undocumented.read_by_the_engine(self):
            fn = (
                self.__dict__["fn"]
                if calls.rehearse_function is None
                else calls.rehearse_function(self, self.__dict__["fn"])
            )
            return bare.of_this_run(fn, self.plan.operation)
        return self.__dict__["fn"]  # type: ignore[no-any-return]  # set below

    @fn.setter
    def fn(self, fn: Callable[P, R]) -> None:
        self.__dict__["fn"] = fn
        self._set_plan(self.plan if fn is self.plan.fn else replace(self.plan, fn=fn, owner=None))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the task, for another process to run it, with what is known of degraded results."""
        return {**vars(self), _KNOWN: inputs.latest()} if inputs.any_known() else vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled task, and connect to Prefect: this process may define no task itself."""
        runs.connect()
        for run, origins in state.pop(_KNOWN, {}).items():
            inputs.learn(run, origins)
        vars(self).update(state)

    def __get__(self, instance: Any, owner: Any) -> ResilientTask[P, R]:
        """Return the task as a method of `instance` or of the class `owner`."""
        return methods.bind(self, instance, owner)

    def _set_plan(self, plan: Plan) -> None:
        self.plan = plan
        self._body = Body(plan) if plan.pipeline.policies else None

    def _install(self, plan: Plan) -> None:
        """Apply `plan`, after Prefect has set up everything else."""
        loops.check_condition(plan, self.retry_condition_fn if self.retries else None)
        self._set_plan(plan)
        # Prefect copies the function's attributes to the task: `outcome` of an inner decorator would hide ours.
        self.__dict__.pop("outcome", None)
        if self._body is not None:
            undocumented.forget_policies_in_source(self, _OURS)
            self.isasync = plan.is_async or callables.is_async_generator(plan.fn)  # Prefect misses async objects

    def with_options(self, **options: Any) -> ResilientTask[P, R]:
        """Return a copy of this task with other options, Prefect's or policies.

        A policy given here replaces the one of its kind, and None removes it (`retry=None`). `policies=None` removes
        those given by `policies=`.

        Raises:
            PolicyError: the options contradict each other or those that stay.
        """
        # Prefect itself refuses keywords that resemble none of ours.
        misuse.refuse_unknown(filter(misuse.is_likely_ours, options), _OURS, _PREFECTS, "resilient_task")
        ours = {name: value for name, value in options.items() if name in _OURS}
        theirs = {name: value for name, value in options.items() if name not in _OURS}
        plan = decorate.replaced(self.plan, cast("PolicyOptions", ours)) if ours else self.plan
        if loops.has_loop(self.plan) and not loops.has_loop(plan):
            theirs = {"retries": PREFECT_TASK_DEFAULT_RETRIES.value(), **theirs}
        plain = super().with_options(**loops.with_one_loop(plan, theirs, _RETRIES))
        other = ResilientTask.__new__(ResilientTask)
        other.__dict__.update(plain.__dict__)
        # Before 3.9, Prefect shares these lists: a hook added to the copy would run for the original too.
        for hooks in ("on_completion_hooks", "on_failure_hooks", "on_running_hooks"):
            setattr(other, hooks, list(getattr(plain, hooks)))
        methods.keep_kind(other, self)
        other._install(plan)  # noqa: SLF001  # same class
        return other

    if not TYPE_CHECKING:  # type checkers see the signature of Prefect's task

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the task and return its result, or its state with `return_state=True`."""
            result = super().__call__(*args, **kwargs)
            if self._body is None:
                return bare.result(self, result, is_state=bool(kwargs.get("return_state")))
            if kwargs.get("return_state"):
                return result
            if self.isasync and not self.isgenerator:
                return self._call_async(result, args, kwargs)
            if result is None:
                warn_if_not_run(self.plan.operation, args, kwargs)
            return data_of(result)

        async def _call_async(self, coroutine: Coroutine[Any, Any, Any], args: Any, kwargs: Any) -> Any:
            result = await coroutine
            if result is None:
                warn_if_not_run(self.plan.operation, args, kwargs)
            return data_of(result)

    @property
    def plain(self) -> Resilient[P, R]:
        """The function with the same policies, without Prefect: no run, no states, no server.

        A call is retried, validated and degraded as in a task; `plain.outcome(...)` returns the outcome.
        """
        logs.install()
        fn: Callable[..., Any] = self.fn
        for bound_to in methods.binding_of(fn).values():
            fn = MethodType(fn, bound_to)
        return decorate.wrapped(replace(self.plan, fn=fn, owner=None))  # type: ignore[no-any-return]

    def explain(self) -> Explanation:
        """Explain what the policies of this task will do, with their worst case and remarks on what is unusual."""
        from resilient_tasks.explanation.explanation import explain  # noqa: PLC0415  # few tasks are explained

        return explain(self)

    def apply_async(self, *args: Any, **kwargs: Any) -> PrefectDistributedFuture[R]:
        """Have a task worker run this task, as Prefect's `apply_async`; `delay` calls this too."""
        future = super().apply_async(*args, **kwargs)
        return future if self._body is None else BackgroundFuture(future.task_run_id)

    @overload
    def outcome(  # type: ignore[overload-overlap]  # for a coroutine function, the outcome is awaited
        self: ResilientTask[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(  # type: ignore[overload-overlap]  # pyright infers this type; a task's result is invariant
        self: ResilientTask[P, CoroutineType[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Outcome[R]: ...
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the task and return its outcome, for `match`; for an async task, await it."""
        state = super().__call__(*args, return_state=True, **kwargs)
        if inspect.iscoroutine(state):
            return _outcome_async(state)
        return _outcome(cast("State[Any]", state))


async def _outcome_async(coroutine: Coroutine[Any, Any, State[Any]]) -> Outcome[Any]:
    state = await coroutine
    return _outcome_from(state, await state.aresult(raise_on_failure=False))


def _outcome(state: State[Any]) -> Outcome[Any]:
    return _outcome_from(state, state.result(raise_on_failure=False, _sync=True))  # type: ignore[call-overload]


def _outcome_from(state: State[Any], result: Any) -> Outcome[Any]:
    if not state.is_completed():
        error = (
            redaction.exceptions.original_of(result)
            if isinstance(result, Exception)
            else ResilienceError(state.message or str(state))
        )
        return Failed(error) if settings.current.enabled else Failed(error).unwrap()
    outcome = outcome_of_state(state)
    return Degraded(result, outcome.because) if isinstance(outcome, Degraded) else Ok(result, outcome.attempts)


def outcome_of(future: PrefectFuture[T]) -> Outcome[T]:
    """Wait for a submitted task and return its outcome, for `match`.

    Args:
        future: the result of `submit` or `delay`, or an item of the list from `map`.

    Raises:
        TypeError: `future` is not a future.

    If the error behind a fallback could not be pickled in another process, `because` is a `ResilienceError` with the
    message of the state.
    """
    if not isinstance(future, PrefectFuture):
        raise TypeError(f"outcome_of takes the future of a submitted task, not {_advice(future)}")
    future.wait()
    return _outcome(future.state)


def _advice(given: object) -> str:
    kind = type(given).__name__
    if isinstance(given, State):
        return "a State: write task.outcome(...) for a call, or outcome_of(task.submit(...))"
    if isinstance(given, list | tuple | set | dict):
        return f"a {kind}: write [outcome_of(future) for future in futures]"
    if isinstance(given, Ok | Degraded | Failed):
        return f"an {kind}: that is an outcome already; match it"
    if isinstance(given, Task) or callable(given):
        return f"the {kind} {getattr(given, 'name', '')}: write outcome_of(task.submit(...)), or task.outcome(...)"
    if inspect.isawaitable(given):
        return f"a {kind}: await it first, or write await task.outcome(...)"
    return f"{given!r}"[:80] + ": write outcome_of(task.submit(...)), or task.outcome(...)"


@overload
def resilient_task(fn: Callable[P, R], /) -> ResilientTask[P, R]: ...
@overload
def resilient_task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], ResilientTask[P, R]]: ...
def resilient_task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a Prefect task with policies around its function. Without arguments, it is Prefect's `@task`.

    Retries are published as Prefect states with their reasons. The final state's message shows that a task recovered;
    a task that used its fallback completes as `Degraded`.

    Args:
        fn: the function, if the decorator is used without arguments.
        **options: every keyword of Prefect's `@task`, and the policies:

            - `retry=3` or `Retry(...)`: another attempt after a transient failure.
            - `deadline=120` or `"2 min"`: a limit for all attempts and waits together.
            - `timeout=20` or `Timeout(20, enforce="process")`: a limit for each attempt.
            - `breaker="flights-api"` or `CircuitBreaker(...)`: no call to a service that is known to be down.
            - `rate_limit=RateLimit("flights-api", calls=10, per=1)`: no more calls than a service allows.
            - `bulkhead=Bulkhead("warehouse", 4)`: no more calls at once.
            - `hedge=0.2` or `Hedge(...)`: a second call if the first is slow to answer.
            - `validate=Orders` or `Validate(...)`: bad data is stopped or split off.
            - `fallback=last_good`, `{TimedOut: f}` or `Fallback(...)`: a substitute for the result.
            - `single_flight=True` or `SingleFlight(...)`: concurrent calls with equal arguments share one attempt.
            - `notify=Slack(channel="#ml-alerts")`, several channels, or `Notify(...)`: where to send alerts.
            - `policies=[...]` or a `Pipeline`: further policies.
            - `policy="flights-api"`: the policies of a table in `pyproject.toml` or `resilient_tasks.toml`.
            - `idempotent=True`: doing the work twice does no harm.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_make, options=options)
    return _make(fn, options)


def _make(fn: Callable[..., Any], options: Mapping[str, Any]) -> ResilientTask[..., Any]:
    runs.connect()
    misuse.refuse_unknown(options, _OURS, _PREFECTS, "resilient_task")
    ours = {name: value for name, value in options.items() if name in _OURS}
    theirs = {**_DEFAULTS, **{name: value for name, value in options.items() if name not in _OURS}}
    plain = fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn
    plan = decorate.make_plan(plain, cast("PolicyOptions", ours), "resilient_task")
    # Prefect needs the classmethod or staticmethod itself.
    given = type(fn)(plan.fn) if isinstance(fn, classmethod | staticmethod) else plan.fn
    return ResilientTask(given, plan, **theirs)


class Body:
    """Replaces a task's function for the engine, with the same signature; publishes events as Prefect states."""

    def __init__(self, plan: Plan) -> None:
        self.__name__: str = plan.operation
        self.__signature__: inspect.Signature = inspect.signature(plan.fn)
        self._plan = plan
        self._is_generator = callables.is_generator(plan.fn)
        self._is_async_generator = callables.is_async_generator(plan.fn)
        self._pipeline = plan.pipeline
        if not (self._is_generator or self._is_async_generator):
            self._pipeline = Pipeline(*plan.pipeline.policies, ReturnedFailures())
        # The engine binds arguments to the signature of what it calls; a wrapper's may differ.
        self._is_wrapper = hasattr(plan.fn, "__wrapped__") or isinstance(plan.fn, functools.partial)

    def __reduce__(self) -> tuple[type[Body], tuple[Plan]]:
        return (Body, (self._plan,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound: tuple[tuple[Any, ...], Mapping[str, Any]] = (args, kwargs)
        if self._is_wrapper:
            bound = undocumented.split_call(self._plan.fn, args, kwargs)
        if not settings.current.enabled:
            return self._plan.fn(*bound[0], **bound[1])
        origins = inputs.of_this_task_run() if inputs.any_known() else ()
        sink, pipeline = StateSink(self._plan.operation, origins), self._pipeline
        work = self._plan.work(*bound, (sink,))
        if origins:
            sink.report_inputs(work.id)
        work.again = loops.is_tried_again()
        if calls.rehearse_work is not None:
            calls.rehearse_work(work)
        if self._is_async_generator:
            return raising.async_items(streams.async_items(pipeline, work))
        if self._is_generator:
            return _yield_from(raising.items(streams.items(pipeline, work)), sink, work)
        if self._plan.is_async:
            return _await(pipeline.run(work), sink, work)
        work.runtime = runtime.STRICT  # the engine would take a coroutine for the result
        return sink.with_message(_reported(runtime.drive(pipeline.run(work)), sink, work))


# None of these functions holds the outcome in a local variable while its error is raised: that would be a cycle.
def _yield_from(items: Generator[Any, None, Outcome[Any]], sink: StateSink, work: Work) -> Generator[Any, None, Any]:
    return sink.with_message(_reported((yield from items), sink, work))


async def _await(running: Coroutine[Any, Any, Outcome[Any]], sink: StateSink, work: Work) -> Any:
    return sink.with_message(await _reported_async(running, sink, work))


async def _reported_async(running: Coroutine[Any, Any, Outcome[Any]], sink: StateSink, work: Work) -> Outcome[Any]:
    outcome = await running
    if sink.conclude(outcome, work.degraded):
        await asyncio.to_thread(sink.report)
    return outcome


def _reported(outcome: Outcome[Any], sink: StateSink, work: Work) -> Outcome[Any]:
    if sink.conclude(outcome, work.degraded):
        sink.report()
    return outcome
