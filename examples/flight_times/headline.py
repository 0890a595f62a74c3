"""What a run found, in two sentences that its own numbers write."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from summary import RunSummary


def headline(report: RunSummary) -> str:
    """Say what failed, what was trained and whether every row is accounted for; failed calls first."""
    months = len(report.months)
    trained = sum(month.trained for month in report.months)
    parts = [f"{report.faults:,} {_plural(report.faults, 'fault')}"]
    parts.append(f"all {months} months trained" if trained == months else f"{trained} of {months} months trained")
    parts.append(_rows(report))
    if report.failed:
        parts.insert(0, f"{report.failed:,} {_plural(report.failed, 'call')} failed for good")
    return ", ".join(parts)


def subline(report: RunSummary) -> str:
    """Compare the champion with the model frozen in January, over the months in which both were measured."""
    both = [
        (month.champion_rmse, month.frozen_rmse)
        for month in report.months
        if month.champion_rmse is not None and month.frozen_rmse is not None
    ]
    if not both:
        return "Air time of New York's flights: in no month could two models be compared"
    champion, frozen = (fmean(errors) for errors in zip(*both, strict=True))
    return (
        f"Air time of New York's flights: retrained monthly, the champion errs by {champion:.1f} minutes; "
        f"frozen in January, by {frozen:.1f}"
    )


def _rows(report: RunSummary) -> str:
    if not any(month.read for month in report.months):
        return "no row read"
    lost = sum(not month.balances for month in report.months)
    return f"rows unaccounted for in {lost} {_plural(lost, 'month')}" if lost else "no row lost"


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
