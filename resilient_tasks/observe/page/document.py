"""The page as a whole: the verdict, the counts, the sections, the time line; its style, script and data are inside."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from resilient_tasks.core.shown import for_terminal
from resilient_tasks.core.wording import in_brief, named_few, number_of, was
from resilient_tasks.observe.page.sections import GLYPHS, Report, Sections
from resilient_tasks.observe.page.texts import NONE, Times, lasted, length, text

_SCRIPTS = ("layout.js", "view.js", "draw.js", "controls.js", "page.js")
#: Operations that the headline names.
_NAMED = 3
_JSON_IN_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def html(report: Mapping[str, Any]) -> str:
    """Return a run report as one HTML page.

    It asks the network for nothing: style, script and the report's JSON are inside, and its security policy forbids
    the rest. Without script it shows everything except the time line.

    Args:
        report: what `RunReport.as_dict()` returns.
    """
    style, script, policy = _inside()
    data = json.dumps(_plain(report), allow_nan=False).translate(_JSON_IN_HTML)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{text(_title(report))}</title><link rel="icon" href="data:,"><style>{style}</style></head><body><main>
{_body(report)}
</main><script type="application/json" id="data">{data}</script><script>{script}</script></body></html>
"""


@functools.cache
def _inside() -> tuple[str, str, str]:
    """Return the page's style, its script, and the security policy that allows these two alone."""
    style, script = (
        "\n".join((files(__package__) / name).read_text(encoding="utf-8") for name in names)
        for names in (("page.css",), _SCRIPTS)
    )
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'"
    return style, script, f"{policy}; form-action 'none'"


def _hash(inline: str) -> str:
    """Return the source of a security policy that allows one inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold, with its texts as they are shown."""
    match value:
        case str():
            return for_terminal(value)
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {for_terminal(str(name)): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case None | bool() | int():
            return value
        case _:
            return for_terminal(str(value))


def _title(report: Report) -> str:
    name = report["run"]["name"] or report["run"]["id"]
    return f"{name}: {report['headline']}" if name else report["headline"]


def _body(report: Report) -> str:
    sections = Sections(report)
    why = report["partial"] or ""
    partial = f"<strong>This report is incomplete.</strong> {text(why[:1].upper() + why[1:])}"
    return "\n".join(
        filter(
            None,
            (
                f"<header>{_run(report)}<h1>{_verdict(report)}</h1>",
                f'<p class="sub">{text(report["headline"])}</p>',
                f'<p class="partial" role="note">{partial}</p>' if why else "",
                f"{_tiles(report)}</header>",
                sections.failed(),
                sections.degraded(),
                sections.under_way(),
                _timeline(report, sections),
                sections.recovered(),
                sections.rows(),
                sections.alerts(),
                sections.not_stopped(),
                sections.circuits(),
                sections.operations(),
                sections.remarks(),
            ),
        )
    )


def _run(report: Report) -> str:
    run = report["run"]
    name = text(run["name"] or run["id"]) if run["name"] or run["id"] else ""
    if name and str(run["url"] or "").startswith(("http://", "https://")):
        name = f'<a href="{text(run["url"])}" rel="noreferrer">{name}</a>'
    parts = ["Run report", name]
    if run["started"] is not None:
        parts.append(Times.dated(run["started"]))
        if (seconds := length(run)) is not None:
            parts.append(lasted(seconds))
    return f'<p class="run">{" · ".join(filter(None, parts))}</p>'


def _verdict(report: Report) -> str:
    """Return the most important thing that can be said of a run."""
    counts = report["counts"]
    so_far = " so far" if report["partial"] else ""
    if counts["failed"]:
        return _failed(counts["failed"], report["not_recovered"])
    if counts["degraded"]:
        few = counts["degraded"]
        return f"Nothing failed for good{so_far}; {number_of(few, 'call')} {was(few)} degraded"
    if counts["rows_out"]:
        return f"Nothing failed{so_far}; {number_of(counts['rows_out'], 'row')} {was(counts['rows_out'])} invalid"
    if counts["recovered"]:
        return f"Nothing failed for good{so_far}; {number_of(counts['recovered'], 'call')} recovered"
    return f"Nothing failed{so_far}"


def _failed(count: int, listed: list[Mapping[str, Any]]) -> str:
    """Name what failed: `2 calls failed and were not recovered: publish (HTTP 422), train (TimedOut)`."""
    briefs = {each["operation"]: in_brief(each["error_type"] or each["error"], each["http_status"]) for each in listed}
    if count == 1 and briefs:
        operation, brief = next(iter(briefs.items()))
        return f"{text(operation)} failed and was not recovered: {text(brief)}"
    names = named_few([f"{operation} ({brief})" for operation, brief in briefs.items()], _NAMED)
    return f"{number_of(count, 'call')} failed and {was(count)} not recovered{f': {text(names)}' if names else ''}"


def _tiles(report: Report) -> str:
    counts, alerts = report["counts"], report["alerts"]
    waiting = len(alerts["waiting"])
    opened = sum(any(span["state"] == "open" for span in each["spans"]) for each in report["circuits"])
    tiles = (
        _tile("failed", counts["failed"], "not recovered"),
        _tile("degraded", counts["degraded"], "degraded: a fallback answered"),
        _tile("recovered", counts["recovered"], f"recovered, {lasted(counts['waited_s'])} waited"),
        _tile("rows", counts["rows_out"], f"rows invalid, {counts['quarantined']:,} quarantined"),
        _tile("alerts", alerts["sent"], f"alerts sent, {waiting:,} waiting", more=waiting),
        _tile("stopped", len(report["not_stopped"]), "timeouts whose work ran on"),
        _tile("circuit", opened, "circuits opened"),
    )
    return f'<nav aria-label="Summary"><ul class="tiles">{"".join(tiles)}</ul></nav>'


def _tile(name: str, count: int, words: str, more: int = 0) -> str:
    shown = f'<span aria-hidden="true">{GLYPHS[name]}</span> <strong>{count:,}</strong> <span>{words}</span>'
    if not count and not more:
        return f'<li class="none">{shown}</li>'
    return f'<li class="{name}"><a href="#{name}">{shown}</a></li>'


def _timeline(report: Report, sections: Sections) -> str:
    found = report["timeline"]
    if not found["calls"] and not report["circuits"]:
        return ""
    left = found["left_out"]
    out = f" {number_of(left, 'further call')} {was(left)} left out: the worst and longest are here." if left else ""
    return f"""<section id="timeline" aria-labelledby="timeline-title"><h2 id="timeline-title">Time line</h2>
<p class="sub">Each bar is an attempt, each thin line a wait. Times are UTC.{out}</p>
<noscript><p>The time line needs JavaScript. The table below shows the same.</p></noscript>
<div id="chart" hidden></div>
{sections.calls() or NONE}</section>"""
