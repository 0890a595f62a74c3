"""An SMTP client that keeps a deadline, and whose errors quote the server."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.execution import real_time as time

Security = Literal["starttls", "tls", "none"]

#: A server's answer to a recipient: a code of RFC 5321 and a text.
Answer = tuple[int, str]

#: Seconds that QUIT may take.
_QUIT = 1.0


class EmailRefusedError(ResilienceError):
    """A mail server answered, and did not accept the message. `classify` goes by its codes.

    Attributes:
        smtp_code: the server's answer: 4xx for now, 5xx for good; None if it lacks an extension that is needed.
        recipients: the answer to each refused recipient, by address.
    """

    def __init__(
        self, message: str, smtp_code: int | None = None, recipients: Mapping[str, Answer] | None = None
    ) -> None:
        super().__init__(message)
        self.smtp_code = smtp_code
        self.recipients: dict[str, Answer] | None = dict(recipients) if recipients else None


@dataclass(frozen=True)
class Server:
    """A mail server, and how to connect to it."""

    host: str
    port: int
    security: Security
    ca: str | Path | None
    username: str | None


def deliver(
    raw: bytes, *, sender: str, to: Sequence[str], server: Server, password: Callable[[], str], within: float
) -> dict[str, Answer]:
    """Send `raw` to the server once, and return the recipients that it refused; it accepted it for all others.

    Raises:
        EmailRefusedError: the server did not accept the message.
        TimeoutError: it did not answer within `within` seconds.
        OSError: it was not reached, or its certificate is not valid.
    """
    until = time.monotonic() + within
    problem: Exception | None = None
    refused: dict[str, Any] = {}
    try:
        with contextlib.closing(_connected(server, until)) as smtp:
            if server.username is not None:
                smtp.login(server.username, password())
            refused = smtp.sendmail(sender, list(to), raw)
            smtp.quit_quietly()
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPException as error:
        problem = _translated(error, server.host, within, late=time.monotonic() >= until)
    # Raised out here, the error has no context: the old one's traceback leads through smtplib's `login`, and a logger
    # that shows the variables of each frame would show the password.
    if problem is not None:
        raise problem
    return {address: (code, _text(answer)) for address, (code, answer) in refused.items()}


def greet(*, server: Server, password: Callable[[], str], within: float) -> None:
    """Connect, encrypt and log in as `deliver` does, and send nothing.

    Raises:
        EmailRefusedError: the server refused that.
        TimeoutError: it did not answer within `within` seconds.
        OSError: it was not reached, or its certificate is not valid.
    """
    until = time.monotonic() + within
    problem: Exception | None = None
    try:
        with contextlib.closing(_connected(server, until)) as smtp:
            smtp.ehlo_or_helo_if_needed()
            if server.username is not None:
                smtp.login(server.username, password())
            smtp.noop()
            smtp.quit_quietly()
    except smtplib.SMTPException as error:
        problem = _translated(error, server.host, within, late=time.monotonic() >= until)
    if problem is not None:  # without a context, as above
        raise problem


def _connected(server: Server, until: float) -> _InTime:
    context = ssl.create_default_context(cafile=server.ca) if server.security != "none" else None
    smtp = _Smtps(server, until, context) if server.security == "tls" else _Smtp(server, until)
    try:
        smtp.local_hostname = _own_name(smtp.sock)
        if server.security == "starttls":
            smtp.encrypt(context)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _translated(error: smtplib.SMTPException, host: str, within: float, *, late: bool) -> Exception:
    if isinstance(error, smtplib.SMTPServerDisconnected):
        if late:
            return TimeoutError(f"{host} did not answer within {within:g} s")
        return ConnectionError(f"{host} closed the connection before it had accepted the message")
    if isinstance(error, smtplib.SMTPAuthenticationError):
        text = f"{host} refused the username and password ({error.smtp_code} {_text(error.smtp_error)})"
        return EmailRefusedError(text, error.smtp_code)
    if isinstance(error, smtplib.SMTPResponseException):
        text = f"{host} answered {error.smtp_code} {_text(error.smtp_error)}"
        return EmailRefusedError(text, error.smtp_code)
    return EmailRefusedError(f"{host}: {error}")


def _text(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())[:300]


def _own_name(connection: socket.socket | None) -> str:
    """Return this machine's name for the greeting. smtplib would query the DNS, which may take very long."""
    name = socket.gethostname()
    if "." in name.strip(".") and name.isascii():
        return name
    own = connection.getsockname()[0] if connection is not None else "127.0.0.1"
    return f"[IPv6:{own}]" if ":" in own else f"[{own}]"


class _Lines:
    """The server's answers, line by line, until the deadline: a socket's own timeout starts again with each byte."""

    def __init__(self, connection: Any, left: Callable[[], float]) -> None:
        self._connection = connection
        self._left = left
        self._read = b""

    def readline(self, limit: int) -> bytes:
        while b"\n" not in self._read and len(self._read) < limit:
            self._connection.settimeout(self._left())
            more = self._connection.recv(4096)
            if not more:
                break
            self._read += more
        end = self._read.find(b"\n") + 1 or len(self._read)
        line, self._read = self._read[: min(end, limit)], self._read[min(end, limit) :]
        return line

    def close(self) -> None:
        self._read = b""


class _InTime(smtplib.SMTP):
    """A client whose reads and writes end at its deadline."""

    until: float

    def left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        return left

    def encrypt(self, context: ssl.SSLContext | None) -> None:
        """Begin TLS, or fail: someone in between may have removed the server's offer."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("offers no STARTTLS on this port, and nothing was sent")
        self.starttls(context=context)

    def quit_quietly(self) -> None:
        """Quit. The mail was accepted, so an error from here on must not look like a failure."""
        self.until = min(self.until, time.monotonic() + _QUIT)
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self.quit()

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Lines(self.sock, self.left)
        return super().getreply()

    def send(self, s: Any) -> None:
        if self.sock is not None:
            # If no time is left, the next read raises.
            self.sock.settimeout(max(0.001, self.until - time.monotonic()))
        super().send(s)


class _Smtp(_InTime):
    def __init__(self, server: Server, until: float) -> None:
        self.until = until
        super().__init__(server.host, server.port, local_hostname="localhost", timeout=self.left())


class _Smtps(_InTime, smtplib.SMTP_SSL):
    def __init__(self, server: Server, until: float, context: ssl.SSLContext | None) -> None:
        self.until = until
        smtplib.SMTP_SSL.__init__(
            self, server.host, server.port, local_hostname="localhost", timeout=self.left(), context=context
        )
