"""From a function to a resilient one. Prefect is not needed here."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from resilient_tasks import misuse
from resilient_tasks.core import call as calls
from resilient_tasks.core import callables, runtime, settings, streams
from resilient_tasks.core import pipeline as pipelines
from resilient_tasks.core.call import Later, Work
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import Sink
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Leave, Pipeline, explain_pipeline, operation_of
from resilient_tasks.core.stand_ins import StandIn
from resilient_tasks.keywords import PolicyOptions, arranged, build, settled, slots_given, slots_of
from resilient_tasks.observe import logs
from resilient_tasks.policies.deadline import Deadline
from resilient_tasks.policies.timeout import Timeout

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Resilient(Protocol[P, R_co]):
    """A function inside a pipeline. It is called as before; `outcome` returns what came of it instead of raising."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def outcome(  # type: ignore[overload-overlap]  # a coroutine function's own outcome is awaited
        self: Resilient[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Outcome[R_co]: ...
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a decorator made of its keywords: the policies in order around `fn`.

    Attributes:
        fn: the user's own function.
        pipeline: the policies around it.
        idempotent: as given to the decorator.
        operation: the function's name, by which state and events are found.
        is_async: whether calling the function gives a coroutine, as far as can be known before.
        more: the slots of the policies that `policies=` gave.
        attempts: how often the function may be called for one call, at the most; 0 where no number limits that.
        owner: the callable that this plan belongs to. `functools.wraps` copies attributes, so a foreign wrapper bears
            the plan of what it wraps; only the owner itself may be merged with.
    """

    fn: Callable[..., Any]
    pipeline: Pipeline
    idempotent: bool
    operation: str
    is_async: bool
    more: frozenset[str] = frozenset()
    attempts: int = field(init=False)
    owner: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attempts", self.pipeline.most_attempts)

    def owned_by(self, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """Give this plan to the callable that carries it out, and return that."""
        wrapper.__resilient__ = self  # type: ignore[attr-defined]
        self.owner.append(wrapper)
        return wrapper

    def work(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], sinks: tuple[Sink, ...] = ()) -> Work:
        """Return one invocation of the function."""
        how = runtime.ASYNC if self.is_async else runtime.SYNC
        return Work(self.operation, self.fn, args, kwargs, how, self.idempotent, sinks, self.attempts)

    def begun(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], given: Outcome[Any] | Later, leave: Leave
    ) -> Work:
        """Return an invocation whose first attempt was made at once, with what came of it."""
        work, made = self.work(args, kwargs), calls.running.get()
        if made is not None and not isinstance(made, calls.FirstCall):  # the function asked which call it was
            work = replace(work, _id=made.work.id)
        work.given, work.known = given, leave.known
        return work


@overload
def resilient(fn: Callable[P, R], /) -> Resilient[P, R]: ...
@overload
def resilient(**options: Unpack[PolicyOptions]) -> Callable[[Callable[P, R]], Resilient[P, R]]: ...
def resilient(fn: Callable[..., Any] | None = None, /, **options: Unpack[PolicyOptions]) -> Any:
    """Put policies around a plain function, sync or async. `resilient_task` is the same for a Prefect task.

    The policies stand in the canonical order, whatever the order of the keywords (`explain(function)` prints it).
    Decorators of this kind that are stacked merge into one pipeline.

    Args:
        fn: the function, where the decorator is used bare.
        **options: the policies:

            - `retry=3` or `Retry(...)`: another attempt after a failure that is likely to pass.
            - `deadline=120` or `"2 min"`: a limit for all attempts and waits together.
            - `timeout=20` or `Timeout(20, enforce="process")`: a limit for each attempt.
            - `breaker="flights-api"` or `CircuitBreaker(...)`: no call to a service that is known to be down.
            - `rate_limit=RateLimit("flights-api", calls=10, per=1)`: no more calls than a service allows.
            - `bulkhead=Bulkhead("warehouse", 4)`: no more calls at once.
            - `hedge=0.2` or `Hedge(...)`: a second call beside one that is slow to answer.
            - `validate=Orders` or `Validate(...)`: bad data is stopped or split off.
            - `fallback=last_good`, `{TimedOut: f}` or `Fallback(...)`: what stands in for the result.
            - `single_flight=True` or `SingleFlight(...)`: concurrent calls with equal arguments share one attempt.
            - `notify=Slack(channel="#ml-alerts")`, several channels, or `Notify(...)`: who hears of a failure.
            - `policies=[...]` or a `Pipeline`: further policies.
            - `idempotent=True`: doing the work twice does no harm.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_decorate, options=options)
    return _decorate(fn, options)


def _decorate(fn: Callable[..., Any], options: PolicyOptions) -> Any:
    logs.install()
    plan = make_plan(fn, options)
    if not options and not plan.pipeline.policies:
        msg = (
            f"@resilient without a policy changes nothing about {plan.operation}: write @resilient(retry=3, timeout=20)"
        )
        warnings.warn(msg, UserWarning, stacklevel=_frames_of_ours())
    if streams.is_stream(plan.fn) and plan.pipeline.policies:
        return plan.owned_by(_stream_wrapper(plan))
    return plan.owned_by(_async_wrapper(plan) if plan.is_async else _sync_wrapper(plan))


def make_plan(fn: Callable[..., Any], options: PolicyOptions, who: str = "resilient") -> Plan:
    """Build the pipeline for `fn` from the keywords of the decorator `who`, those of one underneath included.

    Raises:
        PolicyError: the keywords are contradictory or impossible for this function.
    """
    misuse.refuse_unknown(options, PolicyOptions.__annotations__, who=who)
    misuse.refuse_object(fn, who)
    options = settled(options)
    inner = plan_of(fn)
    idempotent = _idempotent(options, otherwise=False)
    pipeline = build(options)
    more = slots_given(options)
    if inner is not None:
        fn, idempotent, more = inner.fn, idempotent or inner.idempotent, more | inner.more
        pipeline = arranged((*pipeline.policies, *inner.pipeline.policies))
    _check(pipeline, fn, idempotent=idempotent, by_prefect=who != "resilient")
    plan = Plan(fn, pipeline, idempotent, operation_of(fn), callables.is_async(fn), more)
    _warn_of_abandoned_attempts(plan)
    return plan


def _idempotent(options: PolicyOptions, *, otherwise: bool) -> bool:
    given = options.get("idempotent", otherwise)
    if not isinstance(given, bool):
        msg = f"idempotent= is True or False, not {given!r}: True says that doing the work twice does no harm"
        raise PolicyError(msg)
    return given


def _check(pipeline: Pipeline, fn: Callable[..., Any], *, idempotent: bool, by_prefect: bool) -> None:
    """Refuse what cannot work. Prefect gives a function all its arguments, and those with a default by name."""
    for policy in pipeline.policies:
        policy.check(fn)
        if isinstance(policy, StandIn) and (why := policy.misfit(fn, "all by name" if by_prefect else "all")):
            if by_prefect:
                raise PolicyError(why)
            warnings.warn(why, UserWarning, stacklevel=_frames_of_ours())
        if policy.needs_idempotent and not idempotent:
            msg = (
                f"{operation_of(fn)} would be done twice at once ({policy.describe()}): say idempotent=True if that"
                f" does no harm, or drop {policy!r}"
            )
            raise PolicyError(msg)


def replaced(plan: Plan, options: PolicyOptions) -> Plan:
    """Return `plan` with the policies that `options` stand for in the place of their like.

    A keyword that is None takes its policy away; `policies=None` takes away those that `policies=` gave.

    Raises:
        PolicyError: the options are contradictory.
    """
    options = settled(options)
    new = build(options).policies
    gone = {policy.slot for policy in new}.union(*(slots_of(name) for name, value in options.items() if value is None))
    if "policies" in options and not options["policies"]:
        gone |= plan.more
    kept = [policy for policy in plan.pipeline.policies if policy.slot not in gone]
    if "validate output" in gone:
        kept = [policy.checked_by() if isinstance(policy, StandIn) else policy for policy in kept]
    pipeline = arranged((*kept, *new))
    idempotent = _idempotent(options, otherwise=plan.idempotent)
    _check(pipeline, plan.fn, idempotent=idempotent, by_prefect=True)
    more = plan.more - gone | slots_given(options)
    return replace(plan, pipeline=pipeline, idempotent=idempotent, more=more, owner=[])


def plan_of(fn: object) -> Plan | None:
    """Return the plan of a decorated function, or None for anything else."""
    plan = getattr(fn, "__resilient__", None)
    return plan if isinstance(plan, Plan) and any(owner is fn for owner in plan.owner) else None


def explain(what: object) -> str:
    """Say what a pipeline, or the pipeline of a decorated function, will do, and what is unusual about its order.

    Raises:
        TypeError: `what` is neither.
    """
    if isinstance(what, Pipeline):
        return explain_pipeline(what)
    plan = plan_of(what) or plan_of(getattr(what, "fn", None)) or getattr(what, "plan", None)
    if not isinstance(plan, Plan):
        msg = f"explain takes a Pipeline or a function that a decorator of resilient_tasks made, not {what!r}"
        raise TypeError(msg)
    return "\n".join([explain_pipeline(plan.pipeline), *_how_limits_end(plan)])


_AUTO = {
    True: "over a limit, the function is cancelled",
    False: "over a limit, the function is interrupted by a signal in the main thread;"
    " in a worker thread the call returns, and what waits there runs on",
}
_OTHERWISE = {
    "process": "over a limit, the function's process is killed",
    "cooperative": "over its timeout, the function is not interrupted: it asks remaining()",
}


def _how_limits_end(plan: Plan) -> Iterable[str]:
    timeouts = [policy for policy in plan.pipeline.policies if isinstance(policy, Timeout)]
    if timeouts or any(isinstance(policy, Deadline) for policy in plan.pipeline.policies):
        enforce = timeouts[0].enforce if timeouts else "auto"
        yield f"· {_OTHERWISE.get(enforce, _AUTO[plan.is_async])}"


def _warn_of_abandoned_attempts(plan: Plan) -> None:
    limits = [policy for policy in plan.pipeline.policies if isinstance(policy, Timeout) and policy.enforce == "auto"]
    if not limits or not plan.pipeline.repeats or plan.idempotent:
        return
    name = operation_of(plan.fn)
    if not plan.is_async:
        message = (
            f"{name} is sync and has a timeout and a retry: in a worker thread Python cannot stop an"
            " attempt that is too slow, and it will not be retried while it may still run. Say idempotent=True if doing"
            ' the work twice does no harm, Timeout(..., enforce="process") to have it killed, or make it async'
        )
    elif handed_over := _hands_over(getattr(plan.fn, "__code__", None)):
        message = (
            f"{name} has a timeout and a retry, and hands work over ({', '.join(handed_over)}): cancelling it does not"
            " stop that work, and it will not be retried while that may still run. Say idempotent=True if doing the"
            " work twice does no harm, or put the timeout on a sync function that does it, with enforce='process'"
        )
    else:
        return
    warnings.warn(message, UserWarning, stacklevel=_frames_of_ours())


#: What an async function calls to have work done where a cancellation does not reach.
_HANDS_OVER = frozenset(
    (
        *("to_thread", "run_in_executor", "run_sync", "run_in_threadpool", "sync_to_async", "asyncify", "shield"),
        *("create_subprocess_exec", "create_subprocess_shell", "Popen"),
        *("Thread", "Process", "ThreadPoolExecutor", "ProcessPoolExecutor"),
    )
)


def _hands_over(code: object) -> list[str]:
    """Return the names in a function's code, and in that of functions inside of it, that hand work over."""
    if not isinstance(code, CodeType):
        return []
    inside = [name for constant in code.co_consts for name in _hands_over(constant)]
    return sorted({*inside, *_HANDS_OVER.intersection(code.co_names)})


def _frames_of_ours() -> int:
    """Count the frames up to the user's code, for a warning to point there."""
    frame, level = sys._getframe(), 0  # noqa: SLF001  # inspect.stack() would read every source file
    ours = __name__.partition(".")[0] + "."
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(ours):
        frame, level = frame.f_back, level + 1
    return level


def _sync_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, run, drive = plan.fn, plan.pipeline.run, runtime.drive
    first = calls.FirstCall(plan.work((), {}))
    gate = plan.pipeline.gate

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return fn(*args, **kwargs)
        if calls.running.get() is not None or (leave := gate()) is None:
            return drive(run(plan.work(args, kwargs))).unwrap()
        # No policy has to act before the call, so it is made first, and the pipeline entered only if it fails.
        token = calls.running.set(first)  # by its module's name: a context variable in a closure cannot be pickled
        try:
            value = fn(*args, **kwargs)
        except BaseException as error:
            if leave.ended is not None:
                leave.ended(error)
            if not isinstance(error, Exception):
                raise
            work = plan.begun(args, kwargs, Failed(error), leave)
        else:
            if type(value) in callables.PLAIN or not callables.comes_later(value):
                if leave is not pipelines.AT_ONCE:
                    leave.succeeded()
                return value
            work = plan.begun(args, kwargs, runtime.put_off(fn, value), leave)
        finally:
            calls.running.reset(token)
        return drive(run(work)).unwrap()

    def outcome(*args: Any, **kwargs: Any) -> Any:
        if settings.current.enabled:
            return runtime.ended(run(plan.work(args, kwargs)))
        value = fn(*args, **kwargs)
        return _ok(value) if callables.comes_later(value) else Ok(value)

    wrapper.outcome = outcome  # type: ignore[attr-defined]
    return wrapper


async def _ok(awaitable: Awaitable[Any]) -> Outcome[Any]:
    return Ok(await awaitable)


def _async_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, run = plan.fn, plan.pipeline.run
    first = calls.FirstCall(plan.work((), {}))
    gate = plan.pipeline.gate

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return await fn(*args, **kwargs)
        if calls.running.get() is not None or (leave := gate()) is None:
            return (await run(plan.work(args, kwargs))).unwrap()
        # As in the sync wrapper.
        token = calls.running.set(calls.FirstCall(first.work) if leave.apart else first)
        try:
            value = await fn(*args, **kwargs)
        except BaseException as error:
            if leave.ended is not None:
                leave.ended(error)
            if not isinstance(error, Exception):
                raise
            work = plan.begun(args, kwargs, Failed(error), leave)
        else:
            if leave is not pipelines.AT_ONCE:
                leave.succeeded()
            return value
        finally:
            calls.running.reset(token)
        return (await run(work)).unwrap()

    async def outcome(*args: Any, **kwargs: Any) -> Outcome[Any]:
        if not settings.current.enabled:
            return Ok(await fn(*args, **kwargs))
        return await run(plan.work(args, kwargs))

    wrapper.outcome = outcome  # type: ignore[attr-defined]
    return wrapper


def _stream_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, pipeline = plan.fn, plan.pipeline

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return (yield from fn(*args, **kwargs))
        return (yield from streams.items(pipeline, plan.work(args, kwargs))).unwrap()

    @functools.wraps(fn)
    async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
        enabled = settings.current.enabled
        async for item in streams.async_items(pipeline, plan.work(args, kwargs)) if enabled else fn(*args, **kwargs):
            yield item

    return async_wrapper if callables.is_async_generator(fn) else wrapper
