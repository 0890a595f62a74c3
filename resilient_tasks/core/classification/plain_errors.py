"""Errors that only their class can tell of: Python's own and a user's, with a text, and nothing else in them.

Most failures that a program meets often are so plain: `ConnectionError("refused")`, `TimeoutError()`. They carry no
answer of a server, wrap no other error and belong to no library, so the other questions of `failures` lead nowhere. The
class is looked at once; of each error it remains to see that it is plain, and what its number and its text say.
"""

from __future__ import annotations

from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.classification import answers, databases, judgement, texts, wrapped
from resilient_tasks.core.classification.classes import may_bear, tops_of
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.safely import module_of, of_class

#: What a class from elsewhere than Python may say in its own way: then it is looked at with care.
_OWN_WAYS = frozenset(
    ("__dict__", "__str__", "__cause__", "__context__", "__traceback__", "args", "errno", "strerror", "filename")
)
#: A tuple finds a member by identity; to look up a member of an enumeration, and to hash it, takes longer.
_MAY_PASS, _UNKNOWN = (Kind.TRANSIENT, Kind.TIMEOUT), Kind.PERMANENT
#: The texts that are remembered of a class, and their characters.
_MOST_TEXTS, _LONGEST_TEXT = 64, 200
_SIMPLE = frozenset((str, int, float, bool, bytes, type(None)))
#: Their codes, and their words, tell of more than the class does.
_TOLD_OTHERWISE = frozenset(("smtplib", "aiosmtplib", "pymongo", "pycurl", "curl_cffi"))


class Plain:
    """What a class tells of its plain errors.

    Attributes:
        kind: what the class says; None where it says nothing.
        numbered: an `OSError`: its number tells more.
        pythons: it is one of Python's built-in classes.
        speaks: the text of one that an installed library raised tells more.
        by_text: the kinds of errors that have one of these texts, and nothing else in them.
    """

    __slots__ = ("by_text", "kind", "numbered", "pythons", "speaks")

    def __init__(self, kind: Kind | None, cls: type[BaseException]) -> None:
        self.kind: Kind | None = kind
        self.numbered: bool = issubclass(cls, OSError)
        self.pythons: bool = module_of(cls) == "builtins"
        self.speaks: bool = cls in wrapped.SAY_NOTHING
        self.by_text: dict[str, Kind] = {}


#: What Python's own classes tell, which last as long as this does: nearly every plain error is of one of them.
_PYTHONS: dict[type[BaseException], Plain] = {}


@of_class
def _of_class(cls: type) -> Plain | None:
    """Return what a class tells; None where its errors have to be looked at with care."""
    if type(cls) is not type or issubclass(cls, (BaseExceptionGroup, EOFError)) or not issubclass(cls, Exception):
        return None
    if may_bear(cls) or wrapped.is_a_librarys(cls) or not _TOLD_OTHERWISE.isdisjoint(tops_of(cls)):
        return None
    if any(not _OWN_WAYS.isdisjoint(vars(base)) for base in cls.__mro__ if module_of(base) != "builtins"):
        return None
    if answers.may_tell_a_status(cls) or databases.is_a_databases(cls) or judgement.is_about_tls(cls):
        return None
    kind = judgement.of_type(cls)
    if kind is not None and not isinstance(kind, Kind):
        return None  # but a pattern of what its text may say
    found = Plain(kind, cls)
    if found.pythons:
        _PYTHONS[cls] = found
    return found


def plain(error: BaseException) -> Plain | None:
    """Return what the class of a plain error tells; None for every other error.

    Such an error has no HTTP status, and asks for no wait.
    """
    found = _of_class(type(error))
    if found is None or error.__cause__ is not None:
        return None
    if (own := error.__dict__) and not _are_notes(own):
        return None
    args = error.args
    if len(args) > 1 and type(args[0]) is str:  # so ODBC gives its codes, whatever the class
        return None
    for arg in args:
        if type(arg) not in _SIMPLE:
            return None
    return None if found.speaks and wrapped.is_raised_by_a_library(error) else found


def _are_notes(own: dict[str, Any]) -> bool:
    notes = own.get("__notes__")
    return len(own) == 1 and type(notes) is list and all(type(note) is str for note in notes)


def kind_of(error: BaseException) -> Kind | None:
    """Return the kind of a plain error; None for every other error, and where its text may tell more."""
    cls = type(error)
    found = _PYTHONS.get(cls) or _of_class(cls)
    if found is None:
        return None
    args = error.args
    if (
        len(args) != 1
        or type(said := args[0]) is not str
        or error.__cause__ is not None
        or error.__dict__
        or found.speaks
        or (found.numbered and error.errno is not None)  # type: ignore[attr-defined]  # an OSError
    ):
        return None if plain(error) is None else _kind_by(found, error)
    # A service that is down says the same again and again.
    kind = found.by_text.get(said)
    if kind is None:
        kind = _kind_by(found, error)
        if kind is not None and len(found.by_text) < _MOST_TEXTS and len(said) < _LONGEST_TEXT:
            found.by_text[said] = kind
    return kind


def _kind_by(found: Plain, error: BaseException) -> Kind | None:
    """Return the kind of a plain error by what its class tells, by its number and by its text."""
    kind, args = found.kind, error.args
    said = args[0] if len(args) == 1 and type(args[0]) is str else None
    if found.numbered:
        number = error.errno  # type: ignore[attr-defined]  # an OSError
        if type(number) is int and found.pythons:
            kind = judgement.BY_ERRNO.get(number, _UNKNOWN)
        # Python's own may have one in its text alone.
        elif number is not None or (found.pythons and (said is None or said.startswith(judgement.OF_SEVERAL))):
            kind = judgement.by_errno(error) or kind
    if kind in _MAY_PASS:
        return None if texts.may_be_of_tls(safely.text(error) if said is None else said) else kind
    return kind or _UNKNOWN
