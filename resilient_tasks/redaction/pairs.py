"""Redact the values of names such as `password` or `hmac_key`, in every notation for such pairs.

JSON (also inside a JSON string), Python, YAML, environments, queries, headers, XML, command-line flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from resilient_tasks.redaction import secret_names
from resilient_tasks.redaction.patterns import MARK, compiled, redact_spans
from resilient_tasks.redaction.secret_names import Confidence
from resilient_tasks.redaction.secret_values import is_machine_made, is_nothing, is_random, is_sentence, looks_random

#: The most characters of a name on each side of a hit.
_LONGEST = 64
_LEFT = compiled(r"[\w.-]*")  # on the reversed text
_RIGHT = compiled(rf"[\w.-]{{0,{_LONGEST}}}+")
_WORD_BEFORE = compiled(r"[A-Za-z]{1,20}[ ](?=[A-Za-z])")
_WANTS_A_WORD = frozenset({"key", "keys", "token", "tokens", "session", "code", "access", "id"})
_TYPE = (
    r"(?:&?(?:'static )?str|bytes|string|any|[\w.]{0,20}secret\w{0,10}"
    r"|[\w.]{0,20}(?:optional|union|final)\[[\w.|, ]{0,40}\])"
)
_SEPARATOR = compiled(
    rf"(?P<typed>:[ \t]{{0,4}}{_TYPE}(?: ?\| ?none)?[ \t]{{0,4}}=[ \t]{{0,4}}(?=[bru]?[\"']))"
    r"|(?P<sign>(?:\]?\\{0,7}[\"'`]\]?|\]|\[\d{0,3}\]|\*{1,2}|%5d|&quot;|&#3[49];|%2[27])?[ \t]{0,60}"
    r"(?:=>|:=|\?=|\\=|<-|->|={1,3}|:(?!:)(?:\*{1,2}(?=[ \t]))?|string[ ]=(?=[ ]\")|%3d|"
    r"%3a(?:%20|\+)?(?:%2[27])?|&#(?:61|x3d);|\\{1,3}u003[ad])[ \t]{0,8}"
    r"(?:!!\w{1,20}[ \t]{1,4}|&\w{1,30}[ \t]{1,4}|\s{1,20}(?=string\())?"
    r"|\r?\n\[1\] (?=\"))"  # as R prints
    r"|(?P<dots>[ \t]?\.{4,60}[: \t]{0,3})"
    r"|(?P<prose>[ \t]{1,40}\|[ \t]|[ ](?:(?:is |was )?(?:set|changed) (?:to|from)|is|was|to|of)[ ])"
    r"|(?P<term>,[ \t]?(?:<<)?(?=\"))"  # of Erlang
    r"|(?P<item>\\{0,7}[\"'],[ \t]{0,4}(?=b?\\{0,7}[\"']))"  # of a list or tuple
    r"|(?P<quoted>[ \t]{1,2}(?=[\"']\w))"
    r"|(?P<flag>[ \t]{1,4}(?=[^\s=:-]))"  # of a command line
    r"|(?P<element>>(?=[^<\s]|<!\[CDATA\[))",  # of XML
    re.IGNORECASE,
)
_FLAG = compiled(r"(?<![\w-])--?[\w.-]*$|(?<!\S)/[\w-]+$")
_QUOTED = compiled(
    r"(?P<open>(?:(?:[\w.]{0,30}Secret\w{0,12}\((?:\w{1,20}=)?|string\(\d{1,5}\)[ ]|"
    r"(?:Some|Just|Ok|Optional|String|str|bytes|bytearray)\(\s{0,60}))?"
    r"[bBrRuUfFnNeE]{0,2}(?P<quote>\\{0,7}(?:\"\"\"|'''|[\"'`])|&quot;|&#3[49];))"
    r"(?P<value>(?:\\\\(?P=quote)(?=[^\s,;:)\]}])|(?!(?P=quote))(?:\\[^\n]|[^\\\n])|''(?=[^\s,;:)\]}])|'\"'\"'|'\\'')*+)(?P<close>(?P=quote)?)"
)
_MORE = (
    r"(?:[^\s\"'<>\\&;,]|\\(?![\"'nrt])|[\"']{1,2}(?=\w)|<(?![/A-Za-z])|>(?=\w)"
    r"|&(?!\s|$|quot;|#3[49];|(?:amp;)?[\w.%\[\]-]{1,40}(?:=|%3d))|[;,](?!\s|$|[\w.% -]{1,40}\]?[=:]))*"
)
_BARE = compiled(r"\{[^\s{}\"':][^{}\"'\r\n]{0,100}\}(?=;|$)|[^\s\"'<>\\&;,{}()\[\]|]" + _MORE)  # the first is ODBC's
_BARE_PASSWORD = compiled(r"[{(\[|<&\\](?![\s\"'\\{(\[)\]}])" + _MORE)
_TO_SEMICOLON = compiled(r"[^\r\n\"'\\;&]{0,200}(?=;[ ]?[A-Za-z][\w ]{0,40}=)")
_LAST_IN_STRING = compiled(r"[^\r\n\"'\\;&]{1,200}(?=;?[\"']?\s*$)")
_IN_STRING = compiled(r";[ ]?[A-Za-z][\w ]{0,40}=")
_PROSE_VALUE = compiled(r"(?P<value>[^\s\"'<>|,;()\[\]{}]{12,512}?)(?=[.:]?(?:[\s\"'<>|,;()\[\]{}]|$))")
_SHORT_ID = compiled(r"(?:0x)?[0-9A-Fa-f]{1,31}|[a-z][a-z0-9]{0,15}(?:[-_./][a-z0-9]{1,15})+")
_IN_ODBC = compiled(r"[^\r\n\"'\\;{}]{1,200}(?=;)")
#: Terraform's plan: the old value, and the new one.
_CHANGED = compiled(r"[\"'][ \t]{0,4}->[ \t]{0,4}[\"'](?P<value>(?:\\.|[^\"\\\r\n])+)")
_NAMED_ONLY = compiled(r"=[ \t]+")
_TO_THE_END = compiled(r"(?:[^\r\n\"'\\]|[\"'](?=\w))+")
_NO_BLANK = compiled(r"[^\s\"'\\]+")
_PLACEHOLDER = compiled(
    r"<[a-z][\w .-]{1,60}>|\$\{\{[^{}\r\n]{1,120}\}\}|\$\{[^{}\r\n]{1,120}\}"
    r"|\{\{[^{}\r\n]{1,120}\}\}|\$\([^()\r\n]{1,120}\)|%[A-Z_]\w{0,60}%"
    r"|(?:await|new|yield)[ ][\w.]{1,60}|(?:[a-z_]+(?:\.|::)){0,6}[A-Za-z_]+\([^()\r\n]{0,120}\)"
    r"|[a-z_][\w.]{0,60}(?:\[[\"']?[\w.-]{1,60}[\"']?\]){1,5}"
    r"|(?:[a-z]+\.)?(?:optional|union|list|dict|literal|annotated|final|tuple|sequence)\[[\w.|, \[\]\"']{1,80}\]",
    re.IGNORECASE,
)
_TAG = compiled(r"(?<!\?)(?<!\?P)<[\w:.-]*$")
_ELEMENT = compiled(r"<!\[CDATA\[[^\]\r\n]+|[^<\r\n]+")
#: The values of these may be the path of a file that holds the secret.
_FILES = frozenset({"key", "keys", "credentials", "credential", "pem", "secret", "secrets", "token"})
_FILE = compiled(
    r"(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]+)+|[A-Za-z]:\\+[\w.\\ -]+|[\w./-]+\.(?:json|pem|key|crt|ya?ml|txt|p12|pfx|jks)"
)
_PATH_OF_FILE = compiled(r"\S*/\S*\.[a-z0-9]{2,8}")
_BEFORE_ITEM = compiled(r"(?:[\[,{]|(?<![\w-])-{1,2}[\w-]{1,30}[ \t=])[ \t]*b?$")
_ITEMS = {
    quote: compiled(rf"(?:\\.|(?![,;&][ \t]*[\w.-]+=)[^{quote}\r\n\\]){{1,512}}(?={quote}(?:[ \t]*[,\])}}]|[ \t]|$))")
    for quote in ("'", '"')
}
_AMOUNT = compiled(r"\d[\d.,_]*(?:[eE][+-]?\d{1,3})?[kKMBGT%]?")
#: Distinguishes a secret token from a parser's, which is "unexpected" or "near" something.
_THE_TOKEN = compiled(r"\b(?:the|this|that) token$", re.IGNORECASE)
_VERSION = compiled(r"\d+(?:\.\w+)+")
_METAVAR = compiled(r"[A-Z][A-Z_]{1,20}|<[\w-]+>")
_PATH = compiled(r"[A-Za-z_][\w.]*")
_PAIR = compiled(r"(?:[({\[]|(?:(?<=set)|(?<=put)|(?<=setattr))\([^()\r\n]{1,24},)[ \t]{0,4}b?\\*[\"'][\w-]*$")
_PAIR_END = compiled(r"[ \t]{0,4}[)}\]]")
_PROSE = secret_names.words(
    "a abgelaufen an and any are as at be bitte but by can cannot could denied did do does eingeben empty est "
    "expired failed falsch fehlt for from had has have if in incorrect incorrecta invalid is it its mismatch "
    "missing must need needs no not of on or please rejected requerida required see should so that the this "
    "to too unknown unset use was were which will with without wrong you your"
)
_TYPES = secret_names.words("any bytes int object optional[str] secretstr str string str|none text varchar")
_SIGNS = ("=", "%3d", "%3D")
_TO_LINE_END = ("cookie", "cookies", "passphrase", "signature")


class _Key(NamedTuple):
    """A possible name of a secret, and the separator before its value."""

    name: str
    start: int
    end: int  # where the value begins
    kind: str  # of separator
    separator: str
    confidence: Confidence

    @property
    def noun(self) -> str:
        """Return the word for a secret in the name."""
        return secret_names.noun_of(self.name)


def is_secret(name: str, value: str) -> bool:
    """Return whether `value` is a secret, as the value of the key `name` in a mapping."""
    confidence = secret_names.confidence(name)
    if not confidence or is_nothing(value) or value.startswith(MARK):
        return False
    return _can_be(value, _Key(name, 0, 0, "sign", ":", confidence)) and not is_sentence(value)


def names_in(text: str, low: str) -> bool:
    """Return whether `text` contains the name of a secret; `low` is the text in lowercase."""
    seen = 0
    for hit in secret_names.HIT.finditer(low):
        if hit.start() >= seen:
            start, seen = _name_at(text, hit.start())
            name = text[start:seen]
            if secret_names.confidence(name) or name.lower() in _WANTS_A_WORD:
                return True
            seen = max(seen, hit.end())
    return False


def redact(text: str, low: str, *, code: bool) -> str:
    """Redact the values of the names of secrets in `text`. `low` is the text in lowercase."""
    spans: list[tuple[int, int]] = []
    done = 0
    for key in _keys(text, low):
        if key.start < done or (value := _value_after(text, key, code=code)) is None:
            continue
        start, done, is_secret = value
        if is_secret:
            spans.append((start, done))
        if (changed := _CHANGED.match(text, done)) is not None and not changed["value"].startswith(MARK):
            spans.append(changed.span("value"))
            done = changed.end("value")
    return redact_spans(text, spans)


def _keys(text: str, low: str) -> Iterator[_Key]:
    seen = 0
    for hit in secret_names.HIT.finditer(low):
        if hit.start() < seen:
            continue
        start, end = _name_at(text, hit.start())
        seen = max(end, hit.end())
        name = text[start:end]
        separator = _SEPARATOR.match(text, end)
        if separator is None:
            continue
        if name.lower() in _WANTS_A_WORD:
            name = _word_before(text, start) + name
        confidence = secret_names.confidence(name)
        if not confidence and name.endswith(" token"):  # "Invalid token: ..."
            confidence = Confidence.IF_RANDOM
        if not confidence or name.lower().endswith("authorization"):  # a header, see `secret_shapes`
            continue
        kind = separator.lastgroup or ""
        if kind == "flag" and (_FLAG.search(text[max(0, start - 2) : end]) is None or len(separator[0]) > 1):
            kind = "prose"
        if kind == "term" and text[start - 1 : start] != "{":
            continue
        if text[start - 1 : start] == ":" and text.rfind("arn:", max(0, start - 120), start) >= 0:
            continue  # a resource name
        yield _Key(name, start, separator.end(), kind, separator[0], confidence)


def _name_at(text: str, hit: int) -> tuple[int, int]:
    """Return the start and end of the name around the position `hit`."""
    left = text[max(0, hit - _LONGEST) : hit][::-1]
    size = _LEFT.match(left).end()  # type: ignore[union-attr]  # it also matches the empty text
    start = hit - size
    before = text[start - 1 : start]
    if before == "\\" and size:  # escapes such as `\n` and `%26` are not part of a name
        start += 5 if text[start] == "u" and size >= 5 else 1
    elif before == "%" and size >= 2:
        start += 2
    end = _RIGHT.match(text, hit).end()  # type: ignore[union-attr]
    while end > hit and text[end - 1] in ".-":
        end -= 1
    return min(start, hit), end


def _word_before(text: str, start: int) -> str:
    before = text[max(0, start - 42) : start]
    words = _WORD_BEFORE.findall(before + "x")[-2:]
    return "".join(words) if words and before.endswith(words[-1]) else ""


def _value_after(text: str, key: _Key, *, code: bool) -> tuple[int, int, bool] | None:
    """Return the value's start and end, and whether to redact it; None if there is no value."""
    at = key.end
    if key.kind == "prose":
        return _in_prose(text, key, code=code)
    if key.kind == "quoted":
        return _quoted_behind_blank(text, key)
    if key.kind in {"flag", "item"} and not _is_in_list(text, key):
        return None
    if key.kind == "element":
        inside = _ELEMENT.match(text, at) if _TAG.search(text[max(0, key.start - 42) : key.start]) else None
        return inside and (*inside.span(), _can_be(inside[0], key) and not is_nothing(inside[0]))
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        return _quoted_value(text, quoted, key)
    return None if code else _bare_value(text, at, key)


def _quoted_behind_blank(text: str, key: _Key) -> tuple[int, int, bool] | None:
    """Return the span of the value in `--password 'pw'`, or in `API key "..."` in a sentence."""
    quoted = _QUOTED.match(text, key.end)
    if quoted is None:
        return None
    is_flag = _FLAG.search(text[max(0, key.start - 2) : key.start + len(key.name)]) is not None
    is_keyword = text[max(0, key.start - 2) : key.start] in {" :", "{:", ",:"}  # of Clojure
    if not is_flag and not is_keyword and not _can_be_in_prose(quoted["value"], key):
        return None
    return _quoted_value(text, quoted, key)


def _in_prose(text: str, key: _Key, *, code: bool) -> tuple[int, int, bool] | None:
    """Return the span of a random value in "the password is ...", "token ... was refused", or a table cell."""
    quoted = _QUOTED.match(text, key.end)
    found = quoted or (None if code else _PROSE_VALUE.match(text, key.end))
    if found is None or not _can_be_in_prose(found["value"], key):
        return None
    return (*found.span("value"), True)


def _can_be_in_prose(value: str, key: _Key) -> bool:
    is_short_id = _SHORT_ID.fullmatch(value) is not None  # of a public key or a Kubernetes resource
    may_be = key.confidence > Confidence.IF_RANDOM or _THE_TOKEN.search(key.name) is not None
    return may_be and is_machine_made(value) and not is_short_id and not value.startswith(MARK)


def _can_be(value: str, key: _Key) -> bool:  # noqa: PLR0911  # one per reason
    """Return whether a value can be a secret, given its name."""
    noun = key.noun
    if key.confidence is Confidence.IF_RANDOM:
        if noun in {"auth", "authorization", "signature", "sig", "sas", "hmac"}:
            return looks_random(value) and (noun.startswith("auth") or len(value) >= 16)
        is_made = is_machine_made(value) if noun == "token" else is_random(value)
        return is_made and _PATH_OF_FILE.fullmatch(value) is None
    if noun in {"otp", "totp"}:
        return (value.isdigit() and 4 <= len(value) <= 10) or is_random(value)
    if key.name.lower() == "pass" and ":" in key.separator:
        return looks_random(value) and not (key.name == "PASS" and value.startswith("Test"))  # Go's
    if key.kind == "dots" and not looks_random(value):
        return False
    if noun == "token" and ":" in key.separator and value.isalpha() and len(value) < 12:
        return bool(key.confidence is Confidence.SURE or {value.lower(), value.upper()}.isdisjoint({value}))
    if key.confidence is Confidence.LIKELY:
        is_number = value.replace(".", "", 1).replace(",", "").replace("_", "").isdigit()
        if noun == "tokens" and _AMOUNT.fullmatch(value) is not None:
            return False
        return not (is_number and (len(value) < 6 or noun == "tokens" or "." in value))
    return not (noun in _FILES and _FILE.fullmatch(value) and not is_random(value))


def _quoted_value(text: str, quoted: re.Match[str], key: _Key) -> tuple[int, int, bool] | None:
    value, (start, end) = quoted["value"], quoted.span("value")
    if value.startswith(MARK):  # redacted before: the text behind it may have changed
        return start, start + len(MARK), False
    if is_nothing(value) or is_sentence(value):
        return start, quoted.end(), False
    if key.kind == "item" and not _is_in_list(text, key, quoted.end()):
        return None
    if key.kind == "item" and secret_names.confidence(value) and not any(map(str.isdigit, value)):
        return start, quoted.end(), False  # a list of names
    if not _can_be(value, key) and not (key.name.lower() in {"key", "code"} and _is_in_query(text, key)):
        return None if len(value) < 100 else (start, quoted.end(), False)
    return start, end, True


def _is_in_query(text: str, key: _Key) -> bool:
    return text[key.start - 1 : key.start] in {"?", "&"} and key.start > 0


def _bare(text: str, at: int, key: _Key) -> re.Match[str] | None:
    """Return the unquoted value. It ends at a blank, or in a connection string at the next semicolon."""
    in_prose = ":" in key.separator and not key.separator.strip().startswith(('"', "'", "\\"))
    if in_prose and key.noun in _TO_LINE_END:
        return (_NO_BLANK if key.noun == "signature" else _TO_THE_END).match(text, at)
    if key.kind == "sign" and "=" in key.separator and text[at : at + 1] not in {"{", ""}:
        before = text[max(0, key.start - 1) : key.start]
        if before == ";" and (last := _LAST_IN_STRING.match(text, at)) is not None:
            return last
        if before == ";" and (found := _IN_ODBC.match(text, at)) is not None and "&" in found[0]:
            return found
        if before == ";" or _IN_STRING.match(text, at + len(text[at : at + 200].partition(";")[0])):
            found = _TO_SEMICOLON.match(text, at)
            if found is not None and " " in found[0].strip():
                return found
    if (item := _whole_item(text, at, key)) is not None:
        return item
    bare = _BARE.match(text, at)
    if bare is None and "=" in key.separator and key.confidence is Confidence.SURE:
        bare = _BARE_PASSWORD.match(text, at)
    return bare


def _whole_item(text: str, at: int, key: _Key) -> re.Match[str] | None:
    """Return the value in a list item such as `'PASSWORD=two words'`: everything up to the quote."""
    quote = text[key.start - 1 : key.start]
    if quote not in {"'", '"'} or "=" not in key.separator:
        return None
    if _BEFORE_ITEM.search(text[max(0, key.start - 42) : key.start - 1]) is None:
        return None
    return _ITEMS[quote].match(text, at)


def _bare_value(text: str, at: int, key: _Key) -> tuple[int, int, bool] | None:  # noqa: PLR0911  # one per reason
    if (stands_for := _PLACEHOLDER.match(text, at)) is not None:
        return at, stands_for.end(), False
    bare = _bare(text, at, key)
    if bare is None:
        return None
    if bare[0].startswith(MARK):
        return at, at + len(MARK), False
    value = bare[0].rstrip(".,:;)]}>|") if bare[0][:1] != "{" else bare[0]
    in_query = _is_in_query(text, key)
    if (
        is_nothing(value)
        or is_nothing(bare[0])
        or (
            secret_names.confidence(value) and _PATH.fullmatch(value) and not any(map(str.isdigit, value))
        )  # a variable
        or (key.kind == "flag" and _METAVAR.fullmatch(value))
        or (key.separator == ": " and key.name.startswith("-"))  # "argument --password: ..."
        or (
            key.name.lower() in {"pwd", "oldpwd"} and (value[0] == "/" or value in {"~", "-"} or value[:2] == "~/")
        )  # the working directory
        or (key.separator == "==" and _VERSION.fullmatch(value))
        or (key.separator == " == " and value.isidentifier() and not any(map(str.isdigit, value)))  # compared
        or (text.startswith(("(", "["), bare.end()) and _PATH.fullmatch(value))  # it is called, or looked up
    ):
        return at, bare.end(), False
    if not _can_be(value, key) and not (in_query and key.name.lower() in {"key", "code"} and looks_random(value)):
        return None if len(value) < 100 else (at, bare.end(), False)
    after = text[bare.end() : bare.end() + 1]
    # A keyword named in a sentence has no value: "give webhook=, or token= with channel=".
    is_named_only = _NAMED_ONLY.fullmatch(key.separator) and value.lower() in _PROSE and after == " "
    if is_named_only or (":" in key.separator and _is_prose(value, after)):
        return at, bare.end(), False
    return at, at + len(value), True


def _is_prose(value: str, after: str) -> bool:
    """Return whether the text after `token: ` is a sentence about it, or its type."""
    word = value.lower()
    return (word in _PROSE and after == " ") or word in _TYPES or word in {"expired", "missing", "invalid", "required"}


def _is_in_list(text: str, key: _Key, end: int | None = None) -> bool:
    """Return whether the name and the value are two items of a command line, or a pair."""
    before = text[max(0, key.start - 42) : key.start]
    if _FLAG.search(text[max(0, key.start - 2) : key.start + len(key.name)]):
        return True
    if key.kind == "flag" or (pair := _PAIR.search(before)) is None:
        return False
    if end is None:
        return True
    is_pair = _PAIR_END.match(text, end) is not None
    is_sure = pair[0][0] == "(" and ("," not in pair[0] or key.confidence is Confidence.SURE)
    return is_pair and (is_sure or looks_random(text[key.end : end].strip("b\"'\\")))
