"""Policies in order around a function: the protocol, the canonical order, and composing."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from resilient_tasks.core import call as calls
from resilient_tasks.core import callables, clock, loops, runtime
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.call import NEVER, Call, Proceed, Work
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import CallFailed
from resilient_tasks.core.failures import about
from resilient_tasks.core.limits import cut
from resilient_tasks.core.outcome import Failed, Outcome, let_go
from resilient_tasks.core.wording import name_of

T = TypeVar("T")

#: Where each policy stands, outermost first. `docs/order.md` gives the reason for each place.
ORDER = (
    "single flight",
    "notify",
    "validate input",
    "fallback",
    "deadline",
    "retry",
    "hedge",
    "validate output",
    "custom",
    "open circuit",
    "rate limit",
    "bulkhead",
    "breaker",
    "timeout",
    "chaos",
)


class Leave(NamedTuple):
    """The function may be called at once.

    Attributes:
        succeeded: to be called if it succeeds.
        known: what `around` finds as `call.work.known`, if it fails and the pipeline is entered after all.
        ended: to be called with the error if it fails, is cancelled or interrupted, before anything else is done about
            that; with None, if it is not called after all.
        apart: whether the call is to be one of its own in its context, so that what it leaves behind is found.
    """

    succeeded: Callable[[], object]
    known: Mapping[str, Any] = MappingProxyType({})
    ended: Callable[[BaseException | None], object] | None = None
    apart: bool = False


Gate: TypeAlias = Callable[[], Leave | None]


@runtime_checkable
class Policy(Protocol):
    """Says what to do around a call. A frozen value: what changes from call to call lives in a store.

    A policy of one's own derives from this class and adds `around`, which awaits only `proceed(call)` and
    `call.runtime`, and never catches a `BaseException`.

    Attributes:
        slot: the policy's place in `ORDER`.
        repeats: it may invoke the function more than once.
        needs_idempotent: it does so while an earlier invocation may still run, so the operation must be idempotent.
        spends: what `at_once` takes for a call cannot be given back, so it is asked last.
    """

    slot: ClassVar[str] = "custom"
    repeats: ClassVar[bool] = False
    needs_idempotent: ClassVar[bool] = False
    spends: ClassVar[bool] = False

    @property
    def most_attempts(self) -> int:
        """How often it may invoke the function for one call, at the most; 0 where it sets no limit by number."""
        return 1

    @property
    def reacts_only(self) -> bool:
        """Whether it does nothing before the first attempt and lets a success pass."""
        return False

    def at_once(self) -> Leave | None:
        """Say that the next call may be made at once.

        Where each policy that does not react only says so, the function is called first, and the pipeline entered only
        if it fails. None: the pipeline is to stand around the call.
        """
        return None

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        """Do what the policy is for, with `proceed(call)` for everything inside of it."""
        ...

    def parts(self) -> tuple[Policy, ...]:
        """Return the policies to put into their places in the canonical order: itself, as a rule."""
        return (self,)

    def limit_of_stream(self, fn: Callable[..., Any]) -> float | None:  # noqa: ARG002  # some policies ask of which
        """Return the seconds allowed for all items of the generator function `fn`; None: the policy cannot serve it."""
        return None

    def check(self, fn: Callable[..., Any]) -> None:
        """Raise `PolicyError` if the policy cannot serve `fn`. Asked once, at decoration."""
        if callables.makes_context(fn):
            msg = (
                f"{operation_of(fn)} is a context manager: {self.slot} would surround only its creation, not what it"
                " does. Put the policy on a function that it calls"
            )
            raise PolicyError(msg)
        is_stream = callables.is_generator(fn) or callables.is_async_generator(fn)
        if is_stream and self.limit_of_stream(fn) is None:
            again = "would run it again from its first item" if self.repeats else "would surround only its creation"
            msg = (
                f"{operation_of(fn)} is a generator function: {self.slot} {again}."
                " Let it return a list, or put the policy on a function that yields nothing"
            )
            raise PolicyError(msg)

    def describe(self) -> str:
        """Say in a few words what the policy will do, for `explain`."""
        return repr(self)


def is_policy(thing: object) -> bool:
    """As `isinstance`, which asks a protocol's every member by name, but at once where the class derives from it."""
    return Policy in type(thing).__mro__ or isinstance(thing, Policy)


@answering("Pipeline(Retry(attempts=3), Timeout(20))")
class Pipeline:
    """Policies in the order given, the first outermost. `resilient(...)` builds the canonical order instead.

    Immutable and picklable; one pipeline can serve many functions.

    Raises:
        PolicyError: one of the arguments is not a policy, or has no place in the order.
    """

    __slots__ = ("_proceed", "policies")

    def __init__(self, *policies: Policy) -> None:
        for policy in policies:
            if isinstance(policy, type) or not is_policy(policy):
                msg = f"a Pipeline is made of policies such as Retry(...), not of {policy!r}{_instead(policy)}"
                raise PolicyError(msg)
            if policy.slot not in ORDER:
                msg = f"{policy!r} has the slot {policy.slot!r}; the slots are {', '.join(ORDER)}"
                raise PolicyError(msg)
        self.policies = policies
        proceed: Proceed = _invoke
        for policy in reversed(policies):
            proceed = functools.partial(policy.around, proceed=proceed)
        self._proceed = proceed

    def __reduce__(self) -> tuple[type[Pipeline], tuple[Policy, ...]]:
        return (Pipeline, self.policies)

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(map(repr, self.policies))})"

    @property
    def gate(self) -> Gate:
        """What to ask whether the function can be called first; it answers as `Policy.at_once` does."""
        active = [policy for policy in self.policies if not policy.reacts_only]
        if len(active) == 1:
            return active[0].at_once
        if not active:
            return _always
        if any(type(policy).at_once is Policy.at_once for policy in active):
            return _never
        if sum(policy.spends for policy in active) > 1:
            return _never
        active.sort(key=lambda policy: policy.spends)
        return functools.partial(_all_at_once, tuple(policy.at_once for policy in active))

    @property
    def repeats(self) -> bool:
        """Whether the function may be called more than once."""
        return any(policy.repeats for policy in self.policies)

    @property
    def most_attempts(self) -> int:
        """How often the function may be called for one call of the pipeline; 0 where no number limits that."""
        return math.prod(policy.most_attempts for policy in self.policies)

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call `fn` inside this pipeline, without a decorator. An async `fn` gives an awaitable."""
        work = self._work(fn, args, kwargs)
        if callables.is_async(fn):
            return cast("T", self._unwrapped(work))
        return cast("T", runtime.drive(self.run(work)).unwrap())

    def outcome(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Outcome[T] | Awaitable[Outcome[T]]:
        """As `call`, but return what came of it, to be matched, instead of raising."""
        run = self.run(self._work(fn, args, kwargs))
        return run if callables.is_async(fn) else runtime.ended(run)

    async def run(self, work: Work) -> Outcome[Any]:
        """Do `work` inside this pipeline."""
        outer = calls.current_call()
        if work.attempts != 1:
            loops.tell_if_multiplied(work, outer)
        call = Call(work, outer, 1, clock.now(), *_inherited(outer, work))
        try:
            outcome = await self._proceed(call)
        except Exception as error:  # a policy's own, or that of a predicate it was given
            outcome = Failed(error)
        try:
            return told(call, outcome)
        finally:
            del outcome  # see let_go

    async def _unwrapped(self, work: Work) -> Any:
        return (await self.run(work)).unwrap()

    def _work(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
        how = runtime.ASYNC if callables.is_async(fn) else runtime.SYNC
        return Work(operation_of(fn), fn, args, kwargs, how, attempts=self.most_attempts)


def told(call: Call, outcome: Outcome[Any]) -> Outcome[Any]:
    """Return `outcome` after telling the sinks, where the call failed."""
    if isinstance(outcome, Failed):
        error = outcome.error
        call.emit(CallFailed, inside=calls.current_call() is not None, again=call.work.again, **about(error))
        let_go(error)
    return outcome


def _inherited(outer: Call | None, work: Work) -> tuple[float, float]:
    """Return the deadline of the call around `work`, and until when somebody interrupts it there."""
    if outer is None:
        return NEVER, NEVER
    by_cancelling = outer.runtime is runtime.ASYNC and work.runtime is not runtime.ASYNC
    if outer.work.thread == work.thread and not by_cancelling:
        return outer.deadline, outer.limited_until
    # Whoever interrupts the call around does not reach into another thread, nor into sync code that blocks its loop.
    return min(outer.deadline, outer.limited_until), NEVER


def _instead(given: object) -> str:
    if isinstance(given, type) and Policy in given.__mro__:
        return f": write {given.__name__}(...)"
    return ": write Pipeline(*policies)" if isinstance(given, list | tuple) else ""


def _never() -> None:
    """Some policy has to stand around every call."""


def nobody_asks() -> None:
    """No policy asks after a call that went well."""


#: Leave of which no policy is to hear.
AT_ONCE = Leave(nobody_asks)


def _always() -> Leave:
    return AT_ONCE


def _all_at_once(gates: tuple[Gate, ...]) -> Leave | None:
    leaves: list[Leave] = []
    for gate in gates:
        leave = gate()
        if leave is None:
            _end(leaves, None)
            return None
        leaves.append(leave)
    return Leave(
        functools.partial(_tell, leaves),
        {name: known for leave in leaves for name, known in leave.known.items()},
        functools.partial(_end, leaves),
        any(leave.apart for leave in leaves),
    )


def _tell(leaves: list[Leave]) -> None:
    for leave in leaves:
        leave.succeeded()


def _end(leaves: list[Leave], error: BaseException | None) -> None:
    for leave in leaves:
        if leave.ended is not None:
            leave.ended(error)


async def _invoke(call: Call) -> Outcome[Any]:
    if call.deadline < call.limited_until:  # no timeout of its own that would end at the deadline as well
        return await cut(call, Call.invoke, policy="deadline", seconds=NEVER)
    return await call.invoke()


def operation_of(fn: Callable[..., Any]) -> str:
    """Name a function as it is named in its module (`Class.method`), see `name_of`."""
    return name_of(fn)


def in_order(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Sort policies into the canonical order; those of one slot keep their order among themselves."""
    return tuple(sorted(policies, key=lambda policy: ORDER.index(policy.slot)))


def explain_pipeline(pipeline: Pipeline) -> str:
    """Say what a pipeline will do, outermost policy first, and what is unusual about its order."""
    lines = [f"{number}. {policy.describe()}" for number, policy in enumerate(pipeline.policies, 1)]
    lines.append(f"{len(lines) + 1}. the function")
    lines.extend(f"! {remark}" for remark in _remarks(pipeline.policies))
    return "\n".join(lines)


def _remarks(policies: tuple[Policy, ...]) -> Iterable[str]:
    for outer, inner in itertools.pairwise(policies):
        if ORDER.index(outer.slot) > ORDER.index(inner.slot):
            yield _COSTS.get(
                (outer.slot, inner.slot),
                f"{outer.slot} stands outside {inner.slot}; the usual order is the other way round",
            )


_COSTS = {
    ("timeout", "retry"): "timeout outside retry: one timeout for all attempts and waits; Deadline is the usual way",
    ("retry", "deadline"): "retry outside deadline: every attempt gets the whole deadline again",
    ("retry", "fallback"): "retry outside fallback: the fallback answers first, so nothing is ever retried",
    ("deadline", "fallback"): "deadline outside fallback: no time may be left for the fallback",
    ("breaker", "retry"): "breaker outside retry: it counts calls, not attempts, and cannot stop a retry storm",
}
