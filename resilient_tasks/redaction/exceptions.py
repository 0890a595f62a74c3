"""Copy errors without their secrets, for code that keeps or shows errors. A copy has the type of its original."""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import traceback
from types import TracebackType
from typing import Any, TypeVar, cast

from resilient_tasks import redaction, safely
from resilient_tasks.redaction.error_copies import builtin_base, class_with_text, kept_outside, like
from resilient_tasks.redaction.known_secrets import KnownSecrets
from resilient_tasks.redaction.registered import Secret
from resilient_tasks.redaction.text import redact, redact_whole
from resilient_tasks.redaction.values import NOT_DATA, Cleaner, Searcher, attributes_of, quoted_by, redact_siblings
from resilient_tasks.safely import module_of, of_class

E = TypeVar("E", bound=BaseException)

#: The longest text of a copy that is searched (characters).
_LONGEST_SHOWN = 1_000_000
#: The most parts and characters of an error that are searched for the secrets that its message quotes.
_MOST_PARTS, _MOST_CHARACTERS = 100, 5_000
#: The depth to which objects in its attributes are searched: a response may refer to its whole client.
_OBJECT_DEPTH = 2
#: The most lines of one statement that Python 3.13 prints.
_MOST_LINES = 20
_SIMPLE = frozenset({str, int, float, bool, type(None)})
_ORIGINAL = "__resilient_original__"


class Withheld:
    """Replaces an object with a secret, such as the response to a request, in the copy of an error.

    Attributes:
        what: the object's type.
        status_code: its HTTP status, if it has one; `headers` then has the `Retry-After`, for `classify` to read.
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
    """A copy's reference to its original, within one process: it is lost in pickling."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __reduce__(self) -> tuple[type[_Original], tuple[()]]:
        return (_Original, ())

    def __deepcopy__(self, _: object) -> _Original:
        return self

    def __repr__(self) -> str:
        return "<the original error, in its own process>"


def original_of(error: E) -> E:
    """Return the original of a redacted copy made in this process; for any other error, `error` itself."""
    kept = safely.own(error, "__dict__").get(_ORIGINAL)
    found: Any = kept.error if isinstance(kept, _Original) else None
    return error if found is None else found


def redacted(error: E, *, chain: bool = False) -> E | Exception | None:
    """Return a copy of `error` with every secret redacted, or None if it has no secret.

    This searches everything that a traceback prints, with the causes, and everything that the error holds: `args`,
    attributes and notes. The copy has the same type, made without calling that type. An attribute that is no plain data
    and holds a secret becomes `Withheld`. The copy keeps the traceback, unless a source line in it has a secret, and
    `original_of` returns `error` in this process. If no such copy can be made, the copy is a `ResilienceError` that
    names the type.

    Args:
        error: any error. It is not changed.
        chain: keep the causes and contexts, as copies. Otherwise they are left out.
    """
    copy: E | Exception | None = _Copier(chain=chain).of(error)
    return copy


def presentable(error: E) -> E | Exception | None:
    """Return a replacement for an error that other code cannot handle; None if it can.

    Code that shows errors, such as an orchestrator, calls `str` and `repr`, reads `__class__` and tests the error for
    truth; context managers assign `__traceback__`. In some errors these raise, and a falsy error looks like none. The
    replacement is of a subclass of the error's class, so the same `except` catches it. `original_of` returns `error`
    in this process; in another process, the replacement is a `ResilienceError`.
    """
    try:
        str(error), repr(error), error.__class__
        error.__traceback__ = error.__traceback__  # a frozen dataclass refuses it
        return None if error else _presented(error)
    except Exception:
        return _presented(error)


def _presented(error: E) -> E | Exception:
    try:
        cls = class_with_text(type(error), safely.text(error))
        own = dict(safely.own(error, "__dict__"))
        copy: Any = like(error, safely.own(error, "args"), own, dict(kept_outside(error)), cls)
        copy.__traceback__ = error.__traceback__
        copy.__cause__, copy.__context__ = error.__cause__, error.__context__
        copy.__suppress_context__ = error.__suppress_context__
    except Exception:
        return _stand_in(error, KnownSecrets())
    vars(copy)[_ORIGINAL] = _Original(error)
    return copy  # type: ignore[no-any-return]  # of a subclass of the class of `error`


class _Copier(Cleaner):
    def __init__(self, *, chain: bool) -> None:
        super().__init__()
        self._chain = chain
        self._copies: dict[int, BaseException | None] = {}

    def of(self, error: BaseException) -> Any:
        """Return the copy of `error`, or None if it needs none."""
        if id(error) not in self._copies:
            self._copies[id(error)] = None  # it may be one of its own causes
            try:
                self._copies[id(error)] = self._copy(error)
            except Exception:  # an error that cannot be searched is not passed on
                self._copies[id(error)] = _stand_in(error, self.known)
        return self._copies[id(error)]

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
        self.known.add(searcher.known)
        if not searcher.found:
            try:
                texts = repr(value), str(value)
            except Exception:
                return value
            if all(redact(text) == text for text in texts):
                return value
        return Withheld(value)

    def _copy(self, error: BaseException) -> BaseException | None:
        args, own, outside, changed = self._parts(error)
        if self.known:  # texts before a named secret may quote it
            self._reset_limits()
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
        vars(copy)[_ORIGINAL] = _Original(error)
        return copy

    def _parts(self, error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], bool]:
        """Return the cleaned arguments and attributes of `error`, and whether any of them changed."""
        base = builtin_base(type(error))
        _, args, *rest = cast("tuple[Any, ...]", (base or BaseException).__reduce__(error))
        own = dict(vars(error))
        state = rest[0] if rest and isinstance(rest[0], dict) else {}
        outside = {name: value for name, value in (*state.items(), *kept_outside(error)) if name not in own}
        instead = redact_siblings({**outside, **own})
        self.known.add_replaced({name: own.get(name, outside.get(name)) for name in instead}, instead)
        self.known.add(quoted_by({**outside, **own}, (arg for arg in args if isinstance(arg, str))))
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
            self._reset_limits()
            shown, still = _shown(copy), self._parts(copy)[-1]
            is_clean = len(shown) <= _LONGEST_SHOWN and redact_whole(shown) == shown and not still
            if is_clean and _str(error) is not None and _str(copy) is not None:
                return copy
        except Exception:  # noqa: S110  # the stand-in replaces it
            pass
        return _stand_in(error, self.known)


class _TextCleaner(_Copier):
    """Finds the secrets in the parts of an error. Searches fewer of them, and runs none of their code."""

    def __init__(self) -> None:
        super().__init__(chain=False)

    def _reset_limits(self) -> None:
        self._left, self._room = _MOST_PARTS, _MOST_CHARACTERS

    def other(self, value: Any, depth: int) -> Any:
        if depth <= _OBJECT_DEPTH and not isinstance(value, NOT_DATA):
            for name, part in attributes_of(value):
                self.named(name, part, depth)
        return value

    def without(self, error: BaseException, text: str) -> str:
        """Return `text` without the secrets in the parts of `error`."""
        self._parts(error)
        return self.known.redact(text)


@of_class
def _has_slots(cls: type) -> bool:
    return module_of(cls) != "builtins" and any("__slots__" in vars(base) for base in cls.__mro__)


def text_of(error: BaseException) -> str:
    """Return the text of `error` without the secrets that only its arguments, attributes and notes identify.

    `redact` finds those that the text itself identifies.
    """
    text = safely.text(error)
    own, args = safely.own(error, "__dict__"), safely.own(error, "args")
    if not own and _SIMPLE.issuperset(map(type, args)) and not _has_slots(type(error)):
        return text
    try:
        return _TextCleaner().without(error, text)
    except Exception:
        return text


def _stand_in(error: BaseException, known: KnownSecrets) -> Exception:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    text = _str(error)
    text = redact(safely.text(error) if text is None else text or "it has no text")
    stand_in = redaction.stand_in(f"{name}: {known.redact(text)}")
    for note in safely.notes(error):
        stand_in.add_note(known.redact(redact(note)))
    vars(stand_in).update(redaction.kept(error))
    vars(stand_in)[_ORIGINAL] = _Original(error)
    return stand_in


def _shown(error: BaseException) -> str:
    """Return what a traceback prints of the error itself, its `repr` and its text, except those that raise."""
    shown: list[str] = []
    for show in (traceback.format_exception_only, repr, str):
        with contextlib.suppress(Exception):
            shown += show(error)
    return "".join(shown)


def _str(error: BaseException) -> str | None:
    try:
        return str(error)
    except Exception:
        return None


def _shows_no_secret(link: TracebackType | None) -> bool:
    """Return whether the source lines that a traceback prints are free of secrets."""
    while link is not None:
        code, number = link.tb_frame.f_code, link.tb_lineno
        position = next(itertools.islice(code.co_positions(), link.tb_lasti // 2, None), None)
        last = (position and position[1]) or number
        for line in range(number, min(last, number + _MOST_LINES) + 1):
            text = linecache.getline(code.co_filename, line, link.tb_frame.f_globals)
            if not _is_clean_line(text, redaction.secrets()):
                return False
        link = link.tb_next
    return True


@functools.lru_cache(2048)
def _is_clean_line(text: str, _secrets: tuple[Secret, ...]) -> bool:
    return redact(text, code=True) == text
