"""Regenerate `resilient_tasks/redaction/token_shapes.py`: the token formats of several hundred issuers.

They come from the rules of Kingfisher, a maintained secret scanner (Apache License 2.0): from its own rules, in its
first major version, and from those of Betterleaks and Veles, which replace them in the second. Only the prefix, the
alphabets and the lengths of each rule are used, not its expressions and descriptions. A rule that needs a word near the
token, such as the issuer's name, is left out if the token has no prefix: it would match any run of letters.

To run it, in a separate environment:

    python -m pip install kingfisher-bin==1.112.0 kingfisher-secret-scanner==1.5.0
    python tests/redaction/generate_token_shapes.py
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import re
import string
import subprocess
import sys
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_constants as kinds
    import sre_parse

PACKAGES = ("kingfisher-bin", "kingfisher-secret-scanner")
TARGET = Path(__file__).parents[2] / "resilient_tasks" / "redaction" / "token_shapes.py"

#: Alphabets, from the smallest to the largest. A set of characters gets the name of the first that contains it.
ALPHABETS = {
    "digits": string.digits,
    "hex": string.digits + "abcdef",
    "Hex": string.hexdigits,
    "lower": string.ascii_lowercase + string.digits,
    "upper": string.ascii_uppercase + string.digits,
    "alnum": string.ascii_letters + string.digits,
    "word": string.ascii_letters + string.digits + "_",
    "url": string.ascii_letters + string.digits + "_-",
    "dotted": string.ascii_letters + string.digits + "_-.",
    "base64": string.ascii_letters + string.digits + "+/=",
    "any": string.ascii_letters + string.digits + "_.+/=~%:!*-",
}
_CLASSES = {
    kinds.CATEGORY_DIGIT: set(string.digits),
    kinds.CATEGORY_WORD: set(ALPHABETS["word"]),
    kinds.CATEGORY_SPACE: set(string.whitespace),
}
_POSIX = {
    "alnum": "A-Za-z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "digit": "0-9",
    "xdigit": "0-9A-Fa-f",
    "alpha": "A-Za-z",
}
#: Prefixes of public keys and of account names.
_PUBLIC_PREFIX = re.compile(
    r"(?:pk[_.-]|phc_|pub|sub-c|age1|proj|org|user|oa2-client|rzp_test)|.*(?:PUBK|publishable|_pub_|client-)"
)
#: A rule with more spellings than these has no prefix.
_MOST = 48
#: Rules for public values: account names and public keys.
_PUBLIC = re.compile(r"(?:-id|-address|publishable\S*|public-key|-url|-domain|jwt\S*|private-key|uri)(?:\.\d+)?$")


class NoShape(Exception):
    """The rule is not a prefix followed by characters of known alphabets."""


def shapes(pattern: str, group: int) -> set[tuple[tuple[str, int, int], ...]]:
    """Return the shapes of a rule's secret: pieces of (text, 0, 0) or (alphabet, least, most)."""
    flags = "".join(re.findall(r"\(\?([isx]+)\)", pattern))
    ignore_case = "i" in flags
    plain = re.sub(r"\(\?[isx]+\)", "", pattern).replace(r"\z", r"\Z")
    for name, letters in _POSIX.items():
        plain = plain.replace(f"[:{name}:]", letters)
    plain = re.sub(r"\(\?(?:P?<\w+>)", "(", plain)
    tree = sre_parse.parse(plain, (re.IGNORECASE if ignore_case else 0) | (re.VERBOSE if "x" in flags else 0))
    groups = [node[1] for node in _all(tree) if node[0] is kinds.SUBPATTERN and node[1][0] is not None]
    wanted = next((one for one in groups if one[0] == max(group, 1)), None)
    folds = ignore_case or any(one[1] & re.IGNORECASE for one in groups)
    found = _of(list(wanted[3]) if wanted else list(tree))
    return {made for pieces in found for made in [_joined(pieces, folds=folds)]}


def _all(tree):
    for node in tree:
        yield node
        kind, value = node
        if kind is kinds.SUBPATTERN:
            yield from _all(value[3])
        elif kind is kinds.BRANCH:
            for branch in value[1]:
                yield from _all(branch)
        elif kind in {kinds.MAX_REPEAT, kinds.MIN_REPEAT}:
            yield from _all(value[2])


def _of(nodes) -> list[list[tuple]]:
    """Return every spelling of a sequence, each a list of texts and sets with their counts."""
    found: list[list[tuple]] = [[]]
    for kind, value in nodes:
        if kind is kinds.AT or kind in {kinds.ASSERT, kinds.ASSERT_NOT}:
            continue
        found = [before + after for before in found for after in _one(kind, value)]
        if len(found) > _MOST:
            raise NoShape("many spellings")
    return found


def _one(kind, value) -> list[list[tuple]]:  # noqa: C901, PLR0911  # one per kind of node
    if kind is kinds.LITERAL:
        return [[(chr(value), 0, 0)]]
    if kind is kinds.IN:
        letters = _letters(value)
        if len(letters) > 5:
            return [[(letters, 1, 1)]]
        # Of `[sS]`, issuers use the lowercase letter.
        few = letters - {letter for letter in letters if letter.isupper() and letter.lower() in letters}
        return [[(letter, 0, 0)] for letter in sorted(few)]
    if kind is kinds.SUBPATTERN:
        return _of(value[3])
    if kind is kinds.BRANCH:
        return [made for branch in value[1] for made in _of(branch)]
    if kind in {kinds.MAX_REPEAT, kinds.MIN_REPEAT}:
        least, most, inner = value
        most = least + 1000 if most == kinds.MAXREPEAT else int(most)
        if len(inner) == 1 and inner[0][0] is kinds.IN:
            return [[(_letters(inner[0][1]), least, most)]]
        if least <= 1 and most == 1:
            return [*([[]] if least == 0 else []), *_of(inner)]
        if most == least <= 4:
            return _of(list(inner) * least)
        if len(inner) == 1 and inner[0][0] is kinds.LITERAL:
            return [[({chr(inner[0][1])}, least, most)]]
    raise NoShape(str(kind))


def _letters(items) -> set[str]:
    letters: set[str] = set()
    for kind, value in items:
        if kind is kinds.LITERAL:
            letters.add(chr(value))
        elif kind is kinds.RANGE:
            letters.update(map(chr, range(value[0], value[1] + 1)))
        elif kind is kinds.CATEGORY and value in _CLASSES:
            letters |= _CLASSES[value]
        else:
            raise NoShape(str(kind))
    return letters


def _joined(pieces, *, folds: bool) -> tuple[tuple[str, int, int], ...]:
    made: list[tuple[str, int, int]] = []
    for what, least, most in pieces:
        if isinstance(what, str):
            if made and made[-1][2] == 0:
                made[-1] = (made[-1][0] + what, 0, 0)
            else:
                made.append((what, 0, 0))
            continue
        letters = what | {letter.swapcase() for letter in what if letter.isalpha()} if folds else what
        name = next((name for name, some in ALPHABETS.items() if letters <= set(some)), None)
        if name is None:
            raise NoShape("letters")
        if made and made[-1][0] == name and made[-1][2]:
            made[-1] = (name, made[-1][1] + least, made[-1][2] + most)
        else:
            made.append((name, least, most))
    return tuple(made)


def is_distinctive(shape: tuple[tuple[str, int, int], ...]) -> bool:
    """Return whether a shape identifies a token: a prefix that does not begin a word, and enough after it."""
    prefix = shape[0][0] if shape and shape[0][2] == 0 else ""
    rest = sum(least if most else len(what) for what, least, most in shape[1:])
    if _PUBLIC_PREFIX.match(prefix) or re.search(r"://|=|[a-z0-9]/|^[a-z0-9]+:|^ey", prefix):
        return False
    if not prefix.isascii() or not re.match(r"[A-Za-z0-9]", prefix):
        return False
    if re.search(r"[_.:/-]", prefix):
        return len(prefix) >= 3 and rest >= 10
    return (len(prefix) >= 4 and rest >= 16) or (len(prefix) >= 2 and rest >= 20 and len(shape) > 3)


def as_text(shape: tuple[tuple[str, int, int], ...]) -> str:
    """Return a shape as text: `ghp_ alnum:36`, `A3- upper:6 - upper:11`, `glc_ base64:40-150`."""
    return " ".join(
        what if not most else f"{what}:{least}" + ("" if most == least else "-" if most > 500 else f"-{most}")
        for what, least, most in shape
    )


def read() -> dict[str, set[str]]:
    """Return the shapes by issuer."""
    found: dict[str, set[str]] = {}
    for name, pattern, group, examples in [*_of_first_version(), *_of_second_version()]:
        if _PUBLIC.search(name):
            continue
        try:
            texts = {as_text(_as_in(one, examples)) for one in shapes(pattern, group) if is_distinctive(one)}
        except (NoShape, re.error):
            continue
        issuer = re.sub(r"^(?:betterleaks\.|kingfisher\.|veles\.secrets/)", "", name).split("-")[0].split(".")[0]
        for one in texts:
            if not any(one in others for others in found.values()):
                found.setdefault(issuer, set()).add(one)
    return {issuer: found[issuer] for issuer in sorted(found)}


def _of_first_version():
    listing = subprocess.run(
        [sys.executable, "-m", "kingfisher", "rules", "list", "--format", "json"], capture_output=True, check=True
    )
    for rule in json.loads(listing.stdout):
        yield rule["id"], rule["pattern"], 1, rule.get("examples") or []


def _of_second_version():
    from kingfisher_sdk import Rules

    rules = Rules(confidence="low", cache=False)
    for entry in rules.metadata():
        detail = rules.detail(entry["id"])
        yield entry["id"], detail["pattern"], detail["betterleaks_secret_group"], detail["examples"] or []


def _as_in(shape, examples: list[str]):
    """Return a shape with its prefix in the case of the examples, for rules that ignore case."""
    prefix = shape[0][0]
    for example in examples:
        if (seen := re.search(re.escape(prefix), example, re.IGNORECASE)) is not None:
            return ((seen[0], 0, 0), *shape[1:])
    return shape


def main() -> None:
    """Write the table."""
    found = read()
    count = sum(map(len, found.values()))
    lines = [
        '"""The token formats of known issuers. Generated by `tests/redaction/generate_token_shapes.py`: do not edit.',
        "",
        f"{count} shapes of {len(found)} issuers, from the rules of",
        f"{' and '.join(f'{name} {importlib.metadata.version(name)}' for name in PACKAGES)}",
        f"(Apache License 2.0) on {dt.datetime.now(dt.UTC).date().isoformat()}.",
        "A shape is a prefix, then texts, and alphabets with their counts: `url:20-80`, `hex:40`, `any:16-`.",
        '"""',
        "",
        "# ruff: noqa: E501",
        "# fmt: off",
        "ALPHABETS = {",
        *(f"    {name!r}: {_as_class(letters)!r}," for name, letters in ALPHABETS.items()),
        "}",
        "",
        "SHAPES: tuple[tuple[str, str], ...] = (",
        *(f"    ({issuer!r}, {' | '.join(sorted(texts))!r})," for issuer, texts in found.items()),
        ")",
        "# fmt: on",
    ]
    TARGET.write_text("\n".join(lines).replace("'", '"') + "\n", encoding="utf-8")
    print(f"{count} shapes of {len(found)} issuers in {TARGET.name}")  # noqa: T201


def _as_class(letters: str) -> str:
    short = letters
    for run, name in (
        (string.ascii_letters, "A-Za-z"),
        (string.ascii_lowercase, "a-z"),
        (string.ascii_uppercase, "A-Z"),
    ):
        short = short.replace(run, name)
    short = short.replace(string.hexdigits, "0-9a-fA-F").replace(string.digits, "0-9").replace("abcdef", "a-f")
    return short.replace("_-", "_\\-")


if __name__ == "__main__":
    sys.exit(main())
