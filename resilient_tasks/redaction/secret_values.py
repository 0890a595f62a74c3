"""Decide by a value whether it can be a secret: `***`, `$PASSWORD` and "must be set" cannot, whatever the name."""

from __future__ import annotations

import re

from resilient_tasks.redaction import secret_names
from resilient_tasks.redaction.patterns import MARK, compiled
from resilient_tasks.redaction.secret_names import Confidence, words

_SMALL = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def lowered(text: str) -> str:
    """Return `text` in lowercase, with every character at the same index."""
    low = text.lower()
    return low if len(low) == len(text) else text.translate(_SMALL)


def looks_random(text: str) -> bool:
    """Return whether `text` looks random: it mixes letters and digits, or has capitals inside."""
    if len(text) < 8:
        return False
    letters, digits = any(map(str.isalpha, text)), any(map(str.isdigit, text))
    return (letters and digits) or (text[1:] not in {text[1:].lower(), text[1:].upper()})


_PARTS = compiled(r"[A-Za-z0-9]{8,}")
_DIGEST = compiled(
    r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)
_DIGIT_OR_NOT = compiled(r"(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)")
_CASE = compiled(r"(?<=[A-Z])(?=[a-z])|(?<=[a-z])(?=[A-Z])")


def is_random(text: str) -> bool:
    """Return whether `text` is random, and not a digest, a name or a number: `flights-2013-07-01` is not."""
    if not 12 <= len(text) <= 4000 or _DIGEST.fullmatch(text) is not None or any(map(str.isspace, text)):
        return False
    for part in _PARTS.findall(text):
        if _DIGEST.fullmatch(part) is not None:
            continue
        turns = len(_DIGIT_OR_NOT.findall(part))
        if turns >= 3 or (turns >= 1 and len(_CASE.findall(part)) >= 3) or (len(_CASE.findall(part)) >= 6):
            return True
    return False


_HEXADECIMAL = compiled(r"[0-9a-f]{32,128}", re.IGNORECASE)


def is_machine_made(text: str) -> bool:
    """Return whether `text` is random, or hexadecimal digits, which a digest has as well."""
    return is_random(text) or _HEXADECIMAL.fullmatch(text) is not None


#: Placeholders: words for "none", and references to a value that is stored elsewhere.
_NOTHING = compiled(
    r"(?:none|null|nil|undefined|unset|nan|n/a|true|false|yes|no|on|off|\*+|x{3,}|[a-z]{0,6}[-_]?(?:\.{3}|…)|:[a-z_]\w{0,40}|file|default|static|env|environment|prompt|keyring|anonymous|-+|•+|\d|%s|%\(\w+\)s|\?"
    r"|(?:self|cls|os|settings|config|cfg|args|env|environ|var|vars|secrets|local|data|module|each|process\.env)"
    r"\.[a-z_][\w.\[\]\"']*"
    r"|[<\[({]{0,2}(?:redacted|filtered|masked|hidden|secure|removed|scrubbed|secret|none given|sensitive"
    r"|sensitive value|unchanged|not set|empty|none|null|missing|absent|unset)[>\])}]{0,2}"
    r"|\$\{\{?[^{}\s]{0,120}[^{}]{0,20}\}?\}|\$\([^()\r\n]{1,120}\)|\{\{[^{}\r\n]{1,120}\}\}|%[A-Z_][A-Z0-9_]{0,60}%"
    r"|%\{[^{}\s]{1,80}\}|#\{[^{}\s]{1,80}\}|@\{?[A-Z_]{2,60}\}?@|<%[^%\r\n]{1,80}%>|<[a-z][\w .-]{1,60}>"
    r"|(?:arn:[\w-]{2,12}:|vault:(?=\w+/)|ssm:/|sm://|op://|keyvault://|secretsmanager:|file://|ref\+|projects/)"
    r"[\w:/.+=,@#?&-]{3,}"
    r"|!(?:ref|getatt|sub|secret|vault|env)\b[\w ./${}]{0,80}"
    r"|(?:os\.)?(?:getenv|environ(?:\.get)?|env)[(\[][^)\]\r\n]{0,80}[)\]]?)[,;.)\]}]*",
    re.IGNORECASE,
)
_VARIABLE = compiled(r"\$(?:env:)?([A-Z_][A-Z0-9_]*|[a-z_]+|\d)[,;.)\]}]*")

#: Words of sentences about secrets.
_ABOUT_SECRETS = words(
    "a an and are at be been but by can cannot characters contain contains could did does empty entered expected "
    "expired field for found from has have in incorrect invalid is least less length long longer matches may missing "
    "more must need needs no not of on or please provided received required shorter should short than that the this "
    "to too type valid value was were when will with without wrong you your"
)


def is_nothing(value: str) -> bool:
    """Return whether a value is empty, a placeholder, redacted already, or a reference to the secret."""
    if not value or _NOTHING.fullmatch(value) is not None:
        return True
    variable = _VARIABLE.fullmatch(value)
    return variable is not None and (
        variable[1] != variable[1].lower() or variable[1].isdigit() or secret_names.confidence(variable[1]) > 0
    )


def is_sentence(value: str) -> bool:
    """Return whether a value with blanks is a sentence, such as "must be at least 8 characters", not a passphrase."""
    if value.count(" ") < 1:
        return False
    found = [word.strip(".,:;!?()\"'").lower() for word in value[:400].split()]
    count = sum(word in _ABOUT_SECRETS for word in found)
    return (count >= 2 and count * 3 >= len(found)) or (count >= 1 and len(found) <= 3 and value[:1].isupper())


def may_be_secret(value: str, confidence: Confidence) -> bool:
    """Return whether `value` can be a secret, given the confidence that its name gives."""
    return confidence > Confidence.IF_RANDOM or (confidence is Confidence.IF_RANDOM and is_random(value))


def is_value(value: str, confidence: Confidence) -> bool:
    """Return whether `value` is a secret, given the confidence that its name gives."""
    if not confidence or is_nothing(value) or value.startswith(MARK) or is_sentence(value):
        return False
    return may_be_secret(value, confidence) or _DIGITS.fullmatch(value) is not None


#: Digits that are a secret only under a secret's name.
_DIGITS = compiled(r"[0-9a-f]{40,}")
