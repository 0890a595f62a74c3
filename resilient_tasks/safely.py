"""Use objects that come from the user (errors, responses, predicates) without failing because of them.

An error's `__str__` may raise, an attribute may be a property that raises, and a frozen dataclass refuses a note. None
of that may replace the error that the caller is to get, so everything in this package that looks at one goes through
here. What is no `Exception` (an interrupt, a cancellation) flies past.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from abc import ABCMeta
from collections.abc import Callable
from typing import Any, ParamSpec, TypeGuard, TypeVar
from weakref import ref

T = TypeVar("T")
P = ParamSpec("P")

#: The greatest length of an error's text that is examined: redaction and sinks take time for each character.
LONGEST = 20_000
#: A text is cut at a gap within this many characters before that: half a secret would not be recognised.
_GAP = 2_000


def or_none(function: Callable[P, T | None]) -> Callable[P, T | None]:
    """Make a function that looks at what a user gave return None where that raises."""

    @functools.wraps(function)
    def looks(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except Exception:
            return None

    return looks


def text(thing: object) -> str:
    """Return what `thing` says of itself, at most `LONGEST` characters and a remark; never raise.

    An error whose `__str__` fails is shown as its type and arguments, with a remark.
    """
    try:
        said = str(thing)
    except Exception as problem:
        return f"{_plainly(thing)} (its __str__ raised {type(problem).__name__})"
    return _cut(said)


def shown(thing: object) -> str:
    """Return `repr(thing)`, cut as `text` is; never raise."""
    try:
        said = repr(thing)
    except Exception as problem:
        return f"<{type(thing).__name__} whose __repr__ raised {type(problem).__name__}>"
    return _cut(said)


def attribute(thing: object, name: str, default: Any = None) -> Any:
    """Return the attribute, or `default` where there is none or asking for it raises."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


def own(error: BaseException, name: str) -> Any:
    """Return what Python itself keeps of an error, such as `__traceback__`, whatever its class has under that name."""
    return _GET_OWN[name](error)


#: What reads each attribute of an error, whatever its class has under that name.
_GET_OWN: dict[str, Callable[[BaseException], Any]] = {
    name: vars(BaseException)[name].__get__
    for name in ("args", "__dict__", "__cause__", "__context__", "__suppress_context__", "__traceback__")
}


def parts(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors that a group holds; none of any other error, or where asking for them raises."""
    found = attribute(error, "exceptions", ()) if is_a(error, BaseExceptionGroup) else ()
    return found if is_a(found, tuple) else ()


def item(mapping: object, *keys: str) -> Any:
    """Return what lies under `keys` in mappings inside of each other; None where anything on the way is missing."""
    for key in keys:
        try:
            mapping = mapping.get(key)  # type: ignore[attr-defined]  # anything with a `get` will do
        except Exception:
            return None
    return mapping


def number(value: object) -> int | None:
    """Return a whole number, also of a subclass or of numpy, as a plain one; None for anything else."""
    if is_a(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # what has no index raises
    except Exception:
        return None


def note(error: BaseException, said: str) -> None:
    """Add a note to an error, also to one that refuses `add_note`, as a frozen dataclass does; never raise."""
    try:
        error.add_note(said)
    except Exception:
        there = attribute(error, "__notes__", [])
        if isinstance(there, list | tuple):  # else it is the user's own, and no notes
            own(error, "__dict__")["__notes__"] = [*there, said]


def notes(error: BaseException) -> tuple[str, ...]:
    """Return the notes of an error, as text; none where its `__notes__` are something else."""
    there = attribute(error, "__notes__", ())
    return tuple(text(each) for each in there) if isinstance(there, list | tuple) else ()


def mark(error: BaseException, name: str, value: Any) -> None:
    """Leave something for this library's own code on an error, also on one that refuses to be assigned to."""
    own(error, "__dict__")[name] = value


def marked(error: BaseException, name: str) -> Any:
    """Return what was left on an error under this name; None where nothing was."""
    return own(error, "__dict__").get(name)


def without_frames(error: BaseException) -> None:
    """Take the traceback away, also from an error that refuses to be assigned one, as a frozen dataclass does."""
    BaseException.with_traceback(error, None)


def is_a(thing: object, kind: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """As `isinstance`, but go by the type alone: a `__class__` that is a property may raise."""
    return issubclass(type(thing), kind)


def module_of(cls: type) -> str:
    """Return the name of a class's module, or nothing where it has none."""
    try:
        module = type.__dict__["__module__"].__get__(cls)
    except AttributeError:
        return ""
    return module if type(module) is str else ""


def of_class(look: Callable[[type], T]) -> Callable[[type], T]:
    """Cache the result of a function by class, for as long as the class exists.

    A class with a custom metaclass is not cached: its attributes may be computed, and so may change.
    """
    # Keyed by the class's address, which costs half as much as by a weak reference. It is safe: the caller holds the
    # class, and the interpreter calls a reference's callback before it frees the class, so no other class can have its
    # address while the entry exists. Tried on Python 3.11, 3.12 and 3.13.
    known: dict[int, tuple[T, Any]] = {}

    @functools.wraps(look)
    def found(cls: type) -> T:
        if (entry := known.get(id(cls))) is not None:
            return entry[0]
        answer = look(cls)
        if type(cls) in (type, ABCMeta):
            address = id(cls)
            known[address] = (answer, ref(cls, lambda _: known.pop(address, None)))
        return answer

    return found


def _plainly(thing: object) -> str:
    """Show an error as its built-in base would, whatever its class made of that; of anything else show the type."""
    if is_a(thing, BaseException):
        with contextlib.suppress(Exception):
            return _cut(BaseException.__repr__(thing))
    return type(thing).__name__


def _cut(said: str) -> str:
    if type(said) is not str:
        said = str.__str__(said)  # what a subclass does with its slices is its own affair
    more = len(said) - LONGEST
    if more > 0:
        kept = said[:LONGEST]
        gaps = [gap.start() for gap in re.finditer(r"\s", kept[-_GAP:])]
        kept = kept[: LONGEST - _GAP + gaps[-1]] if gaps else kept
        said = f"{kept}… (and {len(said) - len(kept):,} more characters)"
    if said.isascii():  # nearly every text, and the length of one does not matter for it
        return said
    try:
        said.encode()
    except UnicodeEncodeError:  # a file name that is no text, say: neither a store nor JSON takes it
        return said.encode("utf-8", "backslashreplace").decode()
    return said
