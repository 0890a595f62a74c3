"""Values as bytes, from one process to another.

By cloudpickle, with four differences: a function goes by name wherever the other side finds it, also one whose name a
decorator has taken; what is defined in a module that cannot be imported there goes by value; a class method keeps the
attributes that a decorator set on it; and exceptions arrive whole: type, attributes, notes, causes and traceback.

Many exceptions cannot be pickled in the usual way, which calls the class with `args`: its `__init__` may need keywords
(`httpx.HTTPStatusError`), or make another message of them. Here only the `__init__` of the built-in base runs, and the
attributes are set as they were.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
import pkgutil
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType, SimpleNamespace, TracebackType
from typing import Any, cast

import cloudpickle
import tblib
from cloudpickle import cloudpickle as trackers

from resilient_tasks import safely
from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.failures import JUDGED, judge
from resilient_tasks.redaction.error_copies import builtin_base, class_with_text, kept_outside, like
from resilient_tasks.subprocess.channel import EndedError, Incoming, LateError, Piece
from resilient_tasks.subprocess.function_ref import cached, importable, reference_to

_by_value = threading.Lock()

#: Classes that came here by value: the process that sent them has the originals.
_received: weakref.WeakSet[type] = weakref.WeakSet()

_SPECIAL = (BaseException, TracebackType, FunctionType, type, classmethod, staticmethod)

# The cause comes before what it changes: setting it suppresses the context.
_LINKS = ("__traceback__", "__context__", "__cause__", "__suppress_context__")

Keep = Callable[[object], bool]


def _all(_: object) -> bool:
    return True


class _Pieces(list[Piece]):
    """What a pickler writes: large values as they are, not as copies."""

    def write(self, piece: bytes | bytearray | memoryview | pickle.PickleBuffer) -> None:
        if isinstance(piece, pickle.PickleBuffer):
            self.append(piece.raw())
        else:
            # A bare memoryview does not keep its memory alive; a bytearray with a view cannot grow.
            self.append(piece if isinstance(piece, bytes) else bytes(piece))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    def __init__(self, file: _Pieces, keep: Keep) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._keep = keep

    def reducer_override(self, obj: Any) -> Any:  # noqa: PLR0911  # one line a kind
        if not isinstance(obj, _SPECIAL):
            return NotImplemented
        if isinstance(obj, BaseException):
            return _reduced_error(obj, self._keep)
        if isinstance(obj, TracebackType):
            return _traceback_of, (_frames_of(obj),)
        if isinstance(obj, classmethod | staticmethod):
            # Pandera's models, and others, find their rules by these attributes.
            return type(obj), (obj.__func__,), vars(obj)
        if isinstance(obj, FunctionType):
            reference = reference_to(obj)
            if reference is not None and reference.depth:
                return pkgutil.resolve_name, (str(reference),)
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


def pieces(value: object, keep: Keep = _all) -> list[Piece]:
    """Return `value` as bytes in pieces, to be sent before it changes: a large array is a piece itself.

    Args:
        value: anything. Raises what its parts raise if they cannot be pickled.
        keep: whether an attribute of an exception can be pickled; the others are left out.
    """
    file = _Pieces()
    _Pickler(file, keep).dump(value)
    return file


def dumps(value: object, keep: Keep = _all) -> bytes:
    """Return `value` as bytes, with `keep` as for `pieces`."""
    return b"".join(pieces(value, keep))


def loads(data: bytes | Incoming) -> Any:
    """Return the value from which `dumps` or `pieces` made bytes, in this or another process."""
    # From our own process at the other end of a private socket.
    if isinstance(data, bytes):
        return pickle.loads(data)  # noqa: S301
    try:
        return pickle.load(data)  # type: ignore[arg-type]  # noqa: S301  # a bytearray is as good to read from
    except (EndedError, LateError):
        raise
    except Exception:
        data.skip()  # the two ends stay in step
        raise


def received(data: bytes | Incoming) -> Any:
    """As `loads`, in a child: it returns the classes that come with the value to the parent as the originals."""
    value = loads(data)
    if came := trackers._DYNAMIC_CLASS_TRACKER_BY_CLASS:  # noqa: SLF001  # see _original
        _received.update(came)
    return value


def crosses(value: object, keep: Keep = _all) -> bool:
    """Return whether `value` can be pickled and made again, with `keep` as for `pieces`."""
    try:
        loads(dumps(value, keep))
    except Exception:
        return False
    return True


class _Crosses:
    """As `crosses`, for parts of errors: each error in them leaves out what cannot be pickled itself."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, bool]] = {}

    def __call__(self, value: object) -> bool:
        if id(value) not in self._known:
            self._known[id(value)] = value, False  # an error that is a part of itself
            self._known[id(value)] = value, crosses(value, self)
        return self._known[id(value)][1]


def dump_function(fn: Callable[..., Any], operation: str) -> bytes:
    """Return a function as bytes.

    Raises:
        TypeError: something that it uses cannot be pickled.
    """
    try:
        return cached(fn, dumps)
    except Exception as error:
        used = inspect.getclosurevars(fn) if isinstance(fn, FunctionType) else None
        names = {**used.nonlocals, **used.globals} if used else {}
        msg = (
            f"{operation} cannot be sent to a process of its own: {_culprit(names, 'it uses', error)}."
            " Make that inside the function, or define the function in a module that can be imported"
        )
        raise TypeError(msg) from error


def dump_arguments(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], description: object, operation: str
) -> list[Piece]:
    """Return the arguments of a call, with its description for the child, as bytes in pieces.

    Raises:
        TypeError: one of them cannot be pickled.
    """
    try:
        return pieces((args, kwargs, description))
    except Exception as error:
        try:
            named = inspect.signature(fn).bind(*args, **kwargs).arguments
        except (TypeError, ValueError):
            named = {**{f"argument {number}": arg for number, arg in enumerate(args, 1)}, **kwargs}
        msg = (
            f"{operation} cannot be called in a process of its own: {_culprit(named, 'it is given', error)}."
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
    """Return an error as bytes: whole; else without what cannot be pickled; else as one that names it."""
    for keep in (_all, _Crosses()):
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


def _culprit(named: Mapping[str, object], how: str, error: Exception) -> str:
    """Say which of the `named` values cannot be pickled, and `how` the function gets it; else what `error` says."""
    for name, value in named.items():
        try:
            dumps(value)
        except Exception as own:
            return f"{how} {name!r}, a {type(value).__module__}.{type(value).__qualname__} ({safely.text(own)})"
    return safely.text(error)


def _reduced_error(error: BaseException, keep: Keep) -> Any:
    """Return the parts of `error` in the form of `__reduce__`, without attributes that `keep` refuses.

    Those are named in a note. A class with a memory layout of its own is pickled in its own way.
    """
    base = builtin_base(type(error))
    if base is None:
        return NotImplemented
    _, args, *rest = cast("tuple[Any, ...]", base.__reduce__(error))
    if not safely.is_a(error, BaseExceptionGroup):  # the errors of a group are reduced like this one
        show = safely.text if len(args) == 1 else safely.shown  # as the error's own text shows them
        args = tuple(arg if keep(arg) else show(arg) for arg in args)
    own = dict(safely.own(error, "__dict__"))
    outside = {name: value for name, value in (rest[0] if rest else {}).items() if name not in own}
    outside |= dict(kept_outside(error))
    lost = [name for name, value in (*own.items(), *outside.items()) if not keep(value)]
    said = None
    if lost:
        own, outside = ({name: value for name, value in part.items() if name not in lost} for part in (own, outside))
        said = _said_otherwise(error, args, own, outside)
        note = f"left behind in its process, because it cannot be pickled: {', '.join(lost)}"
        own |= {"__notes__": [*safely.notes(error), note], JUDGED: judge(error)}
    outside.update((name, safely.own(error, name)) for name in _LINKS)
    return _made, (type(error), args, said), (own, outside), None, None, _complete


def _said_otherwise(
    error: BaseException, args: tuple[Any, ...], own: dict[str, Any], outside: dict[str, Any]
) -> str | None:
    """Return the text of `error`, if its class would make another of it, or none, from the parts that are kept."""
    cls = type(error)
    if cls.__str__ is getattr(builtin_base(cls), "__str__", None):
        return None
    said = safely.text(error)
    try:
        again = like(error, args, own, outside)
        return None if str(again) == said and repr(again) else said
    except Exception:
        return said


def _made(cls: type[BaseException], args: tuple[Any, ...], said: str | None) -> BaseException:
    """Make an exception without running any code of its class, and with the text `said`, if that is given."""
    base: Any = builtin_base(cls)
    error = base.__new__(cls if said is None else class_with_text(cls, said), *args)
    base.__init__(error, *args)
    return cast("BaseException", error)


def _complete(error: BaseException, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Set the attributes of an exception, in `__dict__` and outside of it, with its causes and its traceback."""
    own, outside = state
    error.__dict__.update(own)
    for name, value in outside.items():
        object.__setattr__(error, name, value)  # which a frozen dataclass does not refuse


_Frame = tuple[str, str, int, dict[str, Any]]


def _frames_of(link: TracebackType | None) -> list[_Frame]:
    """Return file, function, line and the globals that name them, of each frame of a traceback, outermost first."""
    frames = []
    while link is not None:  # a list: nested parts would exceed pickle's recursion limit
        code, around = link.tb_frame.f_code, link.tb_frame.f_globals
        named = {name: around[name] for name in ("__name__", "__file__") if isinstance(around.get(name), str)}
        frames.append((code.co_filename, code.co_name, link.tb_lineno, named))
        link = link.tb_next
    return frames


def _traceback_of(frames: list[_Frame]) -> TracebackType:
    """Make a traceback that reads as the one with these frames."""
    link: Any = None
    for filename, function, line, named in reversed(frames):
        code = SimpleNamespace(co_filename=filename, co_name=function)
        frame = SimpleNamespace(f_globals=named, f_code=code, f_lineno=line)
        link = SimpleNamespace(tb_frame=frame, tb_lineno=line, tb_next=link)
    return tblib.Traceback(link).as_traceback()  # type: ignore[no-any-return]  # tblib is not typed
