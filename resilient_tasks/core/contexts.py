"""Secrets by what stands around them: a block of YAML, a name and a value in two fields, SQL, files of passwords."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from resilient_tasks.core import commands, error_texts, secret_names
from resilient_tasks.core.registered import MARK
from resilient_tasks.core.secret_names import Says
from resilient_tasks.core.secret_values import is_nothing, is_random, is_sentence, looks_random


class Context(NamedTuple):
    """Finds secrets that stand in some context.

    Attributes:
        hints: one of these stands in every such text, in small letters.
        pattern: has the groups `secret`, and `name` where a name decides whether it is one.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    is_secret: Callable[[re.Match[str]], bool]


def _by_name(match: re.Match[str]) -> bool:
    says = secret_names.of(match["name"])
    return says is not Says.NOTHING and is_value(match["secret"], says)


def is_value(value: str, says: Says) -> bool:
    """Tell whether a value is a secret, for what the name of it says."""
    if is_nothing(value) or value.startswith(MARK) or is_sentence(value):
        return False
    return says > Says.IF_RANDOM or (says is Says.IF_RANDOM and (is_random(value) or _DIGITS.fullmatch(value) is not None))


#: What only a name makes a secret of, and a list of such.
_DIGITS = re.compile(r"[0-9a-f]{40,}")


def _always(match: re.Match[str]) -> bool:
    return not is_nothing(match["secret"]) and not match["secret"].startswith(MARK)


def _if_random(match: re.Match[str]) -> bool:
    return looks_random(match["secret"])


_NAME = r"(?<![\w.-])(?P<name>[\w.-]{2,64})"
_STRING = r"(?P<quote>\\{0,3}[\"'])(?P<secret>(?:(?!(?P=quote))(?:\\.|''|[^\\\r\n])){1,512}+)"
_SPACE = r"(?:\s|\\[nrt]){1,8}"
CONTEXTS = (
    Context(  # what a program asked, and what was typed
        ("pass", "pin for"),
        re.compile(
            r"(?P<name>\b(?:[Pp]assword|[Pp]assphrase|[Pp]asscode|PIN))(?: for| of)[ \t]+(?:key |user |account )?"
            r"(?:'[^'\r\n]{1,128}'|[^\s:]{1,128}): ?(?P<secret>[^\s]{1,256})"
        ),
        lambda match: _always(match) and not is_sentence(match.string[match.start("secret") : match.end("secret") + 60]),
    ),
    Context(  # two elements of XML, one for the name and one for the value
        ("</",),
        re.compile(
            rf"<(?P<tag>[\w:-]*(?:name|key|id|property))>{_NAME}</(?P=tag)>\s{{0,40}}<[\w:-]*(?:value|string|data|text)[^<>]{{0,80}}>"
            r"(?:\s{0,20}<\w+>)?(?:<!\[CDATA\[)?(?P<secret>[^<\r\n]{1,512})(?=<|\]\])",
            re.IGNORECASE,
        ),
        _by_name,
    ),
    Context(  # several lines in quotes, or up to a word: TOML, HCL, a shell
        ('"""', "'''", "<<"),
        re.compile(
            rf"{_NAME}[\"']?[ \t]*[=:][ \t]*(?:<<[-~]?[\"']?(?P<word>\w+)[\"']?\r?\n|(?P<quotes>\"\"\"|'''))"
            r"(?P<secret>.{1,4000}?)(?:^[ \t]*(?P=word)\b|(?P=quotes))",
            re.MULTILINE | re.DOTALL,
        ),
        _by_name,
    ),
    Context(
        ("identified",),
        re.compile(
            r"\bidentified\s+(?:with\s+[\w.\"'`]{1,64}\s+)?(?:by|as|using)\s+(?:password\s+|values\s+)?"
            r"(?:(?P<quote>\\?[\"'])(?P<secret>(?:''|(?!(?P=quote))[^\r\n])+)|(?P<plain>[^\s;\"']+))",
            re.IGNORECASE,
        ),
        lambda _: True,
    ),
    Context(("secret",), re.compile(r"\bSecret\w{0,12}\(b?(?P<quote>[\"'])(?P<secret>(?:''|(?!(?P=quote))[^\r\n])+)"), _always),
    Context(  # of a Dockerfile, and of Windows
        ("env ", "set", "requirepass", "auth ", "pw "),
        re.compile(
            rf"(?:^|(?<=[\s&;]))(?:(?:ENV|SETX|setx|setenv|(?:configure|config) set|config:set)[ \t]+{_NAME}"
            r"|(?P<directive>(?i:requirepass|masterauth|bindpw|rootbindpw|rootpw|sasl_password|smtp_password|auth-pass)))"
            r"[ \t]+(?P<quote>[\"']?)(?P<secret>(?:(?!(?P=quote)(?:\s|$))[^\r\n]){0,255}?[^\s])(?=(?P=quote)(?:\s|$))",
            re.MULTILINE,
        ),
        lambda match: _always(match) if match["directive"] else _by_name(match),
    ),
    Context(  # a line that has a name and a value, and nothing else
        ("pass", "secret", "pwd"),
        re.compile(rf"^[ \t]*{_NAME}[ \t]+(?P<secret>\S{{6,256}})[ \t]*$", re.MULTILINE),
        lambda match: secret_names.of(match["name"]) is Says.SURELY and looks_random(match["secret"]) and _always(match),
    ),
    Context(  # a key and its value in the long form of YAML
        ("? ",),
        re.compile(rf"^[ \t]*\?[ \t]+[\"']?{_NAME}[\"']?[ \t]*\r?\n[ \t]*:[ \t]+[\"']?(?P<secret>[^\r\n\"']+)", re.MULTILINE),
        _by_name,
    ),
    Context(  # Oracle's, as its own tools take them
        ("conn",),
        re.compile(r"\bconn(?:ect)?[ \t]+[\w.$#\"-]{1,128}/(?P<secret>\S{1,256})(?=@)", re.IGNORECASE),
        _always,
    ),
    Context(
        ("alter ", "create ", "set ", "encrypted", "credential", "role ", "user ", "copy ", "option", "login "),
        re.compile(
            r"(?:\b(?:encrypted|with|user|role|login|set|alter|valid|options?|\()[ \t\r\n]+|,[ \t]*|\()"
            rf"{_NAME}(?:\s+for\s+[^\s=]{{1,80}})?[ \t]*(?:=[ \t]*)?(?:password\()?[ \t]*(?<=[ (=]){_STRING}(?=(?P=quote)(?![\"'\w]))",
            re.IGNORECASE,
        ),
        lambda match: secret_names.of(match["name"]) is Says.SURELY and _always(match) and not is_sentence(match["secret"]),
    ),
    Context(
        ("password",),
        re.compile(
            rf"(?:\b(?:machine{_SPACE}\S{{1,255}}|default){_SPACE}|\blogin{_SPACE}\S{{1,128}}{_SPACE}"
            rf"(?:account{_SPACE}\S{{1,128}}{_SPACE})?)password{_SPACE}(?P<secret>[^\s\"'\\]{{1,256}})"
        ),
        _always,
    ),
    Context(
        ("password ",), re.compile(r"\bPASSWORD[ \t]+(?P<quote>[\"'])(?P<secret>(?:''|(?!(?P=quote))[^\r\n])+)"), _always
    ),
    Context(  # Oracle's
        (":thin:", ":oci"),
        re.compile(r":(?:thin|oci8?):(?P<user>[\w.$#\"-]{1,128})/(?P<secret>(?:\"[^\"\r\n]{1,128}\"|[^\s]{1,512}))(?=@)"),
        _always,
    ),
    Context(  # .pgpass
        (":",),
        re.compile(
            r":(?:\d{2,5}|\*):[^:\s]{1,64}:(?!\d+:)[^:\s\d][^:\s]{0,63}:"
            r"(?P<secret>\S{4,256})(?=$)",
            re.MULTILINE,
        ),
        _always,
    ),
    Context(  # a hash of a password, as systems keep it: it can be tried at home
        ("$",),
        re.compile(
            r"(?<![\w$])(?P<secret>\$(?:apr1|1|2[abxy]?|5|6|7|y|gy|sha1|md5|argon2(?:id|i|d)|scrypt|pbkdf2(?:-sha\d+)?|bcrypt-sha256)"
            r"\$[\w./$=,+-]{12,512})"
        ),
        _always,
    ),
    Context(("{s",), re.compile(r"\{S?SHA(?:256|512)?\}(?P<secret>[A-Za-z0-9+/]{20,200}={0,2})"), _always),
    Context(("$",), re.compile(r"\b(?:pbkdf2_sha\d+|argon2|bcrypt(?:_sha256)?)\$(?P<secret>[\w./$=,+-]{20,512})"), _always),
    Context(  # a DSN of Go's, without a scheme
        ("@",),
        re.compile(r":(?P<secret>[^\s\"'/][^\s\"']{0,128}?)(?=@(?:tcp|unix)\()"),
        _always,
    ),
    Context(  # user:password@host without a scheme
        ("@",),
        re.compile(r":(?P<secret>[^\s\"'@/:]{8,128})(?=@[a-z][\w.-]{1,128}(?::\d{2,5}|/))", re.IGNORECASE),
        lambda match: looks_random(match["secret"]) and not match["secret"].startswith("sha"),
    ),
    Context(  # a form of several parts
        ("form-data",),
        re.compile(rf"form-data;[ \t]*name=\\?\"{_NAME}\\?\"(?:(?:\r?\n|\\r\\n|\\n)[\w-]+:[^\r\n\\]*){{0,4}}(?:\r?\n|\\r\\n|\\n){{2}}(?P<secret>[^\r\n\\]{{1,512}})"),
        _by_name,
    ),
    Context(  # a private key in JSON
        ("kty",),
        re.compile(r"(?<=[\"'])(?P<name>d|p|q|dp|dq|qi|k)(?P<close>\\?[\"']):[ \t]*(?P<quote>\\?[\"'])(?P<secret>[\w-]{10,2000})"),
        _always,
    ),
    Context(
        ("private-lines",), re.compile(r"Private-Lines:[ \t]*\d+\s+(?P<secret>(?:[A-Za-z0-9+/=]{16,}\s*){1,100})", re.I), _always
    ),
)



def _by_hint(*, with_names: bool) -> dict[str, list[Context]]:
    found: dict[str, list[Context]] = {}
    for context in CONTEXTS:
        if with_names or "name" not in context.pattern.groupindex:
            for hint in context.hints:
                found.setdefault(hint, []).append(context)
    return found


#: With a name of a secret in the text, and without.
_BY_HINT = (_by_hint(with_names=False), _by_hint(with_names=True))


def blot(text: str, low: str, *, has_name: bool) -> str:
    """Blot out of `text` what stands in a context of secrets.

    Args:
        text: any text.
        low: it in small letters.
        has_name: whether a name of a secret may stand in it.
    """
    text = commands.blot(text)
    if has_name and ":" in low and "\n" in low:
        text = _without_blocks(text)
    if has_name and ("[" in low or "(" in low):
        text = _without_lists(text)
    by_hint = _BY_HINT[has_name]
    hit = [context for hint in by_hint if hint in low for context in by_hint[hint]]
    for context in dict.fromkeys(hit):
        text = _blotted(text, context)
    text = error_texts.blot(text)
    return _fields(text) if has_name and any(map(low.__contains__, _VALUE_HINTS)) else text


_BLOCK = re.compile(
    rf"(?P<indent>(?:^|(?<=\n))[ \t]*(?:-[ \t]+)?)[\"']?{_NAME}[\"']?:[ \t]*(?P<block>(?:![\w!]+[ \t]+)?[|>][-+0-9]{{0,2}}[ \t]*)?\r?\n"
)
_ITEM = re.compile(r"(?P<dash>-[ \t]+)?(?P<quote>[\"']?)(?P<secret>(?![-?#{[|>&*!%@`])[^\r\n:]*(?::(?![ \t\r\n]|$)[^\r\n:]*)*)(?P=quote)[ \t]*")


def _without_blocks(text: str) -> str:
    """Blot out what stands in the lines under names of secrets in YAML: a block, a list, or a value of its own line."""
    parts: list[str] = []
    done = 0
    for block in _BLOCK.finditer(text):
        says = secret_names.of(block["name"])
        if block.start() < done or says is Says.NOTHING:
            continue
        for start, end in _inside(text, block.end(), len(block["indent"].expandtabs())) if block["block"] else _items(text, block, says):
            if not text.startswith(MARK, start):
                parts += (text[done:start], MARK)
                done = end
    return "".join((*parts, text[done:])) if parts else text


def _inside(text: str, begin: int, depth: int) -> list[tuple[int, int]]:
    """Return where the lines lie that stand deeper than `depth`, from `begin` on."""
    end = begin
    for line in _LINES.finditer(text, begin):
        if line["rest"] and _depth_of(line[0]) <= depth:
            break
        end = line.end("rest") if line["rest"] else end
    inside = text[begin:end]
    start = begin + len(inside) - len(inside.lstrip())
    return [(start, end)] if start < end else []


def _depth_of(line: str) -> int:
    return len(_INDENT.match(line)[0].expandtabs())  # type: ignore[index]  # it matches nothing, too


_INDENT = re.compile(r"[ \t]*")


def _items(text: str, block: re.Match[str], says: Says) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    depth = len(block["indent"].expandtabs())
    for line in _LINES.finditer(text, block.end()):
        item = _ITEM.fullmatch(line["rest"])
        here = len(line["indent"].expandtabs())
        if item is None or not item["secret"] or here < depth or (not item["dash"] and (here == depth or found)):
            break
        if is_value(item["secret"], says):
            found.append((line.start("rest") + item.start("secret"), line.start("rest") + item.end("secret")))
        if not item["dash"]:
            break
    return found


_LINES = re.compile(r"(?P<indent>[ \t]*)(?P<rest>[^\r\n]*)(?:\r?\n|$)(?<!^)")
# A list in brackets under one name, and an object that has the value in a field.
_LIST = re.compile(
    rf"{_NAME}\\?[\"']?\]?[ \t]*(?:=>|[:=])[ \t]*"
    r"(?P<items>[\[(](?:\s{0,40}b?(?:\\{0,3}\"(?:\\.|[^\"\\\r\n])*+\"|\\{0,3}'(?:\\.|[^'\\\r\n])*+'),?){1,200}\s{0,40}[\])])"
)
_NAMES = re.compile(r"(?=.*(?:pass|secret|token|key))[A-Za-z_]+", re.IGNORECASE)
_STRINGS = re.compile(r"(?P<quote>\\{0,3}[\"'])(?P<secret>(?:(?!(?P=quote))(?:\\.|[^\\\r\n]))*+)(?P=quote)")


def _without_lists(text: str) -> str:
    parts: list[str] = []
    done = 0
    for listed in _LIST.finditer(text):
        says = secret_names.of(listed["name"])
        if says is Says.NOTHING or listed.start() < done:
            continue
        says = says if says is Says.SURELY else Says.IF_RANDOM
        for item in _STRINGS.finditer(text, *listed.span("items")):
            if is_value(item["secret"], says) and _NAMES.fullmatch(item["secret"]) is None:
                parts += (text[done : item.start("secret")], MARK)
                done = item.end("secret")
    return "".join((*parts, text[done:])) if parts else text


def _blotted(text: str, context: Context) -> str:
    parts: list[str] = []
    done = 0
    for match in context.pattern.finditer(text):
        group = "plain" if match.groupdict().get("secret") is None else "secret"
        if match.start(group) >= done and context.is_secret(match):
            end = match.end(group)
            while end > match.start(group) and text[end - 1] in "\r\n":
                end -= 1
            parts += (text[done : match.start(group)], MARK)
            done = end
    return "".join((*parts, text[done:])) if parts else text


# A name in one field and its value in another: {"name": "DB_PASSWORD", "value": "..."}, in this order and in the other.
_VALUE_HINTS = ("value", "input", "default", "content", "secretstring", "<property", "<entry", "<setting", "<param", "<string", "<env")
_Q = r"(?:\\{0,3}[\"']|&quot;)?"
_TO = rf"{_Q}[ \t]{{0,4}}(?:=>|[:=])[ \t]{{0,4}}b?"
_FIELD = re.compile(
    r"(?:name|key|field|id|variable|header|setting|option|param|parameter|property|label|env)"
    rf"{_TO}(?P<quote>{_Q})(?P<name>[\w.$:/-]{{2,80}})",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"(?:value|val|content|string|default|input|data)"
    rf"{_TO}(?:(?P<quote>\\{{0,3}}[\"']|&quot;)(?P<secret>(?:(?!(?P=quote))(?:\\.|[^\\\r\n]))*+)|(?P<plain>[^\s\"'{{}}\[\](),;<>]+))",
    re.IGNORECASE,
)
_OBJECT = re.compile(rf"{_NAME}\\?[\"']?[ \t]*(?:(?:=>|[:=])[ \t]*)?\{{")
_INSIDE = re.compile(r"[\"']?[^<>]{0,120}>(?:<value>)?(?P<secret>[^<\r\n]{1,512})(?=</)")
_NEXT_OBJECT = re.compile(r"[{}<>]|\)(?=[,\])]|$)|\n[ \t]*-[ \t]|\}\}|\r?\n[ \t]*\r?\n")
_REACH = 240


def _fields(text: str) -> str:
    fields = [*_FIELD.finditer(text), *_OBJECT.finditer(text)]
    spans = sorted({span for field in fields if (span := _value_of(text, field)) is not None})
    parts: list[str] = []
    done = 0
    for start, end in spans:
        if start >= done:
            parts += (text[done:start], MARK)
            done = end
    return "".join((*parts, text[done:])) if parts else text


def _value_of(text: str, field: re.Match[str]) -> tuple[int, int] | None:
    says = secret_names.of(field["name"])
    if says is Says.NOTHING:
        return None
    behind = text[field.end() : field.end() + _REACH]
    ends = _NEXT_OBJECT.search(behind)
    if ends is not None and ends[0] in "<>" and (inside := _INSIDE.match(behind)) is not None:
        start, end = inside.span("secret")
        return (field.end() + start, field.end() + end) if is_value(inside["secret"], says) else None
    found = _VALUE.search(behind[: ends.start()] if ends else behind)
    offset = field.end()
    if found is None:
        before = text[max(0, field.start() - _REACH) : field.start()]
        cut = max((match.end() for match in _NEXT_OBJECT.finditer(before)), default=0)
        offset = max(0, field.start() - _REACH) + cut
        found = _VALUE.search(before[cut:])
    if found is None:
        return None
    group = "secret" if found["secret"] is not None else "plain"
    if group == "plain" and found[group][0] in "|>":  # a block
        line = text.rfind("\n", 0, offset + found.start()) + 1
        begin = text.find("\n", offset + found.end()) + 1
        inside = _inside(text, begin, _depth_of(text[line:])) if begin else []
        return inside[0] if inside and not text.startswith(MARK, inside[0][0]) else None
    if not is_value(found[group], says):
        return None
    return offset + found.start(group), offset + found.end(group)
