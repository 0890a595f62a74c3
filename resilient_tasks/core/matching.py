"""Which failures a policy is for: kinds, exception types, several of them, or a predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from resilient_tasks.core import callables
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.failures import Kind, classify

One: TypeAlias = Kind | type[Exception] | Callable[[Exception], bool]
On: TypeAlias = One | Iterable[One]


def matcher(on: On, where: str) -> Callable[[Exception], bool]:
    """Return the predicate that `on` stands for.

    Args:
        on: kinds, exception types or predicates; one of them, or several.
        where: the argument's name, for the error's sentence.

    Raises:
        PolicyError: something in `on` is none of these.
    """
    rules = tuple(on) if isinstance(on, Iterable) and not isinstance(on, type | str) else (on,)
    for rule in rules:
        _check(rule, where)
    if not rules:
        msg = f"{where} is empty, so it would match no failure: leave it out, or name kinds or exception types"
        raise PolicyError(msg)
    return _Matches(rules)


class _Matches:
    """A predicate that can be pickled, as a closure cannot."""

    def __init__(self, rules: tuple[object, ...]) -> None:
        self._rules = rules

    def __call__(self, error: Exception) -> bool:
        return any(_holds(rule, error) for rule in self._rules)


def _holds(rule: object, error: Exception) -> bool:
    if isinstance(rule, Kind):
        return classify(error) is rule
    if isinstance(rule, type):
        return isinstance(error, rule)
    return bool(rule(error))  # type: ignore[operator]  # checked at decoration


def _check(rule: object, where: str) -> None:
    if isinstance(rule, Kind):
        return
    if isinstance(rule, type):
        if issubclass(rule, Exception):
            return
        msg = (
            f"{where} names {rule.__name__}, which is not an Exception: cancellation and interrupts are never caught."
            " Name Exception types or kinds"
        )
        raise PolicyError(msg)
    if not callable(rule) or callables.is_async(rule):
        msg = f"{where} takes kinds, exception types or a plain predicate of the error, not {rule!r}"
        raise PolicyError(msg)
