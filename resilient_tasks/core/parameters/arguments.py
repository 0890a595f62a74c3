"""Explain how to call a constructor or function whose arguments do not fit."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from resilient_tasks import core
from resilient_tasks.core.errors import PolicyError

T = TypeVar("T", bound=Callable[..., Any])

_LONGEST = 40
_WHOLE = frozenset({"attempts", "failures", "queue", "burst", "times"})
#: Arguments that may hold a secret, and are not shown.
_SECRET = frozenset({"webhook", "token", "url", "secret", "secrets", "password", "headers", "credentials"})


class _Usage(NamedTuple):
    """Correct usage: the name, an example, and the names of arguments that users pass by position."""

    title: str
    example: str
    order: tuple[str, ...]


def answering(example: str, *order: str) -> Callable[[T], T]:
    """Make a constructor or function explain its usage when its arguments do not fit.

    A call that fits is not slowed down.

    Args:
        example: a correct call.
        order: keyword-only arguments that users pass by position, in that order.
    """

    def change(made: T) -> T:
        if inspect.isclass(made):
            cls: Any = made  # `dataclass` has just written its `__init__`
            cls.__init__ = _answering(cls.__init__, _Usage(made.__name__, example, order))
            return made
        return _answering(made, _Usage(made.__name__, example, order))  # type: ignore[return-value]  # same signature

    return change


def _answering(call: Callable[..., Any], usage: _Usage) -> Callable[..., Any]:
    @functools.wraps(call)
    def answering_call(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except PolicyError:
            raise
        except TypeError:
            sentence = _misfit(call, usage, args, kwargs)
            if sentence is None:
                raise
        raise PolicyError(sentence)

    return answering_call


def _misfit(call: Callable[..., Any], usage: _Usage, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Explain why the arguments do not fit; None if they do."""
    title, example, order = usage
    signature = inspect.signature(call)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        problem = str(error)
    else:
        return None
    parameters = list(signature.parameters.values())
    if parameters[0].name == "self":
        parameters, args = parameters[1:], args[1:]
    parameters = [one for one in parameters if not one.name.startswith("_")]
    names = [one.name for one in parameters]
    taken = f"it takes {', '.join(map(_head, parameters))}, as in {example}" if names else "it takes no arguments"
    unknown = [name for name in kwargs if name not in names]
    if unknown:
        if note := core.parameters.words.note_on(title, unknown[0]):
            return f"{title} has no argument {unknown[0]!r}: {note}"
        meant = core.parameters.words.did_you_mean(unknown[0], names)
        return f"{title} has no argument {unknown[0]!r}{f'{meant} I{taken[1:]}' if meant else f': {taken}'}"
    by_place = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if len(args) > len(by_place):
        written = _written(title, args, kwargs, by_place, [*order, *names])
        if written is None:
            most = f"{len(by_place) or 'no'} {'argument' if len(by_place) == 1 else 'arguments'}"
            return f"{title} takes {most} by position: write {example}"
        more = f"; as in {example}" if ", or " in example else ""
        return f"{title} takes these arguments by name: write {written}{more}"
    return f"{title}: {problem}; write {example}"


def _head(one: inspect.Parameter) -> str:
    if one.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"*{one.name}"
    return f"**{one.name}" if one.kind is inspect.Parameter.VAR_KEYWORD else f"{one.name}="


def _written(
    title: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], by_place: list[str], order: Iterable[str]
) -> str | None:
    """Return the source of the call that was probably meant; None if there are more arguments than names."""
    free = [name for name in dict.fromkeys(order) if name not in kwargs and name not in by_place]
    parts = [_shown(name, value) for name, value in zip(by_place, args, strict=False)]
    for value in args[len(by_place) :]:
        name = next((name for name, fits in _KNOWN.items() if name in free and fits(value)), None)
        if name is None and not free:
            return None
        name = name or free[0]
        free.remove(name)
        parts.append(f"{name}={_shown(name, value)}")
    parts += [f"{name}={_shown(name, value)}" for name, value in kwargs.items()]
    return f"{title}({', '.join(parts)})"


def _shown(name: str, value: object) -> str:
    if name in _SECRET:
        return "..."
    if name in _WHOLE and isinstance(value, str) and value.strip().isdecimal():
        return str(int(value))
    named = getattr(value, "__name__", None) if isinstance(value, type) or callable(value) else None
    text = named if isinstance(named, str) else repr(value)
    return text if len(text) <= _LONGEST else "..."


def _is_failure(value: object) -> bool:
    several = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    return bool(several) and all(
        type(one).__name__ == "Kind" or (isinstance(one, type) and issubclass(one, BaseException)) for one in several
    )


def _begins(*starts: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value.startswith(starts)


#: By argument, which values are probably meant for it in any position.
_KNOWN: Mapping[str, Callable[[object], bool]] = {
    "on": _is_failure,
    "budget": lambda value: type(value).__name__ == "RetryBudget",
    "webhook": _begins("http://", "https://"),
    "token": _begins("xox"),
    "channel": lambda value: isinstance(value, str),
}
