"""What can come of a call: `Ok`, `Degraded` or `Failed`, made to be matched.

An outcome owns its error's traceback: raising the same outcome twice does not lengthen it, and raising one leaves
no reference cycle behind that would keep a failed attempt's arguments alive.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeAlias, TypeVar

from resilient_tasks import core, safely

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_tasks.core.failures import Facts

T_co = TypeVar("T_co", covariant=True)


class _Frozen:
    """What does not change. Written out: the dataclass would set each attribute by its name, at twice the cost."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"cannot assign to field {name!r}"
        raise FrozenInstanceError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"cannot delete field {name!r}"
        raise FrozenInstanceError(msg)

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__qualname__}({said})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)


class Ok(_Frozen, Generic[T_co]):
    """The function's own result, from the attempt numbered `attempts` (1 if the first succeeded)."""

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
    """A stand-in for the function's result. `because` is the error that made it necessary, without its traceback."""

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
    """The call failed with `error`, the function's own where there is one."""

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
        """What is known of the failure, found once for all who ask."""
        if self._facts is None:
            _set_facts(self, core.failures.Facts(self.error))
        return self._facts

    def __reduce__(self) -> tuple[type[Failed], tuple[Exception]]:
        return Failed, (self.error,)  # no traceback crosses into another process

    def unwrap(self) -> NoReturn:
        """Raise the error as it was when it was caught."""
        error, traceback = self.error, self.traceback
        try:
            raise BaseException.with_traceback(error, traceback)  # some refuse it by their own
        finally:
            # The traceback now holds this frame: a frame that held the error would close a cycle.
            del error, traceback, self


_set_value, _set_attempts = vars(Ok)["value"].__set__, vars(Ok)["attempts"].__set__
_set_error, _set_traceback = vars(Failed)["error"].__set__, vars(Failed)["traceback"].__set__
_set_facts = vars(Failed)["_facts"].__set__
#: As `safely.own`, of the one attribute that each failure is asked for.
_traceback_of = vars(BaseException)["__traceback__"].__get__

Outcome: TypeAlias = Ok[T_co] | Degraded[T_co] | Failed


def let_go(error: Exception) -> None:
    """Empty the finished frames through which `error` came up to here, so that none of them keeps it alive in a circle.

    From Python 3.12 on, the frame that raised holds on to the frames that called it, also after these have ended, and
    with them to what they had in their hands: the outcome, with the error, with the frame that raised. None of those is
    part of the error's traceback, so nothing that a person reads is lost.
    """
    traceback = safely.own(error, "__traceback__")
    frame = traceback.tb_frame if traceback else None
    del traceback
    try:
        while frame is not None:
            frame.clear()
            frame = frame.f_back
    except RuntimeError:
        pass  # this one is still running: it is the caller's


def without_traceback(error: Exception) -> Exception:
    """Cut the frames off an error that outlives its call, so that it keeps no attempt's arguments alive.

    Its causes, its contexts and the errors of a group are cut off with it: each of them holds frames of its own.
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
