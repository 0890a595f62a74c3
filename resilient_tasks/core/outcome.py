"""The outcome of a call: `Ok`, `Degraded` or `Failed`, for `match`; or a `Rest`, which gives one when awaited.

An outcome owns its error's traceback: raising the same outcome twice does not lengthen the traceback, and raising it
leaves no reference cycle that would keep a failed attempt's arguments alive.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeAlias, TypeVar

from resilient_tasks import core, safely

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_tasks.core.failures import Facts

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Frozen:
    """Immutable base. Not a frozen dataclass, whose `__init__` takes twice the time."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"cannot assign to field {name!r}"
        raise FrozenInstanceError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"cannot delete field {name!r}"
        raise FrozenInstanceError(msg)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__qualname__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)


class Ok(_Frozen, Generic[T_co]):
    """The function's own result. `attempts` is the number of the attempt that succeeded."""

    __match_args__: ClassVar[tuple[Literal["value"], Literal["attempts"]]] = ("value", "attempts")
    __slots__ = __match_args__

    value: T_co
    attempts: int

    def __init__(self, value: T_co, attempts: int = 1) -> None:
        _set_value(self, value)
        _set_attempts(self, attempts)

    def unwrap(self) -> T_co:
        """Return the value."""
        return self.value


class Degraded(_Frozen, Generic[T_co]):
    """A stand-in for the function's result. `because` is the error that caused it, without its traceback."""

    __match_args__: ClassVar[tuple[Literal["value"], Literal["because"]]] = ("value", "because")
    __slots__ = __match_args__

    value: T_co
    because: Exception

    def __init__(self, value: T_co, because: Exception) -> None:
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "because", because)

    def unwrap(self) -> T_co:
        """Return the stand-in value."""
        return self.value


class Failed(_Frozen):
    """The call failed with `error`: the function's own, if it raised one."""

    __match_args__: ClassVar[tuple[Literal["error"], Literal["traceback"]]] = ("error", "traceback")
    __slots__ = (*__match_args__, "_facts")

    error: Exception
    traceback: TracebackType | None
    _facts: Facts

    def __init__(self, error: Exception) -> None:
        _set_error(self, error)
        _set_traceback(self, _traceback_of(error))
        _set_facts(self, None)

    @property
    def facts(self) -> Facts:
        """Facts of the failure, found on first use."""
        if self._facts is None:
            _set_facts(self, core.failures.Facts(self.error))
        return self._facts

    def __reduce__(self) -> tuple[type[Failed], tuple[Exception]]:
        return Failed, (self.error,)  # no traceback crosses into another process

    def unwrap(self) -> NoReturn:
        """Raise the error with the traceback it had when it was caught."""
        error, traceback = self.error, self.traceback
        try:
            raise BaseException.with_traceback(error, traceback)  # an error class may override it
        finally:
            # The traceback now holds this frame: a frame that held the error would close a cycle.
            del error, traceback, self


_set_value, _set_attempts = vars(Ok)["value"].__set__, vars(Ok)["attempts"].__set__
_set_error, _set_traceback = vars(Failed)["error"].__set__, vars(Failed)["traceback"].__set__
_set_facts = vars(Failed)["_facts"].__set__
#: As `safely.own(error, "__traceback__")`, but faster: every failure needs it.
_traceback_of = vars(BaseException)["__traceback__"].__get__

Outcome: TypeAlias = Ok[T_co] | Degraded[T_co] | Failed

#: What a sync pipeline yields to its driver when its function has returned an awaitable.
PAUSE = object()


#: Called when a pipeline pauses: restores the caller's context, and returns what is called when it goes on.
leave_context: Callable[[], Callable[[], None]] | None = None


@types.coroutine
def pause() -> Generator[object, None, None]:
    """Suspend the pipeline until the caller awaits the `Rest` that its driver returns."""
    go_on = None if leave_context is None else leave_context()
    yield PAUSE
    if go_on is not None:
        go_on()


class Rest(Generic[T]):
    """The rest of a paused pipeline. Awaited once, in the caller's event loop, it gives the outcome."""

    def __init__(self, pipeline: Coroutine[Any, Any, Outcome[T]]) -> None:
        self._pipeline = pipeline

    def __await__(self) -> Generator[Any, Any, Outcome[T]]:
        # Not `await`, which refuses a coroutine that has begun.
        return (yield from self._pipeline.__await__())

    async def outcome(self) -> Outcome[T]:
        """Return the outcome."""
        return await self

    async def unwrap(self) -> T:
        """Return the value, or raise the error."""
        return (await self).unwrap()


def let_go(error: Exception) -> None:
    """Clear the finished frames through which `error` came here, so that they form no reference cycle with it.

    From Python 3.12 on, the frame that raised keeps the frames that called it, even once they have ended, and with them
    their variables: the outcome, which holds the error, which holds the frame that raised. These frames are not part of
    the error's traceback, so no reader misses them.
    """
    traceback = safely.own(error, "__traceback__")
    frame = traceback.tb_frame if traceback else None
    del traceback
    try:
        while frame is not None:
            frame.clear()
            frame = frame.f_back
    except RuntimeError:
        pass  # the caller's frame, which is still running


def without_traceback(error: Exception) -> Exception:
    """Remove the traceback from an error that outlives its call, so that it keeps no attempt's arguments alive.

    Its causes, contexts and, for a group, its errors lose theirs too.
    """
    let_go(error)
    seen: set[int] = set()
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        safely.without_frames(link)
        links += (safely.own(link, "__cause__"), safely.own(link, "__context__"), *safely.parts(link))
    return error
