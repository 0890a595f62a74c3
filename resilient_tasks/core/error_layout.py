"""How errors lie in memory: what it takes to make one, or one that can be shown, without running code of its class."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from resilient_tasks.core import safely
from resilient_tasks.core.errors import ResilienceError

E = TypeVar("E", bound=BaseException)


def builtin_base(cls: type[BaseException]) -> type[BaseException] | None:
    """Return the built-in class that lays `cls` out in memory; none, if an extension module made its own."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            try:
                base.__new__(cls, *_SAMPLES.get(base, ()))
            except TypeError:  # "... is not safe": another one is the base in memory
                continue
            return base
    return None


def kept_outside(error: BaseException) -> list[tuple[str, Any]]:
    """Return the attributes that an error keeps outside of its `__dict__`, by name.

    Of an `OSError` these are the number and the text that it shows: its `args` may be others, as in aiohttp's errors.

    Raises:
        Exception: one of them cannot be read.
    """
    cls = type(error)
    names: list[str] = []
    for base in cls.__mro__:
        slots: Any = vars(base).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    names = [name for name in names if name not in {"__dict__", "__weakref__"} and not name.startswith("__")]
    found = [(name, getattr(error, name)) for name in names if hasattr(error, name)]
    of_the_system = [name for name in _OF_THE_SYSTEM if getattr(cls, name, None) is vars(OSError)[name]]
    return found + [(name, value) for name in of_the_system if (value := getattr(error, name)) is not None]


_OF_THE_SYSTEM = ("errno", "strerror", "filename", "filename2")


def saying(cls: type[BaseException], said: str) -> type[BaseException]:
    """Return a class derived from `cls`, and named as it is, whose errors say `said` and refuse no attribute.

    Pickled, such an error becomes a `ResilienceError` that names the type.

    Raises:
        Exception: `cls` allows of no such class.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    members = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__str__": lambda _: said,
        "__repr__": lambda _: f"<{cls.__qualname__}: {said}>",
        "__reduce_ex__": lambda *_: (ResilienceError, (f"{name}: {said}",)),
        "__bool__": lambda _: True,
        "__class__": property(type),
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    }
    return type(cls.__name__, (cls,), members)


def like(
    error: BaseException,
    args: tuple[Any, ...],
    own: dict[str, Any],
    outside: dict[str, Any],
    cls: type[BaseException] | None = None,
) -> BaseException:
    """Make an error of the type of `error`, or of `cls`, without running any code of that type."""
    cls = cls or type(error)
    base = builtin_base(cls)
    if base is None:
        raise TypeError(cls)
    copy = base.__new__(cls, *args)
    base.__init__(copy, *args)
    vars(copy).update(own)
    for name, value in outside.items():
        object.__setattr__(copy, name, value)
    return copy


def twin(error: E) -> E:
    """Return another error that is like `error` in all things, with its traceback, and with twins of its causes.

    What happens to one of them, to be raised or noted on, is no affair of the other. Where none can be made, it is
    `error` itself.
    """
    return cast("E", _twin(error, {}))


def _twin(error: BaseException, known: dict[int, BaseException]) -> BaseException:
    if id(error) in known:
        return known[id(error)]
    known[id(error)] = error  # an error that is its own cause in the end
    try:
        base = builtin_base(type(error)) or BaseException
        _, args, *rest = cast("tuple[Any, ...]", base.__reduce__(error))
        if safely.is_a(error, BaseExceptionGroup):
            args = (args[0], [_twin(part, known) for part in args[1]])
        own = dict(safely.own(error, "__dict__"))
        if isinstance(notes := own.get("__notes__"), list):
            own["__notes__"] = list(notes)
        outside = {**(rest[0] if rest and isinstance(rest[0], dict) else {}), **dict(kept_outside(error))}
        copy = like(error, args, own, {name: value for name, value in outside.items() if name not in own})
        BaseException.with_traceback(copy, safely.own(error, "__traceback__"))
        for name in ("__context__", "__cause__"):
            link = safely.own(error, name)
            vars(BaseException)[name].__set__(copy, link and _twin(link, known))
        # Setting a cause has suppressed the context.
        vars(BaseException)["__suppress_context__"].__set__(copy, safely.own(error, "__suppress_context__"))
    except Exception:
        return error
    known[id(error)] = copy
    return copy


_SAMPLES: dict[type, tuple[Any, ...]] = {
    BaseExceptionGroup: ("", [KeyboardInterrupt()]),
    ExceptionGroup: ("", [Exception()]),
}
