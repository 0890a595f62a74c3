"""How errors lie in memory: what it takes to make one, or one that can be shown, without running code of its class."""

from __future__ import annotations

from typing import Any

from resilient_tasks.core.errors import ResilienceError


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


_SAMPLES: dict[type, tuple[Any, ...]] = {
    BaseExceptionGroup: ("", [KeyboardInterrupt()]),
    ExceptionGroup: ("", [Exception()]),
}
