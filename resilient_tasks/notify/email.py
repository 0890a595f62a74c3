"""E-mail: messages by SMTP, those of one incident in one thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, get_args

from resilient_tasks.core.arguments import answering
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import NotifyFailed, bus
from resilient_tasks.core.failures import fields_of
from resilient_tasks.notify import _address as address
from resilient_tasks.notify import gate
from resilient_tasks.notify._letter import compose, first_of
from resilient_tasks.notify._smtp import Answer, EmailRefusedError, Security, Server, hand_over
from resilient_tasks.notify.message import Message
from resilient_tasks.notify.outbox import kept
from resilient_tasks.notify.secret import Secret, check_secret, revealed
from resilient_tasks.shared.states import StoreAway

__all__ = ["Email", "EmailRefusedError"]

_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
_BLOCK_TYPES: dict[str, Security] = {"SSL": "tls", "STARTTLS": "starttls", "INSECURE": "none"}

# Who has a message already is remembered for as long as it may still be tried again.
_REMEMBERED = 7 * 86400.0


@answering('Email("ops@example.org", host="smtp.example.org")', "sender", "username", "password")
@dataclass(frozen=True, eq=False)
class Email:
    """Send messages by e-mail.

    Args:
        to: one address or several, as `"ops@example.org"` or `"Operations <ops@example.org>"`.
        host: the mail server's name.
        port: default: 587, with `security="tls"` 465, with `security="none"` 25.
        sender: the address that mail comes from. Default: `username` where that is an address, else
            `resilient-tasks@` and the domain of the first recipient.
        username: for servers that want a login; as text.
        password: as text, a `SecretStr` or a block that holds it. Default: `SMTP_PASSWORD` in the environment, read
            when a message is sent.
        credentials: a block `EmailServerCredentials` of prefect-email, which brings host, port, security, username and
            password.
        security: `"starttls"`: begin in the clear and encrypt before anything is said, or send nothing; `"tls"`:
            encrypted from the first byte (SMTPS); `"none"`: in the clear, without login. Default: `"tls"` on port 465,
            else `"starttls"`.
        ca: a PEM file of the authorities to trust in place of the system's, for servers with a private one.

    Raises:
        PolicyError: an address is none, nobody is to be told, or the server's options do not fit together.
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
        people = tuple(address.checked(one, "to") for one in several)
        if not people:
            msg = "Email(to=...) needs at least one address: nobody would be told"
            raise PolicyError(msg)
        self._set(to=people)
        if self.credentials is not None:
            self._take_from_block(self.credentials)
        self._set_server()
        self._check_login()
        by_name = self.username if self.username and "@" in self.username else None
        default = by_name or f"resilient-tasks@{address.domain(people[0])}"
        self._set(sender=address.checked(self.sender or default, "sender"))

    @property
    def name(self) -> str:
        """See `Channel`. The recipients; server, login and sender may change."""
        return f"{self.family}{','.join(self._recipients)}"

    @property
    def family(self) -> str:
        """Names that begin so are those of channels by mail."""
        return "email:"

    @property
    def place(self) -> str:
        """The address of the mail server, as `gate` names it."""
        return gate.place(str(self.host), int(self.port or 0))

    def send(self, message: Message, *, within: float) -> Mapping[str, str]:
        """Deliver `message` once, or raise. See `Channel`.

        A recipient that the server refuses for good does not keep the others from being told: `notify.failed` names it.
        Where one is to be tried again later, it alone is.
        """
        sender = str(self.sender)
        mail = compose(message, sender=sender, to=self._people, domain=address.domain(sender))
        had_it = self._who_has(message)
        missing = [one for one in self._recipients if one not in had_it]
        refused = hand_over(
            mail.as_bytes(),
            sender=address.spec(sender),
            to=missing,
            server=self._server,
            password=self._password,
            within=within,
        )
        self._settle(message, had_it | (set(missing) - refused.keys()), refused)
        return {"first_id": first_of(message, address.domain(sender))}

    def _settle(self, message: Message, have_it: set[str], refused: dict[str, Answer]) -> None:
        """Say who was not told; raise where somebody may still be."""
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

    def _who_has(self, message: Message) -> set[str]:
        if len(self._recipients) == 1:
            return set()
        with suppress(StoreAway):
            return set((kept.states().get(self._key(message)) or b"").decode().split())
        return set()

    def _remember(self, message: Message, have_it: set[str]) -> None:
        """Keep it beside the incidents, for whichever process tries again; without a store, they get the mail twice."""
        remembered = "\n".join(sorted(have_it)).encode()
        with suppress(StoreAway):
            kept.states().update(self._key(message), lambda _, __: (remembered, None), ttl=_REMEMBERED)

    def _key(self, message: Message) -> str:
        return f"email/{self.name}/{message.key}"

    def _password(self) -> str:
        given = self.credentials.password if self.credentials is not None else self.password
        password = os.environ.get("SMTP_PASSWORD") if given is None else revealed(given)
        if not password:
            msg = f"Email logs in as {self.username!r} and knows no password. Give password=, or set SMTP_PASSWORD"
            raise PolicyError(msg)
        if not password.isascii() or not str(self.username).isascii():
            # smtplib would raise an error that holds the password.
            msg = "Email's username and password are ASCII: Python's smtplib cannot send others"
            raise PolicyError(msg)
        return password

    @property
    def _people(self) -> tuple[str, ...]:
        return self.to  # type: ignore[return-value]  # a tuple since __post_init__

    @property
    def _recipients(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(address.spec(one) for one in self._people))

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
            msg = "Email checks the server's certificate always: for a private authority give ca=, and verify=True"
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
        address.check_host(self.host)
        if self.security is not None and self.security not in get_args(Security):
            msg = f"Email(security=...) is one of {', '.join(map(repr, get_args(Security)))}, not {self.security!r}"
            raise PolicyError(msg)
        port = self.port if self.port is not None else _PORTS[self.security or "starttls"]
        if type(port) is not int or not 0 < port < 65536:
            msg = f"Email(port=...) is a number from 1 to 65535, not {port!r}"
            raise PolicyError(msg)
        security = self.security or ("tls" if port == 465 else "starttls")
        if port == 465 and security != "tls":
            msg = f"port 465 speaks TLS from the first byte: write security='tls', or port=587 for {security!r}"
            raise PolicyError(msg)
        if port in {25, 587} and security == "tls":
            msg = f"port {port} begins in the clear: write security='starttls', or port=465 for 'tls'"
            raise PolicyError(msg)
        self._set(port=port, security=security)

    def _check_login(self) -> None:
        if self.password is not None:
            check_secret("Email(password=...)", self.password)
        if self.password is not None and self.username is None:
            msg = "Email(password=...) needs username= as well"
            raise PolicyError(msg)
        if self.username is not None and self.security == "none":
            msg = "Email sends no password in the clear: leave security='none' out, or the login"
            raise PolicyError(msg)
        if self.ca is not None and self.security == "none":
            msg = "Email(ca=...) has no use with security='none': nothing is encrypted"
            raise PolicyError(msg)
