"""Functions' signatures: their parameters, their modules, and the binding of a call's arguments."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from resilient_tasks.core.parameters import callables

Given: TypeAlias = Literal["some", "all", "all by name"]

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


#: By function, its signature, or None: creating one takes longer than calling most functions.
_kept: WeakKeyDictionary[Callable[..., Any], inspect.Signature | None] = WeakKeyDictionary()
_UNSEEN = inspect.Signature()


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the function's signature, cached, or None: some callables written in C have none."""
    try:
        found = _kept.get(fn, _UNSEEN)
        if found is _UNSEEN:
            found = _kept[fn] = _signature(fn)
    except Exception:  # it has no weak reference, or no hash
        return _signature(fn)
    return found


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except Exception:  # a user's object may raise anything when inspected
        return None


def bound_to(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments | None:
    """Return a call's arguments by parameter, defaults included; None if `fn` has no signature.

    Raises:
        TypeError: the arguments do not fit.
    """
    signature = signature_of(fn)
    if signature is None:
        return None
    if not kwargs and (places := _places_of(fn, signature)) is not None and places.least <= len(args) <= places.most:
        # The same as `bind` and `apply_defaults`, in a tenth of the time.
        arguments = dict(zip(places.names, args, strict=False))
        for name in places.names[len(args) :]:
            arguments[name] = places.defaults[name]
        return inspect.BoundArguments(signature, arguments)  # it holds a dict since Python 3.9
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound


def have_same_parameters(one: Any, other: Any) -> bool:
    """Return quickly, for two plain functions, whether their parameters have the same names in the same order."""
    if not (callables.is_plain(one) and callables.is_plain(other)):
        return False
    code, its = one.__code__, other.__code__
    number = code.co_argcount + code.co_kwonlyargcount
    return bool(
        code.co_argcount == its.co_argcount
        and code.co_kwonlyargcount == its.co_kwonlyargcount
        and code.co_posonlyargcount == its.co_posonlyargcount
        and not (code.co_flags | its.co_flags) & _ANY
        and code.co_varnames[:number] == its.co_varnames[:number]
    )


_ANY = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


class _Places(NamedTuple):
    """The parameters of a function whose keyword-only parameters all have defaults."""

    names: tuple[str, ...]
    defaults: dict[str, Any]
    least: int
    most: int


_places: WeakKeyDictionary[Callable[..., Any], _Places | None] = WeakKeyDictionary()


def _places_of(fn: Callable[..., Any], signature: inspect.Signature) -> _Places | None:
    try:
        return _places[fn]
    except KeyError:
        found = _places[fn] = _places_in(signature)
    except TypeError:  # it has no weak reference, or no hash
        return None
    return found


def _places_in(signature: inspect.Signature) -> _Places | None:
    parameters = signature.parameters
    defaults = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    by_place = [name for name, one in parameters.items() if one.kind in _BY_PLACE]
    others = [name for name, one in parameters.items() if one.kind not in _BY_PLACE]
    if any(parameters[name].kind in _VARIABLE or name not in defaults for name in others):
        return None
    return _Places(tuple(parameters), defaults, len(set(by_place) - set(defaults)), len(by_place))


def why_unfit(
    stand_in: Callable[..., Any], fn: Callable[..., Any], more: Iterable[str] = (), *, given: Given = "some"
) -> str:
    """Explain why `stand_in` cannot be called with the arguments of `fn`; empty if it can.

    If `fn` has `*args` or `**kwargs`, only its named parameters are checked.

    Args:
        stand_in: the function to be called.
        fn: the function whose arguments it receives.
        more: names of further arguments that it receives.
        given: which arguments with a default are passed: any number for which it fits, perhaps none; all of them; or
            all of them by name, as Prefect does.
    """
    theirs, ours = signature_of(stand_in), signature_of(fn)
    if theirs is None or ours is None:
        return ""
    parameters = list(ours.parameters.values())
    if parameters and parameters[0].name == "cls" and not _misfit(theirs, parameters[1:], more, given):
        return ""  # the class of a class method may or may not be passed
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
    """Return the source of parameters, without types and defaults."""
    bare = [one.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty) for one in parameters]
    return str(inspect.Signature(bare))[1:-1]


_PROGRAMS = ("__main__", "__mp_main__")


def module_of(thing: Any) -> str:
    """Return a function's module, the same whether the module is imported or run as a program.

    A program is `__main__`, and Prefect gives a module that it loads from a file a new name at each run: both are named
    by their file. A notebook's cell has no lasting file, and stays in `__main__`.
    """
    module = str(getattr(thing, "__module__", None) or "")
    if module not in _PROGRAMS and not module.startswith("__prefect_loader"):
        return module
    code = getattr(thing, "__code__", None)  # a class has none
    path = code.co_filename if code else getattr(sys.modules.get(module), "__file__", None) or ""
    name = os.path.basename(path)  # noqa: PTH119  # it may not be a path
    return name.removesuffix(".py") if name.endswith(".py") and "ipykernel_" not in path else "__main__"
