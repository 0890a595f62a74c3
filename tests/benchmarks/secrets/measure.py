"""Measure the claims of docs/redaction.md with thousands of generated secrets.

    python tests/benchmarks/secrets/measure.py [--parts acd] [--leaks] [--changed] [--forms] [--held-out]

A secret leaks if it, or a run of 60 % of it, is still in the text. A third of the forms is held out, so that
patterns cannot be fitted to them: they count, and only `--held-out` shows them. The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import contexts
import errors
import hostile
import look_alikes
import spellings
import tokens
from cases import SEED, Case, Maker
from setting import machine, table, write_into

from resilient_tasks import configure
from resilient_tasks.core import settings
from resilient_tasks.redaction.text import redact, redact_whole

Redact = Callable[[str], str]
PARTS = {
    "a": "contexts that the documentation claims",
    "b": "errors of real libraries",
    "c": "registered secrets in every spelling",
    "d": "published shapes of tokens in neutral text",
    "e": "what only looks like a secret, and was changed",
}
#: Parts that are judged together, and the greatest share that may be wrong.
GOALS = {"abc": 0.01, "d": 0.10, "e": 0.01}
HEAD = ("part", "forms", "cases", "wrong", "share", "of the held-out", "share")


@dataclass(frozen=True)
class Judged:
    """A case, its redacted text, and whether that is wrong: a leak, or a change of text without a secret."""

    part: str
    case: Case
    made: str
    wrong: bool


def judged(part: str, redact: Redact) -> Iterator[Judged]:
    """Judge every case of a part."""
    if part == "b":
        for case, seen in errors.cases():
            yield Judged(part, case, seen, case.leaks(seen))
        return
    module = {"a": contexts, "c": spellings, "d": tokens, "e": look_alikes}[part]
    for case in module.cases():
        made = _registered(case, redact) if part == "c" else redact(case.text)
        yield Judged(part, case, made, made != case.text if part == "e" else case.leaks(made))


def _registered(case: Case, redact: Redact) -> str:
    before = settings.current
    try:
        configure(secrets=[case.secret])
        return redact(case.text)
    finally:
        settings.current = before


def rows(found: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each part, and one for the parts that are judged together."""
    for names in (*PARTS, "abc"):
        mine = [one for one in found if one.part in names]
        if not mine or not set(names) <= {one.part for one in mine}:
            continue
        held_out = [one for one in mine if one.case.held_out]
        title = f"{names}: {PARTS[names]}" if names in PARTS else "a, b and c together"
        forms = len({one.case.key for one in mine})
        yield (
            title,
            f"{forms:,}",
            f"{len(mine):,}",
            *_wrong(mine),
            f"{_wrong(held_out)[0]} of {len(held_out):,}",
            _wrong(held_out)[1],
        )


def _wrong(some: Sequence[Judged]) -> tuple[str, str]:
    wrong = sum(one.wrong for one in some)
    return f"{wrong:,}", f"{wrong / len(some):.1%}" if some else "–"


def missed(found: Sequence[Judged]) -> Iterator[str]:
    """Yield the missed goals of the parts that were judged."""
    for names, most in GOALS.items():
        mine = [one for one in found if one.part in names]
        share = sum(one.wrong for one in mine) / len(mine) if mine else 0
        if share > most:
            yield f"{', '.join(sorted({one.part for one in mine}))}: {share:.1%} wrong, and {most:.0%} may be"


def details(found: Sequence[Judged], *, held_out: bool) -> Iterator[str]:
    """Yield the wrong cases: those that are not held out, or only those that are."""
    for one in found:
        if not one.wrong or one.case.held_out is not held_out:
            continue
        text = one.case.text if one.part == "e" else ""
        secret = f"{one.case.kind} {one.case.secret!r}" if one.case.secret else ""
        yield f"{one.part}  {one.case.key!r}  {secret}{text!r}\n     -> {_shown(one)!r}"


def _shown(one: Judged) -> str:
    """Return the redacted text; of a long one the part around the leak."""
    at = next((at for form in (one.case.secret, *one.case.forms) if form and (at := one.made.find(form)) >= 0), 0)
    return one.made if len(one.made) < 600 else one.made[max(0, at - 200) : at + 200]


def by_form(found: Sequence[Judged], *, held_out: bool) -> Iterator[str]:
    """Count what is wrong by its form."""
    counts = Counter(f"{one.part}  {one.case.key!r}" for one in found if one.wrong and one.case.held_out is held_out)
    all_of_it = Counter(f"{one.part}  {one.case.key!r}" for one in found)
    for form, count in counts.most_common():
        yield f"{count:3} of {all_of_it[form]:3}  {form}"


def lost(found: Sequence[Judged]) -> Iterator[str]:
    """Yield the share of the words around the secrets, such as a user's name or a host, that was lost with them."""
    kept = total = 0
    for one in found:
        if one.part not in "acd":
            continue
        rest = one.case.text
        for form in one.case.forms:
            rest = rest.replace(form, " ")
        words = set(re.findall(r"[A-Za-z]{3,}", rest))
        total += len(words)
        kept += sum(word in one.made for word in words)
    if total:
        yield f"{1 - kept / total:.1%} of the {total:,} words around the secrets of a, c and d were lost with them"


def remarks(redact: Redact) -> Iterator[str]:
    """Yield how long hostile texts take, the slowest first."""
    seconds = hostile.timed(redact)
    ratios = {part: times[2] / max(times[0], 1e-6) for part, times in seconds.items()}
    slow = [part for part, times in seconds.items() if hostile.is_slow(times)]
    longest = max(seconds, key=lambda part: seconds[part][2])
    telling = [part for part in seconds if seconds[part][2] > 0.005]
    steepest = max(telling, key=ratios.__getitem__, default=longest)
    n = hostile.LENGTH
    yield f"f: {len(seconds)} hostile texts of {n:,}, {2 * n:,} and {4 * n:,} characters, processor time, best of 3:"
    for what, part in (("the longest", longest), ("the steepest", steepest)):
        times = ", ".join(f"{1000 * each:.1f}" for each in seconds[part])
        yield f"f: {what} time is that of {part!r}: {times} ms, a ratio of {ratios[part]:.1f} (4 is in proportion)"
    for part in slow:
        times = ", ".join(f"{1000 * each:.1f}" for each in seconds[part])
        yield f"f: NOT IN PROPORTION: {part!r}, {times} ms"


def main(arguments: Sequence[str] | None = None, redact: Redact = redact, whole: Redact = redact_whole) -> None:
    parser = argparse.ArgumentParser(description="Count leaks of generated secrets, and changes of harmless texts.")
    parser.add_argument("--parts", default="abcdef", help="which to measure (default: %(default)s)")
    parser.add_argument("--leaks", action="store_true", help="show every leak, with the generated secret")
    parser.add_argument("--forms", action="store_true", help="count leaks and changes by form")
    parser.add_argument("--changed", action="store_true", help="show every text that was changed and holds no secret")
    parser.add_argument("--held-out", action="store_true", help="show those of the held-out forms, and only them")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    parser.add_argument("--seed", type=int, default=SEED, help="generate other secrets, in the same forms")
    options = parser.parse_args(arguments)
    Maker.seed = options.seed
    found = [one for part in PARTS if part in options.parts for one in judged(part, redact)]
    shown = [one for one in found if (options.changed if one.part == "e" else options.leaks)]
    print(*details(shown, held_out=options.held_out), sep="\n")
    if options.forms:
        print(*by_form(found, held_out=options.held_out), sep="\n")
    about = f"{machine()}; a third of the forms is held out."
    lines = list(rows(found))
    findings = [*(f"of the held-out alone, {line}" for line in missed([one for one in found if one.case.held_out]))]
    findings += [*lost(found), *(remarks(whole) if "f" in options.parts else ())]
    print(about, "", table(HEAD, lines, markdown=False), "", *findings, sep="\n")
    if options.page:
        text = "\n".join(f"- {line}" for line in findings)
        write_into(options.page, "secrets", f"{about}\n\n{table(HEAD, lines, markdown=True)}\n\n{text}")
    faults = [*missed(found), *(line for line in findings if "NOT" in line)]
    print("", "NOT AS PROMISED:" if faults else "as promised", *faults, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
