"""The server side of SMTP (RFC 5321, STARTTLS by RFC 3207, AUTH by RFC 4954)."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable
from functools import partial
from hmac import compare_digest

from resilient_tasks.testing._smtp_wire import EndedError, Envelope, Refusal, RefusedError, Stage, Vanish, Wire
from resilient_tasks.testing.faults import Hang

_LARGEST_MESSAGE = 10 * 1024 * 1024


class Session(Wire):
    """One client, from its greeting to its QUIT."""

    def setup(self) -> None:
        super().setup()
        self.user: str | None = None
        self.greeted = False
        self.sender: str | None = None
        self.recipients: list[str] = []

    def handle(self) -> None:
        with contextlib.suppress(EndedError):
            if isinstance(self.fault, Hang):
                self.server.stopping.wait(self.fault.seconds)
                return
            if self.server.secure:
                self.encrypt()
            self._refusing(self._greet)
            while True:
                self._refusing(partial(self._obey, self.line()))

    def _refusing(self, act: Callable[[], None]) -> None:
        try:
            act()
        except RefusedError as refusal:
            code, text = refusal.args
            self.say(code, text)
            if code == 421:  # the service closes the channel, RFC 5321 §3.8
                raise EndedError from None

    def _greet(self) -> None:
        self._refuse_if_due("connect")
        self.say(220, "localhost ESMTP, for tests")

    def _obey(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": lambda _: self.say(250, "2.0.0 Ok"),
            "QUIT": self._quit,
        }
        command = commands.get(verb.upper())
        if command is None:
            self.say(500, "5.5.2 Error: command not recognized")
        elif not self.greeted and verb.upper() in {"STARTTLS", "AUTH", "MAIL", "RCPT", "DATA"}:
            self.say(503, "5.5.1 Error: send HELO/EHLO first")
        else:
            command(rest)

    def _ehlo(self, _: str) -> None:
        self.greeted = True
        self._forget_message()
        offers = ["localhost", f"SIZE {_LARGEST_MESSAGE}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if not self.is_secure:
            offers.append("STARTTLS")
        elif self.server.office.auth:
            offers.append("AUTH PLAIN LOGIN")
        self.say(250, *offers)

    def _helo(self, _: str) -> None:
        self.greeted = True
        self._forget_message()
        self.say(250, "localhost")

    def _starttls(self, _: str) -> None:
        self._refuse_if_due("starttls")
        if self.is_secure:
            self.say(503, "5.5.1 Error: TLS is active already")
            return
        self.say(220, "2.0.0 Ready to start TLS")
        self.encrypt()
        # The server forgets what the client said before (RFC 3207 §4.2).
        self.greeted, self.user = False, None
        self._forget_message()

    def _auth(self, rest: str) -> None:
        self._refuse_if_due("auth")
        method, _, initial = rest.partition(" ")
        if not self.is_secure:
            self.say(538, "5.7.11 Encryption required for requested authentication mechanism")
            return
        if self.user is not None:
            self.say(503, "5.5.1 Error: already authenticated")
            return
        try:
            if method.upper() == "PLAIN":
                _, user, password = (_decoded(initial) if initial else self._asked("")).split("\0")
            elif method.upper() == "LOGIN":
                user = _decoded(initial) if initial else self._asked("Username:")
                password = self._asked("Password:")
            else:
                self.say(504, "5.5.4 Unrecognized authentication type")
                return
        except ValueError:
            self.say(501, "5.5.2 Cannot decode the credentials")
            return
        office = self.server.office
        right = compare_digest(f"{user}\0{password}".encode(), f"{office.username}\0{office.password}".encode())
        if right:
            self.user = user
            self.say(235, "2.7.0 Authentication successful")
        else:
            self.say(535, "5.7.8 Error: authentication failed")

    def _asked(self, prompt: str) -> str:
        self.say(334, base64.b64encode(prompt.encode()).decode())
        return _decoded(self.line())

    def _mail(self, rest: str) -> None:
        self._refuse_if_due("mail")
        found = re.match(r"FROM:\s*<([^<>]*)>", rest, re.IGNORECASE)
        if self.server.office.auth and self.user is None:
            self.say(530, "5.7.0 Authentication required")
        elif self.sender is not None:
            self.say(503, "5.5.1 Error: nested MAIL command")
        elif found is None:
            self.say(501, "5.1.7 Bad sender address syntax")
        else:
            self.sender = found[1]
            self.say(250, "2.1.0 Ok")

    def _rcpt(self, rest: str) -> None:
        self._refuse_if_due("rcpt")
        found = re.match(r"TO:\s*<([^<>]+)>", rest, re.IGNORECASE)
        if self.sender is None:
            self.say(503, "5.5.1 Error: need MAIL command")
        elif found is None:
            self.say(501, "5.1.3 Bad recipient address syntax")
        elif (refusal := self.server.office.refusal_of(found[1])) is not None:
            self.say(refusal.code, refusal.text)
        else:
            self.recipients.append(found[1])
            self.say(250, "2.1.5 Ok")

    def _data(self, _: str) -> None:
        self._refuse_if_due("data")
        if self.sender is None or not self.recipients:
            self.say(503, "5.5.1 Error: need RCPT command")
            return
        self.say(354, "End data with <CR><LF>.<CR><LF>")
        raw = self._message()
        sender, recipients = self.sender, tuple(self.recipients)
        self._forget_message()
        if raw is None:
            self.say(552, "5.3.4 Error: message too big")
            return
        self._refuse_if_due("message")
        self.server.office.keep(Envelope(sender, recipients, raw, self.user, self.is_secure))
        if isinstance(self.fault, Vanish):
            raise EndedError
        self.say(250, "2.0.0 Ok: queued")

    def _message(self) -> bytes | None:
        """Read a message to its end; return None if it is larger than announced."""
        parts: list[bytes] = []
        size, whole = 0, True
        while True:
            line = self.raw_line(_LARGEST_MESSAGE)
            # Only a dot on a line after a complete one ends the message: otherwise mail could be smuggled in.
            if whole and line == b".\r\n":
                return b"".join(parts) if size <= _LARGEST_MESSAGE else None
            size += len(line)
            if size <= _LARGEST_MESSAGE:
                parts.append(line[1:] if whole and line.startswith(b".") else line)
            whole = line.endswith(b"\r\n")

    def _rset(self, _: str) -> None:
        self._forget_message()
        self.say(250, "2.0.0 Ok")

    def _quit(self, _: str) -> None:
        self.say(221, "2.0.0 Bye")
        raise EndedError

    def _forget_message(self) -> None:
        self.sender = None
        self.recipients = []

    def _refuse_if_due(self, stage: Stage) -> None:
        if isinstance(self.fault, Refusal) and self.fault.at == stage:
            raise RefusedError(self.fault.code, self.fault.text)


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()
