"""Copies of errors without secrets, of the same type, for code that keeps or shows errors."""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import traceback
from types import TracebackType
from typing import Any, TypeVar, cast

from resilient_tasks.core import safely, settings
from resilient_tasks.core.classification.classes import module_of, of_class
from resilient_tasks.core.cleaned import NOT_DATA, Cleaner, Searcher, held_by
from resilient_tasks.core.error_layout import builtin_base, kept_outside, like, saying
from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.redaction import beside
from resilient_tasks.redaction.redact import redact, redact_whole
from resilient_tasks.redaction.registered import Secret
from resilient_tasks.redaction.told import Told

E = TypeVar("E", bound=BaseException)

#: A copy whose text is longer (characters), for its class makes it of something else, is not looked through.
_LONGEST_SHOWN = 1_000_000


#: To learn what a message quotes, so many parts of an error are looked at, and so many characters.
_LEARNT_FROM, _LEARNT_ROOM = 100, 5_000
#: Objects within objects are opened so deep: a response holds its client's whole world.
_OPENED = 2
_SIMPLE = frozenset({str, int, float, bool, type(None)})


class Withheld:
    """Stands in a copied error for an object that held a secret, such as the response to a request.

    Attributes:
        what: the object's type.
        status_code: its HTTP status, where it has one; `headers` then has the `Retry-After`, for `classify` to read.
    """

    headers: dict[str, str]

    def __init__(self, instead_of: object) -> None:
        cls = type(instead_of)
        self.what: str = f"{cls.__module__}.{cls.__qualname__}"
        status = safely.attribute(instead_of, "status_code") or safely.attribute(instead_of, "status")
        if (number := safely.number(status)) is not None:
            self.status_code = number
            headers = safely.attribute(instead_of, "headers")
            wait = safely.item(headers, "Retry-After") or safely.item(headers, "retry-after")
            self.headers = {} if wait is None else {"Retry-After": redact(safely.text(wait))}

    def __repr__(self) -> str:
        return f"<{self.what}, left out: it held a secret>"


class _Original:
    """Leads from a copy to the error that it was made of, inside of one process: no pickle takes it along."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __reduce__(self) -> tuple[type[_Original], tuple[()]]:
        return (_Original, ())

    def __deepcopy__(self, _: object) -> _Original:
        return self

    def __repr__(self) -> str:
        return "<the original error, in its own process>"


_KEPT = "__resilient_original__"


def original_of(error: E) -> E:
    """Return the error that `error` is a redacted copy of, where it was made in this process; else `error` itself."""
    kept = safely.own(error, "__dict__").get(_KEPT)
    found: Any = kept.error if isinstance(kept, _Original) else None
    return error if found is None else found


def redacted(error: E, *, chain: bool = False) -> E | ResilienceError | None:
    """Return a copy of `error` in which every secret is blotted out, or None where there is none to blot out.

    Looked at is all that a traceback of it would print, with its causes, and all that it holds: `args`, attributes and
    notes. The copy is of the same type, made without calling that type; an attribute that is no plain data and holds a
    secret is `Withheld`. It has its traceback, unless a line of the program shown there holds a secret, and leads to
    `error` by `original_of`, in this process. Where no such copy can be made, it is a `ResilienceError` that names the
    type.

    Args:
        error: any error. It is left as it is.
        chain: keep the causes and contexts, as copies. They are left out otherwise.
    """
    copy: E | ResilienceError | None = _Copier(chain=chain).of(error)
    return copy


def presentable(error: E) -> E | ResilienceError | None:
    """Return a replacement for an error that other code cannot handle; None if it can.

    Whoever shows errors, as an orchestrator does, calls `str` and `repr`, asks for their `__class__` and whether there
    is one at all, and what hands them on through a context manager assigns `__traceback__`: each may raise an error of
    its own in place of this one, or take one that is false for none. What stands for it is of
    a class that derives from its own, so that it is caught by the same name. It leads to `error` by `original_of`; in
    another process it is a `ResilienceError`.
    """
    try:
        str(error), repr(error), error.__class__
        error.__traceback__ = error.__traceback__  # a frozen dataclass refuses it
        return None if error else _presented(error)
    except Exception:
        return _presented(error)


def _presented(error: E) -> E | ResilienceError:
    try:
        cls = saying(type(error), safely.text(error))
        own = dict(safely.own(error, "__dict__"))
        copy: Any = like(error, safely.own(error, "args"), own, dict(kept_outside(error)), cls)
        copy.__traceback__ = error.__traceback__
        copy.__cause__, copy.__context__ = error.__cause__, error.__context__
        copy.__suppress_context__ = error.__suppress_context__
    except Exception:
        return _stand_in(error)
    vars(copy)[_KEPT] = _Original(error)
    return copy  # type: ignore[no-any-return]  # of a class derived from that of `error`


class _Copier(Cleaner):
    def __init__(self, *, chain: bool) -> None:
        super().__init__()
        self._chain = chain
        self._known: dict[int, BaseException | None] = {}

    def of(self, error: BaseException) -> Any:
        """Return the copy of `error`, or None where none is needed."""
        if id(error) not in self._known:
            self._known[id(error)] = None  # an error that is its own cause in the end
            try:
                self._known[id(error)] = self._copy(error)
            except Exception:  # what cannot be looked through is not handed on
                self._known[id(error)] = _stand_in(error, self._told)
        return self._known[id(error)]

    def other(self, value: Any, depth: int) -> Any:
        if isinstance(value, BaseException):
            return self.of(value) or value
        if isinstance(value, _Original | Withheld):
            return value
        clean = getattr(type(value), "__redacted__", None)
        if clean is not None:
            return clean(value)
        searcher = Searcher()
        searcher(value, depth)
        self._told.join(searcher.told)
        if not searcher.found:
            try:
                shown, said = repr(value), str(value)
            except Exception:
                return value
            if redact(shown) == shown and redact(said) == said:
                return value
        return Withheld(value)

    def _copy(self, error: BaseException) -> BaseException | None:
        args, own, outside, changed = self._parts(error)
        if len(self._told):  # what a name told of may stand in a text that came before it
            self._begin_anew()
            args, own, outside, changed = self._parts(error)
        lines_are_clean = _shows_no_secret(error.__traceback__)
        links = [link for link in (error.__cause__, error.__context__) if link is not None]
        printed = links[:1] if error.__cause__ is not None or not error.__suppress_context__ else []
        copies = {id(link): self.of(link) for link in printed}
        if not changed and lines_are_clean and not any(copies.values()):
            shown = _shown(error)
            if redact(shown) == shown:
                return None
        copy = self._made(error, args, own, outside)
        copy.__traceback__ = error.__traceback__ if lines_are_clean else None
        if self._chain:
            for link in printed:
                kept = copies[id(link)] or link
                copy.__cause__, copy.__context__ = (kept, None) if link is error.__cause__ else (None, kept)
                copy.__suppress_context__ = error.__suppress_context__
        else:
            copy.__suppress_context__ = True
        vars(copy)[_KEPT] = _Original(error)
        return copy

    def _parts(self, error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], bool]:
        """Return what `error` is made of, cleaned: what its built-in base is called with, and its attributes."""
        base = builtin_base(type(error))
        _, args, *rest = cast("tuple[Any, ...]", (base or BaseException).__reduce__(error))
        own = dict(vars(error))
        state = rest[0] if rest and isinstance(rest[0], dict) else {}
        outside = {name: value for name, value in (*state.items(), *kept_outside(error)) if name not in own}
        instead = beside.without_secrets({**outside, **own})
        self._told.compare({name: own.get(name, outside.get(name)) for name in instead}, instead)
        self._told.add(beside.quoted_by({**outside, **own}, (arg for arg in args if isinstance(arg, str))))
        clean_args = tuple(self(arg) for arg in self.after_statement(args))
        clean_own = {name: self.named(name, instead.get(name, value)) for name, value in own.items()}
        clean_outside = {name: self.named(name, value) for name, value in outside.items()}
        pairs = zip(
            (*args, *own.values(), *outside.values()),
            (*clean_args, *clean_own.values(), *clean_outside.values()),
            strict=True,
        )
        return clean_args, clean_own, clean_outside, any(old is not new for old, new in pairs)

    def _made(
        self, error: BaseException, args: tuple[Any, ...], own: dict[str, Any], outside: dict[str, Any]
    ) -> BaseException:
        try:
            copy = like(error, args, own, outside)
            self._begin_anew()
            shown, still = _shown(copy), self._parts(copy)[-1]
            is_clean = len(shown) <= _LONGEST_SHOWN and redact_whole(shown) == shown and not still
            if is_clean and _says(error) is not None and _says(copy) is not None:
                return copy
        except Exception:  # noqa: S110  # there is another way
            pass
        return _stand_in(error, self._told)


class _Learner(_Copier):
    """Learns what the parts of an error tell to be secrets. Looks at fewer of them, and runs no code of theirs."""

    def __init__(self) -> None:
        super().__init__(chain=False)

    def _begin_anew(self) -> None:
        self._left, self._room = _LEARNT_FROM, _LEARNT_ROOM

    def other(self, value: Any, depth: int) -> Any:
        if depth <= _OPENED and not isinstance(value, NOT_DATA):
            for name, part in held_by(value):
                self.named(name, part, depth)
        return value

    def without(self, error: BaseException, text: str) -> str:
        """Return `text` without what the parts of `error` tell."""
        self._parts(error)
        return self._told.blot(text)


@of_class
def _has_slots(cls: type) -> bool:
    return module_of(cls) != "builtins" and any("__slots__" in vars(base) for base in cls.__mro__)


def said_by(error: BaseException) -> str:
    """Return the text of `error` without those secrets which only its arguments, attributes and notes tell.

    What the text itself tells, `redact` finds.
    """
    text = safely.text(error)
    own, args = safely.own(error, "__dict__"), safely.own(error, "args")
    if not own and _SIMPLE.issuperset(map(type, args)) and not _has_slots(type(error)):
        return text
    try:
        return _Learner().without(error, text)
    except Exception:
        return text


def _stand_in(error: BaseException, told: Told | None = None) -> ResilienceError:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    said = _says(error)
    blot = (told or Told()).blot
    text = redact(safely.text(error) if said is None else said or "it has no text")
    stand_in = ResilienceError(f"{name}: {blot(text)}")
    for note in safely.notes(error):
        stand_in.add_note(blot(redact(note)))
    vars(stand_in)[_KEPT] = _Original(error)
    return stand_in


def _shown(error: BaseException) -> str:
    """Return what a traceback would print of the error itself, and how it is written, as far as that can be told."""
    shown: list[str] = []
    for show in (traceback.format_exception_only, repr, str):
        with contextlib.suppress(Exception):
            shown += show(error)
    return "".join(shown)


def _says(error: BaseException) -> str | None:
    try:
        return str(error)
    except Exception:
        return None


def _shows_no_secret(link: TracebackType | None) -> bool:
    """Tell whether the lines of the program that a traceback prints are free of secrets."""
    while link is not None:
        code, number = link.tb_frame.f_code, link.tb_lineno
        position = next(itertools.islice(code.co_positions(), link.tb_lasti // 2, None), None)
        last = (position and position[1]) or number
        for line in range(number, min(last, number + _LINES) + 1):
            text = linecache.getline(code.co_filename, line, link.tb_frame.f_globals)
            if not _is_clean_line(text, settings.current.secrets):
                return False
        link = link.tb_next
    return True


#: The most lines of one statement that Python 3.13 prints.
_LINES = 20


@functools.lru_cache(2048)
def _is_clean_line(text: str, _secrets: tuple[Secret, ...]) -> bool:
    return redact(text, code=True) == text
