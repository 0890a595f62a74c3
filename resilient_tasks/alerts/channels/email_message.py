"""The e-mail of a message: headers that keep an incident in one thread, plain text, and plain HTML."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from html import escape
from typing import Any

from resilient_tasks.alerts.message import Message

_SUBJECT = 200
_ERROR = 2000
_IDS = {"Message-ID", "In-Reply-To", "References"}
_ID = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")


class _ThreadingPolicy(EmailPolicy):
    """Keeps headers that clients thread by on one line: Python would encode a long id so that no client finds it."""

    def fold(self, name: str, value: Any) -> str:
        whole = name in _IDS or (name == "Subject" and str(value).isascii())
        return f"{name}: {value}{self.linesep}" if whole else super().fold(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("ascii")


def compose(message: Message, *, sender: str, to: Sequence[str], domain: str) -> EmailMessage:
    """Return the e-mail of `message`: the same one in every process and on every attempt."""
    mail = EmailMessage(policy=_ThreadingPolicy(linesep="\r\n"))
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = subject(message)
    # The date of writing, also for mail that waited for its server (RFC 5322 §3.6.1).
    mail["Date"] = format_datetime(_moment(message))
    mail["Message-ID"] = message_id(message, domain)
    if message.occasion != "first":
        first = first_of(message, domain)
        mail["In-Reply-To"] = first
        mail["References"] = first
    # Keeps vacation responders and ticket systems from answering (RFC 3834); Exchange has its own header.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    # Quoted-printable: safe from servers and line limits, and readable in the raw file.
    mail.set_content(_encodable(message.text()) + "\n", cte="quoted-printable")
    mail.add_alternative(html(message), subtype="html", cte="quoted-printable")
    # Python would choose a random one, and every attempt must send the same mail.
    mail.set_boundary("=_" + hashlib.sha256(message.key.encode("utf-8", "replace")).hexdigest()[:32])
    return mail


def subject(message: Message) -> str:
    """Return the subject: one line, the same in all mails of an incident, as clients thread by it too."""
    line = _plain(replace(message, occasion="first", count=1).headline())
    if len(line) > _SUBJECT:
        line = line[: _SUBJECT - 1] + "…"
    return line if message.occasion == "first" else f"Re: {line}"


def message_id(message: Message, domain: str) -> str:
    """Return the Message-ID: the same on every attempt.

    That of a first message depends on its incident alone, so that any process can reply to it.
    """
    if message.occasion == "first":
        return _id("incident", message.incident, domain)
    return _id("message", message.key, domain)


def first_of(message: Message, domain: str) -> str:
    """Return the Message-ID of the incident's first message, which all others reply to.

    It is the one that was sent, if known: the sender may have changed since.
    """
    sent = message.thread.get("first_id", "")
    return sent if _ID.fullmatch(sent) else _id("incident", message.incident, domain)


def html(message: Message) -> str:
    """Return `message` as an HTML page without images and scripts, whose only link is that of the run."""
    colour = "#2e7d32" if message.occasion == "recovered" else "#b26a00" if message.status == "degraded" else "#b3261e"
    parts = [
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head>',
        '<body style="font:14px/1.5 sans-serif;color:#222">',
        f'<h1 style="font-size:18px;border-left:4px solid {colour};padding-left:10px">{_h(message.headline())}</h1>',
    ]
    if message.summary():
        parts.append(f"<p>{_h(message.summary())}</p>")
    if message.error and message.occasion != "recovered":
        shown = _h(message.error[:_ERROR])
        parts.append(f'<pre style="background:#f4f4f4;padding:10px;white-space:pre-wrap">{shown}</pre>')
    if message.notes:
        parts.append("<ul>" + "".join(f"<li>{_h(note)}</li>" for note in message.notes) + "</ul>")
    if message.consequence:
        parts.append(f"<p>{_h(message.consequence)}</p>")
    cell = 'style="padding:2px 12px 2px 0;color:#666;vertical-align:top"'
    rows = "".join(f"<tr><td {cell}>{_h(name)}</td><td>{value}</td></tr>" for name, value in _rows(message))
    return "\n".join([*parts, f'<table style="border-collapse:collapse">{rows}</table>', "</body></html>"]) + "\n"


def _rows(message: Message) -> Iterator[tuple[str, str]]:
    kind = f"{message.failure}, {message.kind}" if message.kind else message.failure
    rows = {"error": kind, "where": message.where, "time": f"{_moment(message):%Y-%m-%d %H:%M:%S} UTC"}
    rows |= {name.replace("_", " "): value for name, value in message.run.items() if name != "url"}
    yield from ((name, _h(value)) for name, value in rows.items() if value)
    url = message.run.get("url", "")
    if url.startswith(("http://", "https://")):
        yield "run", f'<a href="{_h(url)}">{_h(url)}</a>'
    elif url:
        yield "run", _h(url)


def _moment(message: Message) -> dt.datetime:
    return dt.datetime.fromtimestamp(message.time or time.time(), dt.UTC)


def _id(sort: str, key: str, domain: str) -> str:
    digest = hashlib.sha256(f"{sort}\0{key}".encode("utf-8", "replace")).hexdigest()[:32]
    return f"<{sort}.{digest}@{domain}>"


def _h(text: str) -> str:
    return escape(_encodable(text))


def _plain(text: str) -> str:
    """Return `text` on one line and without control characters, as a header may hold it.

    Python decodes what looks like an encoded word, and would write out the line breaks in it.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in _encodable(text)).split())
    return line.replace("=?", "= ?")


def _encodable(text: str) -> str:
    """Return `text` as UTF-8 can encode it: a lone surrogate, as in broken file names, becomes a question mark.

    A NUL, for which some servers refuse a message, becomes its symbol.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "␀")
