"""Connect to the server of a URL, and send nothing: a way to check a channel without a message."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

from resilient_tasks.core.execution import real_time as time

_PORTS = {"http": 80, "https": 443}


def connect(url: str, within: float) -> str:
    """Connect to the server of `url`, or to the proxy before it, with TLS for `https`; return what was reached.

    Args:
        url: `http://` or `https://`.
        within: seconds that this may take.

    Raises:
        OSError: it was not reached in time, or its certificate is not valid.
    """
    until = time.monotonic() + within
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    proxy = "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme, "")
    if proxy:
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        with _open(through.hostname or "", through.port or 80, until):
            return f"the proxy {through.hostname}, which the environment names for {host}"
    with _open(host, port, until) as plain:
        if parts.scheme != "https":
            return f"{host}:{port}"
        plain.settimeout(_left(until))
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured:
            return f"{host}:{port} with {secured.version()}"


def _open(host: str, port: int, until: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=_left(until))
    except TimeoutError:
        raise TimeoutError(f"{host}:{port} did not answer in time") from None
    except socket.gaierror as problem:
        raise ConnectionError(f"{host} has no address: {problem.strerror or problem}") from None


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is up")
    return left
