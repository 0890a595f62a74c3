"""Classify one error without the errors that it wraps: by its codes, its type, the names of its classes."""

from __future__ import annotations

import errno
import re
import socket
import sys
from typing import Any, NamedTuple

from resilient_tasks import safely
from resilient_tasks.core.classification import databases, responses, texts, waits
from resilient_tasks.core.classification.classes import tops_of
from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT, Kind, gravest
from resilient_tasks.core.classification.names import (
    as_words,
    is_authentication,
    is_quota,
    is_tls,
    of_a_library,
    of_code,
    of_name,
)
from resilient_tasks.core.classification.wrapped import BUGS, has_no_details, is_from_a_library
from resilient_tasks.safely import module_of, of_class

# Keys are "<top-level module>.<class>"; if several bases of a class are listed here, the nearest in its MRO decides.
# Of libraries, only classes whose names do not express their kind.
_TYPES: dict[Kind, str] = {
    Kind.TRANSIENT: """
        builtins.ConnectionError socket.gaierror socket.herror http.BadStatusLine ssl.SSLEOFError
        ssl.SSLZeroReturnError ssl.SSLSyscallError ssl.SSLWantReadError ssl.SSLWantWriteError
        smtplib.SMTPServerDisconnected ftplib.error_temp imaplib.abort nntplib.NNTPTemporaryError
        urllib3.ProtocolError urllib3.MaxRetryError urllib3_future.ProtocolError urllib3_future.MaxRetryError
        botocore.HTTPClientError websockets.InvalidMessage redis.MasterNotFoundError redis.SlaveNotFoundError
        azure.ServiceRequestError azure.ServiceResponseError paramiko.NoValidConnectionsError
        resilient_tasks.ResultRejected
    """,
    Kind.TIMEOUT: """
        builtins.TimeoutError subprocess.TimeoutExpired concurrent.TimeoutError multiprocessing.TimeoutError
        resilient_tasks.TimedOut
    """,
    Kind.MALFORMED: """
        builtins.UnicodeDecodeError builtins.EOFError json.JSONDecodeError csv.Error _csv.Error zlib.error
        _lzma.LZMAError lzma.LZMAError gzip.BadGzipFile zipfile.BadZipFile zipfile.BadZipfile tarfile.TarError
        binascii.Error struct.error pickle.UnpicklingError _pickle.UnpicklingError xml.ParseError xml.ExpatError
        pyexpat.ExpatError tomllib.TOMLDecodeError plistlib.InvalidFileException email.MessageParseError
        http.IncompleteRead http.LineTooLong urllib.ContentTooShortError configparser.ParsingError shutil.ReadError
        xmlrpc.ResponseError pandas.ParserError pandas.EmptyDataError
        pandera.SchemaError pandera.SchemaErrors polars.ComputeError polars.NoDataError pyarrow.ArrowInvalid
        pydantic.ValidationError pydantic_core.ValidationError jsonschema.ValidationError
        marshmallow.ValidationError msgspec.ValidationError msgspec.DecodeError resilient_tasks.InvalidData
        resilient_tasks.DriftDetected resilient_tasks.PredicateError
    """,
    Kind.RESOURCE: "builtins.MemoryError concurrent.BrokenExecutor resilient_tasks.ProcessDied",
    Kind.REJECTED: "resilient_tasks.CircuitOpen resilient_tasks.BulkheadFull resilient_tasks.RateLimited",
    Kind.PERMANENT: """
        builtins.ValueError builtins.TypeError builtins.AssertionError builtins.NotImplementedError
        ssl.SSLCertVerificationError ssl.CertificateError ftplib.Error imaplib.error tarfile.FilterError
        tarfile.CompressionError
    """,
}
_BY_TYPE = {name: kind for kind, names in _TYPES.items() for name in names.split()}

_ERRNO = {
    Kind.RESOURCE: ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM"),
    Kind.TIMEOUT: ("ETIMEDOUT", "ETIME"),
    Kind.TRANSIENT: (
        *(
            "EHOSTUNREACH",
            "ENETUNREACH",
            "ENETDOWN",
            "EHOSTDOWN",
            "EADDRNOTAVAIL",
            "ENETRESET",
            "ENOTCONN",
            "ECONNABORTED",
        ),
        *("ECONNREFUSED", "ECONNRESET", "EPIPE", "ESHUTDOWN", "ENOBUFS", "EAGAIN", "EWOULDBLOCK", "EINTR", "ESTALE"),
        *("EBUSY", "ETXTBSY", "EDEADLK", "ENOLCK", "EREMOTEIO", "ECOMM", "ENOLINK"),
    ),
}
_BY_ERRNO_NAME = {name: kind for kind, names in _ERRNO.items() for name in names}
BY_ERRNO = {getattr(errno, name): kind for name, kind in _BY_ERRNO_NAME.items() if hasattr(errno, name)}

#: getaddrinfo was called with an unknown service or address family.
_BAD_LOOKUPS = frozenset(
    getattr(socket, name, None)
    for name in ("EAI_SERVICE", "EAI_FAMILY", "EAI_SOCKTYPE", "EAI_BADFLAGS", "EAI_ADDRFAMILY")
) - {None}

_BY_GRPC = {
    "UNAVAILABLE": Kind.TRANSIENT,
    "ABORTED": Kind.TRANSIENT,  # "retry at a higher level", such as a task
    "DEADLINE_EXCEEDED": Kind.TIMEOUT,
    "RESOURCE_EXHAUSTED": Kind.THROTTLED,
}
#: AIP-194 retries neither, but gRPC also uses them for a broken stream, which only the text reveals.
_AMBIGUOUS_IN_GRPC = frozenset({"INTERNAL", "UNKNOWN"})
#: Permanent 5xx.
_PERMANENT_5XX = frozenset({501, 505, 506, 508, 510, 511, 526})  # 526: a bad certificate behind Cloudflare
#: libcurl's error codes.
_BY_CURL = {
    **dict.fromkeys((5, 6, 7, 16, 52, 55, 56, 92, 95), Kind.TRANSIENT),
    28: Kind.TIMEOUT,
    **dict.fromkeys((18, 23, 61), Kind.MALFORMED),
}
_CURL_HTTP_ERROR = 22
_TRANSIENT_IN_AMQP = frozenset({320, 506, 541})  # forced to close, no resources, internal error
_TRANSIENT_IN_WEBSOCKETS = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 1014})  # RFC 6455 §7.4.1
_TLS_HANG_UP = re.compile(
    r"\beof\b|UNEXPECTED_EOF|BAD_RECORD_MAC|reset by peer|closed (?:the )?conn|ZeroReturn", re.IGNORECASE
)
#: Response codes of a temporary refusal of a mailbox.
_TRANSIENT_IN_MAIL = {
    "poplib.error_proto": re.compile(r"\[(?:SYS/TEMP|IN-USE|LOGIN-DELAY)\]"),  # RFC 2449, RFC 3206
    "imaplib.error": re.compile(r"\[(?:UNAVAILABLE|INUSE)\]"),  # RFC 5530
}
_RESET = re.compile("Connection(?:Reset|Aborted)Error|BrokenPipeError|reset by peer", re.IGNORECASE)
_CUT_SHORT = re.compile("complete message body|ended prematurely|IncompleteRead", re.IGNORECASE)
#: Attributes by which libraries mark a failure as retryable.
_RETRYABLE_FLAGS = (
    "retryable",
    "retriable",
    "is_retryable",
    "is_retriable",
    "isrecoverable",
    "is_transient",
    "should_retry",
)


def by_code(error: BaseException) -> Kind | None:  # noqa: PLR0911  # one line per sort of code
    """Return the kind for an error's code: of mail, gRPC, HTTP, a database, a service, the operating system."""
    bare = has_no_details(error)
    if bare and module_of(type(error)) == "builtins":
        return by_errno(error)
    if not bare and responses.is_about_mail(error) and (code := responses.mail_code(error)) is not None:
        return Kind.TRANSIENT if code < 500 else Kind.PERMANENT
    status = responses.status_here(error)
    library = is_from_a_library(error)
    if library and (name := responses.grpc_code(error)) is not None and (kind := _of_grpc(name, error)) is not None:
        return kind
    if status is not None and status >= 400:
        return _of_status(status, error)
    if (kind := databases.by_code(error) or databases.by_mongo(error)) is not None:
        return kind
    if library and (kind := _by_number(error, bare=bare) or _by_retryable_flag(error, bare=bare)) is not None:
        return kind
    return by_errno(error)


def _of_grpc(name: str, error: BaseException) -> Kind | None:
    if name == "RESOURCE_EXHAUSTED" and "larger than max" in safely.text(error):  # a message's size, not a quota
        return Kind.PERMANENT
    if name in _AMBIGUOUS_IN_GRPC and (kind := texts.by_text(error)) is not None:
        return kind
    if name == "INTERNAL" and responses.status_here(error) is not None:  # Google's own clients retry it as their 500
        return None
    return _BY_GRPC.get(name, Kind.PERMANENT)


def _of_status(status: int, error: BaseException) -> Kind:  # noqa: PLR0911  # one line per rule
    codes = responses.codes(error)
    if status == 429 or (status < 500 and any(of_code(code) is Kind.THROTTLED for code in codes)):
        no_quota = any(map(is_quota, (*codes, type(error).__name__)))
        return Kind.PERMANENT if no_quota else Kind.THROTTLED
    asks_to_wait = waits.has_wait_header(error)
    if status >= 500:
        throttled = status == 529 or (status == 503 and asks_to_wait) or Kind.THROTTLED in map(of_code, codes)
        return Kind.THROTTLED if throttled else Kind.PERMANENT if status in _PERMANENT_5XX else Kind.TRANSIENT
    if status == 420 or (status in {403, 418} and (asks_to_wait or waits.nothing_remains(error))):
        return Kind.THROTTLED
    if status in {408, 425, 449}:  # 449: Microsoft's "retry with"
        return Kind.TIMEOUT if status == 408 else Kind.TRANSIENT
    if status == 400 and _is_parse_error(error):
        return Kind.MALFORMED
    if status in {400, 409}:
        kind = _of_codes(codes)
        again = status == 409 and responses.asks_to_retry(error)
        return kind if kind in RETRIED_BY_DEFAULT else Kind.TRANSIENT if again else Kind.PERMANENT
    return Kind.PERMANENT


def _is_parse_error(error: BaseException) -> bool:
    """Return whether the status is the client's own, for a response that it could not parse, as in aiohttp."""
    cause = safely.own(error, "__cause__")
    return is_from_a_library(cause) and by_names(cause).kind is Kind.MALFORMED


@safely.or_none
def by_service_code(error: BaseException) -> Kind | None:
    """Return the kind for the error codes of a service."""
    return _of_codes(responses.codes(error)) if is_from_a_library(error) else None


def _of_codes(codes: list[str]) -> Kind | None:
    kinds = [kind for code in codes if (kind := _BY_ERRNO_NAME.get(code) or of_code(code)) is not None]
    if any(map(is_quota, codes)):
        return Kind.PERMANENT
    if Kind.THROTTLED in kinds:
        return Kind.THROTTLED
    return Kind.PERMANENT if Kind.PERMANENT in kinds else next(iter(kinds), None)


def by_authorization_code(error: BaseException) -> Kind | None:
    """Return the kind for an authorization server's error code if the server itself is at fault (RFC 6749)."""
    kind = by_service_code(error) if is_authentication(type(error).__name__) else None
    return kind if kind in RETRIED_BY_DEFAULT else None


@safely.or_none
def by_status_in_text(error: BaseException) -> Kind | None:
    """Return the kind for an HTTP status that is only in the text of an error."""
    status = texts.status(error)
    return None if status is None else _of_status(status, error)


@safely.or_none
def _by_number(error: BaseException, *, bare: bool) -> Kind | None:
    """Return the kind for an error code of libcurl, AMQP or WebSocket."""
    curl = not tops_of(type(error)).isdisjoint(("pycurl", "curl_cffi"))
    if bare and not curl:
        return None
    args = safely.own(error, "args")
    code = safely.number(safely.attribute(error, "code", args[0] if args else None))
    if curl and code:
        if code == _CURL_HTTP_ERROR and (kind := by_status_in_text(error)) is not None:
            return kind
        hung_up = code == 35 and _TLS_HANG_UP.search(safely.text(error))
        return Kind.TRANSIENT if hung_up else _BY_CURL.get(code, Kind.PERMANENT)
    if reply := safely.number(safely.attribute(error, "reply_code")):
        return Kind.TRANSIENT if reply in _TRANSIENT_IN_AMQP else Kind.PERMANENT
    closed = safely.number(safely.attribute(safely.attribute(error, "rcvd"), "code"))
    if closed is None and code and 1000 <= code < 5000 and _is_a_closed_websocket(type(error)):
        closed = code
    if closed is not None:
        return Kind.TRANSIENT if closed in _TRANSIENT_IN_WEBSOCKETS else Kind.PERMANENT
    return None


@of_class
def _is_a_closed_websocket(cls: type) -> bool:
    return any(re.search("_(?:web_?socket|connection)_clos", as_words(base.__name__)) for base in cls.__mro__)


@safely.or_none
def _by_retryable_flag(error: BaseException, *, bare: bool) -> Kind | None:
    first = safely.own(error, "args")[:1]
    for holder in (*(() if bare else (error,)), *(one for one in first if not safely.is_a(one, (str, bytes, int)))):
        for name in _RETRYABLE_FLAGS:
            answer = safely.attribute(holder, name)
            if callable(answer) and not safely.is_a(answer, type):
                answer = responses.result_of(holder, name)
            if answer is True:
                named = by_names(error).kind
                return named if named in RETRIED_BY_DEFAULT else Kind.TRANSIENT
    return None


@safely.or_none
def by_errno(error: BaseException) -> Kind | None:
    """Return the kind for an error's errno; None if it has none, or one without a meaning here."""
    if not safely.is_a(error, OSError):
        return _by_errno_of_a_library(error)
    if is_about_tls(type(error)):
        return None
    number = safely.number(safely.attribute(error, "errno"))
    python = module_of(type(error)) == "builtins"
    if number is None and python and len(args := safely.own(error, "args")) == 1:  # OSError(errno.ECONNRESET)
        number = safely.number(args[0])
    if safely.is_a(error, socket.gaierror):
        return Kind.PERMANENT if number in _BAD_LOOKUPS else None
    if number is None:
        return _of_several_attempts(error) if python else None
    kind = BY_ERRNO.get(number)
    return Kind.PERMANENT if kind is None and python else kind


#: The beginning of asyncio's text for one failed connection to each address of a host.
OF_SEVERAL = "Multiple exceptions: "


def _of_several_attempts(error: BaseException) -> Kind | None:
    """Return the gravest kind of the attempts that one text lists."""
    text = safely.text(error)
    numbers = re.findall(r"\[Errno (\d+)\]", text) if text.startswith(OF_SEVERAL) else ()
    return gravest({BY_ERRNO.get(int(number), Kind.PERMANENT) for number in numbers})


def _by_errno_of_a_library(error: BaseException) -> Kind | None:
    """Return the kind for the errno of an error that is no `OSError`; a database's `errno` is its own code."""
    number = safely.own(error, "__dict__").get("errno")
    if number is None or not is_from_a_library(error) or databases.is_database_error(error):
        return None
    return BY_ERRNO.get(safely.number(number) or 0)


@of_class
def is_about_tls(cls: type) -> bool:
    """Return whether a class is about TLS, by its own name or a base's."""
    return any(base.__name__ == "SSLError" or is_tls(base.__name__) for base in cls.__mro__)


def by_type(error: BaseException) -> Kind | None:
    """Return the kind of a standard library error, or of a user's subclass of one; None for all others."""
    if is_from_a_library(error):
        return None
    known = of_type(type(error))
    if isinstance(known, re.Pattern):
        return Kind.TRANSIENT if known.search(safely.text(error)) else Kind.PERMANENT
    return known


def is_a_tls_hang_up(error: BaseException) -> bool:
    """Return whether an error of Python's own TLS means that the other side hung up."""
    ssl: Any = sys.modules.get("ssl")  # if it is not loaded, nothing has raised its errors
    return ssl is not None and safely.is_a(error, ssl.SSLError) and by_type(error) is Kind.TRANSIENT


@of_class
def of_type(cls: type) -> Kind | re.Pattern[str] | None:
    """Return the kind of the nearest listed class, or the pattern for the texts of temporary failures."""
    for base in cls.__mro__:
        known = _TRANSIENT_IN_MAIL.get(_key(base)) or _BY_TYPE.get(_key(base))
        if known is not None:
            return known
        if base.__name__ == "SSLError":
            return _TLS_HANG_UP
    return None


def _key(base: type) -> str:
    return f"{module_of(base).partition('.')[0]}.{base.__name__}"


class NameKind(NamedTuple):
    """The kind by the names of an error's classes.

    Attributes:
        kind: the kind, or None.
        sure: whether the wrapped errors do not count, as for a name that means a refusal.
    """

    kind: Kind | None
    sure: bool = False


def by_names(error: BaseException) -> NameKind:
    """Return the kind by the names of a library error's classes; the nearest class with a meaning decides."""
    if not is_from_a_library(error):
        return NameKind(None)
    meaning = _meaning_of(type(error))
    if meaning is None:
        return NameKind(Kind.THROTTLED if waits.has_wait(error) else None)
    kind, listed = meaning.kind, meaning.listed
    if meaning.tls:
        hung_up = kind is Kind.TRANSIENT or _TLS_HANG_UP.search(safely.text(error))
        return NameKind(Kind.TRANSIENT if hung_up else Kind.PERMANENT)
    if kind is Kind.TRANSIENT and _CUT_SHORT.search(safely.text(error)):
        return NameKind(Kind.MALFORMED)
    if kind is Kind.MALFORMED and _RESET.search(safely.text(error)):
        return NameKind(Kind.TRANSIENT, sure=True)
    return NameKind(kind, sure=kind is Kind.PERMANENT and not listed)


class _Meaning(NamedTuple):
    """The meaning of a class name: the kind, whether the class is listed, and whether the name is about TLS."""

    kind: Kind
    listed: bool
    tls: bool


@of_class
def _meaning_of(cls: type) -> _Meaning | None:
    """Return the meaning of the nearest base, the class itself included, whose name has one; None without one."""
    bad_request = any(re.search("_bad_request_(?!timeout)", as_words(base.__name__)) for base in cls.__mro__)
    for base in cls.__mro__:
        name, kind = base.__name__, _BY_TYPE.get(_key(base))
        listed = kind is not None
        if not listed and of_a_library(module_of(base)):
            kind = of_name(name)
            if "_serialization_error_" in as_words(name) and databases.is_database_class(cls):
                kind = Kind.TRANSIENT
            if kind in RETRIED_BY_DEFAULT and issubclass(cls, BUGS):
                kind = None
        if kind is not None:
            if kind in RETRIED_BY_DEFAULT and not listed and bad_request and not is_tls(name):
                kind = Kind.PERMANENT
            return _Meaning(kind, listed, is_tls(name))
    return None
