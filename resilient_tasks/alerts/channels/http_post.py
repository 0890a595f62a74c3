"""An HTTP POST that follows no redirects: a message goes only to the host that the user named."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Bytes of an answer that are read at most.
LONGEST_ANSWER = 1 << 20


class Answer(NamedTuple):
    """A server's answer, which may be a refusal or a redirect."""

    status: int
    reason: str
    headers: Any
    body: bytes

    @property
    def redirects(self) -> bool:
        """Whether it is a redirect."""
        return 300 <= self.status < 400


def post(url: str, body: bytes, headers: Mapping[str, str], *, within: float, read: bool = True) -> Answer:
    """Send `body` once, and return the answer, which may be a redirect.

    Args:
        url: where to.
        body: the request's body.
        headers: the request's headers.
        within: seconds that each wait for the server may take.
        read: read the body of an answer from 200 to 299.

    Raises:
        OSError: the server was not reached, or gave no answer in time.
        http.client.HTTPException: the answer is no HTTP, or was cut short.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310  # the caller checked it
    try:
        with opened(request, within) as answer:
            content = answer.read(LONGEST_ANSWER) if read else b""
            return Answer(answer.status, answer.reason, answer.headers, content)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.reason, error.headers, _rest(error))


def opened(request: urllib.request.Request, within: float) -> Any:
    """Send a request, and return the open answer.

    Raises:
        urllib.error.HTTPError: the status is not from 200 to 299; redirects are not followed.
        OSError: as `post`.
        http.client.HTTPException: as `post`.
    """
    # A new opener each time: it reads the environment's proxies only once.
    return urllib.request.build_opener(_NoRedirect).open(request, timeout=within)


def _rest(error: urllib.error.HTTPError) -> bytes:
    """Return the body of a refusal, or what arrived of it."""
    try:
        return error.read(LONGEST_ANSWER)
    except http.client.IncompleteRead as cut:
        return cut.partial
    except OSError:
        return b""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Returns a redirect as the answer, instead of sending message and headers to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None
