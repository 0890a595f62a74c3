"""SMTP sessions by aiosmtpd: what a session keeps, and how it fails on request."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import threading
from collections.abc import Coroutine
from functools import partial
from hmac import compare_digest
from typing import Any, AnyStr, TypeVar

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, TLSSetupException
from aiosmtpd.smtp import Session as State

from resilient_tasks.testing._wire import HOST
from resilient_tasks.testing.faults import Drip, Hang
from resilient_tasks.testing.smtp import Mail, MailServer, Refusal, Stage, Vanish

_LARGEST_MESSAGE = 10 * 1024 * 1024
_Result = TypeVar("_Result")


class Listeners:
    """A port for STARTTLS and one for SMTPS, served by an event loop in a thread of its own.

    Attributes:
        ports: The two ports.
    """

    def __init__(self, office: MailServer, context: ssl.SSLContext, ports: tuple[int, int]) -> None:
        """Listen on two ports, 0 for free ones.

        Raises:
            OSError: A port is in use.
        """
        self._servers: list[asyncio.Server] = []
        self._sessions: set[Session] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="resilient-smtp", daemon=True)
        self._thread.start()
        try:
            for port, secure in zip(ports, (False, True), strict=True):
                session = partial(Session, office, context, self._loop, self._sessions, secure=secure)
                self._servers.append(self._run(self._loop.create_server(session, HOST, port)))
        except OSError:
            self.stop()
            raise
        plain, encrypted = (server.sockets[0].getsockname()[1] for server in self._servers)
        self.ports: tuple[int, int] = plain, encrypted

    def stop(self) -> None:
        """Close the ports and every connection."""
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _hang_up(self) -> None:
        for server in self._servers:
            server.close()
        for session in self._sessions:
            session.abort()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Session(SMTP):
    """One client, from its greeting to its QUIT, with the fault that its connection meets."""

    # aiosmtpd's own limit is what clients may send at most (RFC 5321); most servers accept longer lines.
    line_length_limit = _LARGEST_MESSAGE

    def __init__(
        self,
        office: MailServer,
        context: ssl.SSLContext,
        loop: asyncio.AbstractEventLoop,
        sessions: set[Session],
        *,
        secure: bool,
    ) -> None:
        super().__init__(
            _Desk(office),
            hostname="localhost",
            ident="ESMTP, for tests",
            data_size_limit=_LARGEST_MESSAGE,
            tls_context=context,
            auth_required=office.auth,
            authenticator=partial(_check_login, office),
            timeout=math.inf,  # an idle client stays until the server stops
            loop=loop,
        )
        self.fault = office.next_fault()
        self._secure = secure
        self._greeting = True
        self._silent = False
        self._sessions = sessions
        self._socket: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._socket is None:  # later calls are for TLS on the same socket
            self._socket = transport
            self._sessions.add(self)
            if self._secure:
                # A client of SMTPS speaks first: its bytes wait until TLS can read them.
                self._socket.pause_reading()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sessions.discard(self)
        super().connection_lost(error)

    def abort(self) -> None:
        """Drop the connection."""
        self._socket.abort()

    async def push(self, status: AnyStr) -> None:
        """Send an answer at the pace of the fault. The first one is the greeting."""
        answer = status if isinstance(status, bytes) else status.encode()
        if self._greeting:
            self._greeting = False
            await self._open()
            answer = (self.refusal("connect") or answer.decode()).encode()
        transport: Any = self.transport
        if self._silent or transport is None or transport.is_closing():
            return
        if isinstance(self.fault, Drip):
            for byte in answer + b"\r\n":
                transport.write(bytes([byte]))
                await asyncio.sleep(1 / self.fault.bytes_per_second)
        else:
            await super().push(answer)
        if answer.startswith(b"421"):  # the service closes the connection, RFC 5321 §3.8
            transport.close()

    async def _open(self) -> None:
        """Hang if the fault says so, and begin TLS if the port does."""
        if isinstance(self.fault, Hang):
            await asyncio.sleep(self.fault.seconds)
            self.abort()
        elif self._secure:
            self.loop.call_soon(self._socket.resume_reading)
            self._silent = True  # no 220 from STARTTLS
            with contextlib.suppress(TLSSetupException):
                await super().smtp_STARTTLS("")
            self._silent = False
            if not self.is_secure:
                self.abort()
                # asyncio does not report the loss of a connection to a protocol whose handshake failed.
                self.connection_lost(None)

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.session is not None and self.session.ssl is not None

    def refusal(self, stage: Stage) -> str | None:
        """Return the answer with which the fault refuses at a stage, or None."""
        return str(self.fault) if isinstance(self.fault, Refusal) and self.fault.at == stage else None

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802  # the name that aiosmtpd looks up
        if answer := "503 5.5.1 Error: TLS is active already" if self.is_secure else self.refusal("starttls"):
            await self.push(answer)
        else:
            await super().smtp_STARTTLS(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802  # as above
        if answer := self.refusal("data"):
            await self.push(answer)
        else:
            await super().smtp_DATA(arg)


class _Desk:
    """Answers the commands of every session, by the methods that aiosmtpd looks up."""

    def __init__(self, office: MailServer) -> None:
        self._office = office

    async def handle_EHLO(  # noqa: N802  # as above, with as many arguments
        self, _smtp: Session, state: State, _envelope: Envelope, hostname: str, offers: list[str]
    ) -> list[str]:
        state.host_name = hostname
        return offers if self._office.auth else [offer for offer in offers if not offer.startswith("250-AUTH")]

    async def handle_AUTH(self, smtp: Session, *_: object) -> Any:  # noqa: N802  # as above
        return smtp.refusal("auth") or MISSING

    async def handle_MAIL(self, smtp: Session, *_: object) -> Any:  # noqa: N802  # as above
        return smtp.refusal("mail") or MISSING

    async def handle_RCPT(self, *args: Any) -> Any:  # noqa: N802  # as above
        smtp, _, _, address, _ = args
        return smtp.refusal("rcpt") or self._office.refusal_of(address) or MISSING

    async def handle_DATA(self, smtp: Session, state: State, envelope: Envelope) -> str:  # noqa: N802  # as above
        if answer := smtp.refusal("message"):
            return answer
        sender, raw = envelope.mail_from or "", envelope.original_content or b""
        user = None if state.auth_data is None else state.auth_data.login.decode()
        self._office.keep(Mail("" if sender == "<>" else sender, tuple(envelope.rcpt_tos), raw, user, smtp.is_secure))
        if isinstance(smtp.fault, Vanish):
            smtp.abort()
        return "250 2.0.0 Ok: queued"

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, TLSSetupException):  # clients that do not trust the certificate are expected here
            return ""
        raise error  # a defect: aiosmtpd logs it


def _check_login(office: MailServer, *args: Any) -> AuthResult:
    *_, given = args
    right = compare_digest(b"\0".join(given), f"{office.username}\0{office.password}".encode())
    return AuthResult(success=right, handled=False, auth_data=given)
