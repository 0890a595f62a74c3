"""Key functions: from a call's arguments to a key, or to the name of shared state.

A key function receives the arguments that it has parameters for, defaults included, whether the caller passed them by
position or by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from resilient_tasks.core.classification.matching import how_it_failed
from resilient_tasks.core.errors import PolicyError, PredicateError
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.parameters.signatures import bound_to, signature_of, written
from resilient_tasks.core.wording import joined, name_of, short_name_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call

_BY_PLACE, _EITHER = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
_MORE, _MORE_BY_NAME = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_NONE = inspect.Parameter.empty


def check(
    key: object, where: str, *, what: str = "a function of the call's arguments", instead: str = "lambda url: url"
) -> None:
    """Raise `PolicyError` unless `key` is a plain function.

    Args:
        key: the value given as a key function.
        where: the policy's argument, such as `"LastGood(key=...)"`.
        what: what the argument takes, for the message.
        instead: what to write, for the message.
    """
    if isinstance(key, type):
        name = key.__name__
        raise PolicyError(f"{where} is {what}, not the class {name}: write lambda url: {name}(url)")
    if not callable(key):
        raise PolicyError(f"{where} is {what}, not {key!r}: write {instead}")
    if callables.is_async(key) or callables.is_generator(key) or callables.is_async_generator(key):
        msg = (
            f"{where} calls {short_name_of(key)} before each call, and needs its result at once: make it a plain `def`"
        )
        raise PolicyError(msg)


def as_name(given: object, otherwise: str) -> str:
    """Return the source text of a name or key function, for a message; otherwise the example `otherwise`."""
    if callable(given) and not isinstance(given, type):
        name = short_name_of(given)
        return name if name.isidentifier() else "lambda ...: ..."
    return f'"{given}"' if isinstance(given, str) and given.strip() else f'"{otherwise}"'


def check_fits(key: Callable[..., Any], fn: Callable[..., Any], where: str) -> None:
    """Raise `PolicyError`, at decoration, if the key function does not fit the parameters of `fn`."""
    if why := _why_unfit(key, fn):
        raise PolicyError(f"{where}: {why}")


def key_of(key: Callable[..., Any], call: Call, where: str) -> Any:
    """Return the result of a key function for a call.

    Raises:
        PredicateError: it failed, or needs an argument that this call does not have.
        TypeError: the call's arguments do not fit its function.
    """
    args, kwargs = _arguments(key, call, where)
    try:
        answer = key(*args, **kwargs)
        if callables.comes_later(answer):
            raise callables.refused(answer, "a key function has to answer at once")  # noqa: TRY301  # reported like any other
    except Exception as problem:
        raise refused(key, call, where, how_it_failed(problem)) from problem
    return answer


def quick_key_of(key: Callable[..., Any], fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Return the result of a key function for an ordinary call of `fn`; raise any error if anything is unusual."""
    names, bound = _names[key], bound_to(fn, args, kwargs)
    if names is None or bound is None:
        raise LookupError
    return key(**{name: bound.arguments[name] for name in names})


def refused(key: Callable[..., Any], call: Call, where: str, why: str) -> PredicateError:
    """Return the error for a key function that returned no key for a call."""
    msg = f"{where}: the key function {short_name_of(key)} {why} (in a call of {call.operation})"
    return PredicateError(msg, about_error=False)


def _arguments(key: Callable[..., Any], call: Call, where: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the key function's arguments: those of the call that it has parameters for, defaults included."""
    work = call.work
    try:
        bound = bound_to(work.fn, work.args, work.kwargs)
    except TypeError as error:
        msg = f"{call.operation}(): {error}"
        raise TypeError(msg) from None
    if bound is None:  # a function written in C without a signature
        return list(work.args), dict(work.kwargs)
    theirs = signature_of(key)
    if theirs is not None and (names := _named_by(key, theirs)) is not None and names <= bound.arguments.keys():
        return [], {name: bound.arguments[name] for name in names}
    if theirs is None:  # such as `operator.itemgetter`, which has no signature before Python 3.13
        return list(bound.args[:1]), {}
    args, kwargs, missing = _matched(theirs, bound)
    if missing:
        function = f"{where}: the key function {short_name_of(key)}"
        msg = f"{function} needs {joined(missing)}, which this call of {call.operation} does not have"
        raise PredicateError(msg, about_error=False)
    return args, kwargs


#: By key function, the names of its parameters if it takes each by name, otherwise None.
_names: WeakKeyDictionary[Callable[..., Any], frozenset[str] | None] = WeakKeyDictionary()
_BY_NAME = {_EITHER, inspect.Parameter.KEYWORD_ONLY}


def _named_by(key: Callable[..., Any], theirs: inspect.Signature) -> frozenset[str] | None:
    try:
        return _names[key]
    except KeyError:
        by_name = all(one.kind in _BY_NAME for one in theirs.parameters.values())
        found = _names[key] = frozenset(theirs.parameters) if by_name else None
    except TypeError:  # it has no weak reference, or no hash
        return None
    return found


def _matched(theirs: inspect.Signature, bound: inspect.BoundArguments) -> tuple[list[Any], dict[str, Any], list[str]]:
    """Return a key function's positional and keyword arguments from a call's arguments, and the missing parameters."""
    parameters = list(theirs.parameters.values())
    by_place = any(one.kind is _MORE for one in parameters)
    values, more = _by_name(bound)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    missing: list[str] = []
    for place, one in enumerate(parameters):
        value = one.default
        if one.kind is _MORE:
            args.extend(bound.args[place:])
            continue
        if one.kind is _MORE_BY_NAME:
            rest = bound.kwargs if by_place else values
            kwargs.update({name: rest[name] for name in rest if name not in theirs.parameters})
            continue
        in_order = one.kind is _BY_PLACE or (by_place and one.kind is _EITHER)
        if in_order:
            value = bound.args[place] if place < len(bound.args) else value
        elif one.name in values:
            value = values[one.name]
        elif more and one.kind is _EITHER:
            value = more.pop(0)
        if value is _NONE:
            missing.append(one.name)
        elif in_order:
            args.append(value)
        else:
            kwargs[one.name] = value
    return args, kwargs, missing


def _by_name(bound: inspect.BoundArguments) -> tuple[dict[str, Any], list[Any]]:
    """Return a call's arguments by name, and the extra positional ones, which have no name."""
    values, more = dict(bound.arguments), []
    for one in bound.signature.parameters.values():
        if one.kind is _MORE:
            more = list(values[one.name])
        elif one.kind is _MORE_BY_NAME:
            values = {**values[one.name], **values}
    return values, more


def _why_unfit(key: Callable[..., Any], fn: Callable[..., Any]) -> str:
    """Explain why a key function does not fit the parameters of `fn`; empty if it does."""
    ours, theirs = signature_of(fn), signature_of(key)
    if ours is None or theirs is None:
        return ""
    names = list(ours.parameters)
    kinds = [one.kind for one in ours.parameters.values()]
    places = len(kinds) if _MORE in kinds else sum(kind in {_BY_PLACE, _EITHER} for kind in kinds)
    parameters = list(theirs.parameters.values())
    by_place = any(one.kind is _MORE for one in parameters)
    unknown = []
    for place, one in enumerate(parameters):
        in_order = one.kind is _BY_PLACE or (by_place and one.kind is _EITHER)
        found = (place < places or _MORE in kinds) if in_order else one.name in names or _MORE_BY_NAME in kinds
        found = found or one.kind in {_MORE, _MORE_BY_NAME} or one.default is not _NONE
        if not found and not (_MORE in kinds and one.kind is _EITHER):
            unknown.append(one.name)
    if not unknown:
        return ""
    return (
        f"the key function {short_name_of(key)} names {joined(unknown)}, which {name_of(fn)}"
        f"({written(ours.parameters.values())}) does not have. It receives the call's arguments by name:"
        f" {_instead(key, parameters, names)}"
    )


def _instead(key: Callable[..., Any], parameters: list[inspect.Parameter], names: list[str]) -> str:
    likely = [name for name in names if name not in {"self", "cls"}]
    if not likely:
        return "write a function without parameters"
    name = short_name_of(key)
    if name.isidentifier() and len(parameters) == 1:
        return f"write lambda {likely[0]}: {name}({likely[0]})"
    return f"write lambda {likely[0]}: ..., or take **kwargs"
