"""Methods: what a task or a flow is bound to is known to that one object alone.

Prefect keeps it on the function, which all objects made of one task share: the last access would decide for which
instance, or for which class, each of them runs.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from prefect import Flow, Task

Made = TypeVar("Made", bound="Task[..., Any] | Flow[..., Any]")

_SELF, _CLASS = "__prefect_self__", "__prefect_cls__"
_BOUND = "_is_bound"
_KIND = ("_isclassmethod", "_isstaticmethod", _BOUND)


def bound(made: Made, instance: object, owner: type | None) -> Made:
    """Return the method that `made`, an attribute of the class `owner`, is for `instance`: an object of its own.

    As any function: a static method, one that is asked for by its class, and one that is bound already, is itself.
    """
    if made.isstaticmethod or _BOUND in vars(made):
        return made
    if made.isclassmethod:
        binding: dict[str, Any] = {_CLASS: owner if owner is not None else type(instance)}
    elif instance is not None:
        binding = {_SELF: instance}
    else:
        return made
    other = copy.copy(made)
    vars(other).update({"fn": _own(vars(made)["fn"], binding), _BOUND: True})
    return other


def keep_kind(other: Task[..., Any] | Flow[..., Any], made: Task[..., Any] | Flow[..., Any]) -> None:
    """Have `other`, which was made of `made`, be a method of the same kind, bound to the same."""
    vars(other).update({name: vars(made)[name] for name in _KIND if name in vars(made)})


def binding_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return what `fn` is bound to, as attributes for a function in its place."""
    return {name: vars(fn)[name] for name in (_SELF, _CLASS) if name in getattr(fn, "__dict__", {})}


def _own(fn: Callable[..., Any], binding: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that is `fn` in all but what it is bound to."""
    if isinstance(fn, FunctionType):
        own = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        own.__kwdefaults__ = fn.__kwdefaults__
        for name in functools.WRAPPER_ASSIGNMENTS:
            setattr(own, name, getattr(fn, name))
    else:

        @functools.wraps(fn)
        def own(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

    attributes = {name: value for name, value in getattr(fn, "__dict__", {}).items() if name not in {_SELF, _CLASS}}
    vars(own).update({**attributes, **binding})
    return own
