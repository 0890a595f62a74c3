"""How formats write a value: each writer returns the written text, and the part of it that is the secret.

A writer returns None for a secret that its format cannot hold in that place, such as a space in a URL's user.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape, quoteattr

Written = tuple[str, str] | None
Writer = Callable[[str], Written]

#: For formats in which a value ends at the next blank, comma or bracket.
_WORD = re.compile(r"[\w!@#+/^~][\w!@#$%^*+./:=?~-]*")
#: For formats in which it ends with its line: no quotes, which a reader would strip.
_LINE = re.compile(r"[\w!@+/^~][^\s\"'`\\]*")
_USERINFO = re.compile(r"[^\s<>\\/:@?#\[\]][^\s<>\\]*")
_HEADER = re.compile(r"[\x21-\x7e]+")
_COOKIE = re.compile(r"[!#-+./0-:<-\[\]-~-]+")


def _matching(pattern: re.Pattern[str]) -> Writer:
    return lambda secret: (secret, secret) if pattern.fullmatch(secret) else None


def _within(quote_sign: str) -> Writer:
    def write(secret: str) -> Written:
        return None if set(secret) & {quote_sign, "\\", "\n"} else (f"{quote_sign}{secret}{quote_sign}", secret)

    return write


def _cut(write: Callable[[str], str], cut: int = 1) -> Writer:
    """Write the secret between quotes."""
    return lambda secret: (whole := write(secret), whole[cut : len(whole) - cut])


def _whole(write: Callable[[str], str]) -> Writer:
    return lambda secret: (write(secret),) * 2


def _bytes_repr(secret: str) -> Written:
    whole = repr(secret.encode())
    return whole, whole[2:-1]


def _shell(secret: str) -> Written:
    whole = shlex.quote(secret)
    return whole, whole[1:-1] if whole[0] == "'" else whole


def _basic(secret: str) -> Written:
    return (base64.b64encode(f"bob:{secret}".encode()).decode(),) * 2


def _single(secret: str) -> Written:
    doubled = secret.replace("'", "''")
    return f"'{doubled}'", doubled


def _pgpass(secret: str) -> Written:
    if " " in secret:
        return None
    return (secret.replace("\\", "\\\\").replace(":", "\\:"),) * 2


WRITERS: dict[str, Writer] = {
    "word": _matching(_WORD),
    "line": _matching(_LINE),
    "userinfo": _matching(_USERINFO),
    "header": _matching(_HEADER),
    "cookie": _matching(_COOKIE),
    "no space": lambda secret: None if " " in secret else (secret, secret),
    "anything": lambda secret: (secret, secret),
    "double": _within('"'),
    "single": _within("'"),
    "json": _cut(json.dumps),
    "json in unicode": _cut(lambda secret: json.dumps(secret, ensure_ascii=False)),
    "json in json": _cut(lambda secret: json.dumps(json.dumps(secret))[1:-1], 2),
    "python": _cut(repr),
    "bytes": _bytes_repr,
    "percent": _whole(lambda secret: quote(secret, safe="")),
    "form": _whole(quote_plus),
    "xml text": _whole(escape),
    "xml attribute": _cut(quoteattr),
    "doubled": _single,
    "braced": lambda secret: (f"{{{(doubled := secret.replace('}', '}}'))}}}", doubled),
    "odbc": lambda secret: (secret, secret) if re.fullmatch(r"[^\s{};'\"\\][^;{}'\"\\]*", secret) else None,
    "shell": _shell,
    "basic": _basic,
    "pgpass": _pgpass,
    "properties": lambda secret: (secret.replace("\\", "\\\\"),) * 2 if _LINE.fullmatch(secret) else None,
}
