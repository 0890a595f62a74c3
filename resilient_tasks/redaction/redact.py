"""Blots secrets out of text, before it goes where other people read it.

What goes: values that the user registered (`configure(secrets=[...])`), whatever has the shape of a token, a key or a
URL with credentials (`secret_shapes`), and the values of names such as `password` or `api_key`, however the pair
is written: JSON, Python, YAML, the environment, a query, a header, a flag. The name stays: `password=***`.
What only looks like a secret stays: hashes, UUIDs, dates, `max_tokens=512`, `password=None`, "token expired".
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from resilient_tasks import redaction
from resilient_tasks.redaction import (
    commands,
    contexts,
    error_texts,
    heads,
    pairs,
    registered,
    secret_names,
    secret_shapes,
    secret_values,
    tokens,
)
from resilient_tasks.redaction.secret_values import lowered

#: What is blotted out may, in rare texts, bring two halves of something together.
_ROUNDS = 5


#: Of a long text, so much of its head and of its tail is kept (characters); what lies in the margins beside them is
#: looked at too, so that a secret on which a cut falls is known for one.
_HEAD_KEPT, _TAIL_KEPT, _MARGIN = 3000, 1000, 2500
_BLANK = re.compile(r"\s")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----")


def redact(text: str, *, code: bool = False) -> str:
    """Return `text` with every secret in it replaced by `***`; the same object where there is none.

    Of a text of more than 9,000 characters the head and the tail are kept, with a remark how much was left out:
    so the time is bounded, whatever the text is.

    Args:
        text: any text.
        code: it is a line of a program, in which only what is in quotes can be a value: `password=password` is none.
    """
    if len(text) <= _REMEMBERED and type(text) is str:
        clean = _remembered(text, code, redaction.secrets())
        return text if clean == text else clean
    if is_short(text):
        return redact_whole(text, code=code)
    margin = max(_MARGIN, registered.longest(redaction.secrets()))
    if len(text) <= _HEAD_KEPT + _TAIL_KEPT + 2 * margin:
        return redact_whole(text, code=code)
    # What is cut is cut after it is blotted out, together with all that may be a part of a secret cut in two.
    head = redact_whole(text[: _HEAD_KEPT + margin], code=code)[:-margin]
    tail = redact_whole(text[-_TAIL_KEPT - margin :], code=code)[margin:]
    if (ends := _KEY_ENDS.search(tail)) is not None and "-----BEGIN " not in tail[: ends.start()]:
        tail = tail[ends.end() :]
    blank = _BLANK.search(tail)  # what stands before it may be the end of a very long word
    tail = tail[blank.end() :] if blank is not None else ""
    return f"{head} … [{left_out(len(text) - len(head) - len(tail))}] … {tail}"


#: A failure's text is redacted for its event, its note, its state, its alert and more; and a service that is down says
#: the same again. So many results are kept, of texts of at most so many characters.
_KEPT, _REMEMBERED = 512, 600


@functools.lru_cache(_KEPT)
def _remembered(text: str, code: bool, _secrets: tuple[registered.Secret, ...]) -> str:  # noqa: FBT001  # a key
    return redact_whole(text, code=code)


def left_out(length: int) -> str:
    """Return a remark about how much of a text is left out."""
    return f"{length:,} characters left out"


def is_short(text: str) -> bool:
    """Tell whether `redact` keeps all of `text`, so that what it changes in it is a secret."""
    return len(text) <= _HEAD_KEPT + _TAIL_KEPT + 2 * _MARGIN


def redact_whole(text: str, *, code: bool = False) -> str:
    """Do as `redact` does, and keep all of `text`. The time is in proportion to its length.

    Args:
        text: any text.
        code: it is a line of a program, in which only what is in quotes can be a value: `password=password` is none.
    """
    if not redaction.secrets():
        low, has_run = lowered(text), tokens.has_run(text)
        if not _signs().are_in(low, has_run=has_run) and not heads.names_in(text, low):
            once = tokens.blot(text) if has_run else text
            if once == text:
                return text
            text = once  # two tokens side by side are found one after the other
    for _ in range(_ROUNDS):
        once = _once(text, code=code)
        if once == text:
            return text
        text = once
    return text


class _Signs(NamedTuple):
    """What stands in every text with a secret, but a registered one, a token, or one under a name."""

    words: tuple[str, ...]
    in_runs: tuple[str, ...]  # of many characters without a blank
    others: re.Pattern[str]

    def are_in(self, low: str, *, has_run: bool) -> bool:
        """Tell whether one of them is in a text in small letters."""
        return (
            any(map(low.__contains__, self.words))
            or self.others.search(low) is not None
            or (has_run and any(map(low.__contains__, self.in_runs)))
        )


@functools.cache
def _signs() -> _Signs:
    """Return the hints of all that is looked for: a text without any of them has cost no more than this look."""
    hints = {*secret_shapes.HINTS, *contexts.HINTS, *commands.HINTS, *error_texts.HINTS}
    small = sorted({hint.lower() for hint in hints if secret_names.HIT.search(hint.lower()) is None} - _IN_RUNS)
    words = tuple(hint for hint in small if hint.isalpha() and hint not in _SIGNS)
    others = {_SIGNS.get(hint, re.escape(hint)) for hint in small if hint not in words}
    behind_blank = "|".join(sorted(sign[1:] for sign in others if sign[0] == " "))
    rest = "|".join(sorted(sign for sign in others if sign[0] != " "))
    return _Signs(words, tuple(_IN_RUNS), re.compile(f" (?:{behind_blank})|{rest}"))


#: Hints of what is longer than a word.
_IN_RUNS = frozenset(
    {
        *("akia", "asia", "abia", "acca", "eyj", ".atlasv1.", "_mmk", "q~", "/services/t", "/api/webhooks/"),
        *("hooks.slack.com/", "webhook.office.com/"),
    }
)
#: Hints that begin as many words do, or stand in many texts: what of them leads to anything, and begins with a sign.
_SIGNS = {
    ":": r":(?:\d{2,5}|\*):",
    "loc": r"loc\\?[\"']?[:=]",
    " -": " --?[a-z]",
    "--": "--[a-z]",
    "'-": "'--?[a-z]",
    '"-': '"--?[a-z]',
    "\0-": "\0--?[a-z]",
    "-us": r"-us\d",
    ": invalid ": r":[ ]invalid [\w ]{1,40}: ",
    "cargo login": " login",
    "wandb login": " login",
    "vault login": " login",
    " login ": " login",
    "mc alias": " alias",
    "net us": " use",
    "community ": "-server ",
    "conn ": "@",
    "connect ": "@",
    "conn\t": "@",
    "connect\t": "@",
    "duplicate entry '": " entry '",
    "on instance[": " instance\\[",
    "input_value=": "_value=",
    "private-lines": "-lines",
    "sudo -": " --?[a-z]",
    "freerdp ": " /",
}


def is_secret_pair(name: str, value: str) -> bool:
    """Tell whether `value` is a secret for the name that it bears."""
    return pairs.is_secret(name[:_MARGIN], value[:_MARGIN])  # the beginning of a long value tells what it is


def is_nothing(value: str) -> bool:
    """Return whether a value is empty, or blotted out already."""
    return secret_values.is_nothing(value)


def _once(text: str, *, code: bool) -> str:
    secrets = redaction.secrets()
    if secrets:
        text = registered.blot(text, secrets)
    text = secret_shapes.blot(text)
    low = lowered(text)
    has_name = heads.names_in(text, low)
    if not code:
        clean = contexts.blot(text, low, has_name=has_name)
        text, low = (text, low) if clean is text else (clean, lowered(clean))
    return pairs.blot(text, low, code=code) if has_name else text
