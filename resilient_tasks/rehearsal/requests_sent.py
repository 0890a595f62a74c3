"""Notes the requests of this process that must not be sent twice: POST and PATCH, in the clients that are loaded."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable
from typing import Any

_NOT_TWICE = frozenset({"POST", "PATCH"})
#: Classes of clients that do not stand on `http.client`, and their methods that send a request.
_POOLS = (
    *(("httpcore", "ConnectionPool", "handle_request"), ("httpcore", "AsyncConnectionPool", "handle_async_request")),
    *(("httpcore2", "ConnectionPool", "handle_request"), ("httpcore2", "AsyncConnectionPool", "handle_async_request")),
)


def watch(note: Callable[[str], None], except_to: str) -> None:
    """Call `note` with each such request, as `POST host:port/path`. For the rest of this process's life.

    Args:
        note: what to call.
        except_to: the address of Prefect's own API, as `host:port`.
    """

    def seen(method: str, host: str, path: str) -> None:
        if method in _NOT_TWICE and host != except_to:
            note(f"{method} {host}{path.partition('?')[0]}")

    _watch_standard_library(seen)
    for module, kind, method in _POOLS:
        if (found := getattr(sys.modules.get(module), kind, None)) is not None:
            _watch_pool(found, method, seen)
    if (aiohttp := sys.modules.get("aiohttp")) is not None:
        _watch_aiohttp(aiohttp.ClientSession, seen)


def _watch_standard_library(seen: Callable[[str, str, str], None]) -> None:
    put = http.client.HTTPConnection.putrequest

    def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        seen(method, f"{self.host}:{self.port}", url)
        put(self, method, url, *args, **kwargs)

    http.client.HTTPConnection.putrequest = putrequest  # type: ignore[method-assign]  # of this process


def _watch_pool(kind: Any, name: str, seen: Callable[[str, str, str], None]) -> None:
    handle = getattr(kind, name)

    def handled(self: Any, request: Any) -> Any:
        url = request.url
        port = url.port or {b"https": 443}.get(url.scheme, 80)
        seen(request.method.decode(), f"{url.host.decode()}:{port}", url.target.decode())
        return handle(self, request)

    setattr(kind, name, handled)


def _watch_aiohttp(kind: Any, seen: Callable[[str, str, str], None]) -> None:
    send = kind._request  # noqa: SLF001  # its documented methods all call it

    def request(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        parts = str(url).partition("://")[2]
        host, _, path = parts.partition("/")
        seen(method.upper(), host, f"/{path}")
        return send(self, method, url, **kwargs)

    kind._request = request  # noqa: SLF001  # as above
