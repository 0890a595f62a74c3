"""One classifier of failures, for retry, breaker, fallback and alert alike.

Errors of httpx, requests, urllib3, botocore, SQLAlchemy, pandas and others are known by the names of their classes, so
that none of these libraries is imported to recognise them.
"""

from __future__ import annotations

import csv
import errno
import http.client
import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any

from resilient_tasks.core import wording
from resilient_tasks.core.errors import (
    BulkheadFull,
    CircuitOpen,
    DriftDetected,
    InvalidData,
    ProcessDied,
    RateLimited,
    ResultRejected,
    TimedOut,
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

Rule = type[BaseException] | Callable[[Exception], bool]
_registered: list[tuple[Rule, Kind]] = []


def register_kind(rule: Rule, kind: Kind) -> None:
    """Teach `classify` an error of your own: an exception type, or a predicate of the error.

    The rule registered last is asked first, and before everything that is built in.

    Raises:
        TypeError: `rule` is neither, or `kind` is not a `Kind`.
    """
    if not callable(rule):
        msg = f"register_kind takes an exception type or a predicate of the error, not {rule!r}"
        raise TypeError(msg)
    _registered.insert(0, (rule, Kind(kind)))


def classify(error: BaseException) -> Kind:
    """Tell what sort of failure `error` is. An error that nobody knows is `Kind.PERMANENT`: it is not retried."""
    for rule, kind in _registered:
        if isinstance(rule, type):
            if isinstance(error, rule):
                return kind
        elif isinstance(error, Exception) and rule(error):
            return kind
    if isinstance(error, BaseExceptionGroup):
        kinds = {classify(part) for part in error.exceptions}
        return next(kind for kind in _GRAVITY if kind in kinds)
    status = status_of(error)
    if status is not None and status >= 400:
        return _of_status(status, error)
    return _of_type(error)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, wherever its library keeps it, or None.

    On the error itself or on its response: httpx, requests, urllib, urllib3, aiohttp, botocore, and the clients of many
    services (google.api_core, openai, kubernetes, azure, stripe, ...).
    """
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return _as_status(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    places = (response, getattr(error, "resp", None), error)
    found = (getattr(place, name, None) for place in places if place is not None for name in _STATUSES)
    return next((code for code in map(_as_status, found) if code is not None), None) or _tried_too_often(error)


_STATUSES = ("status_code", "status", "code", "http_status")


def _as_status(code: object) -> int | None:
    """Return `code` where it can be an HTTP status; some libraries have the standard library's enumeration of these."""
    if type(code) is not int and not isinstance(code, HTTPStatus):
        return None
    return int(code) if 100 <= code < 600 else None


def _tried_too_often(error: BaseException) -> int | None:
    """Return the status that urllib3 gave up on: it stands in the text only, there and in what requests makes of it."""
    inner = next(iter(error.args), None)
    reason = getattr(error, "reason", None) or (getattr(inner, "reason", None) if inner is not error else None)
    found = re.fullmatch(r"too many (\d{3}) error responses", str(reason)) if isinstance(reason, Exception) else None
    return None if found is None else int(found[1])


def http_failure(error: BaseException) -> int | None:
    """Return the HTTP status by which a request failed, for people to read; of a group, that of the first that has one.

    None where the error tells of no such status: an answer with the status 200 may hold nonsense all the same.
    """
    if isinstance(error, BaseExceptionGroup):
        return next((status for part in error.exceptions if (status := http_failure(part)) is not None), None)
    if type(error).__module__.startswith("aiosmtplib"):  # its `code` is a mail server's
        return None
    status = status_of(error)
    return status if status is not None and status >= 300 else None


def about(error: BaseException) -> dict[str, Any]:
    """Return what an event tells of an error."""
    return {"kind": classify(error).value, **fields_of(error)}


def fields_of(error: BaseException) -> dict[str, Any]:
    """Return what an event tells of an error, but for its kind."""
    return {"error_type": type(error).__name__, "message": str(error), "http_status": http_failure(error)}


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
    if isinstance(error, CircuitOpen | RateLimited):
        return error.retry_in
    text = _header(error, "Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, OverflowError):
            return None
    if seconds != seconds or seconds == float("inf"):  # noqa: PLR0124  # NaN is the one value unlike itself
        return None
    return max(0.0, seconds)


def _header(error: BaseException, name: str) -> str | None:
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(response, "headers", None) or getattr(error, "headers", None)
    if not hasattr(headers, "get"):
        return None
    value = headers.get(name) or headers.get(name.lower())
    return None if value is None else str(value).strip()


def _of_status(status: int, error: BaseException) -> Kind:
    if type(error).__module__.startswith("aiosmtplib"):  # its `code` is no HTTP status
        return _of_smtp(error)
    if status == 429 or (status == 503 and _header(error, "Retry-After") is not None):
        return Kind.THROTTLED
    if status == 408:
        return Kind.TIMEOUT
    if status == 425 or (status >= 500 and status not in {501, 505}):
        return Kind.TRANSIENT
    response = getattr(error, "response", None)
    if isinstance(response, Mapping) and response.get("Error", {}).get("Code") in _BOTO_THROTTLES:
        return Kind.THROTTLED
    return Kind.PERMANENT


def _of_smtp(error: BaseException) -> Kind:
    """Go by what a mail server answered (smtplib, aiosmtplib), to several recipients perhaps.

    4xx says "come back later" and 5xx "do not" (RFC 5321 §4.2.1): the other way round than in HTTP.
    """
    refused = getattr(error, "recipients", None)
    if isinstance(refused, dict):
        codes = [answer[0] for answer in refused.values() if isinstance(answer, tuple) and answer]
    else:
        each = refused if isinstance(refused, list) and refused else [error]
        codes = [getattr(one, "smtp_code", getattr(one, "code", None)) for one in each]
    later = any(type(code) is int and 400 <= code < 500 for code in codes)
    return Kind.TRANSIENT if later else Kind.PERMANENT


def _of_type(error: BaseException) -> Kind:
    if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
        return Kind.RESOURCE
    if isinstance(error, OSError) and error.errno in _NETWORK_DOWN:
        return Kind.TRANSIENT
    reason = getattr(error, "reason", None)
    if isinstance(error, OSError) and isinstance(reason, Exception):  # urllib.error.URLError wraps what happened
        return classify(reason)
    for base, name in _ancestry(error):
        kind = _BY_NAME.get(name) or _BY_TYPE.get(base)
        if name == "httpx.RemoteProtocolError" and "complete message body" in str(error):
            return Kind.MALFORMED
        if kind is not None:
            return kind
    return _of_smtp(error)


def _ancestry(error: BaseException) -> Iterator[tuple[type, str]]:
    for base in type(error).__mro__:
        yield base, f"{base.__module__.partition('.')[0]}.{base.__name__}"


def describe(error: BaseException) -> str:
    """Name an error in one short line: its type, and the first line of its text, without the secrets in it."""
    text = redact(str(error)).strip().partition("\n")[0]
    name = in_words(error)
    return f"{name}: {text[:200]}" if text else name
