"""Whether one function can take the arguments of another's calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

Given: TypeAlias = Literal["some", "all", "all by name"]

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the function's signature, or None: some callables written in C have none."""
    try:
        return inspect.signature(fn)
    except Exception:  # a user's object may raise anything when it is looked at
        return None


#: By function, its signature: to make one takes longer than to call most functions.
_kept: WeakKeyDictionary[Callable[..., Any], inspect.Signature] = WeakKeyDictionary()


def kept_signature(fn: Callable[..., Any]) -> inspect.Signature:
    """Return the function's signature, which is made once.

    Raises:
        TypeError, ValueError: it has none.
    """
    try:
        found = _kept.get(fn)
    except TypeError:  # it has no weak reference, or no hash
        return inspect.signature(fn)
    if found is None:
        found = _kept[fn] = inspect.signature(fn)
    return found


def named_by(
    key: Callable[..., Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]] | None:
    """Return those of the arguments of a call of `fn`, and of its defaults, that `key` names.

    None: the arguments do not fit `fn`. Where one of the two has no signature, as some written in C, it is all of them.
    """
    try:
        given = kept_signature(fn).bind(*args, **kwargs)
    except TypeError:
        return None
    except ValueError:
        return list(args), dict(kwargs)
    given.apply_defaults()
    theirs = signature_of(key)
    if theirs is None:
        return list(given.args), given.kwargs
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in theirs.parameters.values()):
        return list(given.args), given.kwargs
    values = dict(given.arguments)
    for one in given.signature.parameters.values():
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            values = {**values.pop(one.name), **values}
    named = [one for name, one in theirs.parameters.items() if name in values]
    by_place = [values.pop(one.name) for one in named if one.kind is inspect.Parameter.POSITIONAL_ONLY]
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in theirs.parameters.values()):
        return by_place, values
    return by_place, {one.name: values[one.name] for one in named if one.name in values}


def unknown_to(fn: Callable[..., Any], key: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments that `key` needs, and `fn` is never given."""
    ours, theirs = signature_of(fn), signature_of(key)
    if ours is None or theirs is None or any(one.kind in _VARIABLE for one in ours.parameters.values()):
        return []
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in theirs.parameters.values()):
        return []
    needs = [
        name
        for name, one in theirs.parameters.items()
        if one.kind not in _VARIABLE and one.default is inspect.Parameter.empty
    ]
    return [name for name in needs if name not in ours.parameters]


def why_unfit(
    stand_in: Callable[..., Any], fn: Callable[..., Any], more: Iterable[str] = (), *, given: Given = "some"
) -> str:
    """Say why `stand_in` cannot be called with the arguments that `fn` is called with; empty, if it can.

    Where `fn` takes any arguments, only those that it names are looked at.

    Args:
        stand_in: the function to be called.
        fn: the function whose arguments it is given.
        more: names of further arguments that it is given.
        given: which arguments that have a default are given: so many of them that it fits, perhaps none; all of them;
            or all of them by name, as Prefect does it.
    """
    theirs, ours = signature_of(stand_in), signature_of(fn)
    if theirs is None or ours is None:
        return ""
    parameters = list(ours.parameters.values())
    if parameters and parameters[0].name == "cls" and not _misfit(theirs, parameters[1:], more, given):
        return ""  # a class method's class comes along, or it does not
    why = _misfit(theirs, parameters, more, given)
    while why and given == "some":
        optional = [one for one in parameters if one.default is not inspect.Parameter.empty]
        if not optional:
            break
        parameters.remove(optional[-1])
        if not _misfit(theirs, parameters, more, given):
            return ""
    return why


def _misfit(theirs: inspect.Signature, parameters: list[inspect.Parameter], more: Iterable[str], given: Given) -> str:
    bind = theirs.bind_partial if any(one.kind in _VARIABLE for one in parameters) else theirs.bind
    named = [one for one in parameters if one.kind not in _VARIABLE]
    apart = given == "all by name" and not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    by_place = [one.name for one in named if one.kind in _BY_PLACE and not (apart and _may_be_named(one))]
    by_name = [one.name for one in named if one.name not in by_place]
    problems = []
    for names, keywords in ((by_place, by_name),) if apart else ((by_place, by_name), ([], [*by_place, *by_name])):
        try:
            bind(*names, **dict.fromkeys((*keywords, *more)))
        except TypeError as error:
            problems.append(str(error))
        else:
            return ""
    return problems[0]


def _may_be_named(one: inspect.Parameter) -> bool:
    return one.default is not inspect.Parameter.empty and one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def written(parameters: Iterable[inspect.Parameter]) -> str:
    """Write parameters as in the function's head, without types and defaults."""
    bare = [one.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty) for one in parameters]
    return str(inspect.Signature(bare))[1:-1]
