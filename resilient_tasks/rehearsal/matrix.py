"""The matrix of a rehearsal: what each task's flow did under each family of faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from html import escape

from resilient_tasks.core.wording import number_of
from resilient_tasks.rehearsal.faults import EVERY_TASK, FAMILIES, Plan, tokens_of
from resilient_tasks.rehearsal.judge import WORST_FIRST, Verdict
from resilient_tasks.rehearsal.results import Rehearsal, Result

_NOT_RUN = "·"


def cells(found: Rehearsal) -> dict[tuple[str, str], Counter[Verdict]]:
    """Return how often each verdict was given, by task and family.

    A run with several faults counts only if it was bad, for the smallest faults that led to it.
    """
    counted: dict[tuple[str, str], Counter[Verdict]] = {}
    seen: set[Plan] = set()
    for result in (*found.results, *found.smallest):
        cell = cell_of(result.faults)
        if cell is not None and result.faults not in seen:
            seen.add(result.faults)
            counted.setdefault(cell, Counter())[result.judged.verdict] += 1
    return counted


def cell_of(faults: Plan) -> tuple[str, str] | None:
    """Return the task and the family of a plan; None for several faults."""
    own = [fault for fault in faults if fault.task != EVERY_TASK]
    if len(own) != 1:
        return None
    is_of_alerts = len(own) < len(faults)
    return own[0].task, "alerts" if is_of_alerts else own[0].family


def columns(found: Rehearsal) -> list[str]:
    """Return the families that were rehearsed, in their order."""
    used = {family for _, family in cells(found)}
    return [family for family in FAMILIES if family in used]


def short(task: str) -> str:
    """Return the name of a task without the functions around it."""
    return task.rpartition("<locals>.")[2]


def rows(found: Rehearsal) -> list[list[str]]:
    """Return the rows of the table: the task, and for each family the verdicts, the worst first."""
    counted, families = cells(found), columns(found)
    return [[short(task), *(_text(counted.get((task, family))) for family in families)] for task in found.tasks]


def _text(counted: Counter[Verdict] | None) -> str:
    if not counted:
        return _NOT_RUN
    return ", ".join(f"{verdict} {counted[verdict]}" for verdict in WORST_FIRST if counted[verdict])


def sentences(found: Rehearsal, again: Callable[[str], str]) -> list[str]:
    """Return what to say below the table: the sum, each failure and how to repeat it, what was ignored.

    Args:
        found: the rehearsal.
        again: returns how to repeat the faults with these tokens.
    """
    said = [_sum(found)]
    for result in found.smallest:
        said += ["", f"{result.judged.verdict}: {_faults(result)}", f"  {result.judged.why}"]
        said += [f"  {again(tokens_of(result.faults))}"]
    if found.ignored:
        shown = ", ".join(found.ignored[:5]) + (", ..." if len(found.ignored) > 5 else "")
        said += ["", f"not compared, as it differs between two runs without faults or is ignored: {shown}"]
    if found.not_injected:
        said += ["", f"not injected: faults into {found.not_injected}"]
    if found.was_stopped:
        said += ["", "stopped before the last run"]
    return said


def _faults(result: Result) -> str:
    return " and ".join(
        f"{fault.kind} {fault.where if fault.where != 'data' else 'in the data of'} {short(fault.task)}"
        if fault.task != EVERY_TASK
        else "channels down"
        for fault in result.faults
    )


def _sum(found: Rehearsal) -> str:
    counts = Counter(result.judged.verdict for result in found.results)
    each = ", ".join(f"{counts[verdict]} {verdict}" for verdict in WORST_FIRST if counts[verdict])
    return f"{number_of(len(found.results), 'run')} with seed {found.seed}: {each or 'none'}"


def page(found: Rehearsal, again: Callable[[str], str]) -> str:
    """Return the matrix as a page of HTML that needs no other file and runs no script."""
    counted, families = cells(found), columns(found)
    head = "".join(f"<th>{escape(family)}</th>" for family in families)
    body = "".join(
        f"<tr><th>{escape(short(task))}</th>{''.join(_cell(counted.get((task, family))) for family in families)}</tr>"
        for task in found.tasks
    )
    said = escape("\n".join(sentences(found, again)))
    return _PAGE.format(name=escape(found.name), style=_STYLE, head=head, body=body, said=said)


def _cell(counted: Counter[Verdict] | None) -> str:
    worst = next((verdict for verdict in WORST_FIRST if counted and counted[verdict]), None)
    name = "" if worst is None else f' class="{worst.name.lower()}"'
    return f"<td{name}>{escape(_text(counted))}</td>"


_STYLE = """\
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #8886; padding: .4rem .6rem; text-align: left; vertical-align: top }
.silent, .hung, .twice { background: #d32f2f40; font-weight: 600 }
.loud { background: #f9a82540 } .degraded { background: #1976d240 } .recovered { background: #388e3c40 }
pre { overflow-x: auto; white-space: pre-wrap }"""
_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rehearsal of {name}</title><style>{style}</style></head>
<body><h1>Rehearsal of {name}</h1>
<table><thead><tr><th>task</th>{head}</tr></thead><tbody>{body}</tbody></table>
<pre>{said}</pre></body></html>
"""
