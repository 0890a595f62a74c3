"""The classifier of failures, which retry, breaker, fallback and alerts share.

An error is classified by its codes (an HTTP status, a database's code, an errno), then by its type, by the errors it
wraps, and last by the names of its classes. No library is imported to recognise its errors.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from resilient_tasks import redaction, safely
from resilient_tasks.core import wording
from resilient_tasks.core.classification import databases, judgement, plain_errors, responses, texts, waits, wrapped
from resilient_tasks.core.classification.kinds import Kind, gravest
from resilient_tasks.core.errors import CircuitOpen, PolicyError, RateLimited, error_to_judge
from resilient_tasks.core.parameters import callables


class Judgement(NamedTuple):
    """The facts of an error of which a copy, here or in another process, lacks the attributes that hold them."""

    kind: Kind
    status: int | None
    wait: float | None


#: The attribute that holds an error's judgement.
JUDGED = "__resilient_judged__"


def judge(error: BaseException) -> Judgement:
    """Return the facts of `error`, to be sent with it to another process."""
    return Judgement(classify(error), status_of(error), _wait_of(error_to_judge(error)))


def kept_of(error: BaseException) -> dict[str, Judgement]:
    """Return what a stand-in keeps of an error: without its type and attributes, it would be of another kind."""
    return {JUDGED: judge(error)}


def _judged(error: BaseException) -> Judgement | None:
    found = safely.own(error, "__dict__").get(JUDGED)
    return found if isinstance(found, Judgement) else None


Rule = type[BaseException] | Callable[[Exception], bool]
_registered: list[tuple[Rule, Kind]] = []
_broken: set[int] = set()


def register_kind(rule: Rule, kind: Kind) -> None:
    """Set the kind of an exception type, or of the errors that a predicate accepts.

    The most recent rule is tried first, and all rules before the built-in ones. A predicate that raises is skipped,
    with one warning in the log.

    Raises:
        PolicyError: `rule` is neither, or `kind` is not a `Kind`.
    """
    if not isinstance(rule, type):
        callables.check_predicate(rule, "register_kind", "an exception type or a predicate of the error")
    words = [one.value for one in Kind]
    if not isinstance(kind, Kind) and kind not in words:
        msg = f"register_kind takes a Kind such as Kind.TRANSIENT, or its name ({', '.join(words)}), not {kind!r}"
        raise PolicyError(msg)
    _registered.insert(0, (rule, Kind(kind)))
    _broken.discard(id(rule))


def registered() -> list[tuple[str, Kind]]:
    """Return the names of the registered rules and their kinds, in the order in which they are tried."""
    return [(wording.short_name_of(rule), kind) for rule, kind in _registered]


def classify(error: BaseException) -> Kind:
    """Return the kind of failure of `error`; for an unknown error `Kind.PERMANENT`, which is not retried.

    It never raises, whatever the error's attributes do.
    """
    if (kind := kind_of_plain(error)) is not None:
        return kind
    return _kind_of(error_to_judge(error), []) or Kind.PERMANENT


def kind_of_plain(error: BaseException) -> Kind | None:
    """Return the kind of a plain error, which has neither a status nor a wait; None for any other error."""
    return None if _registered else plain_errors.kind_of(error)


def _kind_of(error: BaseException, above: list[BaseException]) -> Kind | None:
    """Return the kind of an error; None if nothing determines it. `above` are the errors that wrap it."""
    for rule, kind in _registered:
        if _matches(rule, error):
            return kind
    if (judged := _judged(error)) is not None:
        return judged.kind
    if safely.is_a(error, BaseExceptionGroup):
        return gravest({classify(part) for part in safely.parts(error)})
    if not above and (plain := plain_errors.kind_of(error)) is not None:
        return plain
    found = _kind_by_clues(error, above)
    if found in _TEMPORARY and texts.refuses_a_certificate(error) and not _outweighs_text(error):
        return Kind.PERMANENT  # clients report a refused certificate like any failed connection
    return found


def _outweighs_text(error: BaseException) -> bool:
    """Return whether there is an HTTP status or a hang-up reported by TLS itself, which count more than a text."""
    hung_up = any(judgement.is_a_tls_hang_up(one) for one in wrapped.layers(error))
    return hung_up or status_of(error) is not None


_TEMPORARY = frozenset({Kind.TRANSIENT, Kind.TIMEOUT})


def _kind_by_clues(error: BaseException, above: list[BaseException]) -> Kind | None:
    """Return the kind by the error itself or by the errors that it wraps; None if neither determines it."""
    sure = judgement.by_code(error) or judgement.by_type(error)
    if sure is not None:
        hung_up = safely.is_a(error, EOFError) and above and wrapped.is_from_a_library(above[-1])
        return None if hung_up else sure  # the client's error around it shows whether it was a connection
    by_name = judgement.by_names(error)
    if by_name.sure:
        return judgement.by_authorization_code(error) or by_name.kind
    return (
        _kind_of_wrapped(error, above)
        or databases.by_text(error)
        or by_name.kind
        or judgement.by_service_code(error)
        or judgement.by_status_in_text(error)
        or texts.by_text(error)
    )


def _kind_of_wrapped(error: BaseException, above: list[BaseException]) -> Kind | None:
    """Return the kind of the cause, or else the gravest kind of the other errors in `error`."""
    path = [*above, error]
    inner = [one for one in wrapped.directly_in(error) if all(one is not other for other in path)]
    if len(path) > _DEEPEST or not inner:
        return None
    if inner[0] is safely.own(error, "__cause__") and (kind := _kind_of(inner[0], path)) is not None:
        return kind
    return gravest({kind for one in inner if (kind := _kind_of(one, path)) is not None})


#: The depth of nested errors at which the search ends.
_DEEPEST = 8


def _matches(rule: Rule, error: BaseException) -> bool:
    try:
        if isinstance(rule, type):
            return safely.is_a(error, rule)
        answer: Any = rule(error) if safely.is_a(error, Exception) else False
        if callables.comes_later(answer):
            raise callables.refused(answer, "a predicate has to answer at once")  # noqa: TRY301  # reported like any other
        return bool(answer)
    except Exception as problem:
        if id(rule) not in _broken:
            _broken.add(id(rule))
            message = "register_kind(%s) is skipped for errors like %s: it raised %s"
            name = wording.short_name_of(rule)
            logging.getLogger("resilient_tasks").warning(message, name, type(error).__name__, describe(problem))
        return False


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error or of one that it wraps, wherever the library keeps it; None without one."""
    if plain_errors.plain(error) is not None:
        return None
    error = error_to_judge(error)
    if (judged := _judged(error)) is not None:
        return judged.status
    layers, again = itertools.tee(wrapped.layers(error))
    status = next((status for status in map(responses.status_here, layers) if status is not None), None)
    return status if status is not None else next(filter(None, map(texts.status, again)), None)


def http_failure(error: BaseException) -> int | None:
    """Return the HTTP status of a failed request, for messages; of a group, the first one found.

    None without one, or if it is below 300: a response with the status 200 may still hold invalid data.
    """
    if safely.is_a(error, BaseExceptionGroup):
        return next((status for part in safely.parts(error) if (status := http_failure(part)) is not None), None)
    status = status_of(error)
    return status if status is not None and status >= 300 else None


class Facts:
    """The facts of one failure, each computed once, on first access.

    `Failed.facts` creates it, so that policies, events and alerts share it. It holds the error, and is as short-lived
    as the outcome.

    Attributes:
        error: the error itself.
        kind: see `classify`.
        http_status: see `http_failure`.
        retry_after: see the function `retry_after`; as of the first access.
        message: the text of the error, see `text_of`. Secrets that only `redact` recognises are still in it.
    """

    __slots__ = ("error", "http_status", "kind", "message", "retry_after")

    error: BaseException
    kind: Kind
    http_status: int | None
    retry_after: float | None
    message: str

    def __init__(self, error: BaseException) -> None:
        self.error = error
        if (kind := kind_of_plain(error)) is not None:
            self.kind = kind
            self.http_status = self.retry_after = None

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for an empty slot.
        find = _FIND.get(name)
        if find is None:
            raise AttributeError(name)
        found = find(self.error)
        setattr(self, name, found)
        return found

    @property
    def error_type(self) -> str:
        """The name of the error's type."""
        return type(self.error).__name__

    def about(self) -> dict[str, Any]:
        """Return an event's fields about the error."""
        kind, error_type = self.kind.value, self.error_type
        return {"kind": kind, "error_type": error_type, "message": self.message, "http_status": self.http_status}

    def fields(self) -> dict[str, Any]:
        """Return an event's fields about the error, without its kind."""
        return {"error_type": self.error_type, "message": self.message, "http_status": self.http_status}


def about(error: BaseException) -> dict[str, Any]:
    """Return an event's fields about an error."""
    return Facts(error).about()


def fields_of(error: BaseException) -> dict[str, Any]:
    """Return an event's fields about an error, without its kind."""
    return Facts(error).fields()


def in_words(error: BaseException) -> str:
    """Name an error in a few words: `HTTPStatusError (HTTP 503)`."""
    return wording.label(type(error).__name__, http_failure(error))


def retry_after(error: BaseException, *, now: float | None = None) -> float | None:
    """Return the seconds that the service asks to wait before the next call; None if it does not ask.

    For `CircuitOpen` and `RateLimited`, return the seconds until a call may be let through; for a group, the longest
    wait. A wait longer than the setting `longest_retry_after` is cut to it, with a warning in the log.

    `docs/failures.md` lists what is read. A past date gives 0.0, an invalid duration None.

    Args:
        error: the error of the failed attempt.
        now: the current time, in unix seconds.
    """
    seconds = _wait_of(error_to_judge(error), now)
    if seconds is None or safely.is_a(error, (CircuitOpen, RateLimited)):
        return seconds
    wait = waits.capped(seconds)
    if wait < seconds:
        message = "%s asks to wait %.0f s: the setting longest_retry_after cuts the wait to %.0f s"
        logging.getLogger("resilient_tasks").warning(message, in_words(error), seconds, wait)
    return wait


def _wait_of(error: BaseException, now: float | None = None) -> float | None:
    if plain_errors.plain(error) is not None:
        return None
    if safely.is_a(error, (CircuitOpen, RateLimited)):
        return waits.seconds_in(safely.attribute(error, "retry_in"))
    if (judged := _judged(error)) is not None:
        return judged.wait
    if safely.is_a(error, BaseExceptionGroup):
        return max((wait for part in safely.parts(error) if (wait := _wait_of(part, now)) is not None), default=None)
    found = (waits.requested_by(one, now) for one in wrapped.layers(error))
    return next((wait for wait in found if wait is not None), None)


def describe(error: BaseException) -> str:
    """Describe an error in one short line: its type and the first line of its text, redacted."""
    text = redaction.text.redact(redaction.exceptions.text_of(error)).strip().partition("\n")[0]
    if text.startswith(f"{type(error).__name__}("):  # it has no text
        return text[:200]
    name = in_words(error)
    return f"{name}: {text[:200]}" if text else name


#: How each fact is computed.
_FIND: dict[str, Callable[[BaseException], Any]] = {
    "kind": classify,
    "http_status": http_failure,
    "retry_after": retry_after,
    "message": lambda error: redaction.exceptions.text_of(error),  # noqa: PLW0108  # it loads with the first failure
}
