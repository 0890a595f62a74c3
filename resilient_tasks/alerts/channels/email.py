"""E-mail: messages by SMTP; all messages of an incident are one thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.channels.email_message import compose, first_of
from resilient_tasks.alerts.channels.secret import Secret, check_secret, revealed
from resilient_tasks.alerts.channels.smtp import Answer, EmailRefusedError, Security, Server, deliver, greet
from resilient_tasks.alerts.message import Message
from resilient_tasks.alerts.outbox import incident_store
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import NotifyFailed, bus
from resilient_tasks.core.failures import fields_of
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.state.states import StoreUnavailable

__all__ = ["Email", "EmailRefusedError"]

_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
_BLOCK_TYPES: dict[str, Security] = {"SSL": "tls", "STARTTLS": "starttls", "INSECURE": "none"}

#: Seconds for which the recipients who have a message are remembered: as long as it may be tried again.
_REMEMBERED = 7 * 86400.0


@answering('Email("ops@example.org", host="smtp.example.org")', "sender", "username", "password")
@dataclass(frozen=True, eq=False)
class Email:
    """Send messages by e-mail.

    Args:
        to: one address or several, as `"ops@example.org"` or `"Operations <ops@example.org>"`.
        host: the mail server's name.
        port: default: 587, with `security="tls"` 465, with `security="none"` 25.
        sender: the sender's address. Default: `username` if that is an address, else `resilient-tasks@` and the domain
            of the first recipient.
        username: for servers that require a login.
        password: text, a `SecretStr` or a block that holds it. Default: `SMTP_PASSWORD` in the environment, read when a
            message is sent.
        credentials: a block `EmailServerCredentials` of prefect-email: host, port, security, username and password.
        security: `"starttls"`: encrypt before anything is sent, or send nothing; `"tls"`: encrypted from the first byte
            (SMTPS); `"none"`: unencrypted, without login. Default: `"tls"` on port 465, else `"starttls"`.
        ca: a PEM file of the certificate authorities to trust instead of the system's.

    Raises:
        PolicyError: an address is invalid, there is no recipient, or the server's options contradict each other.
    """

    to: str | Iterable[str]
    host: str | None = None
    port: int | None = None
    _: KW_ONLY
    sender: str | None = None
    username: str | None = None
    password: Secret | None = field(default=None, repr=False)
    credentials: Any = field(default=None, repr=False)
    security: Security | None = None
    ca: str | Path | None = None

    def __post_init__(self) -> None:
        several = (self.to,) if isinstance(self.to, str) else self.to
        if not isinstance(several, Iterable):
            msg = f"Email(to=...) takes one address or several, not {type(several).__name__}"
            raise PolicyError(msg)
        recipients = tuple(_checked(one, "to") for one in several)
        if not recipients:
            msg = "Email(to=...) needs at least one address"
            raise PolicyError(msg)
        self._set(to=recipients)
        if self.credentials is not None:
            self._take_from_block(self.credentials)
        self._set_server()
        self._check_login()
        login = self.username if self.username and "@" in self.username else None
        default = login or f"resilient-tasks@{_domain(recipients[0])}"
        self._set(sender=_checked(self.sender or default, "sender"))

    @property
    def name(self) -> str:
        """See `Channel`. It names the recipients: server, login and sender may change."""
        return f"{self.family}{','.join(self._addresses)}"

    @property
    def family(self) -> str:
        """The beginning of the names of all mail channels."""
        return "email:"

    @property
    def place(self) -> str:
        """The address of the mail server, see `gate`."""
        return gate.place(str(self.host), int(self.port or 0))

    def send(self, message: Message, *, within: float) -> Mapping[str, str]:
        """Deliver `message` once, or raise. See `Channel`.

        If the server refuses a recipient for good, the others get the message, and `notify.failed` names the refused
        one. A recipient that is refused for now is the only one who is tried again.
        """
        sender = str(self.sender)
        mail = compose(message, sender=sender, to=self._to, domain=_domain(sender))
        had_it = self._delivered_to(message)
        missing = [one for one in self._addresses if one not in had_it]
        refused = deliver(
            mail.as_bytes(),
            sender=_bare(sender),
            to=missing,
            server=self._server,
            password=self._password,
            within=within,
        )
        self._report_refusals(message, had_it | (set(missing) - refused.keys()), refused)
        return {"first_id": first_of(message, _domain(sender))}

    def reach(self, *, within: float) -> str:
        """Return what answered, without sending a mail: the server greets, and accepts the login, if there is one.

        Raises:
            EmailRefusedError: the server refused the login, or offers no encryption.
            PolicyError: there is no password.
            OSError: the server was not reached in time, or its certificate is not valid.
        """
        greet(server=self._server, password=self._password, within=within)
        login = f", and accepts the login of {self.username}" if self.username is not None else ""
        return f"{self.host}:{self.port} answers{login}"

    def _report_refusals(self, message: Message, have_it: set[str], refused: dict[str, Answer]) -> None:
        """Report the refused recipients; raise if one of them is to be tried again."""
        if not refused:
            return
        each = "; ".join(f"{one}: {code} {text}" for one, (code, text) in refused.items())
        others = f"; accepted for {', '.join(sorted(have_it))}" if have_it else ""
        error = EmailRefusedError(f"{self.host} refused {each}{others}", min(refused.values())[0], refused)
        if not have_it:
            raise error
        if any(code < 500 for code, _ in refused.values()):
            self._remember(message, have_it)
            raise error
        event = NotifyFailed(
            operation=message.operation,
            run=message.run,
            channel=self.name,
            **fields_of(error),
            key=message.key,
        )
        bus.emit(event)

    def _delivered_to(self, message: Message) -> set[str]:
        if len(self._addresses) == 1:
            return set()
        with suppress(StoreUnavailable):
            return set((incident_store.states().get(self._key(message)) or b"").decode().split())
        return set()

    def _remember(self, message: Message, have_it: set[str]) -> None:
        """Store who has the message, for the process that tries again; without a store they get the mail twice."""
        remembered = "\n".join(sorted(have_it)).encode()
        with suppress(StoreUnavailable):
            incident_store.states().update(self._key(message), lambda _, __: (remembered, None), ttl=_REMEMBERED)

    def _key(self, message: Message) -> str:
        return f"email/{self.name}/{message.key}"

    def _password(self) -> str:
        given = self.credentials.password if self.credentials is not None else self.password
        password = os.environ.get("SMTP_PASSWORD") if given is None else revealed(given)
        if not password:
            msg = f"Email logs in as {self.username!r} and has no password. Give password=, or set SMTP_PASSWORD"
            raise PolicyError(msg)
        if not password.isascii() or not str(self.username).isascii():
            # smtplib raises an error that contains the password.
            msg = "Email's username and password are ASCII: Python's smtplib cannot send others"
            raise PolicyError(msg)
        return password

    @property
    def _to(self) -> tuple[str, ...]:
        return self.to  # type: ignore[return-value]  # a tuple since __post_init__

    @property
    def _addresses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_bare(one) for one in self._to))

    @property
    def _server(self) -> Server:
        return Server(str(self.host), int(self.port or 0), self.security or "starttls", self.ca, self.username)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _take_from_block(self, block: Any) -> None:
        for name in ("host", "port", "security", "username", "password"):
            if getattr(self, name) is not None:
                msg = f"Email takes credentials= or {name}=, not both: the block brings its own"
                raise PolicyError(msg)
        if not all(hasattr(block, name) for name in ("smtp_server", "smtp_type", "username", "password")):
            hint = ": write `await` before its load()" if hasattr(block, "__await__") else ""
            msg = f"Email(credentials=...) takes a block EmailServerCredentials, not {type(block).__name__}{hint}"
            raise PolicyError(msg)
        if getattr(block, "verify", True) is False:
            msg = "Email always verifies the server's certificate: for a private authority give ca=, and verify=True"
            raise PolicyError(msg)
        kind = getattr(block.smtp_type, "name", block.smtp_type)
        security = _BLOCK_TYPES.get(str(kind).upper())
        if security is None:
            msg = f"Email knows the smtp_type of credentials {', '.join(_BLOCK_TYPES)}, not {kind!r}"
            raise PolicyError(msg)
        host = getattr(block.smtp_server, "value", block.smtp_server)
        port = getattr(block, "smtp_port", None) or _PORTS[security]
        self._set(host=host, port=port, security=security, username=block.username)

    def _set_server(self) -> None:
        if not self.host:
            msg = "Email needs the mail server: Email(to, host='smtp.example.org')"
            raise PolicyError(msg)
        _check_host(self.host)
        if self.security is not None and self.security not in get_args(Security):
            msg = f"Email(security=...) is one of {', '.join(map(repr, get_args(Security)))}, not {self.security!r}"
            raise PolicyError(msg)
        port = self.port if self.port is not None else _PORTS[self.security or "starttls"]
        if type(port) is not int or not 0 < port < 65536:
            msg = f"Email(port=...) is a number from 1 to 65535, not {port!r}"
            raise PolicyError(msg)
        security = self.security or ("tls" if port == 465 else "starttls")
        if port == 465 and security != "tls":
            msg = f"port 465 uses TLS from the first byte: write security='tls', or port=587 for {security!r}"
            raise PolicyError(msg)
        if port in {25, 587} and security == "tls":
            msg = f"port {port} begins unencrypted: write security='starttls', or port=465 for 'tls'"
            raise PolicyError(msg)
        self._set(port=port, security=security)

    def _check_login(self) -> None:
        if self.password is not None:
            check_secret("Email(password=...)", self.password)
        if self.password is not None and self.username is None:
            msg = "Email(password=...) needs username= as well"
            raise PolicyError(msg)
        if self.username is not None and self.security == "none":
            msg = "Email sends no password unencrypted: leave out security='none', or the login"
            raise PolicyError(msg)
        if self.ca is not None and self.security == "none":
            msg = "Email(ca=...) has no effect with security='none': nothing is encrypted"
            raise PolicyError(msg)


def _checked(text: object, name: str) -> str:
    """Return an address as a mail header takes it.

    Raises:
        PolicyError: `text` is not one address.
    """
    example = f"Email({name}=...) takes addresses such as 'ops@example.org' or 'Operations <ops@example.org>'"
    if not isinstance(text, str):
        msg = f"{example}, not {text!r}"
        raise PolicyError(msg)
    found = _parsed(text) if text.isprintable() else ()
    # An encoded name may hide a line break, which would end the header.
    if not all(part.isprintable() for part in (text, *map(str, found))):
        msg = f"{example}: {text!r} holds a line break or another control character"
        raise PolicyError(msg)
    if len(found) > 1:
        msg = f"{example}: write several as a list, not {text!r}"
        raise PolicyError(msg)
    if not found or not found[0].username or not found[0].domain:
        msg = f"{example}, not {text!r}"
        raise PolicyError(msg)
    if not found[0].addr_spec.isascii():
        msg = f"{example}: few servers take {found[0].addr_spec!r}; write its domain in ASCII (xn--...)"
        raise PolicyError(msg)
    return str(found[0])


def _bare(text: str) -> str:
    """Return a checked address without its display name."""
    return _parsed(text)[0].addr_spec


def _domain(text: str) -> str:
    """Return the domain of a checked address."""
    return _parsed(text)[0].domain.lower()


def _check_host(host: str) -> None:
    if not isinstance(host, str) or not host.isprintable() or any(c in host for c in " /@"):
        msg = f"Email(host=...) is a server's name such as 'smtp.example.org', not {host!r}"
        raise PolicyError(msg)
    if ":" in host and not _is_ip(host):
        msg = f"Email(host=...) is a server's name alone: write the port of {host!r} as port="
        raise PolicyError(msg)


def _parsed(text: str) -> tuple[Address, ...]:
    try:
        header = SMTP.header_factory("To", text)
    except (HeaderParseError, IndexError, ValueError):  # Python's parser raises any of these
        return ()
    return () if header.defects else tuple(header.addresses)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
