"""One classifier of failures, for retry, breaker, fallback and alert alike.

Errors of httpx, requests, urllib3, botocore, SQLAlchemy, pandas and others are known by the names of their classes, so
that none of these libraries is imported to recognise them.
"""

from __future__ import annotations

import csv
import errno
import http.client
import json
import logging
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, NamedTuple

from resilient_tasks.core import answers, callables, safely, wording
from resilient_tasks.core.errors import (
    BulkheadFull,
    CircuitOpen,
    DriftDetected,
    InvalidData,
    PolicyError,
    PredicateError,
    ProcessDied,
    RateLimited,
    ResultRejected,
    TimedOut,
    judged_in,
)
from resilient_tasks.core.redact import redact


class Kind(Enum):
    """What sort of failure an error is, and with that what can be done about it."""

    TRANSIENT = "transient"
    """Likely to pass: connection refused or reset, DNS, 500, 502, 503, 504."""
    THROTTLED = "throttled"
    """The service asks for fewer calls: 429, or 503 with Retry-After."""
    TIMEOUT = "timeout"
    """No answer in time."""
    MALFORMED = "malformed"
    """Data that does not parse, is cut short, or does not satisfy its schema."""
    PERMANENT = "permanent"
    """Will fail again: a refused request (4xx), a bug of our own. The kind of every error that nobody knows."""
    RESOURCE = "resource"
    """This machine is out of memory, disk or file handles; or the process that did the work has died."""
    REJECTED = "rejected"
    """Not tried at all: circuit open, bulkhead full, rate limit."""


#: The kinds that are retried unless `Retry(on=...)` says otherwise.
RETRIED_BY_DEFAULT = frozenset({Kind.TRANSIENT, Kind.THROTTLED, Kind.TIMEOUT})

#: Most to least telling: an `ExceptionGroup` is of the first of these kinds that one of its errors is of.
_GRAVITY = (
    Kind.PERMANENT,
    Kind.RESOURCE,
    Kind.MALFORMED,
    Kind.REJECTED,
    Kind.TIMEOUT,
    Kind.THROTTLED,
    Kind.TRANSIENT,
)

_BY_TYPE: dict[type[BaseException], Kind] = {
    TimedOut: Kind.TIMEOUT,
    InvalidData: Kind.MALFORMED,
    DriftDetected: Kind.MALFORMED,
    ProcessDied: Kind.RESOURCE,
    ResultRejected: Kind.TRANSIENT,
    PredicateError: Kind.MALFORMED,  # of a result that the predicate could not judge; else the kind of what it judged
    CircuitOpen: Kind.REJECTED,
    BulkheadFull: Kind.REJECTED,
    RateLimited: Kind.REJECTED,
    TimeoutError: Kind.TIMEOUT,
    ConnectionError: Kind.TRANSIENT,
    socket.gaierror: Kind.TRANSIENT,
    MemoryError: Kind.RESOURCE,
    json.JSONDecodeError: Kind.MALFORMED,
    UnicodeDecodeError: Kind.MALFORMED,
    http.client.IncompleteRead: Kind.MALFORMED,
    http.client.RemoteDisconnected: Kind.TRANSIENT,
    csv.Error: Kind.MALFORMED,
    zlib.error: Kind.MALFORMED,
    EOFError: Kind.MALFORMED,
}

# Keys are "<top module>.<class>"; where a class has several bases that are listed here, the nearest in its MRO decides.
_BY_NAME: dict[str, Kind] = {
    "httpx.TimeoutException": Kind.TIMEOUT,
    "httpx.TransportError": Kind.TRANSIENT,
    "httpx.UnsupportedProtocol": Kind.PERMANENT,
    "httpx.DecodingError": Kind.MALFORMED,
    "httpcore.TimeoutException": Kind.TIMEOUT,
    "httpcore.NetworkError": Kind.TRANSIENT,
    "httpcore.RemoteProtocolError": Kind.TRANSIENT,
    "requests.Timeout": Kind.TIMEOUT,
    "requests.ConnectTimeout": Kind.TIMEOUT,
    "requests.ConnectionError": Kind.TRANSIENT,
    "requests.ChunkedEncodingError": Kind.MALFORMED,
    "requests.ContentDecodingError": Kind.MALFORMED,
    "requests.SSLError": Kind.PERMANENT,
    "urllib3.TimeoutError": Kind.TIMEOUT,
    "urllib3.IncompleteRead": Kind.MALFORMED,
    "urllib3.DecodeError": Kind.MALFORMED,
    "urllib3.ProtocolError": Kind.TRANSIENT,
    "urllib3.NewConnectionError": Kind.TRANSIENT,
    "urllib3.NameResolutionError": Kind.TRANSIENT,
    "urllib3.MaxRetryError": Kind.TRANSIENT,
    "aiohttp.ServerTimeoutError": Kind.TIMEOUT,
    "aiohttp.ClientConnectionError": Kind.TRANSIENT,
    "aiohttp.ClientPayloadError": Kind.MALFORMED,
    "botocore.ConnectTimeoutError": Kind.TIMEOUT,
    "botocore.ReadTimeoutError": Kind.TIMEOUT,
    "botocore.HTTPClientError": Kind.TRANSIENT,
    "botocore.IncompleteReadError": Kind.MALFORMED,
    "sqlalchemy.TimeoutError": Kind.TIMEOUT,
    "sqlalchemy.OperationalError": Kind.TRANSIENT,
    "sqlalchemy.InterfaceError": Kind.TRANSIENT,
    "psycopg.OperationalError": Kind.TRANSIENT,
    "psycopg2.OperationalError": Kind.TRANSIENT,
    "redis.TimeoutError": Kind.TIMEOUT,
    "redis.ConnectionError": Kind.TRANSIENT,
    "pandas.ParserError": Kind.MALFORMED,
    "pandas.EmptyDataError": Kind.MALFORMED,
    "pandera.SchemaError": Kind.MALFORMED,
    "pandera.SchemaErrors": Kind.MALFORMED,
    "polars.ComputeError": Kind.MALFORMED,
    "polars.NoDataError": Kind.MALFORMED,
    "pyarrow.ArrowInvalid": Kind.MALFORMED,
    "pydantic.ValidationError": Kind.MALFORMED,
    "pydantic_core.ValidationError": Kind.MALFORMED,
    "gzip.BadGzipFile": Kind.MALFORMED,
    "zipfile.BadZipFile": Kind.MALFORMED,
    "smtplib.SMTPServerDisconnected": Kind.TRANSIENT,
    "ssl.SSLEOFError": Kind.TRANSIENT,
}

_OUT_OF_RESOURCES = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_NETWORK_DOWN = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}

_BOTO_THROTTLES = {
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
    "ProvisionedThroughputExceededException",
}


class Judgement(NamedTuple):
    """What is to be known of an error that came here from another process, and what it went by there did not."""

    kind: Kind
    status: int | None
    wait: float | None


#: Under this name an error bears its judgement.
JUDGED = "__resilient_judged__"


def judge(error: BaseException) -> Judgement:
    """Return what is known of `error` here, for another process to know it too."""
    return Judgement(classify(error), status_of(error), retry_after(error))


def _judged(error: BaseException) -> Judgement | None:
    found = safely.own(error, "__dict__").get(JUDGED)
    return found if isinstance(found, Judgement) else None


Rule = type[BaseException] | Callable[[Exception], bool]
_registered: list[tuple[Rule, Kind]] = []
_broken: set[int] = set()


def register_kind(rule: Rule, kind: Kind) -> None:
    """Teach `classify` an error of your own: an exception type, or a predicate of the error.

    The rule registered last is asked first, and before everything that is built in. A predicate that raises is passed
    over, and the log says so once.

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


def classify(error: BaseException) -> Kind:
    """Tell what sort of failure `error` is. An error that nobody knows is `Kind.PERMANENT`: it is not retried.

    It never raises, whatever the error's attributes do.
    """
    error = judged_in(error)
    for rule, kind in _registered:
        if _is_of(rule, error):
            return kind
    if (judged := _judged(error)) is not None:
        return judged.kind
    if safely.is_a(error, BaseExceptionGroup):
        kinds = {classify(part) for part in safely.parts(error)}
        return next((kind for kind in _GRAVITY if kind in kinds), Kind.PERMANENT)
    status = status_of(error)
    if status is not None and status >= 400:
        return _of_status(status, error)
    return _of_type(error)


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
            said = "register_kind(%s) is passed over for errors like %s: it raised %s"
            name = wording.short_name_of(rule)
            logging.getLogger("resilient_tasks").warning(said, name, type(error).__name__, describe(problem))
        return False


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, wherever its library keeps it, or None.

    On the error itself or on its response: httpx, requests, urllib, urllib3, aiohttp, botocore, and the clients of many
    services (google.api_core, openai, kubernetes, azure, stripe, ...).
    """
    error = judged_in(error)
    if (judged := _judged(error)) is not None:
        return judged.status
    response = safely.attribute(error, "response")
    if safely.is_a(response, Mapping):
        return _as_status(safely.item(response, "ResponseMetadata", "HTTPStatusCode"))
    places = (response, safely.attribute(error, "resp"), error)
    found = (safely.attribute(place, name) for place in places if place is not None for name in _STATUSES)
    return next((code for code in map(_as_status, found) if code is not None), None) or _tried_too_often(error)


_STATUSES = ("status_code", "status", "code", "http_status")


def _as_status(code: object) -> int | None:
    """Return `code` where it can be an HTTP status; some libraries have the standard library's enumeration of these."""
    number = safely.number(code)
    return number if number is not None and 100 <= number < 600 else None


def _tried_too_often(error: BaseException) -> int | None:
    """Return the status that urllib3 gave up on: it stands in the text only, there and in what requests makes of it."""
    inner = next(iter(safely.own(error, "args")), None)
    reason = safely.attribute(error, "reason") or (safely.attribute(inner, "reason") if inner is not error else None)
    if not safely.is_a(reason, Exception):
        return None
    found = re.fullmatch(r"too many (\d{3}) error responses", safely.text(reason))
    return None if found is None else int(found[1])


def http_failure(error: BaseException) -> int | None:
    """Return the HTTP status by which a request failed, for people to read; of a group, that of the first that has one.

    None where the error tells of no such status: an answer with the status 200 may hold nonsense all the same.
    """
    if safely.is_a(error, BaseExceptionGroup):
        return next((status for part in safely.parts(error) if (status := http_failure(part)) is not None), None)
    if type(error).__module__.startswith("aiosmtplib"):  # its `code` is a mail server's
        return None
    status = status_of(error)
    return status if status is not None and status >= 300 else None


def about(error: BaseException) -> dict[str, Any]:
    """Return what an event says of an error."""
    return {"kind": classify(error).value, **fields_of(error)}


def fields_of(error: BaseException) -> dict[str, Any]:
    """Return what an event says of an error, but for its kind."""
    return {"error_type": type(error).__name__, "message": safely.text(error), "http_status": http_failure(error)}


def in_words(error: BaseException) -> str:
    """Name an error in a few words: `HTTPStatusError (HTTP 503)`."""
    return wording.worded(type(error).__name__, http_failure(error))


def retry_after(error: BaseException, *, now: float | None = None) -> float | None:
    """Return the seconds that the service asks to wait before the next call, or None where it asks nothing.

    For `CircuitOpen` and `RateLimited` these are the seconds until a call may be let through.

    Reads the header `Retry-After` of the error's response (or of the error, as `urllib.error.HTTPError` bears it), in
    both forms of RFC 9110 §10.2.3: seconds, and HTTP date. A date that is past gives 0.0; text that is neither, None.

    Args:
        error: the error of the failed attempt.
        now: the present, in unix seconds.
    """
    error = judged_in(error)
    if safely.is_a(error, (CircuitOpen, RateLimited)):
        return safely.attribute(error, "retry_in")  # type: ignore[no-any-return]  # as these two declare it
    if (judged := _judged(error)) is not None:
        return judged.wait
    text = answers.header(error, "Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except Exception:  # whatever the service has sent
            return None
    if seconds != seconds or seconds == float("inf"):  # noqa: PLR0124  # NaN is the one value unlike itself
        return None
    return max(0.0, seconds)


def _of_status(status: int, error: BaseException) -> Kind:
    if type(error).__module__.startswith("aiosmtplib"):  # its `code` is no HTTP status
        return _of_smtp(error)
    if status == 429 or (status == 503 and answers.header(error, "Retry-After") is not None):
        return Kind.THROTTLED
    if status == 408:
        return Kind.TIMEOUT
    if status == 425 or (status >= 500 and status not in {501, 505}):
        return Kind.TRANSIENT
    code = safely.item(safely.attribute(error, "response"), "Error", "Code")
    if isinstance(code, str) and code in _BOTO_THROTTLES:
        return Kind.THROTTLED
    return Kind.PERMANENT


def _of_smtp(error: BaseException) -> Kind:
    return Kind.TRANSIENT if answers.mail_is_refused_for_now(error) else Kind.PERMANENT


def _of_type(error: BaseException) -> Kind:
    if safely.is_a(error, OSError):
        number, reason = safely.number(safely.attribute(error, "errno")), safely.attribute(error, "reason")
        if number in _OUT_OF_RESOURCES:
            return Kind.RESOURCE
        if number in _NETWORK_DOWN:
            return Kind.TRANSIENT
        # urllib.error.URLError wraps what happened. (Errors that wrap each other are somebody's mistake.)
        wraps = safely.is_a(reason, Exception)
        if wraps and all(error is not inner for inner in (reason, safely.attribute(reason, "reason"))):
            return classify(reason)
    for base, name in _ancestry(error):
        kind = _BY_NAME.get(name) or _BY_TYPE.get(base)
        if name == "httpx.RemoteProtocolError" and "complete message body" in safely.text(error):
            return Kind.MALFORMED
        if kind is not None:
            return kind
    return _of_smtp(error)


def _ancestry(error: BaseException) -> Iterator[tuple[type, str]]:
    for base in type(error).__mro__:
        yield base, f"{base.__module__.partition('.')[0]}.{base.__name__}"


def describe(error: BaseException) -> str:
    """Name an error in one short line: its type, and the first line of its text, without the secrets in it."""
    text = redact(safely.text(error)).strip().partition("\n")[0]
    if text.startswith(f"{type(error).__name__}("):  # it has no text of its own
        return text[:200]
    name = in_words(error)
    return f"{name}: {text[:200]}" if text else name
