"""Whether one function can take the arguments of another's calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the function's signature, or None: some callables written in C have none."""
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


def why_unfit(
    stand_in: Callable[..., Any], fn: Callable[..., Any], more: Iterable[str] = (), *, defaults: bool = True
) -> str:
    """Say why `stand_in` cannot be called with the arguments that `fn` is called with; empty, if it can.

    Where `fn` takes any arguments, only those that it names are looked at.

    Args:
        stand_in: the function to be called.
        fn: the function whose arguments it is given.
        more: names of further arguments that it is given.
        defaults: arguments with a default are always given. False: so many of them that it fits, perhaps none.
    """
    theirs, ours = signature_of(stand_in), signature_of(fn)
    if theirs is None or ours is None:
        return ""
    parameters = list(ours.parameters.values())
    if parameters and parameters[0].name == "cls" and not _misfit(theirs, parameters[1:], more):
        return ""  # a class method's class comes along, or it does not
    why = _misfit(theirs, parameters, more)
    while why and not defaults:
        optional = [one for one in parameters if one.default is not inspect.Parameter.empty]
        if not optional:
            break
        parameters.remove(optional[-1])
        if not _misfit(theirs, parameters, more):
            return ""
    return why


def _misfit(theirs: inspect.Signature, parameters: list[inspect.Parameter], more: Iterable[str]) -> str:
    bind = theirs.bind_partial if any(one.kind in _VARIABLE for one in parameters) else theirs.bind
    named = [one for one in parameters if one.kind not in _VARIABLE]
    by_place = [one.name for one in named if one.kind in _BY_PLACE]
    by_name = [one.name for one in named if one.kind not in _BY_PLACE]
    problems = []
    for names, keywords in ((by_place, by_name), ([], [*by_place, *by_name])):
        try:
            bind(*names, **dict.fromkeys((*keywords, *more)))
        except TypeError as error:
            problems.append(str(error))
    return problems[0] if len(problems) == 2 else ""


def written(parameters: Iterable[inspect.Parameter]) -> str:
    """Write parameters as in the function's head, without types and defaults."""
    bare = [one.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty) for one in parameters]
    return str(inspect.Signature(bare))[1:-1]
