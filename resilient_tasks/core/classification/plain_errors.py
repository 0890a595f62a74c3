"""A fast path for plain errors: Python's own or a user's, with a text and nothing else.

Most frequent failures are plain: `ConnectionError("refused")`, `TimeoutError()`. They hold no server's response, wrap
no other error and belong to no library, so the other checks of `failures` would find nothing. The class is examined
once; for each error it remains to check that it is plain, and to read its errno and its text.
"""

from __future__ import annotations

from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.classification import databases, judgement, responses, texts, wrapped
from resilient_tasks.core.classification.classes import may_have_details, tops_of
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.safely import module_of, of_class

#: A class outside of Python's own that overrides any of these takes the slow path.
_OVERRIDES = frozenset(
    ("__dict__", "__str__", "__cause__", "__context__", "__traceback__", "args", "errno", "strerror", "filename")
)
#: A tuple finds a member by identity; hashing a member of an enumeration takes longer.
_MAY_PASS, _UNKNOWN = (Kind.TRANSIENT, Kind.TIMEOUT), Kind.PERMANENT
#: The number of cached texts per class, and their greatest length.
_MOST_TEXTS, _LONGEST_TEXT = 64, 200
_SIMPLE = frozenset((str, int, float, bool, bytes, type(None)))
#: Packages whose errors are classified by code or text rather than by class.
_BY_CODE_OR_TEXT = frozenset(("smtplib", "aiosmtplib", "pymongo", "pycurl", "curl_cffi"))


class PlainClass:
    """What the class of plain errors determines.

    Attributes:
        kind: the kind of the class; None if the class determines none.
        has_errno: it is an `OSError`, whose errno is more specific.
        is_builtin: it is one of Python's built-in classes.
        is_generic: if an installed library raised the error, its text is more specific.
        by_text: cached kinds of errors with these texts.
    """

    __slots__ = ("by_text", "has_errno", "is_builtin", "is_generic", "kind")

    def __init__(self, kind: Kind | None, cls: type[BaseException]) -> None:
        self.kind: Kind | None = kind
        self.has_errno: bool = issubclass(cls, OSError)
        self.is_builtin: bool = module_of(cls) == "builtins"
        self.is_generic: bool = cls in wrapped.GENERIC
        self.by_text: dict[str, Kind] = {}


#: Python's own classes, which are never freed: nearly every plain error is of one of them.
_BUILTINS: dict[type[BaseException], PlainClass] = {}


@of_class
def _plain_class(cls: type) -> PlainClass | None:
    """Return what a class determines; None if its errors take the slow path."""
    if type(cls) is not type or issubclass(cls, (BaseExceptionGroup, EOFError)) or not issubclass(cls, Exception):
        return None
    if may_have_details(cls) or wrapped.is_library_class(cls) or not _BY_CODE_OR_TEXT.isdisjoint(tops_of(cls)):
        return None
    if any(not _OVERRIDES.isdisjoint(vars(base)) for base in cls.__mro__ if module_of(base) != "builtins"):
        return None
    if responses.may_have_status(cls) or databases.is_database_class(cls) or judgement.is_about_tls(cls):
        return None
    kind = judgement.of_type(cls)
    if kind is not None and not isinstance(kind, Kind):
        return None  # a pattern for the text
    found = PlainClass(kind, cls)
    if found.is_builtin:
        _BUILTINS[cls] = found
    return found


def plain(error: BaseException) -> PlainClass | None:
    """Return what the class of a plain error determines; None for every other error.

    A plain error has no HTTP status and asks for no wait.
    """
    found = _plain_class(type(error))
    if found is None or error.__cause__ is not None:
        return None
    if (own := error.__dict__) and not _are_notes(own):
        return None
    args = error.args
    if len(args) > 1 and type(args[0]) is str:  # ODBC passes its codes this way, in any class
        return None
    for arg in args:
        if type(arg) not in _SIMPLE:
            return None
    return None if found.is_generic and wrapped.is_raised_by_a_library(error) else found


def _are_notes(own: dict[str, Any]) -> bool:
    notes = own.get("__notes__")
    return len(own) == 1 and type(notes) is list and all(type(note) is str for note in notes)


def kind_of(error: BaseException) -> Kind | None:
    """Return the kind of a plain error; None for every other error, or if its text may determine the kind."""
    cls = type(error)
    found = _BUILTINS.get(cls) or _plain_class(cls)
    if found is None:
        return None
    args = error.args
    if (
        len(args) != 1
        or type(text := args[0]) is not str
        or error.__cause__ is not None
        or error.__dict__
        or found.is_generic
        or (found.has_errno and error.errno is not None)  # type: ignore[attr-defined]  # an OSError
    ):
        return None if plain(error) is None else _kind_by(found, error)
    # A service that is down repeats its error text.
    kind = found.by_text.get(text)
    if kind is None:
        kind = _kind_by(found, error)
        if kind is not None and len(found.by_text) < _MOST_TEXTS and len(text) < _LONGEST_TEXT:
            found.by_text[text] = kind
    return kind


def _kind_by(found: PlainClass, error: BaseException) -> Kind | None:
    """Return the kind of a plain error by its class, its errno and its text."""
    kind, args = found.kind, error.args
    text = args[0] if len(args) == 1 and type(args[0]) is str else None
    if found.has_errno:
        number = error.errno  # type: ignore[attr-defined]  # an OSError
        if type(number) is int and found.is_builtin:
            kind = judgement.BY_ERRNO.get(number, _UNKNOWN)
        # A built-in error may have its errno only in the text.
        elif number is not None or (found.is_builtin and (text is None or text.startswith(judgement.OF_SEVERAL))):
            kind = judgement.by_errno(error) or kind
    if kind in _MAY_PASS:
        return None if texts.may_be_about_tls(safely.text(error) if text is None else text) else kind
    return kind or _UNKNOWN
