"""One call: the function and its arguments, the number of the attempt, its limits, and its events."""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from resilient_tasks import safely
from resilient_tasks.core.errors import TimedOut
from resilient_tasks.core.events import Event, FallbackUsed, Sink, bus
from resilient_tasks.core.execution import clock, real_time
from resilient_tasks.core.outcome import Failed, Outcome, pause

if TYPE_CHECKING:
    from resilient_tasks.core.execution.interrupt import Overrun
    from resilient_tasks.core.failures import Facts
    from resilient_tasks.core.observing import Observer

Proceed = Callable[["Call"], Coroutine[Any, Any, "Outcome[Any]"]]

NEVER = float("inf")
_UNKNOWN = float("nan")

#: The call whose function runs in this context.
running: contextvars.ContextVar[Call | None] = contextvars.ContextVar("resilient_tasks.call", default=None)
#: Marks the context of a call that bypasses the pipeline and holds a slot: its operation, the enclosing call, and the
#: enclosing mark. Tasks and threads that copy the context carry the mark. When the call ends, the operation is cleared.
Mark: TypeAlias = list[Any]
#: The innermost mark in this context; its call may have ended.
held: contextvars.ContextVar[Mark | None] = contextvars.ContextVar("resilient_tasks.held", default=None)
#: Running calls of any thread that have a limit or are fenced. While it is empty, calls need not check for either.
limited: set[Call] = set()
#: Surrounds each call and each attempt, see `core.observing`; None while nothing traces them.
observer: Observer | None = None
#: Change the function of a task's call before it begins: in a rehearsal, see `rehearsal.injection`; else None.
rehearse_work: Callable[[Work], None] | None = None
rehearse_function: Callable[[object, Callable[..., Any]], Callable[..., Any]] | None = None
_numbers = itertools.count(1)
_process = os.urandom(4).hex()


#: How to enforce a limit, see `Timeout`.
Enforce = Literal["auto", "process", "cooperative"]


class Runtime(Protocol):
    """What a policy may await besides `proceed`."""

    async def sleep(self, seconds: float) -> None:
        """Sleep."""

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Call `fn` and return the outcome. An `Exception` becomes `Failed`; other `BaseException`s propagate."""

    def begin(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Begun:
        """As `invoke`, for the call's own function, which may unexpectedly return an awaitable.

        A runtime that never suspends returns the outcome directly.
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
        """Run up to `most` calls in parallel; return the number and outcome of the first that succeeds.

        `begin(1)` starts at once, and each further number `after` seconds later, plus the seconds that `more` returns
        for the call before it. A failure is returned only when no other call is running.
        """

    async def limit(self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce) -> Outcome[Any] | Overrun:
        """Proceed for at most `seconds`; return an `Overrun` if the limit was reached."""


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """An awaitable returned by a plain function: the work is still to be done, by the async runtime."""

    awaitable: Any
    runtime: Runtime

    async def resolve(self, call: Call) -> Outcome[Any]:
        """Await it under the policies of `call`, once the caller awaits the result of the call."""
        here: Call | None = call
        while here is not None and here.work.id == call.work.id:
            here.work.runtime = self.runtime
            here = here.parent
        await pause()
        call.work.thread = threading.get_ident()
        with InProgress(call):
            return await self.runtime.invoke(lambda: self.awaitable, (), {})


#: The result of `Runtime.begin`.
Begun: TypeAlias = "Outcome[Any] | Later | Coroutine[Any, Any, Outcome[Any] | Later]"


def nothing(*_: object) -> None:
    """Do nothing."""


class Permit:
    """A policy's permission to call the function directly, without the pipeline. Shared by calls, or made for one.

    Attributes:
        key: by which the policy retrieves the permit if the call fails: `call.work.take_permit(key)`.
        data: the policy's own data.
        succeeded: called if the function returns a result.
        ended: called with the error if the call fails, is cancelled or interrupted, or if `succeeded` raises. Called
            with None if the function is not called after all, or if its result has yet to be awaited: the policy then
            runs again, in the pipeline.
        is_spent: what the permit took cannot be given back, so it is still there when the policy runs again.
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


#: A failed attempt: the error's type and its HTTP status.
Tried: TypeAlias = tuple[type[Exception], int | None]
#: Decides after an error whether to retry without the pipeline: returns all failed attempts and the delay, or None.
Again: TypeAlias = Callable[[Exception, tuple[Tried, ...]], tuple[tuple[Tried, ...], float] | None]


class Work:
    """One logical invocation of a function, shared by its attempts.

    Attributes:
        operation: the function's name, which is the key of state, incidents and files.
        fn: the function, with its `args` and `kwargs`.
        runtime: how to wait and invoke, sync or async.
        idempotent: another attempt may start while an abandoned one may still run.
        sinks: receive this call's events, after the sinks of the bus.
        attempts: how often its policies may invoke the function at most; 0 if unlimited.
        prior_outcome: of an attempt made before the pipeline was entered; the next invocation returns it.
        again: the caller retries this work if it fails, as an orchestrator does: no fallback and no alert yet. None:
            not decided yet.
        thread: the thread that does this work, and that its limits interrupt.
        tried: the failed attempts, except the last, made before the pipeline was entered.
        began: when the first attempt began, on the clock in use, if that was before the pipeline was entered; NaN if
            that is unknown.
        degraded: the last attempt in which a nested resilient call was degraded, so that its result builds on a
            stand-in; 0 if none.
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
        """Id of this call in events and files, unique across machines. Made on first use: a success needs none."""
        if not self._id:
            self._id = f"{_process}-{os.getpid():x}-{next(_numbers):x}"  # the pid distinguishes forked processes
        return self._id

    def changed(self, **changes: Any) -> Work:
        """Return a copy with these attributes changed, and the same id."""
        changes.setdefault("_id", self.id)
        other = object.__new__(Work)
        for name in Work.__slots__:
            setattr(other, name, changes[name] if name in changes else getattr(self, name))
        return other

    def resume_from(self, prior_outcome: Outcome[Any] | Later, permits: tuple[Permit, ...] = ()) -> Work:
        """Set the outcome of an attempt made before the pipeline, and the permits it had; return this work."""
        self.prior_outcome = prior_outcome
        if self.began is None and not isinstance(prior_outcome, Later):
            self.began = _UNKNOWN  # a call that succeeds does not ask for the time
        self._permits = (
            tuple(permit for permit in permits if permit.is_spent) if isinstance(prior_outcome, Later) else permits
        )
        self.thread = threading.get_ident()  # not the one in which that attempt was made
        return self

    def take_permit(self, key: str) -> Any:
        """Remove and return the permit of the attempt made before the pipeline; None for any other attempt."""
        for permit in self._permits:
            if permit.key == key:
                self._permits = tuple(other for other in self._permits if other is not permit)
                return permit
        return None


class InProgress:
    """Run a block as part of `call`. Not a generator, which would touch errors that pass through."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = running.set(self._call)
        if self._call.is_limited:
            limited.add(self._call)

    def __exit__(self, *_: object) -> None:
        try:
            running.reset(self._token)
        except ValueError:  # closed in another context, as in `Call.invoke`
            pass
        finally:
            limited.discard(self._call)


class Plan(Protocol):
    """A decorated function with its policies."""

    @property
    def fn(self) -> Callable[..., Any]:
        """The user's function."""

    @property
    def operation(self) -> str:
        """Its name."""

    @property
    def attempts(self) -> int:
        """How often one call may invoke it at most; 0 if unlimited."""

    @property
    def is_async(self) -> bool:
        """Whether it is known to return a coroutine."""

    @property
    def pipeline(self) -> Any:
        """The policies around it: a `Pipeline`."""

    def work(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Work:
        """Return an invocation of the function."""


class Call:
    """One attempt at the work. Policies pass on a changed copy and leave their own as it is."""

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
        """How to wait and invoke."""
        return self.work.runtime

    def set_thread(self, thread: int) -> None:
        """Set the thread that does the work."""
        self.work.thread = thread

    @property
    def fenced(self) -> bool:
        """Whether this call, or one around it, was abandoned: nothing may follow from it."""
        call: Call | None = self
        while call is not None:
            if call.is_fenced:
                return True
            call = call.parent
        return False

    def fence(self) -> None:
        """Mark the call as abandoned: it emits no event, changes no state and starts no further attempt."""
        self.is_fenced = True
        if observer is not None:
            observer.fenced(self)

    def attempted(self, attempt: int) -> Call:
        """Return the call with this attempt number."""
        return Call(self.work, self, attempt, self.started, self.deadline, self.limited_until)

    def within(self, deadline: float = NEVER, *, limited_until: float = NEVER) -> Call:
        """Return the call with limits, as times on the clock in use; earlier limits stay.

        Args:
            deadline: of the call with all its attempts.
            limited_until: when its work is interrupted already.
        """
        until = min(limited_until, self.limited_until)
        return Call(self.work, self, self.attempt, self.started, min(deadline, self.deadline), until)

    def changed(self, **of_work: Any) -> Call:
        """Return the call with other arguments (`args`, `kwargs`) or another `runtime`."""
        work = self.work.changed(**of_work)
        return Call(work, self, self.attempt, self.started, self.deadline, self.limited_until)

    def in_parallel(self) -> ParallelCall:
        """Return the call as one of several in parallel, each in its own thread or task."""
        work = self.work.changed()
        return ParallelCall(work, self, self.attempt, self.started, self.deadline, self.limited_until)

    async def wait_for_turn(self, seconds: float) -> None:
        """Sleep before the work may begin. A hedge does not count these seconds: the work is not slow."""
        here: Call | None = self
        parallel = []
        while here is not None and here.work.id == self.work.id:
            if isinstance(here, ParallelCall):
                here.turn = NEVER
                parallel.append(here)
            here = here.parent
        try:
            await self.runtime.sleep(seconds)
        finally:
            for each in parallel:
                each.turn = real_time.monotonic()

    def without_limits(self) -> Call:
        """Return the call without its deadline and limit: for work that has to happen after them."""
        return Call(self.work, self, self.attempt, self.started)

    def remaining(self) -> float:
        """Return the seconds left for the work, infinite without a limit."""
        until = min(self.deadline, self.limited_until)
        return until if until == NEVER else max(0.0, until - clock.now())

    def wants(self, event: type[Event]) -> bool:
        """Whether a sink wants such an event."""
        return bool(self.work.sinks) or bus.wants(event)

    def emit(self, event: type[Event], failure: Facts | None = None, /, **details: Any) -> None:
        """Emit an event if a sink wants it and this call is not fenced.

        Args:
            event: its class.
            failure: facts of the error that the event is about.
            **details: its other fields.
        """
        if event is FallbackUsed and not self.fenced:
            self.mark_degraded(inside=self.work.id)
        work = self.work
        if (work.sinks or bus.wants(event)) and not self.fenced:
            if failure is not None:
                known = {"of": reported_by(work.operation, failure.error), "seconds": self.lasted()}
                details = {**failure.about(), **known, **details}
            details.setdefault("attempt", self.attempt)
            bus.emit(event(operation=work.operation, call=work.id, **details), *work.sinks)

    def lasted(self) -> float | None:
        """Return the seconds since the call started; None if that is unknown."""
        began = self.work.began
        return None if began is not None and began != began else seconds_since(self.started)  # noqa: PLR0124  # NaN

    def mark_degraded(self, inside: str = "") -> None:
        """Record on this call and those around it that a nested call returned a stand-in.

        Args:
            inside: the id of that call if it is this one.
        """
        around: Call | None = self
        of, attempt = inside, 0
        while around is not None:
            if around.work.id != of:
                of, attempt = around.work.id, 0
            attempt = max(attempt, around.attempt)  # only the innermost call of an operation has the number
            if of != inside:
                around.work.degraded = max(attempt, around.work.degraded)
            around = around.parent

    async def invoke(self) -> Outcome[Any]:
        """Call the function. Abandoned work begins no further attempt."""
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
                begun = (
                    work.runtime.begin(work.fn, work.args, work.kwargs) if observer is None else observer.attempt(self)
                )
                outcome = await begun if type(begun) is CoroutineType else begun
            finally:
                try:
                    running.reset(token)
                except ValueError:  # a discarded coroutine is closed in another context
                    pass
                finally:  # even if an interrupt comes at the end of `reset`
                    limited.discard(self)
        return await outcome.resolve(self) if isinstance(outcome, Later) else outcome


class ParallelCall(Call):
    """One of several parallel calls. `turn` is when it last got its turn, if it waited; NEVER while it waits."""

    __slots__ = ("turn",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_limited = True  # it may be fenced at any time
        self.turn: float = -NEVER


def seconds_since(began: float) -> float:
    """Return the seconds since `began`, a time on the clock in use, to the microsecond."""
    return max(0.0, round(clock.now() - began, 6))


def remaining() -> float:
    """Return the seconds left for the running function, infinite without a limit."""
    call = running.get()
    return NEVER if call is None else call.remaining()


#: The attribute of an error that a call has reported: the operation around that call, and the call's id.
_REPORTED = "__resilient_reported__"


def mark_reported(error: BaseException, call: str, around: str) -> None:
    """Record that the call with this id, nested in `around` (may be empty), reported the error in an event."""
    safely.mark(error, _REPORTED, (around, call))


def reported_by(operation: str, error: BaseException) -> str | None:
    """Return the id of the call nested in `operation` that already reported the error; None if none did."""
    around, call = safely.marked(error, _REPORTED) or ("", None)
    return call if around == operation else None
