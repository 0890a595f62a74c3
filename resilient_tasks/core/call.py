"""One call: what is invoked, which attempt this is, how long it may take, and what becomes known of it."""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from resilient_tasks.core import later, reported
from resilient_tasks.core.errors import TimedOut
from resilient_tasks.core.events import Event, FallbackUsed, Sink, bus
from resilient_tasks.core.execution import clock, real_time
from resilient_tasks.core.outcome import Failed, Outcome

if TYPE_CHECKING:
    from resilient_tasks.core.execution.interrupt import Overrun
    from resilient_tasks.core.failures import Facts

Proceed = Callable[["Call"], Coroutine[Any, Any, "Outcome[Any]"]]

NEVER = float("inf")

#: The call whose function runs in this context.
running: contextvars.ContextVar[Call | None] = contextvars.ContextVar("resilient_tasks.call", default=None)
#: A mark of a call that was made at once and holds something: its operation, the call around it, and the mark around
#: it. What it begins has a copy of its context, and so this mark. Without an operation, it is over.
Mark: TypeAlias = list[Any]
#: The mark of the innermost such call in this context, or one that is over.
held: contextvars.ContextVar[Mark | None] = contextvars.ContextVar("resilient_tasks.held", default=None)
#: Calls with a limit, or fenced, that are under way in any thread. Where there are none, no call inherits either.
limited: set[Call] = set()
_numbers = itertools.count(1)
_process = os.urandom(4).hex()


def _new_id() -> str:
    """Name a call so that no other call on any machine bears the name; the pid tells forked processes apart."""
    return f"{_process}-{os.getpid():x}-{next(_numbers):x}"


#: How a limit is enforced, see `Timeout`.
Enforce = Literal["auto", "process", "cooperative"]


class Runtime(Protocol):
    """What a policy may await, besides `proceed`."""

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Call `fn`, and give what came of it. Only an `Exception` becomes `Failed`: everything above flies past."""

    def begin(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Begun:
        """As `invoke`, for the call's own function, which may return an awaitable where nobody could know before.

        A runtime that never suspends gives the outcome itself.
        """

    async def race(
        self,
        begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]],
        *,
        most: int,
        after: float,
        more: Callable[[int], float],
        name: str,
    ) -> tuple[int, Outcome[Any]]:
        """Make up to `most` calls side by side, and give the number and the outcome of the one that was first good.

        `begin(1)` is awaited at once, and each next number `after` seconds later; or still later, where `more` gives
        the call before it so many seconds more. A failure counts only when no other call is under way.
        """

    async def limit(self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce) -> Outcome[Any] | Overrun:
        """Proceed for at most `seconds`, and say where that did not end the work."""


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """An awaitable that a plain function returned: what the call is about has yet to be done, by another runtime."""

    awaitable: Any
    runtime: Runtime

    async def carried_out(self, call: Call) -> Outcome[Any]:
        """Await it under the policies of `call`. Nothing happens before the caller awaits what the call returned."""
        here: Call | None = call
        while here is not None and here.work.id == call.work.id:
            here.work.runtime = self.runtime
            here = here.parent
        await later.pause()
        call.work.thread = threading.get_ident()
        with InProgress(call):
            return await self.runtime.invoke(lambda: self.awaitable, (), {})


#: What comes of beginning a call: an outcome, or a coroutine of one.
Begun: TypeAlias = "Outcome[Any] | Later | Coroutine[Any, Any, Outcome[Any] | Later]"


def nothing(*_: object) -> None:
    """Do nothing."""


class Permit:
    """The function may be called at once, before any pipeline is built around it. Made anew for a call, or shared.

    Attributes:
        key: under which the policy finds this again if the call fails: `call.work.take_permit(key)`.
        data: what the policy wants to find there.
        succeeded: called if the function returns a result.
        ended: called with its error if it fails, is cancelled or is interrupted, and if `succeeded` raises. With None
            if it is not called after all, or has yet to be awaited: then the policy is asked anew.
        is_spent: what was taken for it cannot be given back: a policy that is to be asked anew finds this again.
    """

    __slots__ = ("data", "ended", "is_spent", "key", "succeeded")

    def __init__(
        self,
        key: str = "",
        data: Any = None,
        *,
        succeeded: Callable[[], object] = nothing,
        ended: Callable[[BaseException | None], object] = nothing,
        is_spent: bool = False,
    ) -> None:
        self.is_spent: bool = is_spent
        self.key: str = key
        self.data: Any = data
        self.succeeded: Callable[[], object] = succeeded
        self.ended: Callable[[BaseException | None], object] = ended


#: A failed attempt: the type of its error and its HTTP status.
Tried: TypeAlias = tuple[type[Exception], int | None]
#: Says whether another attempt is made at once after an error: all that were tried, and the seconds to wait; or None.
Again: TypeAlias = Callable[[Exception, tuple[Tried, ...]], tuple[tuple[Tried, ...], float] | None]


class Work:
    """What one logical invocation is about; its attempts share it.

    Attributes:
        operation: the function's name, by which state, incidents and files are found.
        fn: the function, with its `args` and `kwargs`.
        runtime: how to wait and invoke, sync or async.
        idempotent: a second attempt may start although an abandoned one may still run.
        sinks: hear of this call's events, after the sinks of the bus.
        attempts: how often its policies may invoke the function, at the most; 0 where no number limits that.
        prior_outcome: an outcome that is there already, for the next invocation to return.
        again: whoever began this work begins it anew if it fails, as an orchestrator's own retries do: nothing may
            stand in for it yet, and nobody is told. None: that is decided later.
        thread: the thread that does this work, and that its limits interrupt.
        tried: the attempts that failed, and were followed by another, before the pipeline was entered.
        began: when the first attempt was made, on the clock in use, if that was before the pipeline was entered.
        degraded: the last attempt in which a resilient call inside was degraded: its result is made of a stand-in.
    """

    __slots__ = (
        *("_id", "_permits", "again", "args", "attempts", "began", "degraded", "fn", "prior_outcome"),
        *("idempotent", "kwargs", "operation", "runtime", "sinks", "thread", "tried"),
    )

    def __init__(  # noqa: PLR0917  # built on the hot path: positions are cheaper than names
        self,
        operation: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        runtime: Runtime,
        idempotent: bool = False,  # noqa: FBT001, FBT002  # as above
        sinks: tuple[Sink, ...] = (),
        attempts: int = 1,
        id: str = "",  # noqa: A002  # it is the attribute's name
    ) -> None:
        self.operation = operation
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.runtime = runtime
        self.idempotent = idempotent
        self.sinks = sinks
        self.attempts = attempts
        self.prior_outcome: Outcome[Any] | Later | None = None
        self.again: bool | None = False
        self.thread: int = threading.get_ident()
        self.degraded = 0
        self.began: float | None = None
        self.tried: tuple[Tried, ...] = ()
        self._permits: tuple[Permit, ...] = ()
        self._id = id

    @property
    def id(self) -> str:
        """Name of this call, in its events and files. Made when first asked for: a call that goes well needs none."""
        if not self._id:
            self._id = _new_id()
        return self._id

    def changed(self, **changes: Any) -> Work:
        """Return a copy with other attributes, and the same name."""
        changes.setdefault("_id", self.id)
        other = object.__new__(Work)
        for name in Work.__slots__:
            setattr(other, name, changes[name] if name in changes else getattr(self, name))
        return other

    def resume_from(self, prior_outcome: Outcome[Any] | Later, permits: tuple[Permit, ...] = ()) -> Work:
        """Take note of what came of the first attempt, which policies gave these `permits` for."""
        self.prior_outcome = prior_outcome
        self._permits = (
            tuple(permit for permit in permits if permit.is_spent) if isinstance(prior_outcome, Later) else permits
        )
        self.thread = threading.get_ident()  # not the one in which that attempt was made
        return self

    def take_permit(self, key: str) -> Any:
        """Return the permit that a policy gave for the attempt that is `prior_outcome`, once; None for any other attempt."""
        for permit in self._permits:
            if permit.key == key:
                self._permits = tuple(other for other in self._permits if other is not permit)
                return permit
        return None


class InProgress:
    """Have the code inside the block know that it is part of `call`. A generator would touch the errors of others."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = running.set(self._call)
        if self._call.is_limited:
            limited.add(self._call)

    def __exit__(self, *_: object) -> None:
        try:
            running.reset(self._token)
        except ValueError:  # as in `Call.invoke`
            pass
        finally:
            limited.discard(self._call)


class Plan(Protocol):
    """What a decorator has made of a function and its policies."""

    @property
    def fn(self) -> Callable[..., Any]:
        """The user's own function."""

    @property
    def operation(self) -> str:
        """Its name."""

    @property
    def attempts(self) -> int:
        """How often it may be called for one call, at the most; 0 where no number limits that."""

    @property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine, as far as can be known before."""

    @property
    def pipeline(self) -> Any:
        """The policies around it: a `Pipeline`."""

    def work(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Work:
        """Return one invocation of the function."""


class Call:
    """One try at the work, as a policy sees it. Policies hand a changed copy on and leave their own as it is."""

    __slots__ = ("attempt", "deadline", "is_fenced", "is_limited", "limited_until", "parent", "started", "work")

    def __init__(  # noqa: PLR0917  # built on the hot path: positions are cheaper than names
        self,
        work: Work,
        parent: Call | None = None,
        attempt: int = 1,
        started: float = 0.0,
        deadline: float = NEVER,
        limited_until: float = NEVER,
    ) -> None:
        self.work: Work = work
        self.parent: Call | None = parent
        self.attempt: int = attempt
        self.started: float = started
        self.deadline: float = deadline
        self.limited_until: float = limited_until
        self.is_limited: bool = deadline < NEVER or limited_until < NEVER
        self.is_fenced: bool = False

    @property
    def operation(self) -> str:
        """Name of the function."""
        return self.work.operation

    @property
    def runtime(self) -> Runtime:
        """How to wait and to invoke."""
        return self.work.runtime

    def set_thread(self, thread: int) -> None:
        """Have it known which thread does the work."""
        self.work.thread = thread

    @property
    def fenced(self) -> bool:
        """Whether nobody waits for this call any more: nothing may follow from it."""
        call: Call | None = self
        while call is not None:
            if call.is_fenced:
                return True
            call = call.parent
        return False

    def fence(self) -> None:
        """Let nothing that still comes of this call have an effect: no event, no state, no further attempt."""
        self.is_fenced = True

    def attempted(self, attempt: int) -> Call:
        """Return the call as its attempt number `attempt`."""
        return Call(self.work, self, attempt, self.started, self.deadline, self.limited_until)

    def within(self, deadline: float = NEVER, *, limited_until: float = NEVER) -> Call:
        """Return the call with limits, on the clock in use; earlier ones stay.

        Args:
            deadline: of the call, with all its attempts.
            limited_until: when somebody already interrupts its work.
        """
        until = min(limited_until, self.limited_until)
        return Call(self.work, self, self.attempt, self.started, min(deadline, self.deadline), until)

    def changed(self, **of_work: Any) -> Call:
        """Return the call with other arguments (`args`, `kwargs`), or one whose function another `runtime` invokes."""
        work = self.work.changed(**of_work)
        return Call(work, self, self.attempt, self.started, self.deadline, self.limited_until)

    def in_parallel(self) -> ParallelCall:
        """Return the call as one of several that are made side by side, each in a thread or task of its own."""
        work = self.work.changed()
        return ParallelCall(work, self, self.attempt, self.started, self.deadline, self.limited_until)

    async def wait_for_turn(self, seconds: float) -> None:
        """Let `seconds` pass before the work may begin: they do not count for a hedge, since nothing is slow yet."""
        here: Call | None = self
        beside = []
        while here is not None and here.work.id == self.work.id:
            if isinstance(here, ParallelCall):
                here.turn = NEVER
                beside.append(here)
            here = here.parent
        try:
            await self.runtime.sleep(seconds)
        finally:
            for each in beside:
                each.turn = real_time.monotonic()

    def without_limits(self) -> Call:
        """Return the call without its own deadline and limit: for what has to happen after these have come."""
        return Call(self.work, self, self.attempt, self.started)

    def remaining(self) -> float:
        """Return the seconds until the work is to end, infinite where nothing limits it."""
        until = min(self.deadline, self.limited_until)
        return until if until == NEVER else max(0.0, until - clock.now())

    def wants(self, event: type[Event]) -> bool:
        """Whether anybody wants to hear of such an event."""
        return bool(self.work.sinks) or bus.wants(event)

    def emit(self, event: type[Event], failure: Facts | None = None, /, **details: Any) -> None:
        """Tell the sinks what happened; nothing, if this call is fenced. No event is made that no sink wants.

        Args:
            event: its class.
            failure: what an event about an error says of it.
            **details: its other fields.
        """
        if event is FallbackUsed and not self.fenced:
            self.mark_degraded(inside=self.work.id)
        work = self.work
        if (work.sinks or bus.wants(event)) and not self.fenced:
            if failure is not None:
                details = {**failure.about(), "of": reported.inside(work.operation, failure.error), **details}
            details.setdefault("attempt", self.attempt)
            bus.emit(event(operation=work.operation, call=work.id, **details), *work.sinks)

    def mark_degraded(self, inside: str = "") -> None:
        """Have this call, and those around it, know that a call inside was given a stand-in.

        Args:
            inside: the id of that call, where it is this one.
        """
        around: Call | None = self
        of, attempt = inside, 0
        while around is not None:
            if around.work.id != of:
                of, attempt = around.work.id, 0
            attempt = max(attempt, around.attempt)  # the innermost knows it, those around it are of all attempts
            if of != inside:
                around.work.degraded = max(attempt, around.work.degraded)
            around = around.parent

    async def invoke(self) -> Outcome[Any]:
        """Call the function itself. Work that nobody waits for any more begins no further attempt."""
        work = self.work
        if self.fenced:
            return Failed(TimedOut(f"{self.operation} was not called: its caller stopped waiting"))
        outcome: Any = work.prior_outcome
        if outcome is not None:
            work.prior_outcome = None
        else:
            token = running.set(self)
            if self.is_limited:
                limited.add(self)
            try:
                begun = work.runtime.begin(work.fn, work.args, work.kwargs)
                outcome = await begun if type(begun) is CoroutineType else begun
            finally:
                # A coroutine that is thrown away is closed in another context: that is no error of its own.
                try:
                    running.reset(token)
                except ValueError:
                    pass
                finally:  # whatever is raised in this thread at the end of `reset`
                    limited.discard(self)
        return await outcome.carried_out(self) if isinstance(outcome, Later) else outcome


class ParallelCall(Call):
    """One of several calls side by side. It had its `turn` at that time, if it waited for one; NEVER while it waits."""

    __slots__ = ("turn",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_limited = True  # it may be fenced any time
        self.turn: float = -NEVER


def remaining() -> float:
    """Return the seconds that the running function may still take, infinite where nothing limits it."""
    call = running.get()
    return NEVER if call is None else call.remaining()
