"""The wait that a service asks for before the next call."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core import settings
from resilient_tasks.core.classification import responses
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.classification.names import of_name
from resilient_tasks.core.classification.wrapped import has_no_details

#: A larger number counts from 1970: as a duration it would be ten years.
_EPOCH_FROM = 3e8
_MILLISECONDS_FROM = 1e11  # as seconds it would be the year 5138
_YEAR = 366 * 86400.0
_IN_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")
_IN_SECONDS = (
    *("Retry-After", "X-Retry-After", "X-RateLimit-Retry-After", "X-Rate-Limit-Retry-After-Seconds"),
    *("X-Retry-In", "Retry-In"),
)
_RESETS = ("RateLimit-Reset", "X-RateLimit-Reset-After", "X-RateLimit-Reset", "X-Rate-Limit-Reset")
_REMAINS = ("RateLimit-Remaining", "X-RateLimit-Remaining", "X-Rate-Limit-Remaining")


def capped(seconds: float) -> float:
    """Return `seconds`, or the setting `longest_retry_after` if that is less."""
    return min(seconds, settings.current.longest_retry_after)


@safely.or_none
def requested_by(error: BaseException, now: float | None = None) -> float | None:
    """Return the wait that an error itself asks for, in seconds; None if it asks for no valid wait.

    Args:
        error: the error; those that it wraps are not examined.
        now: the current time, in unix seconds.
    """
    if has_no_details(error):
        return None
    present = time.time() if now is None else now
    return next((seconds for seconds in _candidates(error, present) if seconds is not None), None)


def _candidates(error: BaseException, now: float) -> Iterator[float | None]:
    headers = _headers(error)
    if headers:
        for name in _IN_MILLISECONDS:
            yield seconds_in(responses.header(headers, name), 0.001)
        for name in _IN_SECONDS:
            text = responses.header(headers, name)
            yield _moment(text, now, _YEAR)
            yield _longest_of(text)
    yield _wait_in_grpc(error)
    for place in (error, safely.attribute(error, "error"), safely.attribute(error, "parameters")):
        for name in ("retry_after", "retry_after_seconds", "retry_delay") if place is not None else ():
            yield _moment(safely.attribute(place, name), now, _YEAR)
        yield seconds_in(safely.attribute(place, "retry_after_ms"), 0.001)
    if of_name(type(error).__name__) is Kind.THROTTLED:  # `FloodWaitError`
        yield seconds_in(safely.attribute(error, "seconds"))
    for body in responses.bodies(error):
        yield _wait_in_body(body)
    if headers and _is_used_up(error, headers):
        yield _reset(headers, now)
    if headers:
        yield _reset_of_several(headers, now)


def _longest_of(text: str | None) -> float | None:
    """Return the longest of several waits that a proxy joined into one header; None if one of them is not a number."""
    parts = text.split(",") if text and "," in text else ()
    found = [seconds_in(part) for part in parts]
    return None if None in found else max((wait for wait in found if wait is not None), default=None)


def has_wait(error: BaseException) -> bool:
    """Return whether an attribute of the error itself holds a wait."""
    return seconds_in(safely.attribute(error, "retry_after")) is not None


def _headers(error: BaseException) -> list[Any]:
    """Return the headers of an error, if any of them may be about waiting."""
    headers = responses.headers(error)
    return headers if headers and responses.may_have(headers, _NAMES) else []


def has_wait_header(error: BaseException) -> bool:
    """Return whether a response has a header with a wait."""
    headers = _headers(error)
    return any(responses.header(headers, name) is not None for name in (*_IN_SECONDS, *_IN_MILLISECONDS))


def nothing_remains(error: BaseException) -> bool:
    """Return whether the current quota is used up, by the headers."""
    headers = _headers(error)
    return _fields(headers) is not None or any(seconds_in(responses.header(headers, name)) == 0 for name in _REMAINS)


def _is_used_up(error: BaseException, headers: list[Any]) -> bool:
    """Return whether the reset time matters: services send it with every response."""
    remains = [seconds_in(responses.header(headers, name)) for name in _REMAINS]
    return nothing_remains(error) or (responses.status_here(error) == 429 and not any(remains))


def _reset(headers: list[Any], now: float) -> float | None:
    for name in _RESETS:
        seconds = _moment(responses.header(headers, name), now)
        if seconds is not None:
            return seconds
    return _fields(headers)


def _moment(value: Any, now: float, within: float = math.inf) -> float | None:
    """Return the seconds of a duration, or the seconds left until a date or a unix time.

    Args:
        value: the service's value.
        now: the current time, in unix seconds.
        within: a large number is a unix time only if it is at most this many seconds from `now`.
    """
    seconds = seconds_in(value)
    if seconds is None:
        return _until(value, now)
    if seconds < _EPOCH_FROM or safely.is_a(value, timedelta):
        return seconds
    moment = seconds
    while moment >= _MILLISECONDS_FROM:  # it counts milliseconds, microseconds or nanoseconds
        moment /= 1000
    return max(0.0, moment - now) if abs(moment - now) <= within else seconds


def _reset_of_several(headers: list[Any], now: float) -> float | None:
    """Return the longest wait among several quotas with separate headers, of which 0 remain."""
    found = []
    for remaining, reset in _OF_SEVERAL:
        if seconds_in(responses.header(headers, remaining)) == 0:
            found.append(_moment(responses.header(headers, reset), now))
    return max((seconds for seconds in found if seconds is not None), default=None)


_OF_SEVERAL = tuple(
    (name.format("remaining"), name.format("reset"))
    for name in (
        *("x-ratelimit-{}-requests", "x-ratelimit-{}-tokens"),
        *("anthropic-ratelimit-requests-{}", "anthropic-ratelimit-tokens-{}"),
        *("anthropic-ratelimit-input-tokens-{}", "anthropic-ratelimit-output-tokens-{}"),
    )
)


_NAMES = frozenset(
    name.lower()
    for name in (*_IN_MILLISECONDS, *_IN_SECONDS, *_RESETS, *_REMAINS, *itertools.chain(*_OF_SEVERAL), "RateLimit")
)


def _fields(headers: list[Any]) -> float | None:
    """Return the seconds that `RateLimit: "default";r=0;t=30` asks for, or `limit=100, remaining=0, reset=30`."""
    text = responses.header(headers, "RateLimit")
    if text is None:
        return None
    policies = [text] if "remaining=" in text else text.split(",")
    used_up = [policy for policy in policies if re.search(r"\b(?:r|remaining)=0+(?!\d)", policy)]
    found = [float(each[1]) for policy in used_up if (each := re.search(r"\b(?:t|reset)=(\d{1,9})\b", policy))]
    return max(found, default=None)


_GO_DURATION = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?"
)
_GO_UNITS = (86400, 3600, 60, 1, 0.001)


@safely.or_none
def seconds_in(value: Any, unit: float = 1.0) -> float | None:
    """Return a number of seconds, also as text (`"3"`, `"3.5s"`), `timedelta` or protobuf's Duration; else None."""
    if safely.is_a(value, timedelta):
        return max(0.0, value.total_seconds())
    if safely.is_a(value, str) and (
        found := re.fullmatch(
            r"[\s\"']*([+-]?[\d.]{1,30}(?:e\+?\d+)?)\s*(?:(ms)|s|secs?|seconds?)?[\s\"']*", value, re.IGNORECASE
        )
    ):
        value, unit = found[1], 0.001 if found[2] else unit
    elif safely.is_a(value, str) and value and (parts := _GO_DURATION.fullmatch(value.strip())) and any(parts.groups()):
        return sum(float(part) * unit for part, unit in zip(parts.groups(), _GO_UNITS, strict=True) if part)
    elif not safely.is_a(value, (int, float)) and value is not None:
        whole = safely.number(safely.attribute(value, "seconds"))
        nanos = safely.number(safely.attribute(value, "nanos"))
        value = None if whole is None or nanos is None else whole + nanos / 1e9
    if value is None or safely.is_a(value, bool):
        return None
    try:
        seconds = float(value) * unit
    except Exception:  # text that is not a number, or a number beyond the range of float
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


@safely.or_none
def _until(text: Any, now: float) -> float | None:
    """Return the seconds until a date: all three forms of RFC 9110 §5.6.7, and ISO 8601; UTC if it has no zone."""
    if safely.is_a(text, datetime):
        return max(0.0, (text if text.tzinfo else text.replace(tzinfo=UTC)).timestamp() - now)
    if not safely.is_a(text, str):
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # only few services send a date

    when = None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = read(text)
            break
        except Exception:  # noqa: S112  # whatever the service has sent
            continue
    if when is None:
        return None
    try:
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
    except Exception:
        return None


@safely.or_none
def _wait_in_body(body: Any) -> float | None:
    """Return the seconds in a response's body: `retry_after`, or Google's RetryInfo."""
    if not safely.is_a(body, Mapping):
        inner = next(iter(body), None) if safely.is_a(body, (list, tuple)) else None
        return _wait_in_body(inner) if safely.is_a(inner, Mapping) else None
    for place in (body, safely.item(body, "error"), safely.item(body, "parameters")):
        for name in ("retry_after", "retryAfter", "retry_after_seconds"):
            if (seconds := seconds_in(safely.item(place, name))) is not None:
                return seconds
        for name in ("retry_after_ms", "retryAfterMs"):
            if (seconds := seconds_in(safely.item(place, name), 0.001)) is not None:
                return seconds
        details = safely.item(place, "details")
        for detail in details if safely.is_a(details, list) else ():
            if (seconds := seconds_in(safely.item(detail, "retryDelay"))) is not None:
                return seconds
    return None


@safely.or_none
def _wait_in_grpc(error: BaseException) -> float | None:
    """Return the seconds of a RetryInfo among the details of a gRPC status, or in the trailing metadata of the call."""
    details = safely.attribute(error, "details")
    for detail in details if safely.is_a(details, (list, tuple)) else ():
        if (seconds := seconds_in(safely.attribute(detail, "retry_delay"))) is not None:
            return seconds
    metadata = responses.result_of(error, "trailing_metadata") if responses.is_grpc_call(error) else None
    try:
        found = {key: value for key, value in metadata or () if safely.is_a(value, bytes)}
        if (info := found.get("google.rpc.retryinfo-bin")) is not None:
            return _retry_info(info)
        for number, detail in _message(found.get("grpc-status-details-bin", b"")):
            parts = dict(_message(detail)) if number == 3 else {}  # each is an Any: type and bytes
            if parts.get(1, b"").endswith(b"google.rpc.RetryInfo"):
                return _retry_info(parts.get(2, b""))
    except Exception:  # other bytes
        return None
    return None


def _retry_info(message: bytes) -> float | None:
    duration = dict(_message(dict(_message(message)).get(1, b"")))
    return seconds_in(duration.get(1, 0) + duration.get(2, 0) / 1e9)


def _message(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: varints as numbers, all others as bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << 64) if value >= 1 << 63 else value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
            yield key >> 3, data[at : at + size]
            at += size
