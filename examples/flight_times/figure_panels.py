"""The four panels of the picture, in the colour-blind-safe Okabe-Ito colours."""

from __future__ import annotations

import re
from calendar import month_abbr
from collections import Counter
from itertools import cycle, pairwise
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import blended_transform_factory
from wording import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from numpy.typing import NDArray
    from summary import Month, RunSummary

INK, MUTED, FAINT, PALE = "#1f2933", "#5f6b7a", "#c9d1da", "#eef1f4"
BLUE, ORANGE, AMBER = "#0072b2", "#d55e00", "#e69f00"
# Shape and colour both show a cause, and their cycles differ in length: 56 causes before a pair repeats.
_COLOURS = (BLUE, AMBER, "#009e73", ORANGE, "#56b4e9", "#a8427f", INK)
_SHAPES = ("o", "D", "^", "s", "v", "P", "X", "p")
MARGIN = 0.022  # of the figure's width
_MARK = 4.6  # points
_GAP = 0.25  # of a column, between the pages and the requests that are made once a month
_OF_PAGES = re.compile(r"(?:([A-Z]{3}) )?(?:page (\d+)|index)")
_MOST_BARS, _LONGEST_CAUSE, _LONGEST_REASON = 9, 24, 38


def errors_by_month(axes: Axes, report: RunSummary) -> None:
    """Draw the error of the frozen model and of the champion; mark promotions and months without training."""
    months, x = report.months, np.arange(len(report.months))
    frozen = _values([month.frozen_rmse for month in months])
    champion = _values([month.champion_rmse for month in months])
    title = _title(axes, "Error by month", "RMSE in minutes, on flights that no model had seen", x=MARGIN)
    _key(axes, title, [("●", BLUE, "promoted"), ("□", INK, "a fallback answered")])
    axes.plot(x, frozen, color=ORANGE, linewidth=1.6, linestyle=(0, (4, 1.6)), marker=".", markersize=4)
    axes.plot(x, champion, color=BLUE, linewidth=2.2, marker=".", markersize=4)
    axes.fill_between(x, champion, frozen, where=champion <= frozen, interpolate=True, color=BLUE, alpha=0.07, lw=0)
    axes.fill_between(x, champion, frozen, where=champion >= frozen, interpolate=True, color=ORANGE, alpha=0.16, lw=0)
    _mark_months(axes, months, champion, frozen)
    _month_axis(axes, months)
    top = np.nanmax(np.concatenate([frozen, champion, [5.0]]))
    axes.set_ylim(0, top * 1.16)
    axes.set_yticks(np.arange(0, top * 1.16, 5))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    _label_lines(axes, frozen, champion)


def faults_by_page(axes: Axes, report: RunSummary) -> None:
    """Draw every fault in the cell of its month and page; a cell is outlined where a fallback answered."""
    title = _title(axes, "Every fault, by month and page", "in the order served", x=MARGIN, lift=47)
    causes = _causes(report)
    if not causes:
        _empty(axes, "no fault was served")
        return
    marks = dict(zip(sorted(causes), zip(cycle(_SHAPES), cycle(_COLOURS), strict=False), strict=False))
    columns = _columns(report.months)
    for row, month in enumerate(report.months):
        for what, faults in month.faults_by_page.items():
            column = columns[what]
            axes.add_patch(_cell(column, row, outlined=what in month.degraded))
            for x, cause in zip(_spread(column, len(faults)), faults, strict=True):
                shape, colour = marks[cause]
                axes.plot(x, row, shape, color=colour, markersize=_MARK, markeredgewidth=0)
    _key(axes, title, [("□", INK, "a fallback answered")])
    _legend(axes, causes, marks)
    _grid_axes(axes, report.months, columns)


def quarantined_rows(axes: Axes, report: RunSummary) -> None:
    """Draw the quarantined rows by reason, the most frequent first."""
    read, held = (sum(getattr(month, name) for month in report.months) for name in ("read", "quarantined"))
    _title(axes, "Rows quarantined", f"{held:,} of {read:,} rows, by reason")
    ranked = sorted(report.reasons.items(), key=lambda item: -item[1])
    bars = [(in_words(reason), rows) for reason, rows in ranked[:_MOST_BARS]]
    if rest := ranked[_MOST_BARS:]:
        bars.append((f"{len(rest)} other reasons", sum(rows for _, rows in rest)))
    if not bars:
        _empty(axes, "no row was quarantined")
        return
    axes.set_axis_off()
    most = max(rows for _, rows in bars)
    for slot, (name, rows) in enumerate(bars):
        axes.text(0, slot + 0.42, _short(name, _LONGEST_REASON), va="baseline", fontsize=7.2)
        axes.barh(slot + 0.73, rows, height=0.24, color=BLUE)
        axes.text(rows + most * 0.025, slot + 0.73, f"{rows:,}", va="center_baseline", fontsize=7.2, color=MUTED)
    axes.set_xlim(0, most * 1.16)
    axes.set_ylim(max(len(bars), 6), 0)


def outcomes(axes: Axes, report: RunSummary) -> None:
    """Write how the calls with a fault ended."""
    _title(axes, "How it was overcome", "calls whose first attempt failed")
    axes.set_axis_off()
    ends = [
        (report.recovered, "recovered by retry", BLUE),
        (report.degraded, "answered by a fallback", INK),
        (report.failed, "failed for good", ORANGE),
    ]
    for slot, (calls, how, colour) in enumerate(ends):
        height = 0.84 - 0.34 * slot
        shade = colour if calls else FAINT
        axes.text(0, height, f"{calls:,}", fontsize=20, fontweight="bold", color=shade, va="center_baseline")
        axes.text(0.33, height, how, color=INK if calls else MUTED, va="center_baseline")


def _mark_months(
    axes: Axes, months: Sequence[Month], champion: NDArray[np.float64], frozen: NDArray[np.float64]
) -> None:
    height = np.where(np.isnan(champion), frozen, champion)
    foot = axes.get_xaxis_transform()  # x in months, y in fractions of the panel
    for x, month in enumerate(months):
        if not month.trained:
            axes.axvspan(x - 0.5, x + 0.5, color=PALE, zorder=0, lw=0)
            axes.text(x, 0.07, "not\ntrained", transform=foot, ha="center", fontsize=6.2, color=MUTED)
        elif month.promoted and not np.isnan(height[x]):
            axes.plot(x, height[x], marker="o", markersize=6.5, color=BLUE, markeredgecolor="white")
        if month.degraded:
            axes.plot(x, 0.045, "s", markersize=4.6, color="white", markeredgecolor=INK, transform=foot)


def _label_lines(axes: Axes, frozen: NDArray[np.float64], champion: NDArray[np.float64]) -> None:
    if not np.isnan(frozen).all():
        peak = int(np.nanargmax(frozen))
        _label(axes, "frozen in January", (peak, frozen[peak] + 0.5), ORANGE, va="bottom")
    lead = frozen - champion
    if np.isnan(lead).all():
        return
    best, worst = int(np.nanargmax(lead)), int(np.nanargmin(lead))
    _label(axes, "champion", (best, champion[best] - 1.2), BLUE, va="top")
    if lead[worst] < 0 and worst != best:
        _label(axes, "January's model\nis better here", (worst, frozen[worst] - 1), ORANGE, va="top")


def _label(axes: Axes, text: str, at: tuple[int, float], colour: str, **where: Any) -> None:
    month, height = at
    # A label of the last months ends at the axes' edge, where a centred one would leave the panel.
    late = month > axes.get_xlim()[1] - 1.5
    x, ha = (axes.get_xlim()[1], "right") if late else (month, "center")
    halo = [withStroke(linewidth=2.5, foreground="white")]  # a label may lie on a line
    axes.text(x, height, text, ha=ha, color=colour, fontweight="bold", linespacing=1.05, path_effects=halo, **where)


def _columns(months: Sequence[Month]) -> dict[str, float]:
    """Place the pages in order, airport by airport, and after a gap the requests that are made once a month."""
    asked = {what for month in months for what in month.faults_by_page}
    pages = sorted((what for what in asked if _of_pages(what)), key=_of_pages)
    ordered = [*pages, *sorted(asked - set(pages), reverse=True)]
    columns, x = {}, 0.0
    for before, what in pairwise(["", *ordered]):
        x += 1 + _GAP * (_of_pages(before)[:1] != _of_pages(what)[:1]) if before else 0
        columns[what] = x
    return columns


def _of_pages(what: str) -> tuple[str, int] | tuple[()]:
    """Return the airport and number of a page, `("JFK", 3)` or `("", 3)`; an airport's index follows its pages."""
    found = _OF_PAGES.fullmatch(what)
    return (found[1] or "", int(found[2] or 99)) if found and (found[1] or found[2]) else ()


def _heading(what: str) -> str:
    """Return the label above a column: a page's number, and for the first page of an airport its name."""
    match _of_pages(what):
        case (str(airport), 1) if airport:
            return airport
        case (_, 99):
            return "i"
        case (_, page):
            return str(page)
    return what


def _spread(column: float, count: int) -> NDArray[np.float64]:
    apart = min(0.23, 0.8 / max(count, 1))
    return column + (np.arange(count, dtype=np.float64) - (count - 1) / 2) * apart


def _legend(axes: Axes, causes: Mapping[str, int], marks: Mapping[str, tuple[str, str]]) -> None:
    handles = []
    for cause, count in causes.items():
        shape, colour = marks[cause]
        label = f"{_short(cause, _LONGEST_CAUSE)}  {count:,}"
        handles.append(Line2D([], [], ls="", marker=shape, color=colour, ms=_MARK + 1, mew=0, label=label))
    axes.legend(
        handles=handles,
        ncols=3,
        loc="lower left",
        bbox_to_anchor=(MARGIN, 1.112),  # above the pages' numbers
        bbox_transform=blended_transform_factory(axes.figure.transFigure, axes.transAxes),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handletextpad=0.2,
        handlelength=1,
        columnspacing=2.2,
        labelcolor=INK,
    )


def _grid_axes(axes: Axes, months: Sequence[Month], columns: Mapping[str, float]) -> None:
    axes.set_yticks(range(len(months)), _names(months))
    axes.set_ylim(len(months) - 0.5, -0.5)
    axes.set_xticks(list(columns.values()), [_heading(what) for what in columns])
    axes.set_xlim(-0.5, max(columns.values()) + 0.5)
    axes.annotate(
        "page", (0, 1), (-4, 5.2), xycoords="axes fraction", textcoords="offset points", ha="right", color=MUTED
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _empty(axes: Axes, sentence: str) -> None:
    axes.set_axis_off()
    axes.annotate(sentence, (0, 0.9), xycoords="axes fraction", color=INK)


def _month_axis(axes: Axes, months: Sequence[Month]) -> None:
    axes.set_xticks(range(len(months)), _names(months))
    axes.set_xlim(-0.5, len(months) - 0.5)
    axes.tick_params(length=0)
    axes.spines[["left", "top", "right"]].set_visible(False)


def _names(months: Sequence[Month]) -> list[str]:
    return [month_abbr[int(month.month[5:7])] for month in months]


def _title(axes: Axes, name: str, unit: str, *, x: float | None = None, lift: int = 9) -> Annotation:
    at, system = (0.0 if x is None else x, 1.0), ("axes fraction" if x is None else "figure fraction")
    place: dict[str, Any] = {"xycoords": (system, "axes fraction"), "textcoords": "offset points"}
    axes.annotate(name, at, (0, lift + 13), fontsize=9.5, fontweight="bold", **place)
    return axes.annotate(unit, at, (0, lift), color=MUTED, **place)


def _key(axes: Axes, after: Annotation, entries: Sequence[tuple[str, str, str]]) -> None:
    place: dict[str, Any] = {"textcoords": "offset points", "va": "bottom"}
    for mark, colour, text in entries:
        after = axes.annotate(mark, (1, 0), (10, 0), xycoords=after, color=colour, **place)
        after = axes.annotate(text, (1, 0), (3, 0), xycoords=after, color=INK, **place)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _cell(column: float, row: int, *, outlined: bool) -> Rectangle:
    edge: dict[str, Any] = {"edgecolor": INK, "linewidth": 1.2, "zorder": 1.5} if outlined else {"linewidth": 0}
    return Rectangle((column - 0.46, row - 0.43), 0.92, 0.86, facecolor=PALE, **edge)


def _values(errors: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([nan if error is None else error for error in errors], dtype=np.float64)


def _causes(report: RunSummary) -> dict[str, int]:
    """Count the faults by cause, the most frequent first."""
    totals = sum((month.faults for month in report.months), Counter[str]())
    return dict(totals.most_common())
