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


def slot_names(cls: type[BaseException]) -> list[str]:
    """Return the names of the attributes that errors of this class keep outside of their `__dict__`."""
    found: list[str] = []
    for base in cls.__mro__:
        slots: Any = vars(base).get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in found if name not in {"__dict__", "__weakref__"} and not name.startswith("__")]


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
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    }
    return type(cls.__name__, (cls,), members)


_SAMPLES: dict[type, tuple[Any, ...]] = {
    BaseExceptionGroup: ("", [KeyboardInterrupt()]),
    ExceptionGroup: ("", [Exception()]),
}
