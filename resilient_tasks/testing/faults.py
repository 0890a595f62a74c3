"""What a server can do to its clients: one frozen value per fault.

A fault says only *what* happens. `resilient_tasks.testing.http.FaultyServer` performs it on a real socket, so
that a client meets the same errors as in production: a reset connection is a TCP reset, a hang is silence.

`Status`, `Refused` and `Hang` answer in place of the server's handler, which is not run. With every other fault
the handler has run and its side effects have happened, although the client may never learn of it: the case in
which a retry does the work twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from resilient_tasks.core import durations
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_tasks.core.durations import Duration


@answering("Status(503, retry_after=1)")
@dataclass(frozen=True)
class Status:
    """Answers with a status code instead of the real answer.

    Attributes:
        code: A final HTTP status, 200 to 599.
        retry_after: The `Retry-After` header: seconds, or text (an HTTP date) that is sent as it is. HTTP knows
            whole seconds only; a fraction is sent all the same, for tests that should not wait.
        body: The answer's body.
        content_type: The body's media type.

    Raises:
        ValueError: The code is not a final one.
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
        after_bytes: How much of the body is sent; of a body no longer than that, all but its last byte.

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
    """Sends a part of the body as though it were all: nothing in the protocol tells the client.

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


@answering("Hang(5)")
@dataclass(frozen=True)
class Hang:
    """Takes the request, answers nothing for a while, then closes. Ends at once when the server stops.

    Attributes:
        seconds: How long the silence lasts.

    Raises:
        ValueError: The time is negative, or none.
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
    """Sends the body slowly but steadily: no single read takes long, the whole does.

    Attributes:
        bytes_per_second: The pace, above 0.

    Raises:
        ValueError: The pace is not above 0.
    """

    name: ClassVar[str] = "drip"
    bytes_per_second: float

    def __post_init__(self) -> None:
        pace = self.bytes_per_second
        if isinstance(pace, bool) or not isinstance(pace, int | float) or not pace > 0:
            raise PolicyError(f"Drip needs a pace above 0 bytes a second, not {pace!r}: see Hang.")


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
    """Sends the client on (307) to a port on which nobody listens: a real refusal for one request among many.

    Only a client that follows redirects meets it (httpx does with `follow_redirects=True`; urllib and slack_sdk do
    not follow a redirected POST). `FaultyServer.offline` refuses every client.
    """

    name: ClassVar[str] = "refused"


@answering("Corrupt(break_json)")
@dataclass(frozen=True)
class Corrupt:
    """Passes the body through a function and sends what comes out, with a matching length.

    Attributes:
        transform: From the true body to the one that is sent.
        name: What the log calls this fault.
    """

    transform: Callable[[bytes], bytes]
    name: str = "corrupt"

    def __post_init__(self) -> None:
        if not callable(self.transform):
            raise PolicyError(f"Corrupt(transform) is a function from the body to another, not {self.transform!r}.")


Fault: TypeAlias = Status | Reset | Truncate | Incomplete | Hang | Drip | Slow | Refused | Corrupt


def break_json(body: bytes) -> bytes:
    """Makes any body invalid JSON: its last character becomes a comma, as if the writer died between two items."""
    return body.rstrip()[:-1] + b","


def break_csv(body: bytes) -> bytes:
    """Adds a last row that has a field too many and breaks off inside quotes.

    The csv module (strict), pandas (each of its engines), polars and pyarrow all reject it, whatever came before;
    a row that is only ragged is read in silence by some of them.
    """
    header = body.split(b"\n", 1)[0]
    separator = max((b",", b";", b"\t", b"|"), key=header.count)
    row = separator.join([b"?"] * (header.count(separator) + 1) + [b'"cut off in mid-fie'])
    return body.rstrip(b"\r\n") + b"\n" + row


def _require_part(fault: str, keep: float) -> None:
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 <= keep < 1:
        raise PolicyError(f"{fault} keeps a part of the body: give a fraction from 0 to below 1, not {keep!r}.")


def checked_retry_after(value: Any, who: str) -> float | str | None:
    """Return what to send as `Retry-After`.

    Raises:
        PolicyError: it is neither a number, a text nor a `timedelta`.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        msg = f"{who}(retry_after=...) is a number of seconds, or a text to send as it is, not {value!r}"
        raise PolicyError(msg)
    return value
