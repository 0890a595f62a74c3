"""One classifier of failures, for retry, breaker, fallback and alert alike.

An error is judged by its codes (an HTTP status, a database's code, an errno), then by its type, by the errors it wraps,
and last by the names of its classes. No library is imported to recognise its errors.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from resilient_tasks import redaction, safely
from resilient_tasks.core import wording
from resilient_tasks.core.classification import answers, databases, judgement, plain_errors, texts, waits, wrapped
from resilient_tasks.core.classification.kinds import Kind, gravest
from resilient_tasks.core.errors import CircuitOpen, PolicyError, RateLimited, judged_in
from resilient_tasks.core.parameters import callables


class Judgement(NamedTuple):
    """What is known about an error from another process, which arrives without the attributes that told it."""

    kind: Kind
    status: int | None
    wait: float | None


#: The attribute in which an error keeps its judgement.
JUDGED = "__resilient_judged__"


def judge(error: BaseException) -> Judgement:
    """Return what is known of `error` here, for another process to know it too."""
    return Judgement(classify(error), status_of(error), _wait_of(judged_in(error)))


def _judged(error: BaseException) -> Judgement | None:
    found = safely.own(error, "__dict__").get(JUDGED)
    return found if isinstance(found, Judgement) else None


Rule = type[BaseException] | Callable[[Exception], bool]
_registered: list[tuple[Rule, Kind]] = []
_broken: set[int] = set()


def register_kind(rule: Rule, kind: Kind) -> None:
    """Teach `classify` an error of your own: an exception type, or a predicate of the error.

    The rule registered last is asked first, and before everything that is built in. A predicate that raises is skipped,
    and the log says so once.

    Raises:
        TypeError: `rule` is neither, or `kind` is not a `Kind` (a `PolicyError`, and so a `ValueError`, too).
    """
    if not isinstance(rule, type):
        callables.check_question(rule, "register_kind", "an exception type or a predicate of the error")
    words = [one.value for one in Kind]
    if not isinstance(kind, Kind) and kind not in words:
        msg = f"register_kind takes a Kind such as Kind.TRANSIENT, or its name ({', '.join(words)}), not {kind!r}"
        raise PolicyError(msg)
    _registered.insert(0, (rule, Kind(kind)))
    _broken.discard(id(rule))


def registered() -> list[tuple[str, Kind]]:
    """Return the names of what is registered, and its kinds, in the order in which they are asked."""
    return [(wording.short_name_of(rule), kind) for rule, kind in _registered]


def classify(error: BaseException) -> Kind:
    """Return the kind of failure of `error`; `Kind.PERMANENT`, which is not retried, if nothing is known about it.

    It never raises, whatever the error's attributes do.
    """
    if (kind := at_a_glance(error)) is not None:
        return kind
    return _kind_of(judged_in(error), []) or Kind.PERMANENT


def at_a_glance(error: BaseException) -> Kind | None:
    """Return the kind of an error that tells nothing else, neither a status nor a wait; None of any other error."""
    return None if _registered else plain_errors.kind_of(error)


def _kind_of(error: BaseException, above: list[BaseException]) -> Kind | None:
    """Return the kind of an error; None where nothing tells it. `above` are the errors that wrap it."""
    for rule, kind in _registered:
        if _is_of(rule, error):
            return kind
    if (judged := _judged(error)) is not None:
        return judged.kind
    if safely.is_a(error, BaseExceptionGroup):
        return gravest({classify(part) for part in safely.parts(error)})
    if not above and (plain := plain_errors.kind_of(error)) is not None:
        return plain
    told = _told_by(error, above)
    if told in _MAY_PASS and texts.refuses_a_certificate(error) and not _is_known_better(error):
        return Kind.PERMANENT  # clients name it as any connection that did not come about
    return told


def _is_known_better(error: BaseException) -> bool:
    """Tell whether there was an HTTP status, or TLS itself says that the other side hung up: words count for less."""
    hung_up = any(judgement.is_a_tls_hang_up(one) for one in wrapped.layers(error))
    return hung_up or status_of(error) is not None


_MAY_PASS = frozenset({Kind.TRANSIENT, Kind.TIMEOUT})


def _told_by(error: BaseException, above: list[BaseException]) -> Kind | None:
    """Return the kind that the error itself tells, or what it wraps; None where neither does."""
    sure = judgement.by_what_it_bears(error) or judgement.by_type(error)
    if sure is not None:
        hung_up = safely.is_a(error, EOFError) and above and wrapped.is_from_a_library(above[-1])
        return None if hung_up else sure  # the name of what a client made of it says whether it was a connection
    by_name = judgement.by_names(error)
    if by_name.sure:
        return judgement.despite_its_name(error) or by_name.kind
    return (
        _of_what_it_wraps(error, above)
        or databases.by_text(error)
        or by_name.kind
        or judgement.by_codes(error)
        or judgement.by_status_in_text(error)
        or texts.by_text(error)
    )


def _of_what_it_wraps(error: BaseException, above: list[BaseException]) -> Kind | None:
    """Return the kind of the cause, or else the gravest of the other errors that are kept in `error`."""
    path = [*above, error]
    inner = [one for one in wrapped.directly_in(error) if all(one is not other for other in path)]
    if len(path) > _DEEPEST or not inner:
        return None
    if inner[0] is safely.own(error, "__cause__") and (kind := _kind_of(inner[0], path)) is not None:
        return kind
    return gravest({kind for one in inner if (kind := _kind_of(one, path)) is not None})


#: The number of wrapped errors after which the search ends.
_DEEPEST = 8


def _is_of(rule: Rule, error: BaseException) -> bool:
    try:
        if isinstance(rule, type):
            return safely.is_a(error, rule)
        answer: Any = rule(error) if safely.is_a(error, Exception) else False
        if callables.comes_later(answer):
            raise callables.refused(answer, "a predicate has to answer at once")  # noqa: TRY301  # told as any other
        return bool(answer)
    except Exception as problem:
        if id(rule) not in _broken:
            _broken.add(id(rule))
            said = "register_kind(%s) is skipped for errors like %s: it raised %s"
            name = wording.short_name_of(rule)
            logging.getLogger("resilient_tasks").warning(said, name, type(error).__name__, describe(problem))
        return False


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error, or what it wraps, carries wherever its library keeps it, or None."""
    if plain_errors.plain(error) is not None:
        return None
    error = judged_in(error)
    if (judged := _judged(error)) is not None:
        return judged.status
    layers, again = itertools.tee(wrapped.layers(error))
    told = next((status for status in map(answers.status_here, layers) if status is not None), None)
    return told if told is not None else next(filter(None, map(texts.status, again)), None)


def http_failure(error: BaseException) -> int | None:
    """Return the HTTP status by which a request failed, for people to read; of a group, that of the first that has one.

    None where the error tells of no such status: an answer with the status 200 may hold nonsense all the same.
    """
    if safely.is_a(error, BaseExceptionGroup):
        return next((status for part in safely.parts(error) if (status := http_failure(part)) is not None), None)
    status = status_of(error)
    return status if status is not None and status >= 300 else None


class Facts:
    """What is known of one failure: each fact is found once, when it is first asked for.

    `Failed.facts` makes it, so that all who ask about a failed attempt (policies, events, alerts) ask the same one. It
    holds the error, and so is as short-lived as the outcome.

    Attributes:
        error: the error itself.
        kind: as `classify`.
        http_status: as `http_failure`.
        retry_after: as the function of that name, at the time when this was first asked for.
        message: the text of the error, as `text_of`: secrets that the text itself tells are still in it, see `redact`.
    """

    __slots__ = ("error", "http_status", "kind", "message", "retry_after")

    error: BaseException
    kind: Kind
    http_status: int | None
    retry_after: float | None
    message: str

    def __init__(self, error: BaseException) -> None:
        self.error = error
        if (kind := at_a_glance(error)) is not None:
            self.kind = kind
            self.http_status = self.retry_after = None

    def __getattr__(self, name: str) -> Any:
        # It is asked for what is not there yet: a slot that is filled is found without it.
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
        """Return what an event says of the error."""
        kind, error_type = self.kind.value, self.error_type
        return {"kind": kind, "error_type": error_type, "message": self.message, "http_status": self.http_status}

    def fields(self) -> dict[str, Any]:
        """Return what an event says of the error, but for its kind."""
        return {"error_type": self.error_type, "message": self.message, "http_status": self.http_status}


def about(error: BaseException) -> dict[str, Any]:
    """Return what an event says of an error."""
    return Facts(error).about()


def fields_of(error: BaseException) -> dict[str, Any]:
    """Return what an event says of an error, but for its kind."""
    return Facts(error).fields()


def in_words(error: BaseException) -> str:
    """Name an error in a few words: `HTTPStatusError (HTTP 503)`."""
    return wording.worded(type(error).__name__, http_failure(error))


def retry_after(error: BaseException, *, now: float | None = None) -> float | None:
    """Return the seconds that the service asks to wait before the next call, or None where it asks nothing.

    For `CircuitOpen` and `RateLimited` these are the seconds until a call may be let through. Of a group, the longest
    wait counts. Where a service asks for more than the setting `longest_retry_after`, that is returned, and the log
    says so.

    See `docs/failures.md` for all that is read. A date that is past gives 0.0; what is no duration gives None.

    Args:
        error: the error of the failed attempt.
        now: the present, in unix seconds.
    """
    seconds = _wait_of(judged_in(error), now)
    if seconds is None or safely.is_a(error, (CircuitOpen, RateLimited)):
        return seconds
    wait = waits.capped(seconds)
    if wait < seconds:
        said = "%s asks to wait %.0f s: the setting longest_retry_after cuts the wait to %.0f s"
        logging.getLogger("resilient_tasks").warning(said, in_words(error), seconds, wait)
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
    found = (waits.asked(one, now) for one in wrapped.layers(error))
    return next((wait for wait in found if wait is not None), None)


def describe(error: BaseException) -> str:
    """Name an error in one short line: its type, and the first line of its text, without the secrets in it."""
    text = redaction.text.redact(redaction.exceptions.text_of(error)).strip().partition("\n")[0]
    if text.startswith(f"{type(error).__name__}("):  # it has no text of its own
        return text[:200]
    name = in_words(error)
    return f"{name}: {text[:200]}" if text else name


#: How each fact is found out.
_FIND: dict[str, Callable[[BaseException], Any]] = {
    "kind": classify,
    "http_status": http_failure,
    "retry_after": retry_after,
    "message": lambda error: redaction.exceptions.text_of(error),  # noqa: PLW0108  # it loads with the first failure
}
