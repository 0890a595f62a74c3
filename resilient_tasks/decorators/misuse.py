"""Common mistakes in a decorator's arguments, and messages that say what to write instead.

A correct decorator never calls this module; what only the messages need is imported with them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

from resilient_tasks import core
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.pipeline import Policy, is_policy
from resilient_tasks.core.wording import a

#: The correct form of each keyword.
EXAMPLES = {
    "retry": "retry=3 or retry=Retry(attempts=3, wait=2)",
    "deadline": "deadline=120",
    "timeout": "timeout=20",
    "breaker": 'breaker=CircuitBreaker("flights-api", failures=5)',
    "rate_limit": 'rate_limit=RateLimit("flights-api", calls=10, per=1)',
    "bulkhead": 'bulkhead=Bulkhead("warehouse", 4)',
    "hedge": "hedge=0.2",
    "validate": "validate=Orders, with a pandera or pydantic schema",
    "fallback": "fallback=last_good, with a function of the call's own arguments",
    "single_flight": "single_flight=True",
    "notify": 'notify=Slack(channel="#ml-alerts")',
}
#: The correct form of classes that share their keyword with another.
_OF_CLASS = {
    "AdaptiveRateLimit": 'rate_limit=AdaptiveRateLimit("flights-api", start=10, per=1)',
    "LastGood": 'fallback=LastGood(max_age="2d")',
}
_PER = r"(?i)\s*([0-9]+)\s*(?:/|per|an?)\s*([0-9]*\s*[a-z]+)\s*"


def is_likely_ours(name: str) -> bool:
    """Return whether a keyword may be a misspelt one of this library."""
    return bool(core.parameters.words.meant_by(name, EXAMPLES))


def refuse_unknown(
    options: Iterable[str], ours: Collection[str], more: Collection[str] = (), decorator: str = ""
) -> None:
    """Raise `PolicyError` if one of `options` is not a keyword, with suggestions.

    Args:
        options: the keywords that the user wrote.
        ours: the keywords of this library.
        more: the keywords of Prefect.
        decorator: the decorator's name.
    """
    for name in options:
        if name in ours or name in more:
            continue
        found = list(
            dict.fromkeys(
                (*core.parameters.words.meant_by(name, ours)[:1], *core.parameters.words.meant_by(name, more)[:1])
            )
        )
        meant = f": did you mean {' or '.join(f'{one}=' for one in found)}?" if found else ":"
        theirs = f", and the keywords of Prefect's @{decorator.removeprefix('resilient_')}" if more else ""
        msg = (
            f"@{decorator} has no keyword {name!r}{meant} {'It' if found else 'it'} takes"
            f" {', '.join(f'{one}=' for one in ours)}{theirs}"
        )
        raise PolicyError(msg)


def refuse_value(keyword: str, given: object, policy_of: Callable[[str], type[Policy]]) -> None:
    """Raise `PolicyError` if `given` cannot be short for the policy of `keyword`.

    Args:
        keyword: the decorator's keyword.
        given: the user's value; not a policy of that class.
        policy_of: returns the policy class of a keyword.
    """
    why = _class_or_policy(keyword, given, policy_of) or _BY_KEYWORD.get(keyword, _nothing)(given)
    if not why and isinstance(given, bool) and keyword != "single_flight":
        why = f"write {EXAMPLES[keyword]}"
    if why:
        msg = f"{keyword}= takes a {policy_of(keyword).__name__}(...), not {_shown(given)}: {why}"
        raise PolicyError(msg)


def _class_or_policy(keyword: str, given: Any, policy_of: Callable[[str], type[Policy]]) -> str:
    if isinstance(given, type) and Policy in given.__mro__:
        example = EXAMPLES[keyword] if given is policy_of(keyword) else _keyword_of(given)
        return f"that is the class, without its arguments; write {example}"
    if Policy in type(given).__mro__:
        for other in EXAMPLES:
            if policy_of(other).slot == getattr(given, "slot", None):
                return f"write {other}={given!r}"
        return f"write policies=[{given!r}]"
    return ""


def _nothing(_: object) -> str:
    return ""


def _retry(given: object) -> str:  # noqa: PLR0911  # one line per reason
    if isinstance(given, int):
        return ""
    if isinstance(given, str) and given.strip().isdecimal():
        return f"write retry={int(given)}"
    if isinstance(given, float) and given.is_integer():
        return f"it counts attempts; write retry={int(given)}"
    if isinstance(given, Mapping):
        return f"write retry=Retry({', '.join(f'{name}={value!r}' for name, value in given.items())})"
    if isinstance(given, type) or (isinstance(given, list | tuple | set) and any(isinstance(o, type) for o in given)):
        return f"write retry=Retry(on={_shown(given)})"
    if type(given).__name__ == "RetryBudget":
        return f"write retry=Retry(budget={given!r})"
    for base in type(given).__mro__:
        if base.__module__.startswith("tenacity") and base.__name__ in _TENACITYS:
            return f"write retry=Retry({_TENACITYS[base.__name__]}={type(given).__name__}(...))"
    if isinstance(given, list | tuple):
        return f"write retry=Retry(attempts={len(given) + 1}, wait={list(given)!r})"
    return f"write {EXAMPLES['retry']}"


_TENACITYS = {"stop_base": "stop", "wait_base": "wait", "retry_base": "on"}


def _breaker(given: object) -> str:
    if isinstance(given, str) or (callable(given) and not isinstance(given, type)):
        return ""
    number = given if isinstance(given, int) and not isinstance(given, bool) else 5
    return f'write breaker=CircuitBreaker("flights-api", failures={number}), with the name of the service'


def _rate_limit(given: object) -> str:
    calls, per = "10", "1"
    if isinstance(given, str) and (found := re.fullmatch(_PER, given)):
        calls, unit = found[1], found[2].strip().lower()
        per = f'"{unit if unit[0].isdigit() else f"1 {unit}"}"'
    elif isinstance(given, int) and not isinstance(given, bool):
        calls = str(given)
    name = core.keys.key_functions.as_name(given if callable(given) else None, "flights-api")
    return f"write rate_limit=RateLimit({name}, calls={calls}, per={per}), with the name of the service"


def _bulkhead(given: object) -> str:
    number = given if isinstance(given, int) and not isinstance(given, bool) else 4
    name = core.keys.key_functions.as_name(None if str(given).strip().isdecimal() else given, "warehouse")
    return f"write bulkhead=Bulkhead({name}, {number}), with the name of the resource"


def _validate(given: object) -> str:
    if isinstance(given, Mapping):
        shown = _shown(given)
        several = f"or validate=Validate(output={shown}) for a result of several frames"
        return f"write validate=Validate(input={shown}) for arguments, {several}"
    return ""


def _fallback(given: object) -> str:
    if inspect.isawaitable(given):
        close = getattr(given, "close", None)
        if close is not None:
            close()  # this error already reports it: avoid Python's warning that it was never awaited
        return "that is the result of a call; write the function's name without brackets"
    if isinstance(given, list | tuple) and any(type(one).__name__ == "LastGood" for one in given):
        return "write LastGood(..., otherwise=f), with a fallback for when there is no last good result"
    if isinstance(given, list | tuple | set) and given and all(map(callable, given)):
        return "write one function, or a mapping such as fallback={TimedOut: f, InvalidData: g}"
    return ""


def _single_flight(given: object) -> str:
    if isinstance(given, bool):
        return ""
    if callable(given) and not isinstance(given, type):
        return f"write single_flight=SingleFlight({core.keys.key_functions.as_name(given, '')})"
    if isinstance(given, str) and given.lower() in {"shared", "workers", "all"}:
        return "write single_flight=SingleFlight(shared=True)"
    return "write single_flight=True, or single_flight=SingleFlight(shared=True) to share with other workers"


_BY_KEYWORD: Mapping[str, Callable[[Any], str]] = {
    "retry": _retry,
    "breaker": _breaker,
    "rate_limit": _rate_limit,
    "bulkhead": _bulkhead,
    "validate": _validate,
    "fallback": _fallback,
    "single_flight": _single_flight,
}


def refuse_policies(given: object) -> None:
    """Raise `PolicyError` unless the value of `policies=` can be a list of policies."""
    if isinstance(given, type) and Policy in given.__mro__:
        raise PolicyError(f"policies= takes several policies, not a class: write policies=[{given.__name__}(...)]")
    if is_policy(given):
        msg = f"policies=[Retry(...)] takes several policies, or a Pipeline: put {given!r} into a list"
        raise PolicyError(msg)
    if isinstance(given, str):
        by_name = f"write policy={given!r} for the policy of that name in a file"
        raise PolicyError(f"policies= takes a list of policies, or a Pipeline: {by_name}; for a list, {_LIST}")
    if isinstance(given, bytes | Mapping) or not hasattr(given, "__iter__"):
        raise PolicyError(f"policies= takes a list of policies, or a Pipeline, not {_shown(given)}: {_LIST}")


_LIST = "write policies=[Retry(attempts=3), Timeout(20)]"


def refuse_object(fn: object, decorator: str) -> None:
    """Raise `PolicyError` unless `decorator` can decorate `fn`."""
    kind = prefects(fn)
    if kind is not None:
        raise PolicyError(_stacked(fn, kind, decorator))
    why = _not_a_function(fn, decorator)
    if why:
        raise PolicyError(f"@{decorator} takes a function, not {why}")


def _stacked(fn: object, kind: str, decorator: str) -> str:
    name, right = getattr(fn, "name", kind), f"resilient_{kind}"
    if type(fn).__module__.startswith("resilient_tasks."):
        return f"{name} is a resilient {kind} already: give all options to its @{right}(...), and drop @{decorator}"
    if decorator == right:
        return f"{name} is a Prefect {kind} already: replace its @{kind} by @{decorator} instead of stacking them"
    return f"{name} is a Prefect {kind}: write @{right}(...) in place of @{kind} and @{decorator}"


def _not_a_function(fn: object, decorator: str) -> str:  # noqa: PLR0911  # as above
    if isinstance(fn, staticmethod | classmethod | property | cached_property):
        kind = type(fn).__name__
        return f"a {kind}: write @{kind} above @{decorator}(...), not below"
    if isinstance(fn, type):
        if Policy in fn.__mro__:
            return f"the class {fn.__name__}: options are given by keyword; write @{decorator}({_keyword_of(fn)})"
        return f"the class {fn.__name__}: write @{decorator}(...) above the methods that may fail"
    if Policy in type(fn).__mro__:  # a mock would pass isinstance(), too
        return f"{fn!r}: options are given by keyword; write @{decorator}({_keyword_of(type(fn))})"
    if callable(fn):
        return ""
    if inspect.isawaitable(fn) or inspect.isgenerator(fn):
        close = getattr(fn, "close", None)
        if close is not None:
            close()  # avoid Python's warning, as above
        return f"the result of a call: decorate the function itself, {decorator}(...)(fetch), not fetch(...)"
    return f"{_shown(fn)}: options are given by keyword, such as @{decorator}(retry=3, timeout=20)"


def prefects(fn: object) -> str | None:
    """Return `"task"` or `"flow"` for a Prefect task or flow, without importing Prefect."""
    for ancestor in type(fn).__mro__:
        if (ancestor.__module__, ancestor.__name__) in {("prefect.tasks", "Task"), ("prefect.flows", "Flow")}:
            return ancestor.__name__.lower()
    return None


def _keyword_of(policy: type[Any]) -> str:
    for example in (*EXAMPLES.values(), *_OF_CLASS.values()):
        if f"{policy.__name__}(" in example:
            return example.rpartition(" or ")[2]
    return EXAMPLES.get(policy.__name__.lower(), f"policies=[{policy.__name__}(...)]").partition(", with")[0]


def _shown(value: object) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, list | tuple) and any(isinstance(one, type) for one in value):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_shown(name)}: {_shown(one)}' for name, one in value.items())}}}"
    text = repr(value)
    return text if len(text) <= _LONGEST else a(type(value).__name__)


_LONGEST = 80
