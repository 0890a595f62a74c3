"""`report.html`: the picture, the run report and every month, in one file that asks the network for nothing."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import figure_champions
from accounts import AGREED, EXPLANATION
from figure import svg
from headline import headline, subline
from style import STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from records import Record
    from summary import Month, RunSummary

    from resilient_tasks import RunReport

_ROWS = ("read", "used", "missing", "quarantined", "withheld")
_HEADS = (
    "month",
    "read",
    "used",
    "missing",
    "quarantined",
    "withheld",
    "faults",
    "frozen",
    "champion",
    "challenger",
    "what came of it",
)


def write(
    summary: RunSummary, report: RunReport, accounts: Sequence[str], months: Sequence[Record], path: Path
) -> None:
    """Write the page to `path`; `accounts` summarises each account in a few lines, `months` each decision."""
    rows = "".join(_row(month) for month in summary.months)
    heads = "".join(f"<th>{name}</th>" for name in _HEADS)
    held = "".join(f"<li>{html.escape(line)}</li>" for line in accounts)
    agreed = "".join(f'<li class="bad">Differs: {html.escape(text)}</li>' for text in summary.problems) or (
        f'<li class="ok">{html.escape(AGREED)}</li>'
    )
    warning = ' class="bad"' if summary.problems else ""
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(headline(summary))}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body><main>
<h1{warning}>{html.escape(headline(summary))}</h1><p class="sub">{html.escape(subline(summary))}. Seed {summary.seed},
{summary.seconds:.0f} s.</p>
<figure>{svg(summary)}</figure>
{_champions(months)}<h2>What failed, and what was done about it</h2><p>{html.escape(report.headline())}.</p>
<div class="scroll">{report.html_table()}</div>
<h2>Three accounts</h2><p>{html.escape(EXPLANATION)}</p><ul>{held}{agreed}</ul>
<h2>Month by month</h2>
<p class="sub">Errors are RMSE in minutes on the month's newest seven days.</p>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>
<tfoot>{_total(summary)}</tfoot></table></div>
</main></body></html>
""",
        encoding="utf-8",
    )


def _champions(months: Sequence[Record]) -> str:
    if not months:
        return ""
    verdicts = "".join(
        f"<li>{html.escape(month.month)}: {html.escape(month.verdict)} – {html.escape(month.why)}</li>"
        for month in months
    )
    return f"<figure>{figure_champions.svg(months)}</figure><ul>{verdicts}</ul>"


def _row(month: Month) -> str:
    cells = [month.month, *(f"{getattr(month, name):,}" for name in _ROWS)]
    cells.append(str(month.faults.total()))
    cells += ["–" if error is None else f"{error:.1f}" for error in (month.frozen_rmse, month.champion_rmse)]
    cells.append("–" if month.challenger_rmse is None else f"{month.challenger_rmse:.1f}")
    came = month.verdict or ("promoted" if month.promoted else "kept the champion" if month.trained else "not trained")
    text = "; ".join([came, *(f"{name} degraded" for name in month.degraded), *filter(None, (month.note, month.drift))])
    balance = "" if month.balances else ' <span class="bad">rows do not balance</span>'
    return (
        "<tr>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + f"<td>{html.escape(text)}{balance}</td></tr>"
    )


def _total(summary: RunSummary) -> str:
    rows = (sum(getattr(month, name) for month in summary.months) for name in _ROWS)
    cells = ["all", *(f"{count:,}" for count in (*rows, summary.faults)), *[""] * 4]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
