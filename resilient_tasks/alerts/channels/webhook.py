"""Webhook: messages as signed JSON, to any URL that accepts a POST."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.channels.http_post import post
from resilient_tasks.alerts.channels.reach import connect
from resilient_tasks.alerts.channels.secret import Secret, block_name, check_secret, revealed
from resilient_tasks.alerts.message import Message
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.parameters.arguments import answering

#: The version of the body's format. Additions keep it; renamed or dropped fields raise it.
VERSION = 1

_FORM = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = {"content-length", "content-type", "host", "idempotency-key", "resilient-signature"}


class WebhookRefusedError(ResilienceError):
    """The receiver answered, and did not accept the message.

    Attributes:
        status: the HTTP status.
        headers: the response's headers.
    """

    def __init__(self, message: str, status: int, headers: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class WebhookUnreadableError(ResilienceError, ConnectionError):
    """The receiver's answer is not HTTP, or was cut short: it may have accepted the message."""


@answering('Webhook("https://alerts.example.org/hook", secret=...)', "secret", "headers")
@dataclass(frozen=True, eq=False)
class Webhook:
    """Send each message as JSON in a POST to a URL.

    The receiver accepts it with a status from 200 to 299; redirects are not followed. Every attempt sends the same
    `Idempotency-Key`.

    Args:
        url: the URL, without user and password, which go into `headers`.
        secret: a key shared with the receiver. With it, the header `Resilient-Signature` proves the sender, the content
            and the time of sending.
        headers: additional headers, such as `{"Authorization": "Bearer ..."}`.

    `url`, `secret` and the headers' values are text, or an object that holds a secret, such as a `SecretStr` or
    Prefect's `Secret` block.

    Raises:
        PolicyError: `url` is no http:// or https:// URL, or HTTP does not allow a header's name.
    """

    url: Secret = field(repr=False)
    _: KW_ONLY
    secret: Secret | None = field(default=None, repr=False)
    headers: Mapping[str, Secret] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_secret("Webhook(url=...)", self.url)
        if isinstance(self.url, str):
            _checked(self.url)
        if self.secret is not None:
            check_secret("Webhook(secret=...)", self.secret)
            if isinstance(self.secret, str) and not self.secret:
                msg = "Webhook(secret='') signs with an empty key: give one, or leave out secret="
                raise PolicyError(msg)
        for name, value in (self.headers or {}).items():
            if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS:
                msg = f"Webhook(headers=...) takes headers such as 'Authorization', not {name!r}"
                raise PolicyError(msg)
            check_secret(f"Webhook(headers={{{name!r}: ...}})", value)

    @property
    def name(self) -> str:
        """See `Channel`. It contains the host, and the name of the block that holds the URL or a digest of the URL."""
        url = revealed(self.url).strip()
        which = block_name(self.url) or hashlib.sha256(url.encode()).hexdigest()[:8]
        return f"{self.family}{which}"

    @property
    def family(self) -> str:
        """The beginning of the names of all webhooks at the same host."""
        return f"webhook:{_host(revealed(self.url).strip())}:"

    @property
    def place(self) -> str:
        """The address that it sends to, see `gate`."""
        return gate.place_of_url(revealed(self.url))

    def send(self, message: Message, *, within: float) -> None:
        """See `Channel`.

        Raises:
            WebhookRefusedError: the receiver did not accept it.
            OSError: the receiver was not reached, or gave no answer in time.
        """
        body = as_json(message)
        headers = {name: _header(name, revealed(value)) for name, value in (self.headers or {}).items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": message.key}
        if self.secret is not None:
            headers["Resilient-Signature"] = signature(revealed(self.secret), body, int(time.time()))
        try:
            answer = post(_checked(revealed(self.url)), body, headers, within=max(0.1, within), read=False)
        except ConnectionError:
            raise
        except http.client.HTTPException as error:
            problem = f"the receiver's answer is no HTTP: {type(error).__name__}"
            raise WebhookUnreadableError(problem) from None
        if not 200 <= answer.status < 300:
            where = " (redirects are not followed)" if answer.redirects else ""
            problem = f"the receiver answered {answer.status} {answer.reason}{where}"
            raise WebhookRefusedError(problem, answer.status, answer.headers)

    def reach(self, *, within: float) -> str:
        """Return what was reached, without sending anything.

        Raises:
            OSError: the receiver was not reached in time, or its certificate is not valid.
        """
        return f"reached {connect(_checked(revealed(self.url)), within)}"


def as_json(message: Message) -> bytes:
    """Return the request's body: every attribute of the message but `thread`, and its plain text."""
    return json.dumps(
        {
            "version": VERSION,
            "key": message.key,
            "incident": message.incident,
            "occasion": message.occasion,
            "operation": message.operation,
            "status": message.status,
            "severity": message.severity,
            "kind": message.kind,
            "error_type": message.error_type,
            "http_status": message.http_status,
            "error": message.error,
            "where": message.where,
            "notes": list(message.notes),
            "consequence": message.consequence,
            "run": dict(message.run),
            "time": message.time,
            "count": message.count,
            "total": message.total,
            "relapse": message.relapse,
            "flows": list(message.flows),
            "seconds": message.seconds,
            "headline": message.headline(),
            "text": message.text(),
        }
    ).encode()


def signature(secret: str, body: bytes, seconds: int) -> str:
    """Return the signature header: the time in unix seconds, and the HMAC-SHA256 of time, dot and body."""
    proof = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={proof.hexdigest()}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # an invalid URL raises when a message is sent
        return ""


def _checked(url: str) -> str:
    """Return `url` without surrounding blanks, or raise an error that does not show it."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        right = _FORM.fullmatch(text) and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        right = False
    if not right:
        msg = "Webhook(url=...) is an http:// or https:// URL"
        raise PolicyError(msg)
    if parts.username is not None or parts.password is not None:
        msg = "Webhook(url=...) takes no user and password. Send them as headers={'Authorization': ...}"
        raise PolicyError(msg)
    return text


def _header(name: str, value: str) -> str:
    text = value.strip()
    if not all(" " <= character <= "ÿ" and character != "\x7f" for character in text):
        msg = f"the value of Webhook(headers={{{name!r}: ...}}) is one line of Latin text"  # not the secret value
        raise PolicyError(msg)
    return text
