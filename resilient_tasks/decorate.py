"""From a function to a resilient one. Prefect is not needed here."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from resilient_tasks.core import call as calls
from resilient_tasks.core import runtime, settings, streams
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import Sink
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Leave, Pipeline, explain_pipeline, operation_of
from resilient_tasks.keywords import PolicyOptions, arranged, build, settled, slots_given, slots_of
from resilient_tasks.observe import logs
from resilient_tasks.policies.deadline import Deadline
from resilient_tasks.policies.fallback import Fallback
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
        more: the slots of the policies that `policies=` gave.
        is_async: whether the function is `async def`.
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

    def failed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception, leave: Leave) -> Work:
        """Return an invocation whose first attempt was made at once, and has failed."""
        work = self.work(args, kwargs)
        work.given, work.known = Failed(error), leave.known
        return work


@overload
def resilient(fn: Callable[P, R], /) -> Resilient[P, R]: ...
@overload
def resilient(**options: Unpack[PolicyOptions]) -> Callable[[Callable[P, R]], Resilient[P, R]]: ...
def resilient(fn: Callable[..., Any] | None = None, /, **options: Unpack[PolicyOptions]) -> Any:
    """Put policies around a plain function, sync or async. `resilient_task` is the same for a Prefect task.

    The policies stand in the canonical order, whatever the order of the keywords (`explain(function)` prints it).
    Decorators of this kind that are stacked merge into one pipeline.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_decorate, options=options)
    return _decorate(fn, options)


def _decorate(fn: Callable[..., Any], options: PolicyOptions) -> Any:
    logs.install()
    plan = make_plan(fn, options)
    if streams.is_stream(plan.fn) and plan.pipeline.policies:
        return plan.owned_by(_stream_wrapper(plan))
    return plan.owned_by(_async_wrapper(plan) if plan.is_async else _sync_wrapper(plan))


def make_plan(fn: Callable[..., Any], options: PolicyOptions) -> Plan:
    """Build the pipeline for `fn` from a decorator's keywords, those of a decorator underneath included.

    Raises:
        PolicyError: the keywords are contradictory or impossible for this function.
    """
    for name in options:
        if name not in PolicyOptions.__annotations__:
            msg = f"unknown keyword {name!r}: the policies' keywords are {', '.join(PolicyOptions.__annotations__)}"
            raise PolicyError(msg)
    if not callable(fn):
        msg = f"a decorator of resilient_tasks takes a function, not {fn!r}: options are given by keyword"
        raise PolicyError(msg)
    options = settled(options)
    inner = plan_of(fn)
    idempotent = bool(options.get("idempotent", False))
    pipeline = build(options)
    more = slots_given(options)
    if inner is not None:
        fn, idempotent, more = inner.fn, idempotent or inner.idempotent, more | inner.more
        pipeline = arranged((*pipeline.policies, *inner.pipeline.policies))
    _check(pipeline, fn, idempotent=idempotent)
    plan = Plan(fn, pipeline, idempotent, operation_of(fn), inspect.iscoroutinefunction(fn), more)
    _warn_of_abandoned_attempts(plan)
    return plan


def _check(pipeline: Pipeline, fn: Callable[..., Any], *, idempotent: bool) -> None:
    for policy in pipeline.policies:
        policy.check(fn)
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
        kept = [policy.checked_by() if isinstance(policy, Fallback) else policy for policy in kept]
    pipeline = arranged((*kept, *new))
    idempotent = bool(options.get("idempotent", plan.idempotent))
    _check(pipeline, plan.fn, idempotent=idempotent)
    return replace(
        plan, pipeline=pipeline, idempotent=idempotent, more=plan.more - gone | slots_given(options), owner=[]
    )


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
    if limits and plan.pipeline.repeats and not plan.is_async and not plan.idempotent:
        warnings.warn(
            f"{operation_of(plan.fn)} is sync and has a timeout and a retry: in a worker thread Python cannot stop an"
            " attempt that is too slow, and it will not be retried while it may still run. Say idempotent=True if doing"
            ' the work twice does no harm, Timeout(..., enforce="process") to have it killed, or make it async',
            UserWarning,
            stacklevel=_frames_of_ours(),
        )


def _frames_of_ours() -> int:
    """Count the frames up to the user's code, for a warning to point there."""
    frame, level = sys._getframe(), 0  # noqa: SLF001  # inspect.stack() would read every source file
    ours = __name__.partition(".")[0] + "."
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(ours):
        frame, level = frame.f_back, level + 1
    return level


def _sync_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, run, drive = plan.fn, plan.pipeline.run, runtime.drive
    first = Call(plan.work((), {}))
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
        except Exception as error:
            work = plan.failed(args, kwargs, error, leave)
        else:
            leave.succeeded()
            return value
        finally:
            calls.running.reset(token)
        return drive(run(work)).unwrap()

    def outcome(*args: Any, **kwargs: Any) -> Outcome[Any]:
        if not settings.current.enabled:
            return Ok(fn(*args, **kwargs))
        return drive(run(plan.work(args, kwargs)))

    wrapper.outcome = outcome  # type: ignore[attr-defined]
    return wrapper


def _async_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, run = plan.fn, plan.pipeline.run
    first = Call(plan.work((), {}))
    gate = plan.pipeline.gate

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return await fn(*args, **kwargs)
        if calls.running.get() is not None or (leave := gate()) is None:
            return (await run(plan.work(args, kwargs))).unwrap()
        token = calls.running.set(first)  # as in the sync wrapper
        try:
            value = await fn(*args, **kwargs)
        except Exception as error:
            work = plan.failed(args, kwargs, error, leave)
        else:
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

    return async_wrapper if inspect.isasyncgenfunction(fn) else wrapper
