"""Secrets that are recognised by their shape, without a name: tokens, keys, URLs with credentials, headers.

Each pattern takes time proportional to the text, for any text: repetitions are bounded or possessive, or can begin
only where no earlier match could. `tests/redaction/test_redact.py` tries hostile texts.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import NamedTuple

from resilient_tasks.redaction import secret_names, tokens
from resilient_tasks.redaction.patterns import MARK, compiled
from resilient_tasks.redaction.secret_values import looks_random, lowered


class Rule(NamedTuple):
    """A shape of secrets, and how to redact it.

    Attributes:
        hints: every text with such a secret contains one of these; in lowercase if case is ignored.
        pattern: matches it.
        replacement: of a match.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def _in_url(match: re.Match[str]) -> str:
    start, user, colon, password, end = match.groups()
    if not colon:
        return f"{start}{MARK}{end}" if len(user) >= 16 and looks_random(user) else match[0]
    if not password or password in {"x", "x-oauth-basic"} or len(user) >= 20:
        user = user and MARK  # a token instead of a user
    return f"{start}{user}{colon}{password and MARK}{end}"


def _basic(match: re.Match[str]) -> str:
    try:
        credentials = base64.b64decode(match[2] + "=" * (-len(match[2]) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return match[0]
    return f"{match[1]}{MARK}" if ":" in credentials else match[0]


def _bearer(match: re.Match[str]) -> str:
    return f"{match[1]}{MARK}" if looks_random(match[2]) or len(match[2]) >= 24 else match[0]


def _header(match: re.Match[str]) -> str:
    before, listed, scheme, value = match.groups()
    if not listed and not scheme and secret_names.confidence(value) and not any(map(str.isdigit, value)):
        return match[0]  # a list of header names
    if listed or (scheme and scheme.strip().lower() in _SCHEMES) or looks_random(value):
        return f"{before}{listed or scheme}{MARK}"
    return match[0]


_AT = r"[^\s/?#@:\"'<>]"
_HEADER = (
    r"authorization(?:\\*[\"'][ \t]{0,4},[ \t]{0,4}(?=b?\\*[\"'])|(?:\\*[\"'])?[ \t]{0,4}(?:%3a|=>|[:=])[ \t]{0,4})"
    r"(?:b?\\*[\"'])?"
)
_SCHEMES = frozenset({"bearer", "basic", "token", "apikey", "key", "bot", "negotiate", "ntlm", "splunk", "genie"})
_LISTED = "digest|aws4-hmac-sha256|hawk|oauth|sharedkey|sharedkeylite|signature|hmac|hmac-sha256"

#: In order: rules that match a whole secret come before those that would match a part of it.
RULES = (
    Rule(
        ("PRIVATE KEY",),  # whole or truncated
        compiled(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
            r"(?:[^-]*(?:-(?!----)[^-]*)*-----END[A-Z0-9 ]{0,60}(?:-----)?"
            r"|(?:\s|\\+[rn]|[A-Za-z0-9+/=]{16,})*[A-Za-z0-9+/=]*)"
        ),
        MARK,
    ),
    Rule(
        ("authorization",),
        compiled(
            rf"({_HEADER})(?![\w-]{{1,30}}[ \t]+\*\*\*)(?:((?:{_LISTED})[ \t]+)[^\r\n\"'\\]+(?:\\?\"[^\r\n\"'\\]*)*"
            r"|((?:[a-z][\w-]{0,30}[ \t]+)?)([^\s\"'\\,;<>)\]}]{6,}))",
            re.IGNORECASE,
        ),
        _header,
    ),
    Rule(("bearer",), compiled(r"(\bbearer(?:[ \t]+|%20))([\w.~+/-]{8,}=*(?![\w=]))", re.IGNORECASE), _bearer),
    Rule(("basic",), compiled(r"(\bbasic(?:[ \t]+|%20))([A-Za-z0-9+/]{6,}={0,2})", re.IGNORECASE), _basic),
    Rule(
        ("://", ":\\/\\/"),
        compiled(rf"(:(?://|\\/\\/))({_AT}{{0,256}})(?:(:)({_AT.replace(':', '')}{{0,512}}))?(@)"),
        _in_url,
    ),
    Rule(  # a password that contains a slash or an at sign, but not a port or a path
        ("://",),
        compiled(
            rf"(://)({_AT}{{0,64}})(:)(?!\d{{1,5}}(?:[/?#\s\"',)\]]|$))"
            r"((?:(?!://)(?:[^\s<>\\]|\\[\"'\\])){1,256})(@)(?=[\w.\[-])"
        ),
        _in_url,
    ),
    Rule(
        ("%3a%2f%2f",),
        compiled(
            r"(%3a%2f%2f)((?:(?!%3a|%40|%2f)[\w.~%+-]){0,64})(%3a)(?!\d{1,5}(?:%2f|%3f|$))((?:(?!%40|%3a%2f%2f)[\w.~%+/=!*-]){0,256})(%40)",
            re.IGNORECASE,
        ),
        _in_url,
    ),
    Rule(
        ("/services/T",),  # Slack's incoming webhooks, on any host
        compiled(r"(/services/)T[A-Za-z0-9_]{5,}/B[A-Za-z0-9_]{5,}/[A-Za-z0-9_]{8,}"),
        rf"\1{MARK}",
    ),
    Rule(
        ("hooks.slack.com/",),
        compiled(r"(hooks\.slack\.com/(?:workflows|triggers)/)[\w/-]{8,}", re.IGNORECASE),
        rf"\1{MARK}",
    ),
    Rule(("/api/webhooks/",), compiled(r"(/api/webhooks/)\d{6,}/[\w-]{8,}", re.IGNORECASE), rf"\1{MARK}"),  # Discord's
    Rule(("webhook.office.com/",), compiled(r"(webhook\.office\.com/)[\w@/-]{20,}", re.IGNORECASE), rf"\1{MARK}"),
    Rule(  # a user and a password: `auth=("bob", "...")`
        ("auth",),
        compiled(
            r"(auth\w{0,12}[\"']?(?:[ \t]?[=:])?[ \t]?\([ \t]?b?([\"'])[^\"'\n]{0,128}\2,[ \t]?b?([\"']))"
            r"(?:\\.|(?!\3)[^\n\\]){1,256}(?=\3[ \t]?\))",
            re.IGNORECASE,
        ),
        rf"\1{MARK}",
    ),
    Rule(  # a login in code: `smtp.login("bob", "...")`
        ("login(", "bind_s(", "bind(", "authenticate("),
        compiled(
            r"(\b(?:log_?in|simple_bind(?:_s)?|bind(?:_s)?|authenticate)\([ \t]?(?:\w{2,12}=)?b?([\"'])"
            r"[^\"'\r\n]{1,256}\2,[ \t]?(?:\w{2,12}=)?b?([\"']))(?:\\.|(?!\3)[^\r\n\\]){1,512}(?=\3[ \t]?[,)])",
            re.IGNORECASE,
        ),
        rf"\1{MARK}",
    ),
    Rule(("eyJ",), compiled(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{6,}(?:\.[\w-]*){0,4}"), MARK),  # JSON web tokens
    Rule(  # an AWS access key, with the secret key after it
        ("AKIA", "ASIA", "ABIA", "ACCA"),
        compiled(
            r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
            r"(?:[\"'\s:,;|/=]{1,5}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?"
        ),
        MARK,
    ),
    Rule((".atlasv1.",), compiled(r"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}"), MARK),
    Rule(("_mmk",), compiled(r"(?<![A-Za-z0-9])[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"), MARK),  # MaxMind's
    Rule((":AA",), compiled(r"(?<!\d)\d{6,12}:AA[\w-]{30,}"), MARK),  # Telegram's
    Rule(("Q~",), compiled(r"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{30,}"), MARK),  # Entra's
    Rule(("-us",), compiled(r"(?<![0-9a-f])[0-9a-f]{32}-us\d{1,2}(?!\d)"), MARK),  # Mailchimp's
)

#: Whether each rule looks for its hints in the lowercase text, and the rule.
_BY_CASE = tuple((bool(rule.pattern.flags & re.IGNORECASE), rule) for rule in RULES)
HINTS = frozenset(hint for rule in RULES for hint in rule.hints)
_EXACT = tuple({hint for ignores_case, rule in _BY_CASE if not ignores_case for hint in rule.hints})
_IN_SMALL = tuple({hint for ignores_case, rule in _BY_CASE if ignores_case for hint in rule.hints})


def redact(text: str) -> str:
    """Redact what has the shape of a secret in `text`."""
    low = lowered(text)
    if any(map(text.__contains__, _EXACT)) or any(map(low.__contains__, _IN_SMALL)):
        for ignores_case, rule in _BY_CASE:
            if any(map((low if ignores_case else text).__contains__, rule.hints)):
                text = rule.pattern.sub(rule.replacement, text)
    return tokens.redact(text)
