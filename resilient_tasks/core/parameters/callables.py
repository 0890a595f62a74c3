"""What a callable returns: a result, an awaitable, or a generator.

For most functions this is known at decoration. A plain function that returns the coroutine of an async one (a lambda, a
wrapper of another decorator) reveals it only by its result.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from types import AsyncGeneratorType, FunctionType, GeneratorType
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core import wording
from resilient_tasks.core.errors import PolicyError

#: Types of results seen so far that are not awaitable: a successful call costs one lookup here.
PLAIN: set[type] = {type(None), bool, int, float, str, bytes, list, dict, tuple, set}
#: Programs may create thousands of classes, such as mocks; the set must not keep them all alive.
_MOST = 512


_YIELDS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def is_plain(fn: Any) -> bool:
    """Return quickly, for most `def` and `async def`, that they are no generators and have no attributes."""
    return type(fn) is FunctionType and not fn.__code__.co_flags & _YIELDS and not fn.__dict__


def is_async(fn: Callable[..., Any]) -> bool:
    """Return whether calling `fn` returns a coroutine, as far as can be known beforehand."""
    if is_plain(fn):
        return bool(fn.__code__.co_flags & inspect.CO_COROUTINE)
    coroutines: Any = sys.modules.get("asyncio.coroutines")
    # The mark of Cython and of mocks. If asyncio is not loaded, nothing has it.
    marked = sys.version_info < (3, 14) and coroutines is not None and coroutines.iscoroutinefunction(fn)
    runs = _runs(fn)
    return marked or inspect.iscoroutinefunction(runs) or _is_of_old_style(runs)


def is_generator(fn: Callable[..., Any]) -> bool:
    """Return whether calling `fn` returns a generator."""
    runs = _runs(fn)
    return inspect.isgeneratorfunction(runs) and not _is_of_old_style(runs)


def makes_context(fn: Callable[..., Any]) -> bool:
    """Return whether `fn` was made by `contextlib.contextmanager` or `asynccontextmanager`."""
    return getattr(fn, "__code__", None) in _OF_CONTEXTLIB


def _code_made_by(decorate: Any) -> Any:
    return decorate(lambda: None).__code__


_OF_CONTEXTLIB = (_code_made_by(contextlib.contextmanager), _code_made_by(contextlib.asynccontextmanager))


def is_async_generator(fn: Callable[..., Any]) -> bool:
    """Return whether calling `fn` returns an async generator."""
    return inspect.isasyncgenfunction(_runs(fn))


def _is_of_old_style(fn: Any) -> bool:
    """Return whether `fn` is a generator function that `types.coroutine` made awaitable."""
    code = getattr(fn, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE)


def _runs(fn: Any) -> Any:
    """Return the function that runs when `fn` is called: that of a partial, the `__call__` of an object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, type) or inspect.isroutine(fn):
        return fn
    return getattr(type(fn), "__call__", fn)  # noqa: B004  # the method itself is needed


def comes_later(value: Any) -> bool:
    """Return whether `value` is not yet a result: an awaitable, or an async generator.

    The futures of other libraries (Dask, Ray) can be awaited too, but are ordinary values of sync code.
    """
    cls = type(value)
    if cls in PLAIN:
        return False
    if cls is GeneratorType:
        return bool(value.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    if cls is AsyncGeneratorType:
        return True
    if any("__await__" in vars(base) for base in cls.__mro__) and not _is_of_sync_code(cls):
        return True
    if len(PLAIN) >= _MOST:
        PLAIN.clear()
    PLAIN.add(cls)
    return False


def _is_of_sync_code(cls: type) -> bool:
    futures: Any = sys.modules.get("asyncio.futures")
    if futures is not None and issubclass(cls, futures.Future):
        return False
    return callable(getattr(cls, "result", None)) or cls.__module__.partition(".")[0] == "ray"


def refused(value: Any, sentence: str) -> PolicyError:
    """Close something that will never be awaited, to avoid Python's warning, and return the error for it."""
    close = getattr(value, "close", None) or getattr(value, "cancel", None)
    if callable(close):
        close()
    return PolicyError(f"{sentence}; it returned {wording.a(type(value).__name__)}")


def check_predicate(fn: Any, where: str, what: str) -> None:
    """Refuse anything but a sync function that takes one argument.

    Raises:
        PolicyError: the message says what to write instead.
    """
    if not callable(fn):
        raise PolicyError(f"{where} takes {what}, not {safely.shown(fn)}")
    if is_async(fn) or is_generator(fn) or is_async_generator(fn):
        raise PolicyError(f"{where} takes {what}: give it a plain function, not an async one or a generator")
    try:
        parameters = inspect.signature(fn, follow_wrapped=False)
    except Exception:  # some callables written in C have none
        return
    try:
        parameters.bind(None)
    except TypeError:
        name = wording.short_name_of(fn)
        msg = f"{where} takes {what}: it is called with that one argument, but {name} has the parameters {parameters}"
        raise PolicyError(msg) from None
