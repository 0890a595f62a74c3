"""The errors that are injected: those that the task's own client library raises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from email.message import Message
from io import BytesIO
from types import ModuleType
from typing import Any
from urllib.error import HTTPError

_URL = "http://rehearsal.invalid/"
_RETRY_AFTER = "7"


def error_of(kind: str, fn: Callable[..., Any]) -> Exception:
    """Return the error of a kind of fault.

    Args:
        kind: a status code, `refused`, `reset`, `timeout` or `bug`.
        fn: the task's function: a client library that its module uses is the one whose error is raised.
    """
    text = f"rehearsal: {kind}"
    if kind == "bug":
        return ValueError(text)
    client = _client_of(fn)
    if kind.isdigit():
        return _status(int(kind), client, text)
    if client is not None and client.__name__ == "requests":
        return (client.exceptions.ReadTimeout if kind == "timeout" else client.exceptions.ConnectionError)(text)  # type: ignore[no-any-return]  # a module
    if client is not None:
        names = {"refused": "ConnectError", "reset": "ReadError", "timeout": "ReadTimeout"}
        return getattr(client, names[kind])(text)  # type: ignore[no-any-return]  # a module
    return {"refused": ConnectionRefusedError, "reset": ConnectionResetError, "timeout": TimeoutError}[kind](text)


def _client_of(fn: Callable[..., Any]) -> ModuleType | None:
    """Return the client library that a function's module names; None if there is none that is known."""
    used = getattr(fn, "__globals__", {})
    for name in ("httpx", "requests"):
        module = sys.modules.get(name)
        if module is not None and (used.get(name) is module or any(_is_of(value, name) for value in used.values())):
            return module
    return None


def _is_of(value: object, library: str) -> bool:
    return str(getattr(type(value), "__module__", "")).partition(".")[0] == library


def _status(status: int, client: ModuleType | None, text: str) -> Exception:
    headers = {"Retry-After": _RETRY_AFTER} if status == 429 else {}
    if client is not None and client.__name__ == "httpx":
        request = client.Request("GET", _URL)
        return client.HTTPStatusError(text, request=request, response=client.Response(status, headers=headers))  # type: ignore[no-any-return]  # a module
    if client is not None:
        response = client.Response()
        response.status_code, response.url = status, _URL
        response.headers.update(headers)
        return client.exceptions.HTTPError(text, response=response)  # type: ignore[no-any-return]  # a module
    known = Message()
    for name, value in headers.items():
        known[name] = value
    return HTTPError(_URL, status, text, known, BytesIO())
