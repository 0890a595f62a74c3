"""Sockets for SMTP: a listener, lines in and out, TLS in mid-connection, and socket faults."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler
from typing import Literal, Protocol, TypeAlias

from resilient_tasks.testing._listener import Listener
from resilient_tasks.testing.faults import Drip, Hang

_LONGEST_LINE = 4096
# Seconds until a silent client is disconnected.
_PATIENCE = 60

#: The stage of a session at which a refusal is sent: in place of the greeting, or in answer to a command or a message.
Stage: TypeAlias = Literal["connect", "starttls", "auth", "mail", "rcpt", "data", "message"]


@dataclass(frozen=True)
class Refusal:
    """Answers with a given code at one stage of a session."""

    code: int
    text: str
    at: Stage


@dataclass(frozen=True)
class Vanish:
    """Keeps the message and closes the connection without a confirmation."""


MailFault: TypeAlias = Hang | Drip | Refusal | Vanish


@dataclass(frozen=True)
class Envelope:
    """A message as received."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    user: str | None
    secure: bool


class PostOffice(Protocol):
    """What a session needs from its server."""

    username: str
    password: str
    auth: bool

    def next_fault(self) -> MailFault | None: ...

    def refusal_of(self, recipient: str) -> Refusal | None: ...

    def keep(self, envelope: Envelope) -> None: ...


class MailListener(Listener):
    """Runs a session with each client, for an office."""

    def __init__(
        self, port: int, session: type[Wire], office: PostOffice, context: ssl.SSLContext, *, secure: bool
    ) -> None:
        self.office = office
        self.context = context
        self.secure = secure
        super().__init__(port, session)


class EndedError(Exception):
    """The session is over."""


class RefusedError(Exception):
    """A command is refused, with a code and a text."""


class Wire(BaseRequestHandler):
    """One connection: lines in and out, plain or encrypted, at the pace of its fault."""

    server: MailListener

    def setup(self) -> None:
        self.sock: socket.socket = self.request
        self.sock.settimeout(_PATIENCE)
        self.fault = self.server.office.next_fault()
        self.is_secure = False
        self.lines = self.sock.makefile("rb")

    def finish(self) -> None:
        self.lines.close()
        self.server.forget(self.sock)
        self.sock.close()

    def encrypt(self) -> None:
        plain = self.sock
        self.lines.close()
        self.sock = self.server.context.wrap_socket(plain, server_side=True)
        self.server.keep_track(self.sock, instead_of=plain)
        self.lines = self.sock.makefile("rb")
        self.is_secure = True

    def say(self, code: int, *texts: str) -> None:
        *others, last = texts
        answer = "".join(f"{code}-{text}\r\n" for text in others) + f"{code} {last}\r\n"
        self._send(answer.encode())

    def _send(self, answer: bytes) -> None:
        if not isinstance(self.fault, Drip):
            self.sock.sendall(answer)
            return
        for index in range(len(answer)):
            self.sock.sendall(answer[index : index + 1])
            if self.server.stopping.wait(1 / self.fault.bytes_per_second):
                raise EndedError

    def line(self) -> str:
        line = self.raw_line(_LONGEST_LINE)
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def raw_line(self, limit: int) -> bytes:
        line: bytes = self.lines.readline(limit)
        if not line:
            raise EndedError
        return line
