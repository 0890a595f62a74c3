"""The sections of the page, worst first: each is a heading, a sentence and a table, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resilient_tasks.core.wording import number_of
from resilient_tasks.observe.page.table import Row, table
from resilient_tasks.observe.page.texts import NONE, Times, counted, error, lasted, length, long_text, text

Report = Mapping[str, Any]
#: An outcome is never colour alone.
GLYPHS = {
    "failed": "✕",
    "degraded": "□",
    "running": "…",
    "recovered": "●",
    "rows": "◆",
    "alerts": "▲",
    "stopped": "◷",
    "circuit": "▬",
}


class Sections:
    """The sections of one report.

    Args:
        report: the run report, as its `as_dict()` returns it.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        calls = report["timeline"]["calls"]
        times = [report["run"]["started"], report["run"]["ended"]]
        times += [event["time"] for name in ("not_recovered", "degraded", "recovered") for event in report[name]]
        self._times = Times(*times)
        self._places = {call["call"]: place for place, call in enumerate(calls)}

    def _call(self, found: Mapping[str, Any], *cells: str) -> Row:
        return Row((text(found["operation"]), *cells), self._places.get(found["call"]))

    def _listed(self, said: str, name: str) -> str:
        """Add how many calls are listed, if not all."""
        listed, count = len(self._report[name]), self._report["counts"][name.replace("not_recovered", "failed")]
        return said if listed >= count else f"{said} {listed:,} of {number_of(count, 'call')} are listed."

    def failed(self) -> str:
        """Return what was not recovered."""
        heads = ("operation", "error", "why not retried", "attempts#", "time#")
        rows = [
            self._call(
                each,
                error(each),
                text((each["why"] or each["kind"]).removeprefix("not retried: ")),
                f"{each['attempts']}",
                self._times.at(each["time"]),
            )
            for each in _one_of_each_first(self._report["not_recovered"])
        ]
        return _section(
            "failed",
            "Not recovered",
            self._listed("The caller got the error.", "not_recovered"),
            table("Not recovered", heads, rows),
            rows,
        )

    def degraded(self) -> str:
        """Return the calls that a fallback answered."""
        heads = ("operation", "answered by", "age of the data", "because of", "time#")
        rows = [
            self._call(each, text(each["fallback"]), _age(each), error(each), self._times.at(each["time"]))
            for each in _one_of_each_first(sorted(self._report["degraded"], key=lambda each: -(each["age_s"] or 0)))
        ]
        return _section(
            "degraded",
            "Degraded",
            self._listed("A fallback answered.", "degraded"),
            table("Degraded", heads, rows),
            rows,
        )

    def under_way(self) -> str:
        """Return the calls that had not ended, which a partial report has."""
        found = [each for each in self._report["timeline"]["calls"] if each["outcome"] == "running"]
        heads = ("operation", "what happened last", "attempts#", "began#", "task run")
        rows = [
            self._call(
                each,
                (_parts(each) or [NONE])[-1],
                f"{len(each['attempts'])}",
                self._times.at(_began(each)),
                text(each["task_run"]),
            )
            for each in found
        ]
        said = "How these calls ended is unknown." if self._report["partial"] else "These calls had not ended."
        return _section("running", "Under way", said, table("Under way", heads, rows), rows)

    def recovered(self) -> str:
        """Return the calls that recovered by retry."""
        heads = ("operation", "failed first with", "attempts#", "waited#", "time#")
        rows = [
            self._call(
                each,
                counted(each["errors"]),
                f"{each['attempts']}",
                lasted(each["waited_s"]),
                self._times.at(each["time"]),
            )
            for each in self._report["recovered"]
        ]
        return _section(
            "recovered",
            "Recovered",
            self._listed("A later attempt succeeded.", "recovered"),
            table("Recovered", heads, rows),
            rows,
        )

    def rows(self) -> str:
        """Return the balance of rows."""
        heads = ("operation", "rows#", "valid#", "invalid#", "action", "reasons", "file")
        found = self._report["rows"]
        rows = [
            Row(
                (
                    text(each["operation"] + (f" ({each['part']})" if each["part"] else "")),
                    f"{each['rows']:,}",
                    f"{each['rows'] - each['invalid']:,}",
                    f"{each['invalid']:,}",
                    text(each["action"]),
                    counted(each["reasons"]),
                    f"<code>{text(each['path'])}</code>" if each["path"] else NONE,
                )
            )
            for each in found
        ]
        checked, invalid = sum(each["rows"] for each in found), sum(each["invalid"] for each in found)
        balance = f"{number_of(checked, 'row')} checked = {checked - invalid:,} valid + {invalid:,} invalid."
        return _section("rows", "Rows", balance, table("Rows", heads, rows), rows)

    def alerts(self) -> str:
        """Return alerts sent, and those that wait."""
        alerts = self._report["alerts"]
        rows = [
            Row((text(each["channel"]), long_text(each["reason"]), lasted(each["retry_in_s"])))
            for each in alerts["waiting"]
        ]
        said = f"{alerts['sent']} sent, {len(rows)} waiting, {alerts['suppressed']} only counted."
        shown = table("Alerts that wait", ("channel", "why it waits", "next attempt in#"), rows) if rows else ""
        return _section("alerts", "Alerts", said, shown, rows or alerts["sent"] or alerts["suppressed"])

    def not_stopped(self) -> str:
        """Return timeouts that did not stop their work."""
        heads = ("operation", "limit#", "why the work ran on", "thread", "time#")
        rows = [
            Row(
                (
                    text(each["operation"]),
                    lasted(each["limit_s"]),
                    text(each["reason"]),
                    text(each["thread"]),
                    self._times.at(each["time"]),
                )
            )
            for each in self._report["not_stopped"]
        ]
        title, said = "Timeouts that did not stop their work", "The call ended; its work may have continued."
        return _section("stopped", title, said, table(title, heads, rows), rows)

    def circuits(self) -> str:
        """Return the states of circuits."""
        heads = ("circuit", "state", "from#", "lasted#", "reason")
        rows = [
            Row(
                (
                    text(each["name"]),
                    text(span["state"].replace("_", " ")),
                    self._times.at(span["started"]),
                    "to the end" if span["ended"] is None else lasted(length(span)),
                    text(span["reason"]),
                )
            )
            for each in self._report["circuits"]
            for span in each["spans"]
        ]
        said = "An open circuit lets no call through."
        return _section("circuit", "Circuits", said, table("Circuits", heads, rows), rows)

    def operations(self) -> str:
        """Return counts by operation."""
        names = ("failed", "degraded", "recovered", "retries")
        heads = ("operation", *(f"{name}#" for name in names), "waited#", "rows out#", "errors")
        rows = [
            Row(
                (
                    text(each["name"]),
                    *(f"{each[name]:,}" for name in names),
                    lasted(each["waited_s"]),
                    f"{each['rows_out']:,}",
                    counted(each["errors"]),
                ),
                operation=each["name"],
            )
            for each in self._report["operations"]
        ]
        return _section("operations", "By operation", "", table("By operation", heads, rows, few=20), rows)

    def remarks(self) -> str:
        """Return remarks."""
        found = self._report["remarks"]
        return _section(
            "remarks", "Remarks", "", f"<ul>{''.join(f'<li>{long_text(each)}</li>' for each in found)}</ul>", found
        )

    def calls(self) -> str:
        """Return the calls of the time line as a table: what it shows, in words."""
        heads = ("operation", "outcome", "began#", "what happened", "waited#", "task run")
        rows = [
            Row(
                (
                    text(each["operation"]),
                    f'<span class="{_word(each["outcome"])}">{text(each["outcome"])}</span>',
                    self._times.at(_began(each)),
                    _items(_parts(each)),
                    lasted(sum(length(wait) or 0 for wait in each["waits"])),
                    text(each["task_run"]),
                ),
                place,
            )
            for place, each in enumerate(self._report["timeline"]["calls"])
        ]
        if not rows:
            return ""
        shown = table("Calls", heads, rows, few=len(rows), id_of_rows="call-")
        title = f"The time line as a table: {number_of(len(rows), 'call')}"
        return f'<details id="calls"><summary>{title}</summary>{shown}</details>'


def _section(name: str, title: str, said: str, body: str, found: Any) -> str:
    if not found:
        return ""
    glyph = f'<span class="{name}" aria-hidden="true">{GLYPHS[name]}</span> ' if name in GLYPHS else ""
    sentence = f'<p class="sub">{said}</p>' if said else ""
    heading = f'<h2 id="{name}-title">{glyph}{title}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{heading}{sentence}{body}</section>'


def _one_of_each_first(calls: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Begin with one call of each operation and error: the first few rows of a long list show all there is."""
    seen: set[tuple[str, str]] = set()
    firsts: list[Mapping[str, Any]] = []
    others: list[Mapping[str, Any]] = []
    for each in calls:
        kind = each["operation"], each["error"]
        (others if kind in seen else firsts).append(each)
        seen.add(kind)
    return [*firsts, *others]


def _age(found: Mapping[str, Any]) -> str:
    if found["age_s"] is None:
        return NONE
    return f"<strong>{lasted(found['age_s'])}</strong>, of {Times.dated(found['since'])}"


def _parts(call: Mapping[str, Any]) -> list[str]:
    """Return the attempts, waits and marks of a call for HTML, in the order of time."""
    found = [(each["started"] or each["ended"], _attempt(each)) for each in call["attempts"]]
    for each in call["waits"]:
        reason = f": {text(each['reason'])}" if each["reason"] else ""
        found.append((each["started"], f"waited {lasted(length(each))}{reason}"))
    found += [(each["time"], text(each["text"])) for each in call["marks"]]
    return [words for _, words in sorted(found, key=lambda part: part[0] or 0.0)]


def _items(words: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{each}</li>' for each in words)}</ul>" if words else NONE


def _began(call: Mapping[str, Any]) -> float | None:
    return next((each["started"] or each["ended"] for each in call["attempts"]), None)


def _attempt(attempt: Mapping[str, Any]) -> str:
    seconds = length(attempt)
    took = "" if seconds is None else f" after {lasted(seconds)}"
    error = f": {text(attempt['error'])}" if attempt["error"] else ""
    return f"attempt {attempt['number']}: {text(attempt['outcome'])}{took}{error}"


def _word(outcome: str) -> str:
    return outcome if outcome in {"failed", "degraded", "recovered", "ok", "running"} else "ok"
