"""The faults of a server: one frozen value per fault.

A fault only describes *what* happens. `resilient_tasks.testing.http.FaultyServer` performs it on a real socket, so
a client meets the same errors as in production: a reset connection is a TCP reset, a hang is silence.

`Status`, `Refused`, `RedirectLoop` and `Hang` replace the server's handler, which does not run. With every other fault
the handler has run and its side effects have happened, although the client may not know: the case in which a retry does
the work twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_tasks.core.parameters.durations import Duration


@answering("Status(503, retry_after=1)")
@dataclass(frozen=True)
class Status:
    """Answers with a status code instead of the real answer.

    Attributes:
        code: A final HTTP status, 200 to 599.
        retry_after: The `Retry-After` header: seconds, or text (an HTTP date) that is sent as it is. HTTP allows
            only whole seconds; fractions are sent anyway, for tests that should not wait.
        body: The answer's body.
        content_type: The body's media type.

    Raises:
        ValueError: The code is not final.
    """

    name: ClassVar[str] = "status"
    code: int
    retry_after: float | str | None = None
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"

    def __post_init__(self) -> None:
        if isinstance(self.code, bool) or not isinstance(self.code, int) or not 200 <= self.code <= 599:
            raise PolicyError(f"Status({self.code!r}) would not end the request: use a code from 200 to 599.")
        object.__setattr__(self, "retry_after", checked_retry_after(self.retry_after, "Status"))


@answering("Reset(after_bytes=1)")
@dataclass(frozen=True)
class Reset:
    """Sends the head and part of the body, then resets the connection (TCP RST).

    Attributes:
        after_bytes: How many bytes of the body are sent; at most all but the last.

    Raises:
        ValueError: The count is negative.
    """

    name: ClassVar[str] = "reset"
    after_bytes: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.after_bytes, bool) or not isinstance(self.after_bytes, int) or self.after_bytes < 0:
            raise PolicyError(f"Reset needs a count of bytes from 0 on, not {self.after_bytes!r}.")


@answering("Truncate(0.5)")
@dataclass(frozen=True)
class Truncate:
    """Sends a part of the body with a matching length, so the protocol shows no error.

    Attributes:
        keep: The fraction of the body that is sent, from 0 up to but not including 1.

    Raises:
        ValueError: The fraction lies outside that range.
    """

    name: ClassVar[str] = "truncate"
    keep: float = 0.5

    def __post_init__(self) -> None:
        _require_part("Truncate", self.keep)


@answering("Incomplete(0.5)")
@dataclass(frozen=True)
class Incomplete:
    """Announces the whole body, sends a part of it and closes the connection.

    Attributes:
        keep: The fraction of the body that is sent, from 0 up to but not including 1.

    Raises:
        ValueError: The fraction lies outside that range.
    """

    name: ClassVar[str] = "incomplete"
    keep: float = 0.5

    def __post_init__(self) -> None:
        _require_part("Incomplete", self.keep)


@answering("Overlong(0.5)")
@dataclass(frozen=True)
class Overlong:
    """Announces a part of the body, but sends all of it: the client ends its read early, without an error.

    Attributes:
        announced: The fraction of the body that is announced, from 0 up to but not including 1.

    Raises:
        ValueError: The fraction lies outside that range.
    """

    name: ClassVar[str] = "overlong"
    announced: float = 0.5

    def __post_init__(self) -> None:
        _require_part("Overlong", self.announced)


@answering("BrokenGzip()")
@dataclass(frozen=True)
class BrokenGzip:
    """Declares the body to be compressed by gzip, and sends compressed data that no client can decompress."""

    name: ClassVar[str] = "broken_gzip"


@answering('WrongType("text/html")')
@dataclass(frozen=True)
class WrongType:
    """Sends the true body under another media type.

    Attributes:
        content_type: The media type that is sent.

    Raises:
        ValueError: The media type is not a text.
    """

    name: ClassVar[str] = "wrong_type"
    content_type: str = "text/html; charset=utf-8"

    def __post_init__(self) -> None:
        if not isinstance(self.content_type, str) or "/" not in self.content_type:
            raise PolicyError(
                f"WrongType(content_type) is a media type such as 'text/html', not {self.content_type!r}."
            )


@answering("RedirectLoop()")
@dataclass(frozen=True)
class RedirectLoop:
    """Redirects (302) to the same path again and again; a client that follows gives up by itself.

    The requests that follow the first one meet no other fault.
    """

    name: ClassVar[str] = "redirect_loop"


@answering("Hang(5)")
@dataclass(frozen=True)
class Hang:
    """Reads the request, sends nothing for a while, then closes. Ends at once when the server stops.

    Attributes:
        seconds: How long the silence lasts.

    Raises:
        ValueError: The time is negative or not a duration.
    """

    name: ClassVar[str] = "hang"
    seconds: float

    if TYPE_CHECKING:

        def __init__(self, seconds: Duration) -> None: ...

    def __post_init__(self) -> None:
        durations.settle(self, "seconds", where="Hang(seconds)", zero=True)


@answering("Drip(10)")
@dataclass(frozen=True)
class Drip:
    """Sends the head or the body slowly but steadily: each read is quick, the whole response is not.

    Attributes:
        bytes_per_second: The pace, above 0.
        part: `"body"`, or `"head"` for the status line and the headers; the rest is sent at once.

    Raises:
        ValueError: The pace is not above 0, or there is no such part.
    """

    name: ClassVar[str] = "drip"
    bytes_per_second: float
    part: Literal["body", "head"] = "body"

    def __post_init__(self) -> None:
        pace = self.bytes_per_second
        if isinstance(pace, bool) or not isinstance(pace, int | float) or not pace > 0:
            raise PolicyError(f"Drip needs a pace above 0 bytes a second, not {pace!r}: see Hang.")
        if self.part not in ("body", "head"):
            raise PolicyError(f'Drip(part=...) is "body" or "head", not {self.part!r}.')


@answering("Slow(2)")
@dataclass(frozen=True)
class Slow:
    """Answers as usual, after a delay.

    Attributes:
        seconds: The delay before the answer's first byte.

    Raises:
        ValueError: The delay is negative.
    """

    name: ClassVar[str] = "slow"
    seconds: float

    if TYPE_CHECKING:

        def __init__(self, seconds: Duration) -> None: ...

    def __post_init__(self) -> None:
        durations.settle(self, "seconds", where="Slow(seconds)", zero=True)


@answering("Refused()")
@dataclass(frozen=True)
class Refused:
    """Redirects (307) to a port without a listener: a real refused connection for one request among many.

    It only works for clients that follow redirects (httpx does with `follow_redirects=True`; urllib and slack_sdk do
    not follow a redirected POST). `FaultyServer.offline` refuses every client.
    """

    name: ClassVar[str] = "refused"


@answering("Corrupt(break_json)")
@dataclass(frozen=True)
class Corrupt:
    """Sends the body changed by a function, with a matching length.

    Attributes:
        transform: Maps the true body to the one that is sent.
        name: The fault's name in the log.
    """

    transform: Callable[[bytes], bytes]
    name: str = "corrupt"

    def __post_init__(self) -> None:
        if not callable(self.transform):
            raise PolicyError(f"Corrupt(transform) is a function from the body to another, not {self.transform!r}.")


Fault: TypeAlias = (
    Status
    | Reset
    | Truncate
    | Incomplete
    | Overlong
    | BrokenGzip
    | WrongType
    | RedirectLoop
    | Hang
    | Drip
    | Slow
    | Refused
    | Corrupt
)


def break_json(body: bytes) -> bytes:
    """Make any body invalid JSON: its last character becomes a comma, as if the writer died between two items."""
    return body.rstrip()[:-1] + b","


def break_csv(body: bytes) -> bytes:
    """Append a row that has one field too many and ends inside quotes.

    The csv module (strict), pandas (all engines), polars and pyarrow all reject it, whatever came before; some of them
    silently accept a row that is only ragged.
    """
    header = body.split(b"\n", 1)[0]
    separator = max((b",", b";", b"\t", b"|"), key=header.count)
    row = separator.join([b"?"] * (header.count(separator) + 1) + [b'"cut off in mid-fie'])
    return body.rstrip(b"\r\n") + b"\n" + row


def _require_part(fault: str, keep: float) -> None:
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 <= keep < 1:
        raise PolicyError(f"{fault} keeps a part of the body: give a fraction from 0 to below 1, not {keep!r}.")


def checked_retry_after(value: Any, method: str) -> float | str | None:
    """Return the value to send as `Retry-After`.

    Raises:
        PolicyError: it is neither a number, a text nor a `timedelta`.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        msg = f"{method}(retry_after=...) is a number of seconds, or a text to send as it is, not {value!r}"
        raise PolicyError(msg)
    return value
