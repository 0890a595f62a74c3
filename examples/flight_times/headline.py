"""The result of a run in two sentences, from its numbers."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from wording import counted

if TYPE_CHECKING:
    from summary import RunSummary


def headline(report: RunSummary) -> str:
    """Summarise what failed, what was trained and whether every row is accounted for; problems come first."""
    months = len(report.months)
    trained = sum(month.trained for month in report.months)
    parts = [counted(report.faults, "fault")]
    of = f"all {months}" if trained == months else f"{trained} of {months}"
    parts.append(f"{of} {'month' if months == 1 else 'months'} trained")
    parts += _rows(report)
    if report.failed:
        parts.insert(0, f"{counted(report.failed, 'call')} failed for good")
    if report.problems:
        parts.insert(0, f"THE ACCOUNTS DIFFER on {counted(len(report.problems), 'point')}")
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


def _rows(report: RunSummary) -> list[str]:
    if lost := sum(not month.balances for month in report.months):
        return [f"rows unaccounted for in {counted(lost, 'month')}"]
    if not any(month.read for month in report.months):
        return ["no row read"]
    absent = sum(month.absent for month in report.months)
    if absent:
        return [f"{counted(absent, 'row')} never came"]
    return [] if report.problems else ["no row lost"]
