"""Values as bytes, from one process to another.

By cloudpickle, with four differences: a function is sent by name wherever the other side finds it, also one whose
name a decorator has taken; what is defined in a module that cannot be imported there is sent by value; a class method
keeps what a decorator noted on it; and exceptions cross whole.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType, TracebackType
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as trackers

from resilient_tasks.core import safely
from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.failures import JUDGED, judge
from resilient_tasks.subprocess import errors
from resilient_tasks.subprocess.channel import EndedError, Incoming, LateError, Piece
from resilient_tasks.subprocess.function_ref import importable, reference_to, resolve

_by_value = threading.Lock()

#: Classes that came here by value: the process that sent them has the originals.
_received: weakref.WeakSet[type] = weakref.WeakSet()

_SPECIAL = (BaseException, TracebackType, FunctionType, type, classmethod, staticmethod)


class _Pieces(list[Piece]):
    """What a pickler writes: large values as they are, not as copies."""

    def write(self, piece: bytes | bytearray | memoryview | pickle.PickleBuffer) -> None:
        if isinstance(piece, pickle.PickleBuffer):
            self.append(piece.raw())
        else:
            # A bare memoryview is of memory that nothing keeps alive; a bytearray that is looked at cannot grow.
            self.append(piece if isinstance(piece, bytes) else bytes(piece))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    def __init__(self, file: _Pieces, keep: Callable[[object], bool]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._keep = keep

    def reducer_override(self, obj: Any) -> Any:  # noqa: PLR0911  # one line a kind
        if not isinstance(obj, _SPECIAL):
            return NotImplemented
        if isinstance(obj, BaseException):
            parts = errors.reduced(obj, keep=self._keep)
            return NotImplemented if parts is None else parts
        if isinstance(obj, TracebackType):
            return errors.traceback_of, (errors.frames_of(obj),)
        if isinstance(obj, classmethod | staticmethod):
            # Pandera's models, and others, find their rules by these attributes.
            return type(obj), (obj.__func__,), vars(obj)
        if isinstance(obj, FunctionType):
            reference = reference_to(obj)
            if reference is not None and reference.depth:
                return resolve, tuple(reference)
        elif obj in _received:
            return _original, (trackers._DYNAMIC_CLASS_TRACKER_BY_CLASS[obj],)  # noqa: SLF001  # see _original
        return self._defined(obj, sys.modules.get(obj.__module__ or ""))

    def _defined(self, obj: Any, module: ModuleType | None) -> Any:
        """Reduce a function or class, by value if the other side cannot import its module."""
        source = str(getattr(module, "__file__", None) or "")
        if module is None or not source.endswith(".py") or importable(module.__name__):
            return super().reducer_override(obj)
        with _by_value:
            known = module.__name__ in cloudpickle.list_registry_pickle_by_value()
            cloudpickle.register_pickle_by_value(module)
            try:
                return super().reducer_override(obj)
            finally:
                if not known:
                    cloudpickle.unregister_pickle_by_value(module)


def _original(tracker: str) -> type:
    """Return the class that was sent from here by value. cloudpickle's own way would overwrite it with its copy."""
    return trackers._DYNAMIC_CLASS_TRACKER_BY_ID[tracker]  # type: ignore[no-any-return]  # noqa: SLF001  # no public way


def _all(_: object) -> bool:
    return True


def pieces(value: object, keep: Callable[[object], bool] = _all) -> list[Piece]:
    """Return `value` as bytes in pieces, which are to be sent before it changes: a large array is one of them itself.

    Args:
        value: anything. Raises whatever its parts raise when they cannot be pickled.
        keep: tells of an exception's attribute whether it can cross; the others are left out.
    """
    file = _Pieces()
    _Pickler(file, keep).dump(value)
    return file


def dumps(value: object, keep: Callable[[object], bool] = _all) -> bytes:
    """Return `value` as bytes, with `keep` as for `pieces`."""
    return b"".join(pieces(value, keep))


def loads(data: bytes | Incoming) -> Any:
    """Return the value of which `dumps` or `pieces` made bytes, in this or another process."""
    # From our own process at the other end of a private socket.
    if isinstance(data, bytes):
        return pickle.loads(data)  # noqa: S301
    try:
        return pickle.load(data)  # type: ignore[arg-type]  # noqa: S301  # a bytearray is as good to read from
    except (EndedError, LateError):
        raise
    except Exception:
        data.skip()  # what cannot be made here leaves the two ends in step
        raise


def received(data: bytes | Incoming) -> Any:
    """As `loads`, in a child: it sends the classes that come with the value back as what they are for the parent."""
    value = loads(data)
    if came := trackers._DYNAMIC_CLASS_TRACKER_BY_CLASS:  # noqa: SLF001  # see _original
        _received.update(came)
    return value


def crosses(value: object, keep: Callable[[object], bool] = _all) -> bool:
    """Tell whether `value` arrives at the other end, with `keep` as for `dumps`."""
    try:
        loads(dumps(value, keep))
    except Exception:
        return False
    return True


class _WhatCrosses:
    """Tells what arrives at the other end. Of errors inside of an error each leaves behind what cannot cross itself."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, bool]] = {}

    def __call__(self, value: object) -> bool:
        if id(value) not in self._known:
            self._known[id(value)] = value, False  # an error that is a part of itself
            self._known[id(value)] = value, crosses(value, self)
        return self._known[id(value)][1]


def dump_arguments(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], about: object, operation: str
) -> list[Piece]:
    """Return the arguments of a call, and what the child is to know of it, as bytes in pieces.

    Raises:
        TypeError: one of them cannot be pickled.
    """
    try:
        return pieces((args, kwargs, about))
    except Exception as error:
        named = _named(fn, args, kwargs)
        msg = (
            f"{operation} cannot be called in a process of its own: {culprit(named, 'it is given', error)}."
            " Pass what it is made from, such as a path or a URL, and make it inside the function"
        )
        raise TypeError(msg) from error


def dump_result(value: object, operation: str) -> list[Piece]:
    """Return a result as bytes in pieces.

    Raises:
        TypeError: it cannot be pickled.
    """
    try:
        return pieces(value)
    except Exception as error:
        msg = (
            f"{operation} returned a {type(value).__qualname__}, which cannot leave its process ({safely.text(error)})."
            " Return plain data, such as a list, or write it to a file and return the path"
        )
        raise TypeError(msg) from error


def dump_error(error: BaseException, operation: str) -> bytes:
    """Return an error as bytes: whole; else without what cannot cross; else as one that names it."""
    for keep in (_all, _WhatCrosses()):
        with contextlib.suppress(Exception):
            data = dumps(error, keep)
            loads(data)  # some can be pickled, but not made again
            return data
    cls = type(error)
    stand_in = ResilienceError(
        f"{operation} raised {cls.__module__}.{cls.__qualname__}, which cannot leave its process: {safely.text(error)}"
    )
    with contextlib.suppress(Exception):
        stand_in.add_note("".join(traceback.format_exception(error)).rstrip())
    vars(stand_in)[JUDGED] = judge(error)
    return dumps(stand_in)


def _named(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, object]:
    try:
        return inspect.signature(fn).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return {**{f"argument {number}": arg for number, arg in enumerate(args, 1)}, **kwargs}


def culprit(named: Mapping[str, object], how: str, error: Exception) -> str:
    """Say which of the `named` values cannot be pickled, and `how` the function comes by it; else what `error` says."""
    for name, value in named.items():
        try:
            dumps(value)
        except Exception as own:
            return f"{how} {name!r}, a {type(value).__module__}.{type(value).__qualname__} ({safely.text(own)})"
    return safely.text(error)
