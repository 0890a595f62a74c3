"""One POST over HTTP: what is sent goes to the host that the user named, and to no other."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Of an answer, so much is read (bytes).
LONGEST_ANSWER = 1 << 20


class Answer(NamedTuple):
    """What a server answered, a refusal or a redirect included."""

    status: int
    reason: str
    headers: Any
    body: bytes

    @property
    def redirects(self) -> bool:
        """Whether it sends the client elsewhere."""
        return 300 <= self.status < 400


def post(url: str, body: bytes, headers: Mapping[str, str], *, within: float, read: bool = True) -> Answer:
    """Send `body` once, and return the answer. A redirect is an answer: it is never followed.

    Args:
        url: where to.
        body: what is sent.
        headers: the request's headers; they may hold secrets.
        within: seconds that each wait for the server may take.
        read: read the body of an answer from 200 to 299.

    Raises:
        OSError: the server was not reached, or gave no answer in time.
        http.client.HTTPException: the answer is no HTTP, or was cut short.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310  # the caller checked it
    try:
        with opened(request, within) as answer:
            said = answer.read(LONGEST_ANSWER) if read else b""
            return Answer(answer.status, answer.reason, answer.headers, said)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.reason, error.headers, _rest(error))


def opened(request: urllib.request.Request, within: float) -> Any:
    """Send a request, and return the answer, to be read and closed.

    Raises:
        urllib.error.HTTPError: the answer has a status below 200 or from 300 on: a redirect is not followed.
        OSError: as `post`.
        http.client.HTTPException: as `post`.
    """
    # Built anew: it reads the environment's proxies once.
    return urllib.request.build_opener(_NoRedirect).open(request, timeout=within)


def _rest(error: urllib.error.HTTPError) -> bytes:
    """Read what a refusal says; a refusal whose text was cut short is one all the same."""
    try:
        return error.read(LONGEST_ANSWER)
    except http.client.IncompleteRead as cut:
        return cut.partial
    except OSError:
        return b""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer: the message, with its headers, is for the host that the user named."""

    def redirect_request(self, *_: Any) -> None:
        return None
