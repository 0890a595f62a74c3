"""What is known of the class of an error: facts that are found once a class, as a failure may be judged many times."""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import ref

T = TypeVar("T")


def of_class(look: Callable[[type], T]) -> Callable[[type], T]:
    """Remember what a function finds out about a class, for as long as there is that class.

    A class of another metaclass is looked at each time: what it tells of itself may change.
    """
    # By the class's address, which costs half of what a weak reference as a key does. It is safe: the caller holds the
    # class, and the interpreter calls a reference's callback before it frees a class, so that no other class has its
    # address while it is in here. Tried on Python 3.11, 3.12 and 3.13.
    known: dict[int, tuple[T, Any]] = {}

    @functools.wraps(look)
    def found(cls: type) -> T:
        if (entry := known.get(id(cls))) is not None:
            return entry[0]
        answer = look(cls)
        if type(cls) in (type, ABCMeta):
            address = id(cls)
            known[address] = (answer, ref(cls, lambda _: known.pop(address, None)))
        return answer

    return found


#: The names under which clients hang on their errors what a server answered, and what they know of a failure.
BEARING = frozenset(
    {
        *("status_code", "http_status", "http_status_code", "http_code", "response_code", "status", "statusCode"),
        *("httpStatus", "httpStatusCode", "code", "errcode", "errno", "response", "resp", "meta", "http_response"),
        *("headers", "hdrs", "http_headers", "body", "json_body", "data", "details", "detail", "error_details"),
        *("errors", "error", "info", "content", "parameters", "type", "error_code", "error_type", "error_name"),
        *("errorcode", "reason", "grpc_status_code", "trailing_metadata", "sqlstate", "pgcode", "sql_state"),
        *("sqlite_errorname", "reply_code", "rcvd", "recipients", "smtp_code"),
        *("retry_after", "retry_after_ms", "retry_after_seconds", "retry_delay", "seconds", "retryable", "retriable"),
        *("is_retryable", "is_retriable", "isrecoverable", "is_transient", "should_retry"),
    }
)


@of_class
def may_bear(cls: type) -> bool:
    """Tell whether a class itself gives its errors any of these names, or may make up any attribute."""
    if type(cls) is not type:
        return True
    added = [vars(base) for base in cls.__mro__ if module_of(base) != "builtins"]
    return any(
        "__getattr__" in names or "__getattribute__" in names or not BEARING.isdisjoint(names) for names in added
    )


def module_of(cls: type) -> str:
    """Return the name of a class's module, or nothing where it has none."""
    try:
        module = type.__dict__["__module__"].__get__(cls)
    except AttributeError:
        return ""
    return module if type(module) is str else ""


@of_class
def tops_of(cls: type) -> frozenset[str]:
    """Return the names of the top packages from which a class and its bases come."""
    return frozenset(module_of(base).partition(".")[0] for base in cls.__mro__)
