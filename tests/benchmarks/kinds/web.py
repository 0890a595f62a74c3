# ruff: noqa: E501 -- one case, one line
"""HTTP clients against servers that misbehave: the same situations for each client."""

import asyncio
from collections.abc import Callable
from typing import Any

from .corpus import LATE, MALFORMED, PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import HOST, UNRESOLVABLE, WEB, answering, closed_port, hang_up, serving, speaks, tls, web

SHORT = 0.3  # seconds that a client waits


def by_urllib(url: str) -> Any:
    import urllib.request

    with urllib.request.urlopen(url, timeout=SHORT) as response:
        return response.read()


def by_httpx(url: str) -> Any:
    import httpx

    return httpx.get(url, timeout=SHORT, trust_env=False).raise_for_status().text


def by_httpx2(url: str) -> Any:
    import httpx2

    return httpx2.get(url, timeout=SHORT, trust_env=False).raise_for_status().text


def by_requests(url: str) -> Any:
    import requests

    response = requests.get(url, timeout=SHORT)
    response.raise_for_status()
    return response.json()


def by_urllib3(url: str) -> Any:
    import urllib3

    retries = urllib3.Retry(1, backoff_factor=0, status_forcelist=[502])
    return urllib3.PoolManager(timeout=SHORT, retries=retries).request("GET", url, preload_content=False).data


def by_aiohttp(url: str) -> Any:
    import aiohttp

    async def ask() -> Any:
        limit = aiohttp.ClientTimeout(total=None, sock_read=SHORT, sock_connect=SHORT)
        async with aiohttp.ClientSession(timeout=limit, raise_for_status=True) as session, session.get(url) as response:
            return await response.json(content_type=None)

    return asyncio.run(ask())


def by_httpcore(url: str) -> Any:
    import httpcore

    limits = dict.fromkeys(("connect", "read", "write", "pool"), SHORT)
    return httpcore.ConnectionPool().request("GET", url, extensions={"timeout": limits}).content


CLIENTS: dict[str, Callable[[str], Any]] = {
    "urllib": by_urllib,
    "httpx": by_httpx,
    "httpx2": by_httpx2,
    "requests": by_requests,
    "urllib3": by_urllib3,
    "aiohttp": by_aiohttp,
    "httpcore": by_httpcore,
}

HTTP_ERRORS = {
    "urllib": "HTTPError",
    "httpx": "HTTPStatusError",
    "httpx2": "HTTPStatusError",
    "requests": "HTTPError",
    "aiohttp": "ClientResponseError",
}
STATUSES = (
    (429, {}, THROTTLED, "too many requests"),
    (503, {}, TRANSIENT, "unavailable for now"),
    (503, {"Retry-After": "7"}, THROTTLED, "the service names the time of the next call"),
    (502, {}, TRANSIENT, "the gateway lost its backend"),
    (504, {}, LATE, "the gateway waited too long"),
    (404, {}, PERMANENT, "the address is wrong, and stays so"),
    (403, {}, PERMANENT, "no right to it"),
    (403, {"Retry-After": "30"}, THROTTLED, "a 403 that names the time of the next call is a limit"),
    (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}, THROTTLED, "a 403 with no calls left is a limit"),
    (403, {"X-RateLimit-Remaining": "57"}, PERMANENT, "calls are left: the right is missing"),
    (501, {}, PERMANENT, "the server does not know this method"),
)
# Each client has most of these; which, goes round, so that the table does not say the same seven times.
for _number, (_library, _error) in enumerate(HTTP_ERRORS.items()):
    for _at, (_status, _headers, _wanted, _reason) in enumerate(STATUSES):
        if (_at + _number) % 5 < 3:
            _what = f"{_status}" + "".join(f", {name}: {value}" for name, value in _headers.items())

            @case(_library, _error, _what, _wanted, _reason)
            def _(client=CLIENTS[_library], status=_status, headers=_headers) -> Any:
                with answering(status, "no", headers) as url:
                    return client(url)


# By situation: what it is, why, and the class that each client raises.
SITUATIONS = {
    "no answer": (
        TIMEOUT,
        "the next call may be answered",
        {"urllib": "TimeoutError", "httpx": "ReadTimeout", "httpx2": "ReadTimeout", "requests": "ReadTimeout",
         "urllib3": "MaxRetryError", "aiohttp": "SocketTimeoutError", "httpcore": "ReadTimeout"},
    ),
    "reset": (
        TRANSIENT,
        "a broken connection",
        {"urllib": "ConnectionResetError", "httpx": "ReadError", "httpx2": "ReadError", "requests": "ConnectionError",
         "urllib3": "MaxRetryError", "aiohttp": "ClientOSError", "httpcore": "ReadError"},
    ),
    "hang-up": (
        TRANSIENT,
        "the server closed before it answered",
        {"urllib": "RemoteDisconnected", "httpx": "RemoteProtocolError", "httpx2": "RemoteProtocolError",
         "requests": "ConnectionError", "urllib3": "MaxRetryError", "aiohttp": "ServerDisconnectedError",
         "httpcore": "RemoteProtocolError"},
    ),
    "reset in mid-body": (
        TRANSIENT,
        "a connection that broke half way breaks no rule",
        {"urllib": "ConnectionResetError", "httpx": "ReadError", "httpx2": "ReadError",
         "requests": "ChunkedEncodingError", "urllib3": "ProtocolError", "aiohttp": "ClientPayloadError",
         "httpcore": "ReadError"},
    ),
    "body stalls": (
        LATE,
        "the rest did not come in time",
        {"urllib": "TimeoutError", "httpx": "ReadTimeout", "httpx2": "ReadTimeout", "requests": "ConnectionError",
         "urllib3": "ReadTimeoutError", "aiohttp": "SocketTimeoutError"},
    ),
    "body cut short": (
        MALFORMED,
        "a body shorter than it says; by definition malformed",
        {"urllib": "IncompleteRead", "httpx": "RemoteProtocolError", "requests": "ChunkedEncodingError",
         "urllib3": "ProtocolError", "aiohttp": "ClientPayloadError"},
    ),
    "no HTTP": (
        frozenset({TRANSIENT}),
        "an answer that is no HTTP: something in between answered, as at a restart",
        {"urllib": "BadStatusLine", "requests": "ConnectionError"},
    ),
    "broken gzip": (
        MALFORMED,
        "the data does not decode",
        {"httpx": "DecodingError", "httpx2": "DecodingError", "requests": "ContentDecodingError",
         "urllib3": "DecodeError"},
    ),
    "not JSON": (
        MALFORMED,
        "the data does not parse",
        {"requests": "JSONDecodeError", "aiohttp": "JSONDecodeError"},
    ),
}  # fmt: skip
for _what, (_wanted, _reason, _errors) in SITUATIONS.items():
    for _library, _error in _errors.items():

        @case(_library, _error, _what, _wanted, _reason)
        def _(client=CLIENTS[_library], handler=WEB[_what]) -> Any:
            with web(handler) as url:
                return client(url)


# By address: where it leads, what to expect and why, and the class that each client raises.
PLACES = (
    ("refused", lambda: f"http://{HOST}:{closed_port()}", TRANSIENT, "the server may be starting", {
        "urllib": "URLError", "httpx": "ConnectError", "httpx2": "ConnectError", "requests": "ConnectionError",
        "urllib3": "MaxRetryError", "aiohttp": "ClientConnectorError", "httpcore": "ConnectError"}),
    ("unresolvable name", lambda: f"http://{UNRESOLVABLE}", TRANSIENT, "name servers fail for a while", {
        "urllib": "URLError", "httpx": "ConnectError", "httpx2": "ConnectError", "requests": "ConnectionError",
        "urllib3": "MaxRetryError", "aiohttp": "ClientConnectorDNSError", "httpcore": "ConnectError"}),
    ("an address without a scheme", lambda: "127.0.0.1/flights", PERMANENT, "the caller's mistake", {
        "urllib": "ValueError", "httpx": "UnsupportedProtocol", "httpx2": "UnsupportedProtocol",
        "requests": "MissingSchema", "aiohttp": "InvalidUrlClientError"}),
    ("a scheme that it cannot speak", lambda: "gopher://127.0.0.1/", PERMANENT, "the caller's mistake", {
        "urllib": "URLError", "httpx": "UnsupportedProtocol", "requests": "InvalidSchema",
        "urllib3": "URLSchemeUnknown", "aiohttp": "NonHttpUrlClientError", "httpcore": "UnsupportedProtocol"}),
    ("a port that is no port", lambda: "http://127.0.0.1:http/", PERMANENT, "the caller's mistake", {
        "urllib": "InvalidURL", "httpx": "InvalidURL", "httpx2": "InvalidURL", "requests": "InvalidURL",
        "urllib3": "LocationParseError"}),
)  # fmt: skip
for _what, _address, _wanted, _reason, _errors in PLACES:
    for _library, _error in _errors.items():

        @case(_library, _error, _what, _wanted, _reason)
        def _(client=CLIENTS[_library], address=_address) -> Any:
            return client(address())


@case("aiohttp", "TimeoutError", "limit of the whole call", TIMEOUT, "the next call may be quicker")
def _() -> Any:
    import aiohttp

    async def ask() -> None:
        with web(WEB["no answer"]) as url:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SHORT)) as session:
                await session.get(url)

    return ask()


SECURE = {
    "a certificate signed by itself": (PERMANENT, "it stays untrusted until a person acts", tls, {
        "urllib": "URLError", "httpx": "ConnectError", "httpx2": "ConnectError", "requests": "SSLError",
        "urllib3": "MaxRetryError", "aiohttp": "ClientConnectorCertificateError", "httpcore": "ConnectError"}),
    "hangs up in the TLS handshake": (TRANSIENT, "a broken connection, not a bad certificate",
                                      lambda: serving(hang_up), {
        "urllib": "URLError", "httpx": "ConnectError", "httpx2": "ConnectError", "requests": "SSLError",
        "urllib3": "MaxRetryError", "aiohttp": "ClientConnectorError", "httpcore": "ConnectError"}),
    "plain HTTP where TLS is expected": (PERMANENT, "the wrong port or scheme", lambda: serving(speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n", greets=False)), {
        "urllib": "URLError", "httpx": "ConnectError", "requests": "SSLError", "urllib3": "MaxRetryError"}),
    "no answer to the TLS handshake": (TIMEOUT, "the next call may be answered", lambda: serving(WEB["no answer"]), {
        "urllib": "URLError", "httpx": "ConnectTimeout", "httpx2": "ConnectTimeout", "requests": "ReadTimeout",
        "httpcore": "ConnectTimeout"}),
}  # fmt: skip
for _what, (_wanted, _reason, _server, _errors) in SECURE.items():
    for _library, _error in _errors.items():

        @case(_library, _error, _what, _wanted, _reason)
        def _(client=CLIENTS[_library], server=_server) -> Any:
            with server() as port:
                return client(f"https://localhost:{port}/")


@case("httpx", "ConnectError", "an expired certificate", PERMANENT, "it stays expired until a person acts")
def _() -> Any:
    import ssl

    import httpx

    from .servers import certificate

    trusting = ssl.create_default_context(cafile=certificate(expired=True))
    with tls(expired=True) as port:
        return httpx.get(f"https://localhost:{port}/", verify=trusting, timeout=1)


@case("requests", "SSLError", "a certificate for another host", PERMANENT, "the name does not match, and stays so")
def _() -> Any:
    import requests

    from .servers import certificate

    with tls() as port:
        return requests.get(f"https://{HOST}:{port}/", verify=certificate(), timeout=1)


@case("httpx", "PoolTimeout", "all connections in use", TIMEOUT, "connections come free")
def _() -> Any:
    import httpx

    limits = httpx.Limits(max_connections=1)
    with web(WEB["body stalls"]) as url, httpx.Client(limits=limits, timeout=0.2) as client, client.stream("GET", url):
        return client.get(url)


@case("httpx", "TooManyRedirects", "a redirect to itself", PERMANENT, "the loop stays")
def _() -> Any:
    import httpx

    with answering(302, "", {"Location": "/"}) as url:
        return httpx.get(url, follow_redirects=True, timeout=1)


@case("requests", "RetryError", "too many 502", TRANSIENT, "what was retried was a 502")
def _() -> Any:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=Retry(2, status_forcelist=[502], backoff_factor=0)))
    with answering(502) as url:
        return session.get(url, timeout=1)


@case("urllib3", "MaxRetryError", "too many 502", TRANSIENT, "what was retried was a 502")
def _() -> Any:
    with answering(502) as url:
        return by_urllib3(url)


@case("requests", "InvalidHeader", "a line break in a header", PERMANENT, "the caller's mistake")
def _() -> Any:
    import requests

    return requests.get(f"http://{HOST}:{closed_port()}", headers={"X": "a\nb"}, timeout=1)


@case("aiohttp", "ContentTypeError", "HTML with status 200 where JSON is expected", MALFORMED, "the data is not JSON")
def _() -> Any:
    import aiohttp

    async def ask() -> None:
        with answering(200, "<html/>", {"Content-Type": "text/html"}) as url:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                await response.json()

    return ask()
