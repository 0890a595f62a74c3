"""Facts about error classes, computed once per class: a failure may be classified many times."""

from __future__ import annotations

from resilient_tasks.safely import module_of, of_class

#: Attributes in which clients keep a server's response and their own details of a failure.
DETAIL_NAMES = frozenset(
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
def may_have_details(cls: type) -> bool:
    """Return whether a class defines any of these attributes, or may compute any attribute."""
    if type(cls) is not type:
        return True
    added = [vars(base) for base in cls.__mro__ if module_of(base) != "builtins"]
    return any(
        "__getattr__" in names or "__getattribute__" in names or not DETAIL_NAMES.isdisjoint(names) for names in added
    )


@of_class
def tops_of(cls: type) -> frozenset[str]:
    """Return the top-level packages of a class and its bases."""
    return frozenset(module_of(base).partition(".")[0] for base in cls.__mro__)
