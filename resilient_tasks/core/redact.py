"""Blots secrets out of text, before it goes where other people read it.

What goes: values that the user registered (`configure(secrets=[...])`), whatever has the shape of a token, a key or a
URL with credentials (`secret_shapes`), and the values of names such as `password` or `api_key`, however the pair
is written: JSON, Python, YAML, the environment, a query, a header, a flag. The name stays: `password=***`.
What only looks like a secret stays: hashes, UUIDs, dates, `max_tokens=512`, `password=None`, "token expired".
"""

from __future__ import annotations

import re

from resilient_tasks.core import contexts, pairs, registered, secret_names, secret_shapes, secret_values, settings
from resilient_tasks.core.secret_values import lowered

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
    margin = max(_MARGIN, registered.longest(settings.current.secrets))
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


def left_out(length: int) -> str:
    """Say how much of a text is left out."""
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
    for _ in range(_ROUNDS):
        once = _once(text, code=code)
        if once == text:
            return text
        text = once
    return text


def is_secret_pair(name: str, value: str) -> bool:
    """Tell whether `value` is a secret for the name that it bears."""
    return pairs.is_secret(name[:_MARGIN], value[:_MARGIN])  # the beginning of a long value tells what it is


def is_nothing(value: str) -> bool:
    """Tell whether a value says that there is none, or that it is blotted out already."""
    return secret_values.is_nothing(value)


def _once(text: str, *, code: bool) -> str:
    secrets = settings.current.secrets
    if secrets:
        text = registered.blot(text, secrets)
    text = secret_shapes.blot(text)
    low = lowered(text)
    has_name = secret_names.may_be_in(low)
    if not code:
        clean = contexts.blot(text, low, has_name=has_name)
        text, low = (text, low) if clean is text else (clean, lowered(clean))
    return pairs.blot(text, low, code=code) if has_name else text
