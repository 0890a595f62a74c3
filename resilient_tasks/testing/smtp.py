"""A real SMTP server on this machine, with STARTTLS, SMTPS and AUTH, that keeps its mail and fails on request.

    with MailServer() as server:
        channel = Email("ops@example.org", **server.starttls)
        server.refuses(451)
        ...
        assert server.messages[0].subject == "fetch_month failed: ConnectError"

It listens on the loopback interface only, delivers no mail, and uses a fresh certificate.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from resilient_tasks.alerts import gate
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration
from resilient_tasks.testing import _given
from resilient_tasks.testing._wire import HOST, reserve
from resilient_tasks.testing.faults import Drip, Hang
from resilient_tasks.testing.isolation import open_to
from resilient_tasks.testing.received import only

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_tasks.testing._certificates import Certificate
    from resilient_tasks.testing._smtp_session import Listeners

#: The stage of a session at which a refusal is sent: in place of the greeting, or in answer to a command or a message.
Stage: TypeAlias = Literal["connect", "starttls", "auth", "mail", "rcpt", "data", "message"]


@dataclass(frozen=True)
class Refusal:
    """Answers with a given code at one stage of a session."""

    code: int
    text: str
    at: Stage

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(frozen=True)
class Vanish:
    """Keeps the message and closes the connection without a confirmation."""


MailFault: TypeAlias = Hang | Drip | Refusal | Vanish


@dataclass(frozen=True)
class Mail:
    """A message that the server accepted.

    Attributes:
        sender: The envelope's sender, to which bounces would go.
        recipients: The envelope's accepted recipients.
        raw: The message as received, including its headers.
        user: The logged-in user, or None.
        secure: Whether the connection was encrypted.
    """

    sender: str
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    user: str | None
    secure: bool

    @cached_property
    def parsed(self) -> EmailMessage:
        """The message, parsed by the standard library."""
        return email.message_from_bytes(self.raw, policy=email.policy.default)

    @property
    def subject(self) -> str:
        """The subject, decoded."""
        return str(self.parsed["Subject"] or "")

    @property
    def text(self) -> str:
        """The decoded plain-text part; empty if there is none."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The decoded HTML part; empty if there is none."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.parsed.get_body(preferencelist=(kind,))
        return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


class MailServer:
    """An SMTP server on 127.0.0.1 with a port for STARTTLS and one for SMTPS, that fails on request.

    Faults are queued: each of the next connections meets one, in order.

    Attributes:
        username: The user that may log in.
        password: The user's password, random for each server.
        auth: Whether clients must log in, which requires TLS.
    """

    def __init__(self, *, auth: bool = True) -> None:
        """Prepare a server; `start` or a with statement opens its ports.

        Args:
            auth: False: accept mail without a login and without TLS, as an internal relay does.
        """
        self.username = "tester"
        self.password: str = secrets.token_urlsafe(12)
        self.auth = auth
        self._faults: deque[MailFault] = deque()
        self._refused: dict[str, Refusal] = {}
        self._messages: list[Mail] = []
        self._connections = 0
        self._lock = threading.Lock()
        self._ports = (0, 0)
        self._listeners: Listeners | None = None
        self._certificate: Certificate | None = None
        self._isolation = contextlib.ExitStack()

    def start(self) -> Self:
        """Open the ports and start answering.

        Raises:
            ModuleNotFoundError: The extra `testing` is not installed.
            RuntimeError: The server is running already.
        """
        if self._listeners is not None:
            raise RuntimeError(f"The server is already running on port {self.port}: stop it before starting it again.")
        try:
            # An extra. Imported here, so that only mail servers pay for it.
            from resilient_tasks.testing._certificates import Certificate  # noqa: PLC0415
            from resilient_tasks.testing._smtp_session import Listeners  # noqa: PLC0415
        except ModuleNotFoundError as error:
            needs = "MailServer, and the fixture resilient_smtp, need aiosmtpd and trustme"
            raise ModuleNotFoundError(f"{needs}: pip install 'resilient-tasks[testing]'", name=error.name) from error
        self._certificate = self._certificate or Certificate()
        self._listeners = Listeners(self, self._certificate.context, self._ports)
        self._ports = self._listeners.ports
        return self

    def stop(self) -> None:
        """Close the ports and every connection at once, hanging ones included; do nothing if not running."""
        self._hang_up()
        if self._certificate is not None:
            self._certificate.delete()
            self._certificate = None

    def __enter__(self) -> Self:
        """Start the server, and keep alerts away from people (see `away_from_people`), except those sent here."""
        self.start()
        self._isolation = contextlib.ExitStack()
        for port in self._ports:
            self._isolation.enter_context(open_to(gate.place(HOST, port)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._isolation.close()
        self.stop()

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Close the ports and every connection for the length of a with block, then listen there again.

        Meanwhile the operating system refuses connections; the server neither sees nor counts them.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._listeners is None:
            raise RuntimeError("The server is not running: start it before taking it offline.")
        self._hang_up()
        try:
            with reserve(self._ports[0]), reserve(self._ports[1]):
                yield
        finally:
            self.start()

    @property
    def host(self) -> str:
        """The server's IP address."""
        return HOST

    @property
    def port(self) -> int:
        """The port without TLS, which offers STARTTLS.

        Raises:
            RuntimeError: The server has not been started.
        """
        return self._port(0)

    @property
    def tls_port(self) -> int:
        """The port that speaks TLS from the first byte (SMTPS). Raises as `port` does."""
        return self._port(1)

    @property
    def ca(self) -> Path:
        """The certificate for clients to trust, a PEM file that exists while the server runs.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._certificate is None:
            raise RuntimeError("The server has no certificate: start it, or use it in a with statement.")
        return self._certificate.authority

    @property
    def starttls(self) -> dict[str, Any]:
        """The arguments of `Email` to send through `port`: `Email("ops@example.org", **server.starttls)`."""
        return {"host": HOST, "port": self.port, "security": "starttls", **self._access}

    @property
    def tls(self) -> dict[str, Any]:
        """The arguments of `Email` to send through `tls_port`."""
        return {"host": HOST, "port": self.tls_port, "security": "tls", **self._access}

    def message(self, containing: str = "") -> Mail:
        """Return the only message, or the only one whose subject or text contains a text.

        Raises:
            AssertionError: There is none, or there are several. The error lists them, and the messages that still wait
                to be sent.
        """
        return only(self.messages, containing, lambda mail: f"{mail.subject}\n{mail.text}")

    @property
    def messages(self) -> list[Mail]:
        """Every accepted message, oldest first, whether or not the sender saw the confirmation."""
        with self._lock:
            return list(self._messages)

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        with self._lock:
            return self._connections

    @answering("server.refuses(451)")
    def refuses(self, code: int = 451, times: int = 1, *, at: Stage = "message", text: str | None = None) -> None:
        """Refuse with a code: 4xx is a temporary failure, 5xx a permanent one.

        Args:
            code: The code, 400 to 599. After 421 the connection is closed.
            times: The number of connections that meet it.
            at: In place of the greeting (`connect`), in answer to a command (`starttls`, `auth`, `mail`, `rcpt`,
                `data`), or after the whole message has been read (`message`).
            text: The text after the code.

        Raises:
            ValueError: The code is not a refusal, or there is no such stage.
        """
        if at not in get_args(Stage):
            raise ValueError(f"A mail server refuses at {', '.join(get_args(Stage))}, not at {at!r}.")
        _given.check_times(times, "refuses")
        self._fail(*[_refusal(code, text, at)] * times)

    @answering('server.refuses_recipient("ops@example.org")')
    def refuses_recipient(self, address: str, code: int = 550, text: str | None = None) -> None:
        """Refuse one recipient from now on; with code 250, accept it again.

        Raises:
            ValueError: The code is not a refusal.
        """
        if "@" not in _given.text(address, "refuses_recipient(address)", "ops@example.org"):
            raise PolicyError(f"refuses_recipient(address) is an address such as 'ops@example.org', not {address!r}")
        with self._lock:
            if code == 250:
                self._refused.pop(address, None)
            else:
                self._refused[address] = _refusal(code, text or f"<{address}>: Recipient address rejected", "rcpt")

    @answering("server.vanishes()")
    def vanishes(self, times: int = 1) -> None:
        """Accept a message and close the connection without a confirmation, so the client cannot know."""
        _given.check_times(times, "vanishes")
        self._fail(*[Vanish()] * times)

    @answering("server.hangs(5)")
    def hangs(self, seconds: Duration, times: int = 1) -> None:
        """Accept a connection, send nothing for `seconds`, then close it."""
        _given.check_times(times, "hangs")
        self._fail(*[Hang(seconds)] * times)

    @answering("server.drips(1)")
    def drips(self, bytes_per_second: float, times: int = 1) -> None:
        """Answer slowly but steadily: each read is quick, the whole response is not."""
        _given.check_times(times, "drips")
        self._fail(*[Drip(bytes_per_second)] * times)

    def next_fault(self) -> MailFault | None:
        """Count a connection and return its fault. Called by its session."""
        with self._lock:
            self._connections += 1
            return self._faults.popleft() if self._faults else None

    def refusal_of(self, recipient: str) -> str | None:
        """Return the answer that refuses a recipient, or None. Called by a session."""
        with self._lock:
            refusal = self._refused.get(recipient)
        return None if refusal is None else str(refusal)

    def keep(self, mail: Mail) -> None:
        """Store a message. Called by a session, before it confirms the message to the client."""
        with self._lock:
            self._messages.append(mail)

    @property
    def _access(self) -> dict[str, Any]:
        login = {"username": self.username, "password": self.password} if self.auth else {}
        return {**login, "ca": self.ca}

    def _port(self, which: int) -> int:
        if not self._ports[which]:
            raise RuntimeError("The server has no port yet: start it, or use it in a with statement.")
        return self._ports[which]

    def _fail(self, *faults: MailFault) -> None:
        with self._lock:
            self._faults.extend(faults)

    def _hang_up(self) -> None:
        if self._listeners is not None:
            self._listeners.stop()
            self._listeners = None


def _refusal(code: int, text: str | None, at: Stage) -> Refusal:
    if isinstance(code, bool) or not isinstance(code, int) or not 400 <= code <= 599:
        raise PolicyError(f"A mail server refuses with a code from 400 to 599, not {code!r}.")
    later = "4.3.0 Error: try again later" if code < 500 else "5.7.1 Error: refused"
    return Refusal(code, text or later, at)
