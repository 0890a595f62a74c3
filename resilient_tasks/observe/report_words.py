"""A report for people: as text for a terminal, and as Markdown for Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from resilient_tasks.core import wording
from resilient_tasks.core.shown import for_markdown, for_terminal
from resilient_tasks.core.wording import counted, in_brief, number_of

COLUMNS = ("operation", "failed", "degraded", "recovered", "retries", "waited s", "rows out", "errors")
_OF_WORDS = ("operation", "errors")
#: The most entries to show of each list.
_SHOWN = 10
_LONGEST = 200

Report = Mapping[str, Any]


def rows(report: Report) -> list[tuple[str, ...]]:
    """Return the rows of the table of operations, below `COLUMNS`."""
    return [
        (
            each["name"],
            str(each["failed"]),
            str(each["degraded"]),
            str(each["recovered"]),
            str(each["retries"]),
            f"{each['waited_s']:.1f}",
            f"{each['rows_out']:,}",
            counted(each["errors"]),
        )
        for each in report["operations"]
    ]


def failure(entry: Report) -> str:
    """Describe a call that was not recovered in one line."""
    return f"{entry['operation']}: {entry['error']}: {_short(entry['message'])}; {entry['why']}"


def stand_in(entry: Report) -> str:
    """Describe a degraded call in one line."""
    old = ""
    if entry["since"] is not None and entry["age_s"] is not None:
        old = f" of {wording.moment(entry['since'])}, {wording.age(entry['age_s'])} old,"
    return f"{entry['operation']}: {entry['fallback']}{old} stands in after {entry['error']}"


def circuits(report: Report) -> list[str]:
    """Describe in one line for each circuit how often and how long it was open."""
    lines = []
    for each in report["circuits"]:
        opened = [span for span in each["spans"] if span["state"] == "open"]
        seconds = sum(span["ended"] - span["started"] for span in opened if span["ended"] is not None)
        still = "; still open" if opened and opened[-1]["ended"] is None else ""
        reason = f": {opened[-1]['reason']}" if opened else ""
        lines.append(f"circuit {each['name']}: opened {number_of(len(opened), 'time')}, {seconds:.1f} s{still}{reason}")
    return lines


def balance(report: Report) -> list[str]:
    """Describe in one line for each place where rows broke the schema how many passed and how many did not."""
    totals: dict[tuple[str, str], list[int]] = {}
    for each in report["rows"]:
        name = f"{each['operation']} {each['part']}" if each["part"] else each["operation"]
        found = totals.setdefault((name, each["action"]), [0, 0])
        found[0] += each["rows"]
        found[1] += each["invalid"]
    return [
        f"{name}: {number_of(read, 'row')} = {read - out:,} valid + {out:,} {action}"
        for (name, action), (read, out) in totals.items()
    ]


def under_way(report: Report) -> list[str]:
    """Describe in one line each for calls that had not ended; none if the report is complete."""
    calls = [each for each in report["timeline"]["calls"] if each["outcome"] == "running"]
    return [_last_step(each) for each in calls if report["partial"]]


def _last_step(call: Report) -> str:
    name = call["operation"] + (f" ({call['task_run']})" if call["task_run"] else "")
    last, wait = (parts[-1] if parts else None for parts in (call["attempts"], call["waits"]))
    if wait and last and last["ended"] is not None and wait["started"] >= last["ended"]:
        return (
            f"{name}: waits {wait['ended'] - wait['started']:.1f} s for attempt {last['number'] + 1}: {wait['reason']}"
        )
    return f"{name}: attempt {last['number'] if last else 1}"


_SECTIONS: tuple[tuple[str, Callable[[Report], tuple[Sequence[str], int]]], ...] = (
    ("Not recovered", lambda report: (list(map(failure, report["not_recovered"])), report["counts"]["failed"])),
    ("Degraded", lambda report: (list(map(stand_in, report["degraded"])), report["counts"]["degraded"])),
    ("Under way", lambda report: (under_way(report), 0)),
)
_LATER: tuple[tuple[str, Callable[[Report], tuple[Sequence[str], int]]], ...] = (
    ("Circuits", lambda report: (circuits(report), 0)),
    ("Rows", lambda report: (balance(report), 0)),
)


def text(report: Report) -> str:
    """Return the report as text for a terminal."""

    def shown(line: str) -> str:
        return for_terminal(line, lines=False)

    lines = [shown(report["headline"])]
    if report["partial"]:
        lines.append(f"PARTIAL: {shown(report['partial'])}")
    for title, entries in _sections(report, _SECTIONS):
        lines += ["", title, *(f"  {shown(entry)}" for entry in entries)]
    lines += ["", *_table([COLUMNS, *(tuple(shown(cell) for cell in row) for row in rows(report))])]
    for title, entries in _sections(report, _LATER):
        lines += ["", title, *(f"  {shown(entry)}" for entry in entries)]
    return "\n".join([*lines, *(f"· {shown(remark)}" for remark in report["remarks"])])


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = [f"## {for_markdown(report['headline'])}"]
    if report["partial"]:
        parts.append(f"> **Partial:** {for_markdown(report['partial'])}")
    for title, entries in _sections(report, _SECTIONS):
        parts.append(f"### {title}\n\n" + "\n".join(f"- {for_markdown(entry)}" for entry in entries))
    head = "| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS)
    body = "\n".join("| " + " | ".join(map(for_markdown, row)) + " |" for row in rows(report))
    parts.append(f"{head}\n{body}")
    for title, entries in _sections(report, _LATER):
        parts.append(f"### {title}\n\n" + "\n".join(f"- {for_markdown(entry)}" for entry in entries))
    parts.append("\n".join(f"- {for_markdown(remark)}" for remark in report["remarks"]))
    return "\n\n".join(parts) + "\n"


def _sections(
    report: Report, sections: Sequence[tuple[str, Callable[[Report], tuple[Sequence[str], int]]]]
) -> Iterator[tuple[str, list[str]]]:
    for title, entries_of in sections:
        entries, total = entries_of(report)
        if entries:
            left = max(total, len(entries)) - _SHOWN
            yield title, [*entries[:_SHOWN], *([f"and {left:,} more"] if left > 0 else [])]


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if name in _OF_WORDS else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return lines


def error_of(entry: Report) -> str:
    """Return the form in which the error of an entry is counted: `HTTP 503`, or its type."""
    return in_brief(entry["error_type"], entry["http_status"])
