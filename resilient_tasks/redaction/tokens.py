"""Tokens with a known prefix: those of the generated table, and a few more.

A text is scanned once. The first two characters of each long enough word select the few shapes with that beginning, and
only these are tried. They are compiled on first use, so importing this module costs nothing.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from resilient_tasks.redaction.patterns import compiled, redact_spans
from resilient_tasks.redaction.token_shapes import ALPHABETS, SHAPES

#: As in the generated table. The lengths are less strict where a prefix is unmistakable: some issuers changed theirs,
#: and truncated texts contain truncated tokens.
_OWN = (
    # source code, packages, continuous integration
    "ghp_ alnum:20- | gho_ alnum:20- | ghu_ alnum:20- | ghs_ any:20- | ghr_ alnum:20- | github_pat_ word:20-",
    "glpat- dotted:16- | gldt- dotted:16- | glrt- dotted:16- | glcbt- dotted:16- | glptt- dotted:16-",
    "glft- dotted:16- | glimt- dotted:16- | glagent- dotted:16-",
    "glsoat- dotted:16- | glffct- dotted:16- | gloas- dotted:16-",
    "npm_ alnum:30- | pypi-AgE url:16- | rubygems_ hex:40- | dckr_pat_ url:20- | dckr_oat_ url:20- | CCIPAT_ word:20-",
    "ATATT3 any:20- | ATCTT3 any:20- | oy2 lower:43 | cio alnum:32 | ATBB alnum:28- | PMAK- url:30-",
    "ddog_ any:20- | jfrt@ alnum:20-",
    # chat and messages
    "xoxb- dotted:10- | xoxp- dotted:10- | xoxa- dotted:10- | xoxr- dotted:10- | xoxs- dotted:10- | xoxe- dotted:10-",
    "xoxc- dotted:10- | xoxd- any:10- | xoxo- dotted:10- | xoxe.xoxp- url:10- | xoxe.xoxb- url:10- | xapp- url:10-",
    "SG. url:16- . url:16- | AC Hex:32 | SK Hex:32",
    # payments
    "sk_live_ any:10- | sk_test_ any:10- | rk_live_ any:10- | rk_test_ any:10- | pk_live_ any:20- | whsec_ base64:16-",
    "sq0atp- url:20- | sq0csp- url:20- | sq0idp- url:20- | shpat_ Hex:30- | shpca_ Hex:30- | shppa_ Hex:30-",
    "shpss_ Hex:30- | access_token$production$ lower:16 $ hex:32 | sk_prod_ any:10- | rk_prod_ any:10-",
    # models
    "sk- url:20- | hf_ alnum:30- | gsk_ alnum:30- | r8_ alnum:30- | xai- url:40- | pplx- alnum:30- | nvapi- url:30-",
    "tvly-dev- url:20- | wandb_v1_ url:40- | snyk_uat. dotted:30- | snyk_sat. dotted:30-",
    # clouds and infrastructure
    "AIza url:30- | ya29. dotted:20- | GOCSPX- url:20- | 1//0 url:30- | dapi hex:32 | pnu_ alnum:20- | pnb_ alnum:20-",
    "hvs. url:20- | hvb. url:20- | hvr. url:20- | s. alnum:24 | dor_v1_ hex:40- | dop_v1_ hex:40- | dot_v1_ hex:40-",
    "doo_v1_ hex:40- | HRKU- url:30- | pscale_tkn_ dotted:30- | pscale_pw_ dotted:30- | pscale_oauth_ dotted:30-",
    "dp.pt. dotted:30- | dp.st. dotted:30- | dp.ct. dotted:30- | dp.sa. dotted:30- | dp.scim. dotted:30-",
    "dp.audit. dotted:30- | sbp_ alnum:36- | glc_ any:30- | glsa_ any:30- | NRAK- url:20- | NRAL- url:20-",
    "NRJS- url:19- | NRII- url:20- | NRRA- url:20-",
    "sntrys_ any:20- | sntryu_ any:20- | lin_api_ word:30- | lin_oauth_ word:30-",
    "ntn_ alnum:40- | secret_ alnum:40- | AGE-SECRET-KEY-1 upper:40- | tskey- url:16- | pul- hex:40",
    "bedrock-api-key- base64:20- | fo1_ url:40- | fm1a_ any:100- | fm1r_ any:100- | fm2_ any:100-",
    "LTAI alnum:12-20 | AKID alnum:32 | AQ. url:40- | EAA alnum:60- | figo_ url:30- | figu_ url:30-",
)
_GENERIC = compiled(
    r"(?:live|test|key|ext|api|pat|sat|access|secret|app|dev|prod|preview|production|sandbox|stage|hawk|mint|base64|cr|"
    r"live_auth|key_live|key_test)[_.-]",
    re.IGNORECASE,
)
#: A prefix of at least this length occurs only in tokens, so shorter tokens (truncated, or older) are accepted too.
_UNMISTAKABLE, _SHARE, _FEWEST = 5, 0.6, 16
_PIECE = compiled(rf"({'|'.join(ALPHABETS)}):(\d+)(?:(-)(\d*))?")
#: The length of the shortest token.
_RUN = compiled(r"[A-Za-z0-9_.+/=:~!$|-]{14,}")
_WORD = compiled(r"[A-Za-z0-9]+")
#: Every token is longer than this (characters).
_SHORTEST = 10
#: Tokens without a prefix, searched only in runs of at least this length.
_LONG, _WITHOUT_PREFIX = (
    36,
    compiled(
        r"(?<![A-Za-z0-9])(?:"
        r"[MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{27,}"  # Discord's
        r"|pat[A-Za-z0-9]{14}\.[a-f0-9]{60,}"  # Airtable's
        r"|00(?=[\w-]{0,20}[A-Z])(?=[\w-]{0,20}[a-z])[\w-]{40}(?![\w-])"  # Okta's
        r"|\d{14,16}\|[\w-]{27,40}"  # Facebook's app tokens
        # Azure's, with a signature inside
        r"|[A-Za-z0-9]{52}JQQJ9[9A-D][A-Za-z0-9]{18,24}(?:[A-Z0-9]{4}|[A-Z][A-Za-z]{3})[A-Za-z0-9]{4}"
        r"|[A-Za-z0-9]{42}(?:AzSe[A-D]|\+ACR[A-D])[A-Za-z0-9]{5}|[\w-]{44}AzFu[\w-]{6}=="
        r"|[A-Za-z0-9+/]{76}(?:\+ASt|ACDb|\+ABa|APIM|\+AMC)[A-Za-z0-9+/]{6}=="
        r"|[A-Za-z0-9+/]{33}(?:AIoT|\+ASb|\+AEh|\+ARm|AzCa)[A-P][A-Za-z0-9+/]{5}="
        r"|eyJrIjoi[A-Za-z0-9+/]{40,400}={0,2}"  # Grafana's
        # The common form: the issuer's name, and then random characters.
        r"|[a-z][a-z0-9]{1,9}(?:_[a-z0-9]{1,9}){0,2}_(?=[a-z0-9]{0,40}[A-Z])(?=[A-Z0-9]{0,40}[a-z])"
        r"(?=[A-Za-z0-9]{0,40}[A-Z]{2})(?=[A-Za-z0-9]{0,40}\d[a-z])(?=(?:[A-Za-z]{0,30}\d{1,4}[A-Za-z]){3})[A-Za-z0-9]{32,255}(?![\w-]))"
    ),
)
#: Characters that distinguish a token from words, and the longest run of letters in a name.
_IS_MIXED = compiled(r"\d|[a-z][A-Z]|[A-Z][a-z]|[A-Za-z]{26}")
_LOOKED_AT, _LONGEST_NAME = 60, compiled(r"[A-Za-z0-9]{26}")


class _Shape(NamedTuple):
    least: re.Pattern[str]  # the shortest form
    rest: re.Pattern[str]  # what may follow it
    skipped: int  # the length of the prefix
    is_strict: bool  # the prefix alone may begin an ordinary word


def has_run(text: str) -> bool:
    """Return whether `text` contains a run as long as the shortest token."""
    return _RUN.search(text) is not None


def redact(text: str) -> str:
    """Redact every token in `text` that has an issuer's shape."""
    spans: list[tuple[int, int]] = []
    done = 0
    for run in _RUN.finditer(text):
        start, end = run.span()
        if end - start >= _LONG and (odd := _WITHOUT_PREFIX.search(text, max(start, done), end)) is not None:
            spans.append(odd.span())
            done = odd.end()
        for at in _beginnings(text, start, end):
            candidates = _by_beginning().get(text[at : at + 2])
            if candidates is None or at < done or not text.startswith(candidates.prefixes, at):
                continue
            if _IS_MIXED.search(text, at, at + _LOOKED_AT) is None:
                continue
            if token_end := max(_end(shape, text, at) for shape in _compiled(candidates.specs)):
                spans.append((at, token_end))
                done = token_end
    return redact_spans(text, spans)


def _beginnings(text: str, start: int, end: int) -> list[int]:
    r"""Return where words begin. Escapes before them, such as `%3D` and `\n`, are not part of them."""
    found = [word.start() for word in _WORD.finditer(text, start, end - _SHORTEST)]
    before = text[start - 1 : start]
    if before == "%":
        return [start + 2, *found]
    if before == "\\":
        return [start + (5 if text[start] == "u" else 3 if text[start] == "x" else 1), *found]
    return found


def _end(shape: _Shape, text: str, at: int) -> int:
    """Return the end of the token that begins at `at`; 0 if there is none."""
    match = shape.least.match(text, at)
    if match is None:
        return 0
    body = text[at + shape.skipped : min(match.end(), at + shape.skipped + _LOOKED_AT)]
    digits, capitals, small = (any(map(kind, body)) for kind in (str.isdigit, str.isupper, str.islower))
    if shape.is_strict:
        is_random = digits and (capitals or small) and len(set(body)) > 8
    else:
        is_random = digits or (capitals and small)
    if not is_random and _LONGEST_NAME.search(body) is None:
        return 0
    rest = shape.rest.match(text, match.end())
    return rest.end() if rest else 0


class _Candidates(NamedTuple):
    """The shapes that begin with the same two characters."""

    prefixes: tuple[str, ...]
    specs: tuple[str, ...]


@functools.lru_cache(maxsize=1)
def _by_beginning() -> dict[str, _Candidates]:
    found: dict[str, dict[str, None]] = {}
    for specs in (*_OWN, *(specs for _, specs in SHAPES)):
        for shape in specs.split(" | "):
            found.setdefault(shape[:2], {})[shape] = None
    return {
        beginning: _Candidates(tuple(dict.fromkeys(shape.split(" ")[0] for shape in some)), tuple(some))
        for beginning, some in found.items()
    }


@functools.cache
def _compiled(specs: tuple[str, ...]) -> tuple[_Shape, ...]:
    return tuple(map(_shape, specs))


def _shape(spec: str) -> _Shape:
    """Compile a shape. Its shortest form is matched first, so a mismatch costs no more than that."""
    prefix, *pieces = spec.split(" ")
    is_distinctive = len(prefix) >= 4 and re.search("[_.:/$-]", prefix) is not None and not _GENERIC.fullmatch(prefix)
    made, rest = [re.escape(prefix)], ""
    for number, piece in enumerate(pieces, 1):
        match = _PIECE.fullmatch(piece)
        if match is None:
            made.append(re.escape(piece))
            continue
        letters, least, is_range, most = match.groups()
        of = f"[{ALPHABETS[letters]}]"
        if number < len(pieces):
            made.append(f"{of}{{{least},{most if is_range else least}}}")
            continue
        if is_distinctive and len(pieces) == 1 and len(prefix) >= _UNMISTAKABLE:
            least = str(min(int(least), max(_FEWEST, int(_SHARE * int(least)))))
        made.append(f"{of}{{{least}}}")
        # A token may be longer than published if its prefix is unambiguous.
        rest = (
            f"{of}*+" if is_distinctive or (is_range and not most) else f"{of}{{0,{int(most or least) - int(least)}}}+"
        )
    end = "" if is_distinctive else "(?![A-Za-z0-9])"
    return _Shape(compiled("".join(made)), compiled(rest + end), len(prefix), not is_distinctive)
