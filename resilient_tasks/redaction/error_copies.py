"""Copy errors without running code of their class."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from resilient_tasks import redaction, safely

E = TypeVar("E", bound=BaseException)


def builtin_base(cls: type[BaseException]) -> type[BaseException] | None:
    """Return the built-in class that defines the memory layout of `cls`; None if an extension module defines it."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            try:
                base.__new__(cls, *_SAMPLES.get(base, ()))
            except TypeError:  # "... is not safe": another base defines the layout
                continue
            return base
    return None


def kept_outside(error: BaseException) -> list[tuple[str, Any]]:
    """Return the names and values of the attributes that an error keeps outside its `__dict__`.

    For an `OSError`, these are the number and the text that it shows; its `args` may differ, as in aiohttp's errors.

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
    from_os_error = [name for name in _OS_ERROR_FIELDS if getattr(cls, name, None) is vars(OSError)[name]]
    return found + [(name, value) for name in from_os_error if (value := getattr(error, name)) is not None]


_OS_ERROR_FIELDS = ("errno", "strerror", "filename", "filename2")


def class_with_text(cls: type[BaseException], text: str) -> type[BaseException]:
    """Return a subclass of `cls` with the same name, whose errors have this text and accept every attribute.

    Pickled, such an error becomes a stand-in that names the type.

    Raises:
        Exception: `cls` cannot be subclassed like this.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    members = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__str__": lambda _: text,
        "__repr__": lambda _: f"<{cls.__qualname__}: {text}>",
        "__reduce_ex__": lambda error, _: (redaction.stand_in, (f"{name}: {text}",), redaction.kept(error)),
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
    """Return an error of the type of `error`, or of `cls`, made without running code of that type."""
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


def copied(error: E) -> E:
    """Return a copy of `error` with its traceback and with copies of its causes; `error` itself if it cannot be copied.

    Raising one of the two, or adding a note to it, does not change the other.
    """
    return cast("E", _copied(error, {}))


def _copied(error: BaseException, known: dict[int, BaseException]) -> BaseException:
    if id(error) in known:
        return known[id(error)]
    known[id(error)] = error  # it may be one of its own causes
    try:
        base = builtin_base(type(error)) or BaseException
        _, args, *rest = cast("tuple[Any, ...]", base.__reduce__(error))
        if safely.is_a(error, BaseExceptionGroup):
            args = (args[0], [_copied(part, known) for part in args[1]])
        own = dict(safely.own(error, "__dict__"))
        if isinstance(notes := own.get("__notes__"), list):
            own["__notes__"] = list(notes)
        outside = {**(rest[0] if rest and isinstance(rest[0], dict) else {}), **dict(kept_outside(error))}
        copy = like(error, args, own, {name: value for name, value in outside.items() if name not in own})
        BaseException.with_traceback(copy, safely.own(error, "__traceback__"))
        for name in ("__context__", "__cause__"):
            link = safely.own(error, name)
            vars(BaseException)[name].__set__(copy, link and _copied(link, known))
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
