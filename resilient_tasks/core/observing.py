"""Observe calls and attempts from outside the policies, for tracing.

While no observer is installed, a successful call runs exactly the code of a library without observers. While one is,
every call enters its pipeline: an entry in `call.limited`, which wrappers look at anyway, makes them ask.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, cast

from resilient_tasks.core import call as calls
from resilient_tasks.core import outcome as outcomes
from resilient_tasks.core.call import Call, Later, Proceed
from resilient_tasks.core.events import Event
from resilient_tasks.core.outcome import Outcome


class Observer(Protocol):
    """Sees calls and attempts begin and end, in the thread and context in which they do."""

    @property
    def carrier_class(self) -> type[Carrier]:
        """The class of what `carrier` returns; it can be imported in another process."""

    def begin(self, call: Call, *, in_steps: bool = False) -> None:
        """Note that a call begins; with `in_steps`, that of a generator, whose one attempt begins, too."""

    def around(self, call: Call, proceed: Proceed) -> Coroutine[Any, Any, Outcome[Any]]:
        """Begin a call and proceed. If a `BaseException` ends it, the call has ended."""

    def attempt(self, call: Call) -> Coroutine[Any, Any, Outcome[Any] | Later]:
        """Have `call.work.runtime` begin the function, as an attempt or as one step of a generator."""

    def fenced(self, call: Call) -> None:
        """Note that the attempts inside `call` were given up; they may still run."""

    def ended(self, call: Call, outcome: Outcome[Any] | BaseException | None) -> None:
        """Note that a call has ended, after its last event."""

    def heard(self, event: Event) -> None:
        """Note an event of which no sink hears, because it is sent to the parent process."""

    def leave_context(self) -> Callable[[], None]:
        """Restore the context around a call that pauses, and return what enters the call's context again."""

    def carrier(self) -> Carrier | None:
        """Return the context of the running attempt, for another process; None if it cannot cross."""


class Carrier(Protocol):
    """A context that crosses to another process; a context manager there, around the function. Picklable."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> object: ...

    @staticmethod
    def prepare() -> None:
        """Prepare the other process, before a limit counts."""

    def finish(self) -> None:
        """Export what was recorded there, after the function's result was sent."""


#: Makes `call.limited` true.
_EVERY_CALL = cast("Call", object())


def install(observer: Observer) -> None:
    """Have `observer` see every call that begins from now on."""
    calls.observer, outcomes.leave_context = observer, observer.leave_context
    calls.limited.add(_EVERY_CALL)


def uninstall() -> None:
    """Observe nothing any more."""
    calls.limited.discard(_EVERY_CALL)
    calls.observer = outcomes.leave_context = None


class InSteps:
    """Observe the call of a generator during a block, if there is an observer.

    Attributes:
        outcome: set it to the call's outcome; the error that leaves the block counts otherwise.
    """

    def __init__(self, call: Call) -> None:
        self.outcome: Outcome[Any] | None = None
        self._call, self._observer = call, calls.observer

    def __enter__(self) -> Self:
        if self._observer is not None:
            self._observer.begin(self._call, in_steps=True)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._observer is not None:
            self._observer.ended(self._call, error or self.outcome)
        self.outcome = None
