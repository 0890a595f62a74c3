"""Part (c): registered secrets, in every spelling in which software writes them, in neutral text."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import shlex
import urllib.parse
from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape, quoteattr

import yaml
from cases import KINDS, Case, Maker, secrets_of

Spell = Callable[[str], str | tuple[str, str]]
_URL_SAFE = base64.urlsafe_b64encode
#: Within the base64 of a longer text, too few letters identify a shorter secret.
_LONG_ENOUGH = 8
_BY_SPELLING = 12
_AROUND = (
    "the call with {} was refused after 3 attempts",
    "unexpected answer: {}",
    "line 12: {} (rows=12)",
    "{}",
    "see [{}] and the line after it",
    "no such entry: <{}>",
)


def _lower_percent(secret: str) -> str:
    return "".join(part.lower() if part[0] == "%" else part for part in _percents(secret))


def _percents(secret: str) -> list[str]:
    return [urllib.parse.quote(letter, safe="") for letter in secret]


def _all_percent(secret: str) -> str:
    return "".join(f"%{byte:02X}" for byte in secret.encode())


def _json(secret: str, **options: bool) -> str:
    return json.dumps(secret, **options)[1:-1]  # type: ignore[arg-type]


def _encoded(before: str, after: str, encode: Callable[[bytes], bytes] = base64.b64encode) -> Spell:
    """Encode the secret within a text: only the letters that do not depend on the surrounding text identify it."""

    def write(secret: str) -> tuple[str, str]:
        whole = encode(f"{before}{secret}{after}".encode()).decode()
        start, size = len(before.encode()), len(secret.encode())
        return whole, whole[-(-start * 4 // 3) : (start + size) * 4 // 3]

    return write


def _between(write: Callable[[str], str], before: int, after: int) -> Spell:
    """Remove a number of characters from either end: the rest identifies the secret."""
    return lambda secret: (whole := write(secret), whole[before : len(whole) - after])


def _code_points(form: str) -> Callable[[str], str]:
    def write(secret: str) -> str:
        return "".join(
            letter if letter.isascii() and letter.isalnum() else form.format(ord(letter)) for letter in secret
        )

    return write


def _utf16_escapes(secret: str) -> str:
    return (
        _json("".join(secret))
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("'", "\\u0027")
    )


#: Texts around a secret, so that it begins at each of the three places of a group of base64.
_AROUND_IT = (("log in as x ", " at once"), ("the user is ", " of bob, no"), ("ab ", " and more text"), ("abcd ", "!"))

SPELLINGS: dict[str, Spell] = {
    "as it is": str,
    "percent": lambda secret: urllib.parse.quote(secret, safe=""),
    "percent, slash kept": urllib.parse.quote,
    "percent, small": _lower_percent,
    "percent, twice": lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
    "percent, twice, small": lambda secret: urllib.parse.quote(_lower_percent(secret), safe=""),
    "percent, all": _all_percent,
    "percent, JavaScript": lambda secret: urllib.parse.quote(secret, safe="!'()*-._~"),
    "percent, URI": lambda secret: urllib.parse.quote(secret, safe=";,/?:@&=+$-_.!~*'()#"),
    "plus": urllib.parse.quote_plus,
    "plus, small": lambda secret: _lower_percent(secret).replace("%20", "+"),
    "JSON": _json,
    "JSON in unicode": lambda secret: _json(secret, ensure_ascii=False),
    "JSON with \\/": lambda secret: _json(secret).replace("/", "\\/"),
    "JSON for HTML": _utf16_escapes,
    "JSON, capital hex": lambda secret: "".join(f"\\u{ord(c):04X}" if not c.isascii() else _json(c) for c in secret),
    "JSON in JSON": lambda secret: _json(_json(secret)),
    "JSON in JSON in unicode": lambda secret: _json(_json(secret, ensure_ascii=False), ensure_ascii=False),
    "JSON thrice": lambda secret: _json(_json(_json(secret))),
    "HTML": html.escape,
    "HTML, quotes kept": lambda secret: html.escape(secret, quote=False),
    "HTML, decimal": _code_points("&#{};"),
    "HTML, hexadecimal": _code_points("&#x{:x};"),
    "HTML, HEXADECIMAL": _code_points("&#x{:X};"),
    "HTML, &#39;": lambda secret: html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "HTML, non-ASCII": lambda secret: html.escape(secret).encode("ascii", "xmlcharrefreplace").decode(),
    "XML": escape,
    "XML attribute": lambda secret: quoteattr(secret)[1:-1],
    "XML, &apos;": lambda secret: escape(secret, {"'": "&apos;", '"': "&quot;"}),
    "bytes' repr": lambda secret: repr(secret.encode())[2:-1],
    "repr": lambda secret: repr(secret)[1:-1],
    "repr, other quotes": lambda secret: repr(secret + "'\"")[1:-4],
    "repr of a repr": lambda secret: repr(repr(secret))[2:-2],
    "ascii": lambda secret: ascii(secret)[1:-1],
    "repr of JSON": _between(lambda secret: repr(json.dumps({"x": secret})), 8, 3),
    "bytes' repr of JSON": _between(lambda secret: repr(json.dumps({"x": secret}).encode()), 9, 3),
    "JSON of a repr": _between(lambda secret: json.dumps(repr({"x": secret})), 9, 4),
    "base64": _encoded("", ""),
    "base64 without =": lambda secret: base64.b64encode(secret.encode()).decode().rstrip("="),
    "base64url": _encoded("", "", _URL_SAFE),
    "base64url without =": lambda secret: _URL_SAFE(secret.encode()).decode().rstrip("="),
    "base64 of user:secret": _encoded("bob:", ""),
    "base64 of a longer user:secret": _encoded("bobby1:", ""),
    "base64 of a mail:secret": _encoded("bob@x.org:", ""),
    "base64 of :secret": _encoded(":", ""),
    "base64 of secret:": _encoded("", ":"),
    "base64url of user:secret": _encoded("bob:", "", _URL_SAFE),
    "base64, percent-encoded": lambda secret: urllib.parse.quote(base64.b64encode(secret.encode()).decode(), safe=""),
    **{f"base64 within a text {at}": _encoded(*around) for at, around in enumerate(_AROUND_IT)},
    **{f"base64url within a text {at}": _encoded(*around, _URL_SAFE) for at, around in enumerate(_AROUND_IT)},
    "hexadecimal": lambda secret: secret.encode().hex(),
    "HEXADECIMAL": lambda secret: secret.encode().hex().upper(),
    "shell": shlex.quote,
    "shell, double quotes": lambda secret: "".join(f"\\{c}" if c in '"\\$`!' else c for c in secret),
    "shell, escaped": lambda secret: "".join(c if c.isalnum() or c in "_-./" else f"\\{c}" for c in secret),
    "SQL": lambda secret: secret.replace("'", "''"),
    "YAML, double quotes": lambda secret: yaml.safe_dump(secret, default_style='"', width=2000).strip()[1:-1],
    "YAML, single quotes": lambda secret: secret.replace("'", "''"),
    # Written without knowledge of the engine.
    "percent, thrice": lambda secret: urllib.parse.quote(urllib.parse.quote(urllib.parse.quote(secret))),
    "JSON of HTML": lambda secret: _json(html.escape(secret)),
    "HTML of JSON": lambda secret: html.escape(_json(secret)),
    "HTML twice": lambda secret: html.escape(html.escape(secret)),
    "percent of JSON": lambda secret: urllib.parse.quote(_json(secret), safe=""),
    "JSON of a bytes' repr": _between(lambda secret: json.dumps(repr(secret.encode())), 3, 2),
    "CSV": lambda secret: secret.replace('"', '""'),
    "libpq": lambda secret: secret.replace("\\", "\\\\").replace("'", "\\'"),
    "regular expression": re.escape,
    "quoted-printable": lambda secret: "".join(
        chr(byte) if 32 < byte < 127 and byte != 61 else f"={byte:02X}" for byte in secret.encode()
    ),
    "digits with blanks": lambda secret: secret.encode().hex(" "),
    "digits with colons": lambda secret: secret.encode().hex(":").upper(),
    "base64 twice": lambda secret: base64.b64encode(base64.b64encode(secret.encode())).decode().rstrip("="),
    "base64 of UTF-16": lambda secret: base64.b64encode(secret.encode("utf-16-le")).decode(),
    "form field": _between(lambda secret: f"x={urllib.parse.quote_plus(secret)}&y=1", 2, 4),
}


def cases() -> Iterator[Case]:
    """Write secrets of every kind in every spelling. Each is to be registered before its text is redacted."""
    for name, spell in SPELLINGS.items():
        make = Maker(name)
        for kind, secret in itertools.islice(secrets_of(make, KINDS), _BY_SPELLING):
            if "base64" in name and len(secret) < _LONG_ENOUGH:
                continue
            written = spell(secret)
            spelled, core = (written, written) if isinstance(written, str) else written
            yield Case(f"spelled {name}", kind, secret, (core,), make.random.choice(_AROUND).format(spelled))
