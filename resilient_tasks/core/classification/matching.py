"""Which failures a policy is for: kinds, exception types, several of them, or a predicate."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from pathlib import PurePath
from types import UnionType
from typing import Any, TypeAlias, cast

from resilient_tasks import safely
from resilient_tasks.core import wording
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import PolicyError, PredicateError, judged_in
from resilient_tasks.core.failures import Facts, describe, registered
from resilient_tasks.core.parameters import callables, strategies

_IN_WORDS = {kind: kind.value for kind in Kind} | {Kind.TIMEOUT: "timed-out", Kind.RESOURCE: "out-of-resources"}

One: TypeAlias = Kind | type[Exception] | Callable[[Exception], bool]
On: TypeAlias = One | Iterable[One]


def matcher(on: On, where: str) -> Matcher:
    """Return the predicate that `on` stands for.

    Args:
        on: kinds, exception types, predicates or tenacity's retry conditions; one of them, or several.
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
    return Matcher(rules, where)


class Matcher:
    """A predicate that can be pickled, as a closure cannot.

    Attributes:
        asks_tenacity: whether a condition of tenacity is among its rules.
        kinds: its rules, where each is a kind; else none.
        goes_by_the_error: whether no code of a user's own is among its rules.
    """

    def __init__(self, rules: tuple[object, ...], where: str) -> None:
        self._rules = rules
        self._where = where
        kinds = tuple(rule for rule in rules if isinstance(rule, Kind))
        self.kinds: tuple[Kind, ...] = kinds if len(kinds) == len(rules) else ()
        self.goes_by_the_error: bool = all(
            isinstance(rule, Kind) or getattr(type(rule), "__instancecheck__", None) is type.__instancecheck__
            for rule in rules
        )
        self.asks_tenacity: bool = any(strategies.kind_of(rule) for rule in rules)

    def __call__(self, failure: Exception | Facts, state: Any = None) -> bool:
        """Tell whether any rule holds for a failure.

        Args:
            failure: what the call failed with, or what is known of it, so that it is judged once.
            state: what tenacity's own conditions are asked with, where that is known better than here.

        Raises:
            PredicateError: a predicate failed; from the error.
        """
        facts = failure if type(failure) is Facts else Facts(cast("Exception", failure))
        if self.kinds:
            return facts.kind in self.kinds
        subject = cast("Exception", judged_in(facts.error))
        state = None if subject is not facts.error else state
        return any(self._holds(rule, subject, facts, state) for rule in self._rules)

    def describe(self) -> str:
        """Say which failures these are: `transient and malformed failures, ValueError`; with what is registered so."""
        kinds = {rule for rule in self._rules if isinstance(rule, Kind)}
        said = [f"{wording.joined([_IN_WORDS[kind] for kind in Kind if kind in kinds])} failures"] if kinds else []
        said += [rule.__name__ for rule in self._rules if isinstance(rule, type)]
        asked = [rule for rule in self._rules if not isinstance(rule, Kind | type)]
        said += [f"what {wording.short_name_of(rule)} accepts" for rule in asked]
        taught = [f"{name} as {kind.value}" for name, kind in registered() if kind in kinds]
        return ", ".join(said) + (f" (registered: {', '.join(taught)})" if taught else "")

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
    """Return the answer of a predicate that a user gave.

    Args:
        predicate: what to ask.
        argument: what it is called with.
        where: the policy's argument that it was given as.
        error: what the call failed with; None where the predicate judges a result.

    Raises:
        PredicateError: it raised, or gave nothing that is true or false; from `error`, or else from its own.
    """
    try:
        answer = predicate(argument)
        if type(answer) is bool:
            return answer
        if callables.comes_later(answer):
            raise callables.refused(answer, "a predicate has to answer at once")  # noqa: TRY301  # told as any other
        return bool(answer)
    except Exception as problem:
        said = f"{where}: the predicate {wording.short_name_of(predicate)} {how_it_failed(problem)}"
        if error is None:
            raise PredicateError(f"{said}, when it was asked about a result", about_error=False) from problem
        raise PredicateError(f"{said}, when it was asked about {describe(error)}, see the cause") from error


def how_it_failed(problem: Exception) -> str:
    """Say what a user's function raised, and where: `raised ValueError: no host (flows.py:12)`."""
    link = problem.__traceback__
    while link is not None and link.tb_next is not None:
        link = link.tb_next
    code = None if link is None else link.tb_frame.f_code
    where = "" if link is None or code is None else f" ({PurePath(code.co_filename).name}:{link.tb_lineno})"
    return f"raised {describe(problem)}{where}"


def _instead(rule: object) -> str:
    """Return what to write for something that probably stands for a kind or an exception type; else nothing."""
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
        callables.check_question(rule, where, what)
    elif not issubclass(rule, Exception):
        msg = (
            f"{where} names {rule.__name__}, which is not an Exception: cancellation and interrupts are never caught."
            " Name Exception types or kinds"
        )
        raise PolicyError(msg)
