"""The table as text, for a terminal and for the page."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version

from setting import table

from bench.notes import LEFT_OUT
from bench.peers import LIBRARIES
from bench.table import FASTEST, ITSELF, Row, Verdict, verdicts
from bench.timing import AGAIN, BARE, HAND, OURS

HEAD = ("", "where", "unit", "ours", "by hand", "fastest peer", "its figure", "A/A", "ours is", "goal", "")
PROCESSES = ("pebble", "loky")
REFERENCES = ("@task", "import prefect", HAND)  # what a row may be beside, where it has no library beside it


def versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in (*LIBRARIES, *PROCESSES))


def judged(rows: list[Row], *, markdown: bool) -> str:
    return table(HEAD, _judged(rows), markdown=markdown)


def _judged(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        found: list[Verdict | None] = [*verdicts([row])] or [None]
        for at, verdict in enumerate(found):
            yield (*(_about(row) if at == 0 else [""] * 8), *_said(verdict))


def _about(row: Row) -> tuple[str, ...]:
    fastest, beside = row.fastest, next((name for name in REFERENCES if name in row.figures), None)
    named = "" if beside in (None, HAND) else f" ({beside})"
    return (
        *(row.name, row.place, row.unit, shown(row.figures[OURS])),
        "" if beside is None else f"{shown(row.figures[beside])}{named}",
        *(fastest or "", "" if fastest is None else shown(row.figures[fastest])),
        f"{row.spread:.2f}" if AGAIN in row.figures else "",
    )


def _said(verdict: Verdict | None) -> tuple[str, str, str]:
    if verdict is None:
        return "", "", ""
    goal, bound = verdict.goal, ">=" if verdict.goal.at_least else "<="
    if goal.against == ITSELF:
        return shown(verdict.found), f"{bound} {shown(goal.limit)} {verdict.row.unit}".strip(), _verdict(verdict)
    whom = verdict.row.fastest if goal.against == FASTEST else goal.against
    return f"{verdict.found:.2f} x {whom}", f"{bound} {goal.limit:.3g}", _verdict(verdict)


def _verdict(verdict: Verdict) -> str:
    return "met" if verdict.met else f"MISSED: {verdict.by:.3g} x the goal"


def everyone(rows: list[Row], *, markdown: bool) -> str:
    """Lay out the figures of all contestants; a dash where a library has no such thing."""
    names = (OURS, HAND, BARE, *LIBRARIES)
    compared = [row for row in rows if len([name for name in names if name in row.figures]) > 1]
    cells = (
        (f"{row.title}, {row.unit}", *(shown(row.figures[name]) if name in row.figures else "-" for name in names))
        for row in compared
    )
    return table(("", *names), cells, markdown=markdown)


def remarks(rows: list[Row]) -> Iterator[str]:
    """Name the other contestants, and the differences between the figures of some rows."""
    for row in rows:
        named = (name for name in row.figures if name in (*row.also_ran, *PROCESSES) and name not in REFERENCES)
        others = [f"{name} {shown(row.figures[name])} {row.unit}" for name in named]
        if others:
            yield f"{row.title}: also {', '.join(others)}"
    for remark in dict.fromkeys(row.remark for row in rows if row.remark):
        yield f"{remark}: {'; '.join(dict.fromkeys(row.name for row in rows if row.remark == remark))}"


def left_out(rows: list[Row]) -> Iterator[str]:
    """Name for each fastest peer what its figures do not include."""
    for name in dict.fromkeys(row.fastest for row in rows if row.fastest):
        yield f"{name}: {LEFT_OUT[name]}"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def shown(value: float) -> str:
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
