"""One MLflow run for each month: its results, to compare in MLflow, and to read back for the picture."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model import HELD_OUT
from promotion import LEVEL, MARGIN, RESAMPLES
from registry import NAME
from reported import Booked
from style import STYLE

if TYPE_CHECKING:
    from flow import MonthResult
    from registry import Registry

    from resilient_tasks import RunReport


@dataclass(frozen=True)
class Record:
    """A month as the registry knows it.

    Attributes:
        month: "2013-07".
        verdict: "promoted", "kept", "refused" or "not trained".
        why: the reason for it.
        challenger, champion, frozen: errors (RMSE) in minutes; None where there was none.
        low, high: the confidence interval of the challenger's error divided by the champion's; None where unknown.
    """

    month: str
    verdict: str
    why: str
    challenger: float | None = None
    champion: float | None = None
    frozen: float | None = None
    low: float | None = None
    high: float | None = None


def write(registry: Registry, key: str, result: MonthResult, seed: int, report: str) -> None:
    """Write a month into its MLflow run; `report` is an HTML page."""
    trained = result.trained
    tags = {
        "month": result.month,
        "verdict": "not trained" if trained is None else trained.verdict,
        "why": result.note if trained is None else trained.why,
        "degraded": ", ".join(result.degraded) or "no",
        "retries": str(result.retries),
        "quarantined_rows": str(result.quarantined),
        "drift": result.drift or "no",
        "flow_run_id": key.partition("/")[0],
        "mlflow.note.content": str(result),
    }
    if trained is not None:
        tags["version"] = str(trained.version)
    registry.record(
        key,
        result.month,
        metrics=_metrics(result),
        params={"seed": seed, "margin": MARGIN, "level": LEVEL, "resamples": RESAMPLES, "days held out": HELD_OUT},
        tags=tags,
        files={"report.html": report},
    )


def read(registry: Registry) -> list[Record]:
    """Return each month's newest record, in the order of the months; none if there is no registry yet."""
    if not (registry.folder / "mlflow.db").exists():
        return []
    client = registry.client()
    experiment = client.get_experiment_by_name(NAME)
    if experiment is None:
        return []
    found: dict[str, Record] = {}
    for run in client.search_runs(
        [experiment.experiment_id], "attributes.status = 'FINISHED'", order_by=["attributes.start_time ASC"]
    ):
        values = (run.data.metrics.get(name) for name in _COLUMNS)
        month = run.data.tags["month"]
        found[month] = Record(month, run.data.tags["verdict"], run.data.tags["why"], *values)
    return [found[month] for month in sorted(found)]


def booked(registry: Registry, flow_run_id: object) -> list[Booked]:
    """Return what MLflow has about each month of a flow run."""
    client = registry.client()
    experiment = client.get_experiment_by_name(NAME)
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], f"tags.flow_run_id = '{flow_run_id}'")
    return [
        Booked(
            run.data.tags["month"],
            int(run.data.metrics["retries"]),
            run.data.metrics["waited_s"],
            int(run.data.metrics["rows_quarantined"]),
            sum(name != "no" for name in run.data.tags["degraded"].split(", ")),
        )
        for run in runs
    ]


def next_month(registry: Registry) -> int | None:
    """Return the month after the newest that has a finished run, 1 to 12; None if the year is over."""
    newest = max((record.month for record in read(registry)), default="2013-00")
    number = int(newest[-2:]) + 1
    return number if number <= 12 else None


def page(result: MonthResult, report: RunReport) -> str:
    """Return the report of a month as one HTML page that asks the network for nothing."""
    came = html.escape(str(result.trained or result.note))
    degraded = html.escape(", ".join(result.degraded) or "nothing")
    drift = html.escape(result.drift or "none")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{result.month}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body><main>
<h1>{result.month}: {came}</h1>
<p class="sub">{result.announced:,} rows read, {result.used:,} used, {result.missing:,} missing,
{result.quarantined:,} quarantined, {result.withheld:,} withheld, {result.absent:,} absent.
Degraded: {degraded}. Drift: {drift}.</p>
<h2>What failed, and what was done about it</h2><p>{html.escape(report.headline())}.</p>
<div class="scroll">{report.html_table()}</div>
</main></body></html>
"""


_COLUMNS = ("rmse_challenger", "rmse_champion", "rmse_frozen", "ratio_low", "ratio_high")


def _metrics(result: MonthResult) -> dict[str, float]:
    metrics: dict[str, float | None] = {
        "rows_read": result.announced,
        "rows_used": result.used,
        "rows_missing": result.missing,
        "rows_quarantined": result.quarantined,
        "rows_withheld": result.withheld,
        "rows_absent": result.absent,
        "retries": result.retries,
        "waited_s": result.waited,
    }
    if trained := result.trained:
        errors = (trained.challenger, trained.champion, trained.frozen)
        compared = trained.comparison
        bounds = (compared.low, compared.high, compared.ratio) if compared else (None, None, None)
        metrics |= dict(zip((*_COLUMNS, "ratio"), (*errors, *bounds), strict=True))
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
