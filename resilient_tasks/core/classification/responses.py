"""Read a server's response from the error that holds it: status, headers, codes in the body.

Nothing here raises, whatever the error is like, and nothing reads from a connection: of a body, only what the client
has already read is examined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.classification.classes import tops_of
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.classification.names import as_words, of_a_library, of_name
from resilient_tasks.core.classification.wrapped import has_no_details, is_from_a_library
from resilient_tasks.safely import module_of, of_class

_STATUSES = (
    *("status_code", "http_status", "http_status_code", "http_code", "response_code", "status", "statusCode"),
    *("httpStatus", "httpStatusCode"),
)
#: An HTTP status only if the error is about HTTP: databases, gRPC and mail have other codes.
_CODES = ("code", "errcode")
_OF_HTTP = ("response", "headers", "hdrs", "request", "url", "resp")
#: Longer bodies are not read.
_LONGEST_BODY = 100_000


@safely.or_none
def status_here(error: BaseException) -> int | None:
    """Return the HTTP status of an error, its response or its metadata; None if there is none."""
    if is_about_mail(error):
        return None
    if has_no_details(error):
        return _of_name(type(error)) or _in_text(error) or _in_arguments(error)
    response = safely.attribute(error, "response")
    if safely.is_a(response, Mapping):
        status = _as_status(safely.item(response, "ResponseMetadata", "HTTPStatusCode"))
        if status is not None:
            return status
    for name in ("response", "resp", "meta", "http_response"):
        place = safely.attribute(error, name)
        if place is not None and (status := _status_of_response(place)) is not None:
            return status
    about_http = _is_about_http(error) and of_name(type(error).__name__) is not Kind.MALFORMED  # aiohttp's own 400
    status = _first_status(error, _STATUSES, text=about_http)
    if status is None:
        status = _first_status(error, _CODES, text=about_http, only_http=not about_http)
    status = status or _of_name(type(error)) or _in_text(error) or _in_arguments(error)
    return status or _in_parts(error, about_http=about_http)


def _status_of_response(place: Any) -> int | None:
    """Return the status of a response, of a mapping that describes one, or of a wrapped response."""
    if safely.is_a(place, Mapping):
        return _status_in(place, _STATUSES)
    status = _first_status(place, _STATUSES, text=True)
    inner = safely.attribute(place, "response") if status is None else None
    return status if inner is None else _first_status(inner, _STATUSES, text=True)


def _status_in(mapping: Any, names: Iterable[str]) -> int | None:
    found = (_as_status(safely.item(mapping, name)) for name in names)
    return next((status for status in found if status is not None), None)


def _in_parts(error: BaseException, *, about_http: bool) -> int | None:
    """Return the status of a failure from a mapping in a library's error."""
    own = safely.own(error, "__dict__")
    names = (*_STATUSES, "code") if about_http else _STATUSES
    kept = [each for name in _PARTS if safely.is_a(each := own.get(name), Mapping)] if own else []
    found = [_status_in(each, names) for each in kept] if kept and is_from_a_library(error) else []
    return next((status for status in found if status is not None and status >= 400), None)


_PARTS = ("details", "detail", "body", "error", "data", "info")


@of_class
def may_have_status(cls: type) -> bool:
    """Return whether the name of a class holds a status, or means that the arguments or the text may hold one."""
    return _of_name(cls) is not None or cls.__name__ == _GAVE_UP or _is_named_after_http(cls)


def _in_arguments(error: BaseException) -> int | None:
    """Return the status that is the first argument of an `HTTPError`, alone or with a text."""
    args = safely.own(error, "args")
    alone = len(args) == 1 or (len(args) == 2 and safely.is_a(args[1], str))
    if not alone or not _is_named_after_http(type(error)):
        return None
    status = _as_status(args[0][0] if type(args[0]) is tuple and args[0] else args[0], text=False)
    return status if status is not None and status >= 400 else None


@of_class
def _is_named_after_http(cls: type) -> bool:
    return any("http" in as_words(base.__name__) for base in cls.__mro__)


def _first_status(place: object, names: tuple[str, ...], *, text: bool, only_http: bool = False) -> int | None:
    found = (safely.attribute(place, name) for name in names)
    if only_http:  # members of `http.HTTPStatus`
        found = (value for value in found if safely.is_a(value, Enum) and type(value).__name__ == "HTTPStatus")
    known = (_as_status(value, text=text) for value in found)
    return next((status for status in known if status is not None), None)


@safely.or_none
def _as_status(value: object, *, text: bool = True) -> int | None:
    """Return `value` if it can be an HTTP status: a number, a member of `HTTPStatus`, or a text beginning with one."""
    if safely.is_a(value, bytes):
        value = value[:40].decode("latin-1")
    if safely.is_a(value, str):
        found = re.match(r"([1-5]\d\d)(?!\S)", value) if text else None
        return None if found is None else int(found[1])
    number = safely.number(value)
    return number if number is not None and 100 <= number < 600 else None


def _is_about_http(error: BaseException) -> bool:
    own = safely.own(error, "__dict__")
    return _is_class_about_http(type(error)) or any(name in own for name in _OF_HTTP)


@of_class
def _is_class_about_http(cls: type) -> bool:
    for base in cls.__mro__[:-3]:  # without Exception, BaseException and object
        words = as_words(base.__name__)
        if "http" in words or words.startswith("_api_") or any(name in vars(base) for name in _OF_HTTP):
            return True
    return False


#: urllib3's, which holds only a text.
_GAVE_UP = "ResponseError"


def _in_text(error: BaseException) -> int | None:
    """Return the status in the text of urllib3's last error."""
    if type(error).__name__ != _GAVE_UP:
        return None
    found = re.fullmatch(r"too many (\d{3}) error responses", safely.text(error))
    return None if found is None else int(found[1])


@of_class
def _of_name(cls: type) -> int | None:
    """Return the status in the name of a class, such as `Http503Error`."""
    found = re.search(r"(?i:http)_?([45]\d\d)(?!\d)", cls.__name__)
    return None if found is None else int(found[1])


def may_have(found: list[Any], names: frozenset[str]) -> bool:
    """Return whether one of the headers that `headers` returned may have one of these names, in lower case.

    False is certain. Most responses have none of the names, and looking up one name takes as long as this check.
    """
    try:
        return any(
            not safely.is_a(each, Mapping) or not names.isdisjoint([_lower(name) for name in each]) for each in found
        )
    except Exception:  # keys that are not names
        return True


def _lower(name: Any) -> str:
    return (name.decode("latin-1") if safely.is_a(name, bytes) else str(name)).lower()


@safely.or_none
def header(found: list[Any], name: str) -> str | None:
    """Return one of the headers that `headers` returned; None if it is missing."""
    for each in found:
        value = safely.item(each, name)
        if value is None:
            value = next((value for key, value in _pairs(each) if key == name.lower()), None)
        if safely.is_a(value, (list, tuple)):
            value = next(iter(value), None)
        if safely.is_a(value, bytes):
            value = value.decode("latin-1")
        if safely.is_a(value, (str, int, float)):
            return safely.text(value).strip()
    return None


def _pairs(headers: Any) -> list[tuple[str, Any]]:
    """Return headers given as a mapping or as pairs, with their names in lower case."""
    try:
        pairs = headers.items() if safely.is_a(headers, Mapping) else headers if type(headers) in (list, tuple) else ()
        return [(str(key).lower(), value) for key, value in pairs]
    except Exception:
        return []


def headers(error: BaseException) -> list[Any]:
    """Return the headers of an error's response and of the error itself, unchanged."""
    return [] if has_no_details(error) else [found for found in _headers(error) if found is not None]


def _headers(error: BaseException) -> Iterator[Any]:
    response: Any = safely.attribute(error, "response")
    if safely.is_a(response, Mapping):
        yield safely.item(response, "ResponseMetadata", "HTTPHeaders")
    for place in (response, safely.attribute(error, "meta"), error):
        for name in ("headers", "hdrs", "http_headers") if place is not None else ():
            yield safely.attribute(place, name)
    yield safely.attribute(error, "resp")  # httplib2's response is a mapping of its headers


_NAMES_OF_CODES = frozenset(
    {
        *("code", "type", "__type", "status", "reason", "error", "errorcode", "error_code", "errortype", "error_type"),
        *("errorname", "error_name", "codename"),
    }
)
_NAMES_OF_PARTS = frozenset(
    {"error", "errors", "details", "detail", "extensions", "fault", "errorlabels", "error_info"}
)
_BODIES = ("body", "json_body", "data", "details", "error_details", "errors", "error", "info", "content")
_CODE_ATTRIBUTES = ("code", "type", "error", "error_code", "error_type", "error_name", "errorcode", "status", "reason")


def codes(error: BaseException) -> list[str]:
    """Return a service's error codes, from the error's attributes and the response's body."""
    bare = has_no_details(error)
    names = () if bare else _CODE_ATTRIBUTES
    given = [safely.attribute(error, name) for name in names if name != "code" or not _repeats_the_status(error)]
    given.extend(
        result_of(arg, "name")  # the first argument of Kafka's errors has a method for its name
        for arg in safely.own(error, "args")[:1]
        if not safely.is_a(arg, (str, int, BaseException)) and of_a_library(module_of(type(arg)))
    )
    if first := re.match(r"([A-Z][A-Z_]{3,})[ :]", safely.text(error)):  # Redis, memcached
        given.append(first[1])
    found = [code for one in given if (code := _as_code(one)) is not None]
    for body in () if bare else bodies(error):
        found.extend(_codes_in(body))
    return found


def _repeats_the_status(error: BaseException) -> bool:
    """Return whether `code` is a property beside a number in `status`, as in aiohttp, which warns when it is read."""
    computed = any(safely.is_a(vars(base).get("code"), property) for base in type(error).__mro__)
    return computed and safely.number(safely.own(error, "__dict__").get("status")) is not None


def bodies(error: BaseException) -> Iterator[Any]:
    """Yield a response's body as mappings and lists, as far as the client has read it."""
    response = safely.attribute(error, "response")
    raw = [safely.attribute(error, name) for name in _BODIES]
    if safely.is_a(response, Mapping):
        raw.append(response)
    elif response is not None:
        raw.append(safely.attribute(response, "data") if type(response).__name__.endswith("SlackResponse") else None)
        kept = safely.attribute(response, "__dict__")
        raw.extend(safely.item(kept, name) for name in ("_content", "_body", "_text"))
    yield from (parsed for one in raw if one is not None and (parsed := _parsed(one)) is not None)


def asks_to_retry(error: BaseException) -> bool:
    """Return whether the service's message asks the client to repeat the request."""
    messages = [safely.text(error), safely.text(safely.attribute(error, "message"))]
    for body in bodies(error):
        messages += [safely.text(safely.item(part, "message")) for part in (body, safely.item(body, "error")) if part]
    return any(map(_TRY_AGAIN.search, messages))


_TRY_AGAIN = re.compile(
    r"\bwrite-write conflict\b|\b(?:try again|retry(?:ing)?)\b(?! (?:with|using|after (?:re|chang|updat|fix)))",
    re.IGNORECASE,
)


@safely.or_none
def _parsed(body: object) -> Any:
    if safely.is_a(body, (Mapping, list, tuple)):
        return body
    if safely.is_a(body, (bytes, bytearray)):
        body = bytes(body[:_LONGEST_BODY]).decode("utf-8", "replace")
    if not safely.is_a(body, str) or len(body) > _LONGEST_BODY:
        return None
    if body.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(body)
        except Exception:
            return None
    found = re.search(r"<Code>(\w{1,64})</Code>", body)  # S3 and compatible services
    return None if found is None else {"code": found[1]}


def _codes_in(body: Any, depth: int = 0) -> Iterator[str]:
    if depth > 5:
        return
    if safely.is_a(body, Mapping):
        for key, value in _items(body):
            name = key.lower() if safely.is_a(key, str) else ""
            code = _as_code(value) if name in _NAMES_OF_CODES else None
            if code is not None:
                yield code
            elif name in _NAMES_OF_PARTS:
                yield from _codes_in(value, depth + 1)
    elif safely.is_a(body, (list, tuple)):
        for one in body[:_MOST]:
            if depth and (code := _as_code(one)) is not None:
                yield code
            else:
                yield from _codes_in(one, depth + 1)


#: The number of items that are read on each level of a body.
_MOST = 32


def _items(mapping: Any) -> list[tuple[Any, Any]]:
    try:
        return [(key, mapping[key]) for key in list(mapping)[:_MOST]]
    except Exception:
        return []


@safely.or_none
def _as_code(value: object) -> str | None:
    """Return `value` if it can be a code: one word, or a member of an enumeration of words."""
    if safely.is_a(value, Enum) and not safely.is_a(value, (str, int)):
        value = safely.attribute(value, "name")
    if not safely.is_a(value, str):
        return None
    text = str.__str__(value)
    return text.rpartition("#")[2] if 0 < len(text) <= 80 and not re.search(r"\s", text) else None


def is_about_mail(error: BaseException) -> bool:
    """Return whether an error is a mail server's: its codes look like HTTP's but mean other things."""
    if "smtp_code" in safely.own(error, "__dict__"):
        return True
    return not tops_of(type(error)).isdisjoint(("smtplib", "aiosmtplib"))


@safely.or_none
def mail_code(error: BaseException) -> int | None:
    """Return a mail server's reply code, the mildest among several recipients; None without one.

    4xx is a temporary failure and 5xx a permanent one (RFC 5321 §4.2.1): the opposite of HTTP.
    """
    refused = safely.attribute(error, "recipients")
    if safely.is_a(refused, dict):
        given = [answer[0] for answer in refused.values() if safely.is_a(answer, tuple) and answer]
    else:
        each = refused if safely.is_a(refused, list) and refused else [error]
        given = [safely.attribute(one, "smtp_code", safely.attribute(one, "code")) for one in each]
    return min((code for code in given if type(code) is int and 400 <= code < 600), default=None)


_GRPC = frozenset(
    {
        *("CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
        *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
        *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
    }
)


def is_grpc_call(error: BaseException) -> bool:
    """Return whether an error is a failed gRPC call, which has methods for the server's response."""
    return _is_grpc_class(type(error))


@of_class
def _is_grpc_class(cls: type) -> bool:
    return any(base.__name__ == "RpcError" and of_a_library(module_of(base)) for base in cls.__mro__)


@safely.or_none
def grpc_code(error: BaseException) -> str | None:
    """Return the name of the gRPC status of an error, such as `UNAVAILABLE`; None if it has none."""
    if has_no_details(error):
        return None
    given = [safely.attribute(error, "grpc_status_code"), safely.attribute(error, "status")]
    if is_grpc_call(error):
        given.append(result_of(error, "code"))
    for status in given:
        name = safely.attribute(status, "name") if safely.is_a(status, Enum) else None
        if safely.is_a(name, str) and name in _GRPC:
            return str.__str__(name)
    return None


def result_of(thing: object, method: str) -> Any:
    """Call a method without arguments and return its result; None if there is no such method or it raises."""
    try:
        return getattr(thing, method)()
    except Exception:
        return None
