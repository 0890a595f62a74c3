"""Compose policies around a function: the `Policy` protocol, the canonical order, and `Pipeline`."""

from __future__ import annotations

import itertools
import math
from _thread import get_ident
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

from resilient_tasks import core
from resilient_tasks.core import call as calls
from resilient_tasks.core import loops
from resilient_tasks.core.call import NEVER, Again, Call, Permit, Plan, Proceed, Tried, Work, mark_reported
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import CallFailed
from resilient_tasks.core.execution import clock, runtime
from resilient_tasks.core.first_attempts import Door, FirstAttempt, around
from resilient_tasks.core.outcome import Failed, Outcome, let_go
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.wording import name_of

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound

T = TypeVar("T")

#: The canonical order of policies, outermost first. `docs/order.md` gives the reasons.
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
_PLACES = {slot: place for place, slot in enumerate(ORDER)}


#: A permit without callbacks.
AT_ONCE = Permit()

Gate: TypeAlias = Callable[[Plan, tuple[Any, ...], Mapping[str, Any]], Permit | None]


class Policy:
    """What to do around a call. A frozen value: what changes from call to call lives in a store.

    A custom policy derives from this class and implements `around`, which awaits only `proceed(call)` and
    `call.runtime`, and never catches a `BaseException`.

    Attributes:
        slot: the policy's place in `ORDER`.
        repeats: whether it may invoke the function more than once.
        needs_idempotent: whether it does so while an earlier invocation may still run, so that the operation must be
            idempotent.

    Optional attributes:

        heeds_arguments: False if neither the policy nor a function that it was given reads the call's arguments.
        spends: True if what `at_once` takes for a call cannot be given back; `at_once` is then called last.
        holds: True if it holds something until a call has ended. Whatever an async function starts then carries a mark.
        door: a new `Door` for each wrapper, if a look at a few attributes is enough to let most calls pass.
        again: decides alone what follows from an error, see the type `Again`; used while no sink wants these events.
        first_limit: its limit of an attempt, in seconds. `around` sets none if `call.work.prior_outcome` is there.
    """

    slot: ClassVar[str] = "custom"
    repeats: ClassVar[bool] = False
    needs_idempotent: ClassVar[bool] = False

    @property
    def most_attempts(self) -> int:
        """How often it may invoke the function for one call at most; 0 if unlimited."""
        return 1

    def longest(self, inner: Bound) -> Bound:
        """Return the worst case of a call with this policy around `inner`, for `explain`.

        A policy that takes no time and repeats nothing returns `inner`; others return what its methods make of it,
        such as `inner.after(5, "a slot")`. By default, it is unknown.
        """
        is_unlimited = not self.most_attempts or (self.repeats and self.most_attempts == 1)
        return inner.unknown(
            f"{self.describe()} does not state its worst case", math.inf if is_unlimited else self.most_attempts
        )

    @property
    def reacts_only(self) -> bool:
        """Whether it does nothing before the first attempt and nothing after a success."""
        return False

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:  # noqa: ARG002
        """Return a permit to call `plan.fn` with these arguments directly; None if the call needs the pipeline.

        If each policy that does not only react returns a permit, the function is called directly, and the pipeline is
        entered only if that fails. The permit is notified when the call ends; if it failed, `around` finds the permit
        by `call.work.take_permit(key)`.
        """
        return None

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        """Run the call under this policy; `proceed(call)` runs everything inside it."""
        raise NotImplementedError

    def parts(self) -> tuple[Policy, ...]:
        """Return the policies to sort into the canonical order: by default, itself."""
        return (self,)

    def limit_of_stream(self, fn: Callable[..., Any]) -> float | None:  # noqa: ARG002  # some policies read it
        """Return the seconds allowed for all items of the generator function `fn`; None if it is not supported."""
        return None

    def check(self, fn: Callable[..., Any]) -> None:
        """Raise `PolicyError` if the policy does not support `fn`. Called once, at decoration."""
        if callables.is_plain(fn):
            return
        if callables.makes_context(fn):
            msg = (
                f"{operation_of(fn)} is a context manager: {self.slot} would cover only its creation, not what it"
                " does. Put the policy on a function that it calls"
            )
            raise PolicyError(msg)
        is_stream = callables.is_generator(fn) or callables.is_async_generator(fn)
        if is_stream and self.limit_of_stream(fn) is None:
            again = "would run it again from its first item" if self.repeats else "would cover only its creation"
            msg = (
                f"{operation_of(fn)} is a generator function: {self.slot} {again}."
                " Let it return a list, or put the policy on a function that yields nothing"
            )
            raise PolicyError(msg)

    def describe(self) -> str:
        """Return a short description of the policy, for `explain`."""
        return repr(self)


def is_policy(thing: object) -> bool:
    """Return whether `thing` is a policy: an instance of `Policy`, or an object with all of its members."""
    return isinstance(thing, Policy) or all(hasattr(thing, name) for name in _MEMBERS)


#: The members that the pipeline uses.
_MEMBERS = tuple(name for name in vars(Policy) if not name.startswith("_") and name != "longest")


def checked(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """Return `policies`.

    Raises:
        PolicyError: one of them is not a policy, or has no place in the order.
    """
    for policy in policies:
        if isinstance(policy, type) or not is_policy(policy):
            msg = f"a Pipeline is made of policies such as Retry(...), not of {policy!r}{_instead(policy)}"
            raise PolicyError(msg)
        if policy.slot not in _PLACES:
            msg = f"{policy!r} has the slot {policy.slot!r}; the slots are {', '.join(ORDER)}"
            raise PolicyError(msg)
    return policies


@answering("Pipeline(Retry(attempts=3), Timeout(20))")
class Pipeline:
    """Policies in the order given, the first outermost. `resilient(...)` builds the canonical order instead.

    Immutable and picklable; one pipeline can serve many functions.

    Raises:
        PolicyError: one of the arguments is not a policy, or has no place in the order.
    """

    __slots__ = ("_made", "policies")

    def __init__(self, *policies: Policy) -> None:
        self.policies: tuple[Policy, ...] = checked(policies)
        self._made: Proceed | None = None

    def __reduce__(self) -> tuple[type[Pipeline], tuple[Policy, ...]]:
        return (Pipeline, self.policies)

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(map(repr, self.policies))})"

    @property
    def _proceed(self) -> Proceed:
        """The policies around the call, composed on first use: functions that only succeed never need them."""
        if self._made is None:
            proceed: Proceed = _invoke
            for policy in reversed(self.policies):
                proceed = _inside(policy, proceed)
            self._made = proceed
        return self._made

    @property
    def gate(self) -> Gate | Door | None:
        """What decides whether the function may be called directly, as `Policy.at_once`; None if it always may."""
        limits = bool(self.first_limit.seconds)
        active = [
            policy
            for policy in self.policies
            if not policy.reacts_only and not (limits and bool(getattr(policy, "first_limit", 0.0)))
        ]
        if not active:
            return None
        if self._holds_for_several or any(type(policy).at_once is Policy.at_once for policy in active):
            return _never
        if sum(getattr(policy, "spends", False) for policy in active) > 1:
            return _never
        active.sort(key=lambda policy: getattr(policy, "spends", False))
        if len(active) == 1:
            door: Door | None = getattr(active[0], "door", None)
            return active[0].at_once if door is None else door
        return _Gates(tuple(policy.at_once for policy in active)).ask

    @property
    def again(self) -> Again:
        """What decides after an error whether to retry without the pipeline, as `Policy.again`."""
        if self.policies and all(policy.reacts_only for policy in self.policies):
            outer, inner = self.policies[:-1], self.policies[-1]
            if not any(policy.repeats for policy in outer):
                return getattr(inner, "again", no_more)
        return no_more

    @property
    def first_limit(self) -> Limit:
        """The limit of a first attempt made directly; its `seconds` are 0 if there is none."""
        deadline, seconds, name = NEVER, NEVER, ""
        for number, policy in enumerate(self.policies):
            its = getattr(policy, "first_limit", 0.0)
            if its and policy.slot != "deadline" and any(inner.repeats for inner in self.policies[number:]):
                return Limit()  # it limits several attempts together
            if its and its < seconds:
                seconds, name = its, policy.slot
            if its and policy.slot == "deadline":
                deadline = min(deadline, its)
        return Limit(seconds, name, deadline) if name else Limit()

    @property
    def heeds_arguments(self) -> bool:
        """Whether a policy may read the call's arguments, so that it matters which of them are given by name."""
        return any(getattr(policy, "heeds_arguments", True) for policy in self.policies)

    @property
    def holds(self) -> bool:
        """Whether a policy holds something until the call, and what it has started, have ended."""
        return any(getattr(policy, "holds", False) for policy in self.policies)

    @property
    def _holds_for_several(self) -> bool:
        """Whether something is held across several attempts: a permit ends with the first."""
        within = itertools.dropwhile(lambda policy: not getattr(policy, "holds", False), self.policies)
        return any(policy.repeats for policy in within)

    @property
    def repeats(self) -> bool:
        """Whether the function may be called more than once."""
        return any(policy.repeats for policy in self.policies)

    @property
    def most_attempts(self) -> int:
        """How often the function may be called for one call of the pipeline; 0 if unlimited."""
        return math.prod(policy.most_attempts for policy in self.policies)

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call `fn` inside this pipeline, without a decorator. For an async `fn`, return an awaitable."""
        work = self._work(fn, args, kwargs)
        if callables.is_async(fn):
            return cast("T", self._unwrapped(work))
        return cast("T", runtime.drive(self.run(work)).unwrap())

    def outcome(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Outcome[T] | Awaitable[Outcome[T]]:
        """As `call`, but return the outcome, for `match`, instead of raising."""
        run = self.run(self._work(fn, args, kwargs))
        return run if callables.is_async(fn) else runtime.ended(run)

    async def run(self, work: Work) -> Outcome[Any]:
        """Do `work` inside this pipeline."""
        outer = calls.running.get()
        if work.attempts != 1:
            loops.report_if_nested(work)
        is_async = work.runtime is runtime.ASYNC
        limits = (NEVER, NEVER) if outer is None else inherited(outer, work.thread, is_async=is_async)
        began = work.began
        call = Call(work, outer, 1, clock.now() if began is None or began != began else began, *limits)  # noqa: PLR0124  # NaN
        observer = calls.observer
        try:
            outcome = await (self._proceed(call) if observer is None else observer.around(call, self._proceed))
        except Exception as error:  # raised by a policy, or by a predicate of the user's
            outcome = Failed(error)
        try:
            return reported(call, outcome)
        finally:
            if observer is not None:
                observer.ended(call, outcome)
            del outcome  # see `let_go`

    async def _unwrapped(self, work: Work) -> Any:
        return (await self.run(work)).unwrap()

    def _work(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
        how = runtime.ASYNC if callables.is_async(fn) else runtime.SYNC
        return Work(operation_of(fn), fn, args, kwargs, how, attempts=self.most_attempts)


def reported(call: Call, outcome: Outcome[Any]) -> Outcome[Any]:
    """Return `outcome`; if the call failed, emit `CallFailed` first."""
    if isinstance(outcome, Failed):
        if call.wants(CallFailed):
            outer = around()
            call.emit(CallFailed, outcome.facts, inside=bool(outer), again=call.work.again)
            mark_reported(outcome.error, call.work.id, outer[0].operation if outer else "")
        let_go(outcome.error)
    return outcome


def inherited(outer: Call, thread: int, *, is_async: bool) -> tuple[float, float]:
    """Return the deadline of the outer call for one in `thread`, and when the outer limit interrupts that already."""
    by_cancelling = outer.work.runtime is runtime.ASYNC and not is_async
    if outer.work.thread == thread and not by_cancelling:
        return outer.deadline, outer.limited_until
    # The outer interrupt reaches neither another thread nor sync code that blocks the event loop.
    return min(outer.deadline, outer.limited_until), NEVER


def _instead(given: object) -> str:
    if isinstance(given, type) and Policy in given.__mro__:
        return f": write {given.__name__}(...)"
    return ": write Pipeline(*policies)" if isinstance(given, list | tuple) else ""


class Limit:
    """The limit of a first attempt made directly.

    Attributes:
        seconds: for the attempt; 0.0 means no limit.
        policy: the slot of the policy that sets it.
        deadline: seconds for the whole call.
    """

    __slots__ = ("deadline", "policy", "seconds")

    def __init__(self, seconds: float = 0.0, policy: str = "", deadline: float = NEVER) -> None:
        self.seconds: float = seconds
        self.policy: str = policy
        self.deadline: float = deadline

    def call(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FirstAttempt:
        """Return a first attempt that begins now."""
        made: FirstAttempt = FirstAttempt()
        made.plan = plan
        made.args = args
        made.kwargs = kwargs
        made.is_fenced = False
        made.parent = calls.running.get()
        made.thread = get_ident()
        made.started = now = clock.present()
        made.is_limited = True
        made.deadline = now + self.deadline
        made.limited_until = now + self.seconds
        return made

    def exceeded(self, call: Call, value: Any) -> Failed:
        """Return the failure of a call that returned late, or whose `value` is an `Overrun`."""
        overrun = (
            value
            if type(value) is core.execution.interrupt.Overrun
            else core.execution.interrupt.Overrun(stopped=False)
        )
        reporting = Call(call.work, call.parent, 1, call.started)  # `call` may be fenced, and emit nothing
        return core.execution.limits.exceeded(reporting, self.policy, self.seconds, overrun)


def no_more(error: Exception, tried: tuple[Tried, ...]) -> None:
    """Leave every error to the pipeline."""


def _never(plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Send every call through the pipeline."""


class _Gates:
    """The gates of several policies. `ask` is a method: a signal could interrupt where a partial returns."""

    __slots__ = ("_each",)

    def __init__(self, each: tuple[Gate, ...]) -> None:
        self._each = each

    def ask(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        """Collect a permit from each gate; if one returns None or raises, give the others back."""
        permits: list[Permit] = []
        try:
            for gate in self._each:
                permit = gate(plan, args, kwargs)
                if permit is None:
                    for other in permits:
                        other.ended(None)
                    return None
                if permit is not AT_ONCE:
                    permits += (permit,)
            return permits[0] if len(permits) == 1 else _Permits(permits)
        except BaseException:
            for other in permits:
                other.ended(None)
            raise


class _Permits(Permit):
    """The permits of several policies for one call."""

    __slots__ = ("each",)

    def __init__(self, each: list[Permit]) -> None:
        super().__init__(succeeded=self._succeeded, ended=self._ended)
        self.each = each

    def _succeeded(self) -> None:
        while self.each:  # if one raises, it and the rest get `ended`
            self.each[-1].succeeded()
            del self.each[-1]

    def _ended(self, error: BaseException | None) -> None:
        for permit in self.each:
            permit.ended(error)


def parts_of(permit: Permit | None) -> tuple[Permit, ...]:
    """Return the permits of the individual policies."""
    if isinstance(permit, _Permits):
        return tuple(permit.each)
    return () if permit is None else (permit,)


def _inside(policy: Policy, proceed: Proceed) -> Proceed:
    around = policy.around
    return lambda call: around(call, proceed)  # a partial would merge keywords at each call


def _invoke(call: Call) -> Coroutine[Any, Any, Outcome[Any]]:
    # Not if a timeout ends at the deadline as well, or if the attempt was already made, with its own limit.
    if call.deadline < call.limited_until and not isinstance(call.work.prior_outcome, Failed):
        return core.execution.limits.cut(call, Call.invoke, policy="deadline", seconds=NEVER)
    return call.invoke()


def operation_of(fn: Callable[..., Any]) -> str:
    """Return the qualified name of a function (`Class.method`), see `name_of`."""
    return name_of(fn)


def in_order(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Sort policies into the canonical order; the sort is stable within a slot."""
    return tuple(sorted(policies, key=lambda policy: _PLACES[policy.slot]))
