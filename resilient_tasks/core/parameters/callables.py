"""What calling something gives: a result at once, one to be awaited, or items one by one.

Of a function that says so this is known at decoration. A plain function that hands on what an async one returned (a
lambda, a wrapper of another decorator) shows it only by its result.
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

#: Types whose values are results at once, as far as such values were met: a look here is all that a success costs.
PLAIN: set[type] = {type(None), bool, int, float, str, bytes, list, dict, tuple, set}
#: Classes may be made by the thousand, by mocks for instance, and are not kept alive for this.
_MOST = 512


_YIELDS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def is_plain(fn: Any) -> bool:
    """Tell at once of most functions, `def` and `async def`, that they yield nothing, and that nothing marked them."""
    return type(fn) is FunctionType and not fn.__code__.co_flags & _YIELDS and not fn.__dict__


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether calling `fn` gives a coroutine, as far as can be known before."""
    if is_plain(fn):
        return bool(fn.__code__.co_flags & inspect.CO_COROUTINE)
    coroutines: Any = sys.modules.get("asyncio.coroutines")
    # As Cython and mocks mark theirs. Where asyncio is not loaded, nothing bears its mark.
    marked = sys.version_info < (3, 14) and coroutines is not None and coroutines.iscoroutinefunction(fn)
    runs = _runs(fn)
    return marked or inspect.iscoroutinefunction(runs) or _is_of_old_style(runs)


def is_generator(fn: Callable[..., Any]) -> bool:
    """Tell whether calling `fn` gives a generator."""
    runs = _runs(fn)
    return inspect.isgeneratorfunction(runs) and not _is_of_old_style(runs)


def makes_context(fn: Callable[..., Any]) -> bool:
    """Tell whether `contextlib.contextmanager`, or its async like, made `fn` of a generator function."""
    return getattr(fn, "__code__", None) in _OF_CONTEXTLIB


def _code_made_by(decorate: Any) -> Any:
    return decorate(lambda: None).__code__


_OF_CONTEXTLIB = (_code_made_by(contextlib.contextmanager), _code_made_by(contextlib.asynccontextmanager))


def is_async_generator(fn: Callable[..., Any]) -> bool:
    """Tell whether calling `fn` gives an async generator."""
    return inspect.isasyncgenfunction(_runs(fn))


def _is_of_old_style(fn: Any) -> bool:
    """Tell whether `fn` is a generator function that `types.coroutine` has made awaitable."""
    code = getattr(fn, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE)


def _runs(fn: Any) -> Any:
    """Return the function that runs when `fn` is called: that of a partial, the `__call__` of an object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, type) or inspect.isroutine(fn):
        return fn
    return getattr(type(fn), "__call__", fn)  # noqa: B004  # not whether, but which


def comes_later(value: Any) -> bool:
    """Tell whether `value` is no result yet: an awaitable, or an async generator.

    The futures of other libraries (Dask, Ray) can be awaited too, and are values that sync code hands around.
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
    """Return the error for something that is awaited nowhere, after closing it: it is not to warn of that as well."""
    close = getattr(value, "close", None) or getattr(value, "cancel", None)
    if callable(close):
        close()
    return PolicyError(f"{sentence}; what came was {wording.a(type(value).__name__)}")


def check_question(fn: Any, where: str, what: str) -> None:
    """Refuse what cannot be asked for an answer at once with one argument.

    Raises:
        PolicyError: it says what to give instead.
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
        msg = f"{where} takes {what}: it is called with that alone, and {name} has the parameters {parameters}"
        raise PolicyError(msg) from None
