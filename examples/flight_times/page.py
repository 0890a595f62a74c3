"""`report.html`: the picture, the run report and every month, in one file that asks the network for nothing."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from accounts import AGREED, EXPLANATION
from figure import svg
from headline import headline, subline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from summary import Month, RunSummary

    from resilient_tasks import RunReport

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 32px 80px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 44px 0 10px; }
p { max-width: 46em; } p.sub { color: #5f6b7a; margin: 0 0 16px; } ul { padding-left: 1.2em; }
figure { margin: 0 -2.2%; } figure svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid #e3e7eb; white-space: nowrap; }
tfoot td { font-weight: 600; border-bottom: 0; }
th { font-weight: 600; color: #5f6b7a; }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left; }
td:last-child { white-space: normal; }
.ok { color: #1a7f4b; } .bad { color: #b3261e; font-weight: 600; }
"""
_HEADS = (
    "month",
    "read",
    "used",
    "missing",
    "quarantined",
    "faults",
    "frozen",
    "champion",
    "challenger",
    "what came of it",
)


def write(summary: RunSummary, report: RunReport, accounts: Sequence[str], path: Path) -> None:
    """Write the page to `path`; `accounts` says in a few lines what each account holds."""
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
<title>{html.escape(headline(summary))}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head><body><main>
<h1{warning}>{html.escape(headline(summary))}</h1><p class="sub">{html.escape(subline(summary))}. Seed {summary.seed},
{summary.seconds:.0f} s.</p>
<figure>{svg(summary)}</figure>
<h2>What failed, and what was done about it</h2><p>{html.escape(report.headline())}.</p>
<div class="scroll">{report.html()}</div>
<h2>Three accounts</h2><p>{html.escape(EXPLANATION)}</p><ul>{held}{agreed}</ul>
<h2>Month by month</h2>
<p class="sub">Errors are RMSE in minutes on the month's newest seven days.</p>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>
<tfoot>{_total(summary)}</tfoot></table></div>
</main></body></html>
""",
        encoding="utf-8",
    )


def _row(month: Month) -> str:
    cells = [month.month, *(f"{count:,}" for count in (month.read, month.used, month.missing, month.quarantined))]
    cells.append(str(month.faults.total()))
    cells += ["–" if error is None else f"{error:.1f}" for error in (month.frozen_rmse, month.champion_rmse)]
    cells.append("–" if month.challenger_rmse is None else f"{month.challenger_rmse:.1f}")
    came = "promoted" if month.promoted else "kept the champion" if month.trained else "not trained"
    told = "; ".join([came, *(f"{name} degraded" for name in month.degraded), *filter(None, (month.note, month.drift))])
    balance = "" if month.balances else ' <span class="bad">rows do not balance</span>'
    return (
        "<tr>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + f"<td>{html.escape(told)}{balance}</td></tr>"
    )


def _total(summary: RunSummary) -> str:
    rows = (
        sum(getattr(month, name) for month in summary.months) for name in ("read", "used", "missing", "quarantined")
    )
    cells = ["all", *(f"{count:,}" for count in (*rows, summary.faults)), *[""] * 4]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
