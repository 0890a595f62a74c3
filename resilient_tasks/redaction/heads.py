"""Find possible names of secrets in a text, with the separator between a name and its value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from resilient_tasks.redaction import secret_names
from resilient_tasks.redaction.patterns import compiled
from resilient_tasks.redaction.secret_names import Confidence

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
FLAG = compiled(r"(?<![\w-])--?[\w.-]*$|(?<!\S)/[\w-]+$")


class Head(NamedTuple):
    """A possible name of a secret, with the separator before its value."""

    name: str
    start: int
    end: int  # where the value begins
    kind: str  # of separator
    separator: str
    says: Confidence

    @property
    def noun(self) -> str:
        """Return the word for a secret in the name."""
        return secret_names.noun_of(self.name)


def names_in(text: str, low: str) -> bool:
    """Return whether `text` contains the name of a secret; `low` is the text in lowercase."""
    seen = 0
    for hit in secret_names.HIT.finditer(low):
        if hit.start() >= seen:
            start, seen = name_at(text, hit.start())
            name = text[start:seen]
            if secret_names.confidence(name) is not Confidence.NONE or name.lower() in _WANTS_A_WORD:
                return True
            seen = max(seen, hit.end())
    return False


def heads(text: str, low: str) -> Iterator[Head]:
    seen = 0
    for hit in secret_names.HIT.finditer(low):
        if hit.start() < seen:
            continue
        start, end = name_at(text, hit.start())
        seen = max(end, hit.end())
        name = text[start:end]
        separator = _SEPARATOR.match(text, end)
        if separator is None:
            continue
        if name.lower() in _WANTS_A_WORD:
            name = _word_before(text, start) + name
        says = secret_names.confidence(name)
        if says is Confidence.NONE and name.endswith(" token"):  # "Invalid token: ..."
            says = Confidence.IF_RANDOM
        if says is Confidence.NONE or name.lower().endswith("authorization"):  # a header, which `secret_shapes` handles
            continue
        kind = separator.lastgroup or ""
        if kind == "flag" and (FLAG.search(text[max(0, start - 2) : end]) is None or len(separator[0]) > 1):
            kind = "prose"
        if kind == "term" and text[start - 1 : start] != "{":
            continue
        if text[start - 1 : start] == ":" and text.rfind("arn:", max(0, start - 120), start) >= 0:
            continue  # a resource name
        yield Head(name, start, separator.end(), kind, separator[0], says)


def name_at(text: str, hit: int) -> tuple[int, int]:
    """Return the start and end of the name around a position."""
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
