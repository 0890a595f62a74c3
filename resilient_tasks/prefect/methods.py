"""Bind tasks and flows as methods, each copy to its own instance or class.

Prefect keeps the binding on the function, which all copies of a task share: the last access would decide on which
instance or class all of them run.
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
_IS_BOUND = "_is_bound"
_KIND = ("_isclassmethod", "_isstaticmethod", _IS_BOUND)


def bind(made: Made, instance: object, owner: type | None) -> Made:
    """Return `made`, an attribute of the class `owner`, as a method bound to `instance`: a new object.

    A static method, a method accessed on its class, and a method that is already bound are returned unchanged.
    """
    if made.isstaticmethod or _IS_BOUND in vars(made):
        return made
    if made.isclassmethod:
        binding: dict[str, Any] = {_CLASS: owner if owner is not None else type(instance)}
    elif instance is not None:
        binding = {_SELF: instance}
    else:
        return made
    other = copy.copy(made)
    vars(other).update({"fn": _copy_with(vars(made)["fn"], binding), _IS_BOUND: True})
    return other


def keep_kind(other: Task[..., Any] | Flow[..., Any], made: Task[..., Any] | Flow[..., Any]) -> None:
    """Copy the kind of method and the binding of `made` to `other`, its copy."""
    vars(other).update({name: vars(made)[name] for name in _KIND if name in vars(made)})


def binding_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the binding of `fn`, as attributes for the function that replaces it."""
    return {name: vars(fn)[name] for name in (_SELF, _CLASS) if name in getattr(fn, "__dict__", {})}


def _copy_with(fn: Callable[..., Any], binding: dict[str, Any]) -> Callable[..., Any]:
    """Return a copy of `fn` with another binding."""
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
