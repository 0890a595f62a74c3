"""Redact secrets in text before other people read it.

This redacts registered values (`configure(secrets=[...])`), everything with the shape of a token, a key or a URL with
credentials (`secret_shapes`), and the values of names such as `password` or `api_key`, in every notation: JSON,
Python, YAML, the environment, a query, a header, a flag. The name stays: `password=***`.
Look-alikes stay: hashes, UUIDs, dates, `max_tokens=512`, `password=None`, "token expired".
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
    pairs,
    registered,
    secret_names,
    secret_shapes,
    tokens,
)
from resilient_tasks.redaction.secret_values import lowered

#: The most passes over a text: in rare texts, redaction joins two halves of another secret.
_MOST_PASSES = 5


#: The characters kept of a long text's head and tail. The margins beside them are searched too, so that a secret that
#: the cut splits is recognised.
_HEAD_KEPT, _TAIL_KEPT, _MARGIN = 3000, 1000, 2500
_BLANK = re.compile(r"\s")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----")


def redact(text: str, *, code: bool = False) -> str:
    """Return `text` with every secret in it replaced by `***`; the same object if there is none.

    Of a text of more than 9,000 characters only the head and the tail are kept, with a remark on how much was left
    out, so the time is bounded.

    Args:
        text: any text.
        code: whether it is a line of code, in which only quoted values can be secrets, unlike `password=password`.
    """
    if len(text) <= _LONGEST_CACHED and type(text) is str:
        clean = _cached(text, code, redaction.secrets())
        return text if clean == text else clean
    if is_short(text):
        return redact_whole(text, code=code)
    margin = max(_MARGIN, registered.longest(redaction.secrets()))
    if len(text) <= _HEAD_KEPT + _TAIL_KEPT + 2 * margin:
        return redact_whole(text, code=code)
    # The cut comes after the redaction, and removes everything that may be part of a split secret.
    head = redact_whole(text[: _HEAD_KEPT + margin], code=code)[:-margin]
    tail = redact_whole(text[-_TAIL_KEPT - margin :], code=code)[margin:]
    if (ends := _KEY_ENDS.search(tail)) is not None and "-----BEGIN " not in tail[: ends.start()]:
        tail = tail[ends.end() :]
    blank = _BLANK.search(tail)  # before it may be the end of a very long word
    tail = tail[blank.end() :] if blank is not None else ""
    return f"{head} … [{left_out(len(text) - len(head) - len(tail))}] … {tail}"


#: A failure's text is redacted for its event, its note, its state, its alert and more, and an outage repeats it. So
#: results are cached: the number of results, and the longest text (characters).
_CACHED, _LONGEST_CACHED = 512, 600


@functools.lru_cache(_CACHED)
def _cached(text: str, code: bool, _secrets: tuple[registered.Secret, ...]) -> str:  # noqa: FBT001  # a key
    return redact_whole(text, code=code)


def left_out(length: int) -> str:
    """Return the remark on how much of a text is left out."""
    return f"{length:,} characters left out"


def is_short(text: str) -> bool:
    """Return whether `redact` keeps all of `text`, so that every change is a redaction."""
    return len(text) <= _HEAD_KEPT + _TAIL_KEPT + 2 * _MARGIN


def redact_whole(text: str, *, code: bool = False) -> str:
    """Redact as `redact` does, but keep all of `text`. The time is proportional to its length.

    Args:
        text: any text.
        code: whether it is a line of code, in which only quoted values can be secrets, unlike `password=password`.
    """
    if not redaction.secrets():
        low, has_run = lowered(text), tokens.has_run(text)
        if not _signs().are_in(low, has_run=has_run) and not pairs.names_in(text, low):
            once = tokens.redact(text) if has_run else text
            if once == text:
                return text
            text = once  # of two adjacent tokens, the second is found in the next pass
    for _ in range(_MOST_PASSES):
        once = _redact_once(text, code=code)
        if once == text:
            return text
        text = once
    return text


class _Signs(NamedTuple):
    """Signs of which every text with a secret contains one, except registered, named and token secrets."""

    words: tuple[str, ...]
    in_runs: tuple[str, ...]  # of many characters without a blank
    others: re.Pattern[str]

    def are_in(self, low: str, *, has_run: bool) -> bool:
        """Return whether one of them is in a lowercase text."""
        return (
            any(map(low.__contains__, self.words))
            or self.others.search(low) is not None
            or (has_run and any(map(low.__contains__, self.in_runs)))
        )


@functools.cache
def _signs() -> _Signs:
    """Return the hints of all patterns: a text without any of them needs no further search."""
    hints = {*secret_shapes.HINTS, *contexts.HINTS, *commands.HINTS, *error_texts.HINTS}
    small = sorted({hint.lower() for hint in hints if secret_names.HIT.search(hint.lower()) is None} - _IN_RUNS)
    words = tuple(hint for hint in small if hint.isalpha() and hint not in _SIGNS)
    others = {_SIGNS.get(hint, re.escape(hint)) for hint in small if hint not in words}
    behind_blank = "|".join(sorted(sign[1:] for sign in others if sign[0] == " "))
    rest = "|".join(sorted(sign for sign in others if sign[0] != " "))
    return _Signs(words, tuple(_IN_RUNS), re.compile(f" (?:{behind_blank})|{rest}"))


#: Hints of secrets that are long runs without a blank.
_IN_RUNS = frozenset(
    {
        *("akia", "asia", "abia", "acca", "eyj", ".atlasv1.", "_mmk", "q~", "/services/t", "/api/webhooks/"),
        *("hooks.slack.com/", "webhook.office.com/"),
    }
)
#: More specific patterns for hints that are common in ordinary texts; each begins with a sign.
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
    """Return whether `value` is a secret, as the value of `name`."""
    return pairs.is_secret(name[:_MARGIN], value[:_MARGIN])  # the beginning of a long value is enough


def _redact_once(text: str, *, code: bool) -> str:
    secrets = redaction.secrets()
    if secrets:
        text = registered.redact(text, secrets)
    text = secret_shapes.redact(text)
    low = lowered(text)
    has_name = pairs.names_in(text, low)
    if not code:
        clean = contexts.redact(text, low, has_name=has_name)
        text, low = (text, low) if clean is text else (clean, lowered(clean))
    return pairs.redact(text, low, code=code) if has_name else text
