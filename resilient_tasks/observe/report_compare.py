"""Compare the reports of two runs: what got better or worse, and which failures are new or gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilient_tasks.core.shown import for_markdown, for_terminal

_NUMBERS = ("failed", "degraded", "recovered", "retries", "waited_s", "rows_out")
#: By these numbers an operation got better or worse, the first that differs deciding.
_DECISIVE = ("failed", "degraded", "rows_out", "recovered", "retries", "waited_s")
#: Seconds of waiting that make no difference.
_NOISE_S = 0.5
_NOTHING = {**dict.fromkeys(_NUMBERS, 0), "errors": {}}

Report = Mapping[str, Any]


def compare(before: Report, after: Report) -> dict[str, Any]:
    """Return the differences between the reports of two runs, as `RunReport.as_dict()` returns them, for JSON.

    `operations` has for each operation its numbers in both runs as pairs, and `change`: `"better"`, `"worse"`, `"new"`,
    `"gone"` or `"same"`. An operation without failures is in no report: it is `"new"` with its first failure.
    """
    old, new = ({each["name"]: each for each in report["operations"]} for report in (before, after))
    operations = [_operation(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
    order = ("worse", "new", "better", "gone", "same")
    operations.sort(key=lambda each: (order.index(each["change"]), each["name"]))
    was, now = (
        {(name, error): count for name, each in reports.items() for error, count in each["errors"].items()}
        for reports in (old, new)
    )
    return {
        "before": {"run": before["run"], "headline": before["headline"], "partial": before["partial"]},
        "after": {"run": after["run"], "headline": after["headline"], "partial": after["partial"]},
        "operations": operations,
        "new_failures": [_failure(key, now[key]) for key in sorted({*now} - {*was})],
        "vanished_failures": [_failure(key, was[key]) for key in sorted({*was} - {*now})],
    }


def text(found: Report) -> str:
    """Return a comparison for a terminal."""

    def shown(line: str) -> str:
        return for_terminal(line, lines=False)

    return "\n".join(shown(line) for line in _lines(found))


def markdown(found: Report) -> str:
    """Return a comparison as Markdown."""
    first, second, *others = _lines(found)
    return "\n".join(
        ["## Two runs", "", *(f"- {for_markdown(line.strip())}" for line in (first, second, *others) if line)]
    )


def _lines(found: Report) -> list[str]:
    lines = [f"{side}: {_title(found[side])}" for side in ("before", "after")]
    for each in found["operations"]:
        if each["change"] != "same":
            numbers = [f"{name} {was:g} → {now:g}" for name in _NUMBERS for was, now in [each[name]] if was != now]
            lines.append(f"{each['change']}: {each['name']}: {', '.join(numbers) or 'other errors'}")
    if not any(each["change"] != "same" for each in found["operations"]):
        lines.append("no operation got better or worse")
    for title, key in (("new failures", "new_failures"), ("vanished failures", "vanished_failures")):
        if found[key]:
            named = (f"{each['operation']} {each['error']} ×{each['count']}" for each in found[key])
            lines.append(f"{title}: {', '.join(named)}")
    return lines


def _title(side: Report) -> str:
    partial = f" (partial: {side['partial']})" if side["partial"] else ""
    return f"{side['run']['name'] or side['run']['id'] or 'a run'}: {side['headline']}{partial}"


def _operation(name: str, before: Report | None, after: Report | None) -> dict[str, Any]:
    was, now = before or _NOTHING, after or _NOTHING
    change = "new" if before is None else "gone" if after is None else _change(was, now)
    return {"name": name, "change": change, **{number: [was[number], now[number]] for number in _NUMBERS}}


def _change(was: Report, now: Report) -> str:
    for number in _DECISIVE:
        difference = now[number] - was[number]
        if abs(difference) > (_NOISE_S if number == "waited_s" else 0):
            return "worse" if difference > 0 else "better"
    return "same"


def _failure(key: tuple[str, str], count: int) -> dict[str, Any]:
    operation, error = key
    return {"operation": operation, "error": error, "count": count}
