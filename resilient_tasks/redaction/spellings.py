"""Find given secrets in a text in every spelling that software writes.

The text is decoded as programs do: percent-encoding, the escapes of JSON, Python, HTML, YAML and shells, repeatedly
where encodings are nested. After each decoding the secrets are searched, and each decoded character keeps its position
in the original text. Base64 and hexadecimal digits are not decoded: there, the encoded secret is searched, in base64 at
each of the three offsets at which it may begin.

Each decoding takes time proportional to the text, and there are few.
"""

from __future__ import annotations

import base64
import functools
import re
from typing import NamedTuple

from resilient_tasks.redaction.patterns import compiled, redact_spans

#: How many nested encodings are decoded, such as HTML of JSON in JSON in a URL.
_DEPTH = 5
#: Shorter encoded texts would be part of many words.
_SHORTEST_CODE = 5
_SHORTEST_TWICE = 8
_HEXADECIMAL = compiled(r"[0-9a-fA-F]+")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " ", "sol": "/", "bsol": "\\", "num": "#"}
_NAMED |= {
    "percnt": "%",
    "plus": "+",
    "equals": "=",
    "commat": "@",
    "colon": ":",
    "semi": ";",
    "excl": "!",
    "dollar": "$",
}
_NAMED |= {"quest": "?", "lpar": "(", "rpar": ")", "lsqb": "[", "rsqb": "]", "lcub": "{", "rcub": "}", "ast": "*"}
_NAMED |= {
    "comma": ",",
    "period": ".",
    "lowbar": "_",
    "grave": "`",
    "verbar": "|",
    "Hat": "^",
    "Tab": "\t",
    "NewLine": "\n",
}
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "e": "\x1b"}
_PLAIN |= {"N": "\x85", "_": "\xa0"}
_BY_PERCENT = r"%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4}"
_BY_BACKSLASH = (
    r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]{1,6}\}"
    r"|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}|\\[0-3][0-7]{2}|'\\''|\\[^\r\n]"
)
_BY_ENTITY = r"&#\d{1,7};?|&#[xX][0-9A-Fa-f]{1,6};?|&[A-Za-z]{2,8};"
_BY_MAIL = r"=[0-9A-F]{2}"
_BY_QUOTE = r"'\"'\"'|''|\"\""  # shells; SQL, YAML and CSV double a quote
#: Escapes often encode UTF-8 bytes, so letters are converted to these, once.
_IN_LINES = r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{60,}+\r?\n[A-Za-z0-9+/=]"  # base64 lines in mails and PEM
_AS_BYTES = compiled(r"[\x80-\U0010ffff]")


class _Reading(NamedTuple):
    sign: re.Pattern[str]  # without it there is nothing to decode
    written: re.Pattern[str]


def _reading(sign: str, *written: str) -> _Reading:
    return _Reading(compiled(sign), compiled("|".join(written)))


_JSON = _reading(r"\\", _BY_BACKSLASH)
_AROUND_JSON = (_reading("%", _BY_PERCENT), _reading("&", _BY_ENTITY))
#: All at once decodes mixed encodings; each alone, a text in which the other signs are literal.
_AT_ONCE = _reading(r"[%\\&]|''|\"\"|'\"", _BY_PERCENT, _BY_BACKSLASH, _BY_ENTITY, _BY_QUOTE)
_READINGS = (
    _AT_ONCE,
    _JSON,
    *_AROUND_JSON,
    _reading("=[0-9A-F]", _BY_MAIL),
    _reading(r"''|\"\"|'\"", _BY_QUOTE),
    _reading(_IN_LINES, r"(?<=[A-Za-z0-9+/])\r?\n(?=[A-Za-z0-9+/=])"),
)
_BASE64 = compiled(r"[A-Za-z0-9+/_=-]*")


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Redact `secrets` in `text`."""
    wanted = _wanted(secrets)
    spans = _found(text, None, wanted)
    signs = [reading for reading in _READINGS if reading.sign.search(text) is not None]
    if signs:
        read, places = (text, None) if text.isascii() else _read(text, None, _AS_BYTES)
        for reading in signs:
            spans += _found_by(reading, read, places, wanted)
            if reading in _AROUND_JSON:
                spans += _found_by(_JSON, *_read(read, places, reading.written), wanted)
    return redact_spans(text, spans)


def _found_by(reading: _Reading, read: str, places: list[int] | None, wanted: _Wanted) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for _ in range(_DEPTH):
        again, positions = _read(read, places, reading.written)
        if again == read:
            break
        read, places = again, positions
        spans += _found(read, places, wanted)
        if reading.sign.search(read) is None:
            break
    return spans


class _Wanted(NamedTuple):
    texts: tuple[str, ...]
    codes: tuple[str, ...]  # the texts in base64 or hexadecimal digits


@functools.lru_cache(maxsize=64)
def _wanted(secrets: tuple[str, ...]) -> _Wanted:
    texts: dict[str, None] = {}
    codes: dict[str, None] = {}
    for secret in secrets:
        data = secret.encode("utf-8", "surrogatepass")
        as_bytes = data.decode("latin-1")
        once, _ = _read(secret, None, _AT_ONCE.written)
        letters = "".join(letter if ord(letter) < 0x100 else _utf8(ord(letter)) for letter in secret)
        some = [secret, as_bytes, letters, secret.replace(" ", "+"), as_bytes.replace(" ", "+")]
        # A secret that looks encoded itself is decoded along with the text around it.
        some += [once] if len(once) >= min(4, len(secret)) else []
        texts.update(dict.fromkeys(some))
        for form in {data, secret.encode("utf-16-le", "surrogatepass")}:
            codes.update(dict.fromkeys(_codes(form)))
        texts.update(dict.fromkeys(digits for sign in " :-" for digits in _digits(data, sign)))
        # Base64 may be encoded a second time with the text around it, as in Kubernetes.
        inner = (code for code in _codes(data) if len(code) >= _SHORTEST_TWICE and not _HEXADECIMAL.fullmatch(code))
        codes.update(
            dict.fromkeys(code for once in inner for code in _codes(once.encode()) if len(code) >= _SHORTEST_TWICE)
        )
    return _Wanted(tuple(sorted(texts, key=len, reverse=True)), tuple(sorted(codes, key=len, reverse=True)))


def _digits(data: bytes, sign: str) -> tuple[str, str]:
    digits = data.hex(sign)
    return digits, digits.upper()


def _codes(data: bytes) -> list[str]:
    found = [data.hex(), data.hex().upper()] if len(data) >= 4 else []  # as all secrets have
    codes = [base64.b64encode(data).decode().rstrip("=")]
    for shift in range(3):
        code = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        # The characters at both ends also depend on the neighbouring text.
        first = (0, 2, 3)[shift]
        last = len(code) if (shift + len(data)) % 3 == 0 else len(code) - 1
        codes.append(code[first:last])
    for code in codes:
        if len(code) >= _SHORTEST_CODE:
            found += [code, code.replace("+", "-").replace("/", "_")]
    return list(dict.fromkeys(found))


def _found(read: str, places: list[int] | None, wanted: _Wanted) -> list[tuple[int, int]]:
    spans = []
    for secret in wanted.texts:
        at = read.find(secret)
        while at >= 0:
            spans.append(_span(at, at + len(secret), places))
            at = read.find(secret, at + len(secret))
    for code in wanted.codes:
        at = read.find(code)
        while at >= 0:
            end = _BASE64.match(read, at).end()  # type: ignore[union-attr]  # it also matches the empty text
            start = at - _BASE64.match(read[max(0, at - 2000) : at][::-1]).end()  # type: ignore[union-attr]
            spans.append(_span(start, end, places))
            at = read.find(code, end)
    return spans


def _span(start: int, end: int, places: list[int] | None) -> tuple[int, int]:
    return (start, end) if places is None else (places[start], places[end])


def _read(text: str, places: list[int] | None, written: re.Pattern[str]) -> tuple[str, list[int]]:
    """Return `text` decoded, and the position of each character in the original text."""
    made: list[str] = []
    positions: list[int] = []
    done = 0
    for match in written.finditer(text):
        start, end = match.span()
        letters = _letters(match[0])
        made += (text[done:start], letters)
        positions += range(done, start)
        positions += [start] * len(letters)
        done = end
    made.append(text[done:])
    positions += range(done, len(text) + 1)
    return "".join(made), positions if places is None else [places[at] for at in positions]


@functools.lru_cache(maxsize=2048)
def _letters(written: str) -> str:  # noqa: PLR0911  # one per kind
    """Return the decoded characters, as UTF-8 bytes."""
    sign, rest = written[0], written[1:]
    if sign == "%":
        return _utf8(int(rest[1:], 16)) if rest[0] == "u" else chr(int(rest, 16))
    if sign in "\r\n":
        return ""
    if sign == "=":
        return chr(int(rest, 16))
    if sign == "&":
        return _entity(rest.rstrip(";"), written)
    if sign in "'\"":
        return sign
    if sign != "\\":
        return _utf8(ord(sign))
    if len(rest) == 1:
        return _PLAIN.get(rest, rest)
    if rest[0] in "xuU":
        return _code_point(rest)
    return chr(int(rest, 8))


def _code_point(rest: str) -> str:
    if len(rest) > 9:  # a surrogate pair
        high, low = int(rest[1:5], 16), int(rest[7:], 16)
        return _utf8(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    number = int(rest[1:].strip("{}"), 16)
    return chr(number) if rest[0] == "x" else _utf8(number)


def _entity(name: str, written: str) -> str:
    if not name.startswith("#"):
        return _NAMED.get(name, written)
    number = int(f"0{name[1:]}", 16) if name[1] in "xX" else int(name[1:])
    return _utf8(number)


def _utf8(number: int) -> str:
    if number < 0x80:  # ASCII
        return chr(number)
    return chr(number).encode("utf-8", "surrogatepass").decode("latin-1") if number <= 0x10FFFF else "?"
