"""Real errors of real clients, and how the classifier judges them: run by `make kinds`.

    python tests/benchmarks/kinds_table.py [--wrong] [--library NAME] [--held-out] [--page docs/measured.md]

Exits with 1 where fewer than 98 % come out right, or where one that is permanent would be retried.
"""

import argparse
import importlib.metadata
import logging
import sys
import textwrap
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kinds import CASES, RETRIED, Case, NotRaised, error_of
from setting import machine, say, table, write_into

from resilient_tasks import Kind, classify

ENOUGH = 98.0  # per cent
OWN_CODE = "your own code"  # the one source of errors that is no library
HEAD = ("library", "error", "what happens", "", "wanted", "got", "", "because")


@dataclass(frozen=True)
class Judged:
    """A case, and the classifier's result."""

    case: Case
    got: Kind | None
    note: str = ""

    @property
    def right(self) -> bool:
        return self.got in self.case.wanted

    @property
    def given_up(self) -> bool:
        """Return whether a retryable error would not be retried."""
        return self.got is not None and self.case.retried and self.got not in RETRIED

    @property
    def repeated(self) -> bool:
        """Return whether a permanent error would be retried."""
        return self.got in RETRIED and not self.case.retried


def judged(case: Case) -> Judged:
    try:
        error = error_of(case)
    except NotRaised as problem:
        return Judged(case, None, str(problem))
    return Judged(case, classify(error))


def words(kinds: Iterable[Kind]) -> str:
    return " or ".join(sorted(kind.name for kind in kinds))


def line(one: Judged) -> tuple[str, ...]:
    how = "built" if one.case.built else "raised"
    verdict = "not raised" if one.got is None else "ok" if one.right else "WRONG"
    got = one.note if one.got is None else one.got.name
    case = one.case
    return case.library, case.error, case.what, how, words(case.wanted), got, verdict, case.reason


def totals(name: str, found: list[Judged]) -> str:
    came = [one for one in found if one.got is not None]
    right = [one for one in came if one.right]
    libraries = len({one.case.library for one in came})
    wrong_ways = (
        f"{sum(one.given_up for one in came)} that should be retried are not, "
        f"{sum(one.repeated for one in came)} that should not be retried are"
    )
    missing = len(found) - len(came)
    lost = f"; {missing} could not be raised" if missing else ""
    score = f"{len(right)} of {len(came)} errors of {libraries} libraries right ({share(right, came):.1f} %)"
    return f"{name}: {score}; {wrong_ways}{lost}."


def measured(cases: list[Case]) -> list[Judged]:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found = []
    for library in sorted({case.library for case in cases}):
        began = time.monotonic()
        found += [judged(case) for case in cases if case.library == library]
        say(f"{library}: {time.monotonic() - began:.1f} s")
    return found


def good_enough(found: list[Judged]) -> bool:
    """Return whether nearly all could be raised, nearly all of these are right, and no permanent one is retried."""
    came = [one for one in found if one.got is not None]
    right = [one for one in came if one.right]
    enough = share(came, found) >= ENOUGH and share(right, came) >= ENOUGH
    return enough and not any(one.repeated for one in came)


def share(part: list[Judged], whole: list[Judged]) -> float:
    """Return the per cent that `part` is of `whole`."""
    return 100 * len(part) / len(whole) if whole else 0.0


def summary(found: list[Judged]) -> str:
    parts = {"All": found, "Seen": [one for one in found if not one.case.held_out]}
    parts["Held out"] = [one for one in found if one.case.held_out]
    lines = [f"- {totals(name, part)}" for name, part in parts.items() if part]
    built = sum(one.case.built for one in found)
    retried = sum(one.case.retried for one in found)
    libraries = {one.case.library for one in found}
    own = sum(library.partition(".")[0] in sys.stdlib_module_names for library in libraries)
    lines.append(
        f"- {len(found) - built} were raised by their client, {built} built as the library builds them. "
        f"{retried} are to be retried. {own} of the {len(libraries)} libraries are modules of Python's own."
    )
    return "\n".join(lines)


def by_kind(found: list[Judged]) -> list[tuple[str, ...]]:
    """Count the results by expected kind."""
    counts = Counter((words(one.case.wanted), one.got) for one in found if one.got is not None)
    wanted = sorted({kinds for kinds, _ in counts})
    return [(kinds, *(str(counts[kinds, kind] or "") for kind in Kind)) for kinds in wanted]


def version(wheel: str) -> str:
    try:
        return importlib.metadata.version(wheel)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def versions(found: list[Judged]) -> str:
    """Name the installed clients with their versions."""
    libraries = {one.case.library for one in found}
    clients = sorted(name for name in libraries if name.partition(".")[0] not in sys.stdlib_module_names)
    wheels = {"psycopg2": "psycopg2-binary"}
    known = [name for name in clients if name != OWN_CODE]
    named = ", ".join(f"{name} {version(wheels.get(name, name))}" for name in known)
    return textwrap.fill(f"The libraries: {named}.", 120, break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Real errors, and what the classifier makes of them.")
    parser.add_argument("--wrong", action="store_true", help="show the wrong ones only")
    parser.add_argument("--library", action="append", help="only this library's (again for more)")
    parser.add_argument("--held-out", action="store_true", help="show the rows of the held-out libraries too")
    parser.add_argument("--page", type=Path, help="put the summary of all libraries into this page too")
    options = parser.parse_args()
    found = measured([case for case in CASES if not options.library or case.library in options.library])
    shown = [one for one in found if options.held_out or not one.case.held_out]
    lines = [line(one) for one in shown if not (options.wrong and one.right)]
    print(table(HEAD, lines, markdown=False) if lines else "None to show.")
    print(summary(found))
    if options.page and not options.library:
        kinds = table(("wanted", *(kind.name for kind in Kind)), by_kind(found), markdown=True)
        text = f"{machine()}.\n\n{summary(found)}\n\n{kinds}\n\n{versions(found)}"
        write_into(options.page, "kinds", text)
    sys.exit(0 if good_enough(found) else 1)


if __name__ == "__main__":
    main()
