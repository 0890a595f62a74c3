"""Secrets by their context: YAML blocks, a name and a value in two fields, SQL, password files."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from resilient_tasks.redaction import commands, error_texts, fields, secret_names, sql_parameters
from resilient_tasks.redaction.patterns import MARK, compiled, redact_spans
from resilient_tasks.redaction.secret_names import Confidence
from resilient_tasks.redaction.secret_values import is_nothing, is_sentence, is_value, looks_random


class Context(NamedTuple):
    """A context in which secrets appear.

    Attributes:
        hints: every such text contains one of these, in lowercase.
        pattern: has the group `secret`, and the group `name` if the name decides whether it is one.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    is_secret: Callable[[re.Match[str]], bool]


def _by_name(match: re.Match[str]) -> bool:
    return is_value(match["secret"], secret_names.confidence(match["name"]))


def _always(match: re.Match[str]) -> bool:
    secret = match["plain"] if match["secret"] is None else match["secret"]
    return not is_nothing(secret) and not secret.startswith(MARK)


def _if_random(match: re.Match[str]) -> bool:
    return looks_random(match["secret"])


_NAME = r"(?<![\w.-])(?P<name>[\w.-]{2,64})"
_STRING = r"(?P<quote>\\{0,3}[\"'])(?P<secret>(?:''|(?!(?P=quote))(?:\\.|[^\\\r\n])){1,512}+)"
_SPACE = r"(?:\s|\\[nrt]){1,8}"
CONTEXTS = (
    Context(
        ("set", "with"),
        compiled(
            r"(?P<name>\b(?:set|with)[A-Za-z_]{3,40})\([ \t]*b?"
            r"(?P<quote>\\{0,3}[\"'])(?P<secret>(?:(?!(?P=quote))(?:\\.|[^\\\r\n])){1,512}+)"
        ),
        _by_name,
    ),
    Context(  # a prompt, and what was typed
        ("pass", "pin for"),
        compiled(
            r"(?P<name>\b(?:[Pp]assword|[Pp]assphrase|[Pp]asscode|PIN))(?: for| of)[ \t]+(?:key |user |account )?"
            r"(?:'[^'\r\n]{1,128}'|[^\s:]{1,128}): ?(?P<secret>[^\s]{1,256})"
        ),
        lambda match: (
            _always(match) and not is_sentence(match.string[match.start("secret") : match.end("secret") + 60])
        ),
    ),
    Context(  # two elements of XML, one for the name and one for the value
        ("</",),
        compiled(
            rf"<(?P<tag>[\w:-]*(?:name|key|id|property))>{_NAME}</(?P=tag)>\s{{0,40}}<[\w:-]*(?:value|string|data|text)[^<>]{{0,80}}>"
            r"(?:\s{0,20}<\w+>)?(?:<!\[CDATA\[)?(?P<secret>[^<\r\n]{1,512})(?=<|\]\])",
            re.IGNORECASE,
        ),
        _by_name,
    ),
    Context(  # an XML element that has attributes, or is escaped
        ("<", "&lt;"),
        compiled(
            rf"(?:<|&lt;)(?:[\w-]{{1,30}}:)?{_NAME}(?:\s[^<>]{{0,200}})?(?:>|&gt;)(?:<!\[CDATA\[)?"
            r"(?P<secret>[^<&\r\n]{1,512})(?=</|&lt;/|\]\])"
        ),
        _by_name,
    ),
    Context(
        ("<",),
        compiled(
            rf"<(?:[\w-]{{1,30}}:)?{_NAME}\s(?:[^<>]{{0,200}}\s)?value=(?P<quote>[\"'])(?P<secret>[^\"'<>]{{1,512}})"
        ),
        _by_name,
    ),
    Context(  # items of a YAML list
        ("--",),
        compiled(
            rf"--{_NAME}(?:,[ \t]+|[ \t]*\r?\n[ \t]*-[ \t]+)(?P<secret>[^\s,\[\]\"'-][^\s,\[\]\"']{{0,255}})".replace(
                "(?<![\\w.-])", ""
            )
        ),
        _by_name,
    ),
    Context(  # what is piped into a command
        ("--password-stdin", "chpasswd", "--stdin", "--with-token", "sudo -"),
        compiled(
            r"\b(?:echo|printf)[ \t]+(?:-\w+[ \t]+)?(?P<quote>[\"']?)"
            r"(?:[\w.-]{1,64}:)?(?P<secret>[^\s\"'|]{1,256})(?P=quote)[ \t]*\|"
            r"(?=[^|\r\n]{0,200}(?:--password-stdin|chpasswd|--stdin|--with-token|\bsudo[ ]-\w*S))"
            r"|\bchpasswd[ \t]*<<<[ \t]*[\"']?[\w.-]{1,64}:(?P<plain>[^\s\"']{1,256})"
        ),
        _always,
    ),
    Context(  # login commands of protocols for mail, files and caches
        ("pass ", "auth ", " login ", "community "),
        compiled(
            r"(?:\bUSER[ ]\S{1,128}(?:\s|\\[rn]|[<>*:]){1,8}(?:[\w.]{1,40}[ ]){0,2}PASS"
            r"|^(?:[CS>]:?[ ])?AUTH(?:[ ][\w-]{1,20})?"
            r"|\b[A-Za-z]{0,4}\d{1,6}[ ]LOGIN[ ]\S{1,128}|\bsnmp-server[ ]community)[ ]\"?(?P<secret>[^\s\"]{6,512})",
            re.MULTILINE,
        ),
        lambda match: _always(match) and looks_random(match["secret"]),
    ),
    Context(  # Rust's and Go's command-line parsers
        (" for '-", ' for "-', ' for \\"-'),
        compiled(
            r"\b(?:value|argument)[ ](?P<quote>\\?[\"'])(?P<secret>[^\r\n]{1,512}?)(?P=quote)[ ]for[ ]"
            r"\\?[\"'](?:-\w,[ ])?(?P<name>--?[\w-]{1,80})"
        ),
        _by_name,
    ),
    Context(
        ("raw value: ",),  # configparser's
        compiled(
            r"option '(?P<name>[^'\r\n]{1,80})' in section [^\r\n]{1,200}?Raw value: "
            r"\\?[\"'](?P<secret>[^\r\n]{1,1000}?)(?=\\?[\"'](?:$|[\r\n,}\\]))"
        ),
        _by_name,
    ),
    Context(
        ("key ", "token ", "secret "),
        compiled(
            r"(?P<name>\b(?:api|access|secret|auth|client|bot|private)[ _-]?(?:key|token|secret))s?[ ]"
            r"(?:provided|given|used|supplied|passed|received)(?:[ ]is)?[:=]?[ ]{1,2}[\"']?"
            r"(?P<secret>[^\s\"',;]{8,256})",
            re.IGNORECASE,
        ),
        _if_random,
    ),
    Context(  # multi-line strings and heredocs: TOML, HCL, shells
        ('"""', "'''", "<<"),
        compiled(
            rf"{_NAME}[\"']?[ \t]*[=:][ \t]*(?:<<[-~]?[\"']?(?P<word>\w+)[\"']?\r?\n|(?P<quotes>\"\"\"|'''))"
            r"(?P<secret>.{1,4000}?)(?:^[ \t]*(?P=word)\b|(?P=quotes))",
            re.MULTILINE | re.DOTALL,
        ),
        _by_name,
    ),
    Context(
        ("identified",),
        compiled(
            r"\bidentified\s+(?:with\s+[\w.\"'`]{1,64}\s+)?(?:by|as|using)\s+(?:password\s+|values\s+)?"
            r"(?:(?P<quote>\\?[\"'])(?P<secret>(?:''|(?!(?P=quote))[^\r\n])+)|(?P<plain>[^\s;\"']+))",
            re.IGNORECASE,
        ),
        lambda _: True,
    ),
    Context(
        ("secret",),
        compiled(r"\bSecret\w{0,12}\(b?(?P<quote>[\"'])(?P<secret>(?:''|(?!(?P=quote))[^\r\n])+)"),
        _always,
    ),
    Context(  # Dockerfile, Windows
        ("env ", "set", "requirepass", "auth ", "pw "),
        compiled(
            rf"(?:^|(?<=[\s&;]))(?:(?:ENV|SETX|setx|setenv|(?:configure|config) set|config:set)"
            rf"[ \t]+(?:[^\s:]{{0,80}}:)?{_NAME}"
            r"|(?P<directive>(?i:requirepass|masterauth|bindpw|rootbindpw|rootpw|sasl_password|smtp_password|auth-pass)))"
            r"[ \t]+(?P<quote>[\"']?)(?P<secret>(?:(?!(?P=quote)(?:\s|$))[^\r\n]){0,255}?[^\s])(?=(?P=quote)(?:\s|$))",
            re.MULTILINE,
        ),
        lambda match: _always(match) if match["directive"] else _by_name(match),
    ),
    Context(  # a line with only a name and a value
        ("pass", "secret", "pwd"),
        compiled(
            rf"^[ \t]*(?:(?:set|enable|username[ ]\S{{1,64}})[ ])?{_NAME}[ \t]+(?:\d[ ])?"
            r"(?P<secret>\S{6,256})[ \t]*$",
            re.MULTILINE,
        ),
        lambda match: (
            secret_names.confidence(match["name"]) is Confidence.SURE
            and looks_random(match["secret"])
            and _always(match)
        ),
    ),
    Context(  # YAML's explicit keys
        ("? ",),
        compiled(
            rf"^[ \t]*\?[ \t]+[\"']?{_NAME}[\"']?[ \t]*\r?\n[ \t]*:[ \t]+[\"']?(?P<secret>[^\r\n\"']+)", re.MULTILINE
        ),
        _by_name,
    ),
    Context(  # Oracle's own tools
        ("conn ", "conn\t", "connect ", "connect\t"),
        compiled(r"\bconn(?:ect)?[ \t]+[\w.$#\"-]{1,128}/(?P<secret>\S{1,256})(?=@)", re.IGNORECASE),
        _always,
    ),
    Context(
        ("alter ", "create ", "set ", "encrypted", "credential", "role ", "user ", "copy ", "option", "login "),
        compiled(
            r"(?:\b(?:encrypted|with|user|role|login|set|alter|valid|options?|\()[ \t\r\n]+|,[ \t]*|\()"
            rf"{_NAME}(?:\s+for\s+[^\s=]{{1,80}})?"
            rf"[ \t]*(?:=[ \t]*)?(?:password\()?[ \t]*(?<=[ (=]){_STRING}(?=(?P=quote)(?![\"'\w]))",
            re.IGNORECASE,
        ),
        lambda match: (
            secret_names.confidence(match["name"]) is Confidence.SURE
            and _always(match)
            and not is_sentence(match["secret"])
        ),
    ),
    Context(
        ("password",),
        compiled(
            rf"(?:\b(?:machine{_SPACE}\S{{1,255}}|default){_SPACE}|\blogin{_SPACE}\S{{1,128}}{_SPACE}"
            rf"(?:account{_SPACE}\S{{1,128}}{_SPACE})?)password{_SPACE}(?P<secret>[^\s\"'\\]{{1,256}})"
        ),
        _always,
    ),
    Context(
        ("password ",),
        compiled(r"\bPASSWORD[ \t]+(?P<quote>[\"'])(?P<secret>(?:''|(?!(?P=quote))[^\r\n])+)"),
        _always,
    ),
    Context(  # Oracle's
        (":thin:", ":oci"),
        compiled(r":(?:thin|oci8?):(?P<user>[\w.$#\"-]{1,128})/(?P<secret>(?:\"[^\"\r\n]{1,128}\"|[^\s]{1,512}))(?=@)"),
        _always,
    ),
    Context(  # .pgpass
        (":",),
        compiled(
            r":(?:\d{2,5}|\*):[^:\s]{1,64}:(?!\d+:)[^:\s\d][^:\s]{0,63}:"
            r"(?P<secret>\S{4,256})(?=$)",
            re.MULTILINE,
        ),
        _always,
    ),
    Context(  # password hashes: they can be attacked offline
        ("$",),
        compiled(
            r"(?<![\w$])(?P<secret>\$(?:apr1|1|2[abxy]?|5|6|7|y|gy|sha1|md5|argon2(?:id|i|d)|scrypt|pbkdf2(?:-sha\d+)?|bcrypt-sha256)"
            r"\$[\w./$=,+-]{12,512})|\b(?:pbkdf2_sha\d+|argon2|bcrypt(?:_sha256)?)\$(?P<plain>[\w./$=,+-]{20,512})"
        ),
        _always,
    ),
    Context(("{s",), compiled(r"\{S?SHA(?:256|512)?\}(?P<secret>[A-Za-z0-9+/]{20,200}={0,2})"), _always),
    Context(  # Go's DSNs without a scheme
        ("@",),
        compiled(r":(?P<secret>[^\s\"'/][^\s\"']{0,512}?)(?=@(?:tcp|unix)\()"),
        _always,
    ),
    Context(  # user:password@host without a scheme
        ("@",),
        compiled(r":(?P<secret>[^\s\"'@/:]{8,128})(?=@[a-z][\w.-]{1,128}(?::\d{2,5}|/))", re.IGNORECASE),
        lambda match: looks_random(match["secret"]) and not match["secret"].startswith("sha"),
    ),
    Context(  # a multipart form
        ("form-data",),
        compiled(
            rf"form-data;[ \t]*name=\\?\"{_NAME}\\?\""
            rf"(?:(?:\r?\n|\\r\\n|\\n)[\w-]+:[^\r\n\\]*){{0,4}}(?:\r?\n|\\r\\n|\\n){{2}}(?P<secret>[^\r\n\\]{{1,512}})"
        ),
        _by_name,
    ),
    Context(  # a private key in JSON
        ("kty",),
        compiled(
            r"(?<=[\"'])(?:d|p|q|dp|dq|qi|k)\\?[\"']:[ \t]*"
            r"(?P<quote>\\?[\"'])(?P<secret>[\w-]{10,2000})"
        ),
        _always,
    ),
    Context(
        ("private-lines",),
        compiled(r"Private-Lines:[ \t]*\d+\s+(?P<secret>(?:[A-Za-z0-9+/=]{16,}\s*){1,100})", re.IGNORECASE),
        _always,
    ),
)


def _by_hint(*, with_names: bool) -> dict[str, list[Context]]:
    found: dict[str, list[Context]] = {}
    for context in CONTEXTS:
        if with_names or "(?P<name>" not in context.pattern.pattern:
            for hint in context.hints:
                found.setdefault(hint, []).append(context)
    return found


#: By whether the name of a secret may be in the text.
_BY_HINT = (_by_hint(with_names=False), _by_hint(with_names=True))
#: Every text with an unnamed secret contains one of these.
HINTS = frozenset(_BY_HINT[False])


def redact(text: str, low: str, *, has_name: bool) -> str:
    """Redact what appears in a context of secrets.

    Args:
        text: any text.
        low: `text` in lowercase.
        has_name: whether it may contain the name of a secret.
    """
    text = commands.redact(text)
    if has_name:
        text = fields.redact(text, low)
        if "values" in low:
            text = sql_parameters.redact_literals(text)
    by_hint = _BY_HINT[has_name]
    hit = [context for hint in by_hint if hint in low for context in by_hint[hint]]
    for context in dict.fromkeys(hit):
        if found := [match for match in context.pattern.finditer(text) if context.is_secret(match)]:
            text = redact_spans(text, map(_span, found))
    return error_texts.redact(text)


def _span(match: re.Match[str]) -> tuple[int, int]:
    start, end = match.span("plain" if match.groupdict().get("secret") is None else "secret")
    return start, start + len(match.string[start:end].rstrip("\r\n"))
