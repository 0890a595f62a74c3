"""The failures that a policy applies to: kinds, exception types, predicates, or several of these."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from pathlib import PurePath
from types import UnionType
from typing import Any, TypeAlias, cast

from resilient_tasks import safely
from resilient_tasks.core import wording
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import PolicyError, PredicateError, error_to_judge
from resilient_tasks.core.failures import Facts, describe, registered
from resilient_tasks.core.parameters import callables, strategies

_IN_WORDS = {kind: kind.value for kind in Kind} | {Kind.TIMEOUT: "timed-out", Kind.RESOURCE: "out-of-resources"}

One: TypeAlias = Kind | type[Exception] | Callable[[Exception], bool]
On: TypeAlias = One | Iterable[One]


def matcher(on: On, where: str) -> Matcher:
    """Return a predicate for `on`.

    Args:
        on: kinds, exception types, predicates or tenacity's retry conditions; one of them, or several.
        where: the argument's name, for the error message.

    Raises:
        PolicyError: something in `on` is none of these.
    """
    rules = tuple(on) if isinstance(on, Iterable) and not isinstance(on, type | str) else (on,)
    for rule in rules:
        _check(rule, where)
    if not rules:
        msg = f"{where} is empty, so it would match no failure: leave it out, or name kinds or exception types"
        raise PolicyError(msg)
    return Matcher(rules, where)


class Matcher:
    """A predicate that can be pickled, as a closure cannot.

    Attributes:
        uses_tenacity: whether a condition of tenacity is among its rules.
        kinds: its rules if all of them are kinds, otherwise empty.
        by_error_alone: whether its rules run no code of the user.
    """

    def __init__(self, rules: tuple[object, ...], where: str) -> None:
        self._rules = rules
        self._where = where
        kinds = tuple(rule for rule in rules if isinstance(rule, Kind))
        self.kinds: tuple[Kind, ...] = kinds if len(kinds) == len(rules) else ()
        self.by_error_alone: bool = all(
            isinstance(rule, Kind) or getattr(type(rule), "__instancecheck__", None) is type.__instancecheck__
            for rule in rules
        )
        self.uses_tenacity: bool = any(strategies.kind_of(rule) for rule in rules)

    def __call__(self, failure: Exception | Facts, state: Any = None) -> bool:
        """Return whether any rule matches a failure.

        Args:
            failure: the error of the call, or its facts, so that it is classified once.
            state: the argument for tenacity's conditions, if the caller knows more than the error.

        Raises:
            PredicateError: a predicate failed; its cause is the error of the call.
        """
        facts = failure if type(failure) is Facts else Facts(cast("Exception", failure))
        if self.kinds:
            return facts.kind in self.kinds
        subject = cast("Exception", error_to_judge(facts.error))
        state = None if subject is not facts.error else state
        return any(self._holds(rule, subject, facts, state) for rule in self._rules)

    def describe(self) -> str:
        """Describe the failures: `transient failures, ValueError`; with the registered errors of these kinds."""
        kinds = {rule for rule in self._rules if isinstance(rule, Kind)}
        parts = [f"{wording.joined([_IN_WORDS[kind] for kind in Kind if kind in kinds])} failures"] if kinds else []
        parts += [rule.__name__ for rule in self._rules if isinstance(rule, type)]
        predicates = [rule for rule in self._rules if not isinstance(rule, Kind | type)]
        parts += [f"what {wording.short_name_of(rule)} accepts" for rule in predicates]
        extra = [f"{name} as {kind.value}" for name, kind in registered() if kind in kinds]
        return ", ".join(parts) + (f" (registered: {', '.join(extra)})" if extra else "")

    def _holds(self, rule: object, error: Exception, facts: Facts, state: Any) -> bool:
        if isinstance(rule, Kind):
            return facts.kind is rule
        if isinstance(rule, type):
            if type(rule).__instancecheck__ is type.__instancecheck__:
                return safely.is_a(error, rule)
            return ask(rule.__instancecheck__, error, self._where, error)
        if strategies.kind_of(rule):
            return ask(cast("Any", rule), strategies.state_of(error) if state is None else state, self._where, error)
        return ask(cast("Any", rule), error, self._where, error)


def ask(predicate: Callable[[Any], Any], argument: Any, where: str, error: Exception | None = None) -> bool:
    """Return the result of a user's predicate.

    Args:
        predicate: the predicate.
        argument: its argument.
        where: the policy's argument that holds the predicate.
        error: the error of the call; None for a predicate of a result.

    Raises:
        PredicateError: it raised, or its result has no truth value; the cause is `error`, or else the predicate's own.
    """
    try:
        answer = predicate(argument)
        if type(answer) is bool:
            return answer
        if callables.comes_later(answer):
            raise callables.refused(answer, "a predicate has to answer at once")  # noqa: TRY301  # reported like any other
        return bool(answer)
    except Exception as problem:
        message = f"{where}: the predicate {wording.short_name_of(predicate)} {how_it_failed(problem)}"
        if error is None:
            raise PredicateError(f"{message}, when called with a result", about_error=False) from problem
        raise PredicateError(f"{message}, when called with {describe(error)}; see the cause") from error


def how_it_failed(problem: Exception) -> str:
    """Describe the error of a user's function, and its place: `raised ValueError: no host (flows.py:12)`."""
    link = problem.__traceback__
    while link is not None and link.tb_next is not None:
        link = link.tb_next
    code = None if link is None else link.tb_frame.f_code
    where = "" if link is None or code is None else f" ({PurePath(code.co_filename).name}:{link.tb_lineno})"
    return f"raised {describe(problem)}{where}"


def _instead(rule: object) -> str:
    """Return what to write for a value that was probably meant as a kind or an exception type; or an empty text."""
    if isinstance(rule, str):
        kind, cls = rule.strip().upper(), getattr(builtins, rule.strip(), None)
        if kind in Kind.__members__:
            return f"Kind.{kind}"
        return f"{rule.strip()} without quotes" if isinstance(cls, type) and issubclass(cls, BaseException) else ""
    if isinstance(rule, UnionType):
        return f"({', '.join(getattr(cls, '__name__', str(cls)) for cls in rule.__args__)})"
    if safely.is_a(rule, BaseException):
        return f"the class, {type(rule).__name__}"
    status = safely.number(rule)
    if status is not None and 100 <= status < 600:
        return "Kind.TRANSIENT for 500, 502, 503 and 504, Kind.THROTTLED for 429, or a predicate of the error"
    return ""


def _check(rule: object, where: str) -> None:
    if isinstance(rule, Kind):
        return
    strategies.check_place(rule, "retry", where)
    strategies.check_judges(rule, "failures", where)
    if not isinstance(rule, type):
        what = "kinds, exception types or a plain predicate of the error"
        if instead := _instead(rule):
            raise PolicyError(f"{where} takes {what}, not {safely.shown(rule)}: write {instead}")
        callables.check_predicate(rule, where, what)
    elif not issubclass(rule, Exception):
        msg = (
            f"{where} names {rule.__name__}, which is not an Exception: cancellation and interrupts are never caught."
            " Name Exception types or kinds"
        )
        raise PolicyError(msg)
