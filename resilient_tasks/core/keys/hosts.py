"""The host of a URL, the most common key of a policy."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from resilient_tasks.redaction.text import redact

#: Default ports, which are left out.
_DEFAULT_PORTS = {("http", 80), ("https", 443), ("ws", 80), ("wss", 443)}
_NO_HOST = re.compile(r"[\s\\]")


def host_of(url: object) -> str:
    """Return the host of a URL in lower case, without user and password, with its port if that is not the default.

        CircuitBreaker(lambda url: host_of(url))

    Args:
        url: a URL with its scheme, as text or as an object whose `str()` is one (of httpx, yarl, pydantic).

    Raises:
        ValueError: it has no host, such as `api.example.com/flights` without a scheme.
    """
    text = str(url).strip()
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as problem:
        msg = f"{redact(text)!r} is no URL: {redact(str(problem))}"
        raise ValueError(msg) from None
    if not host or _NO_HOST.search(host):
        msg = f"{redact(text)!r} has no host: write it with its scheme, as https://api.example.com/flights"
        raise ValueError(msg)
    host = f"[{host}]" if ":" in host else host
    return host if port is None or (parts.scheme, port) in _DEFAULT_PORTS else f"{host}:{port}"
