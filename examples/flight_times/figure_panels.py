"""The four panels of the picture. Colours are of the Okabe-Ito set, which the colour-blind can tell apart."""

from __future__ import annotations

from calendar import month_abbr
from collections import Counter
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from numpy.typing import NDArray
    from summary import Month, RunSummary

INK, MUTED, FAINT, PALE = "#1f2933", "#5f6b7a", "#c9d1da", "#eef1f4"
BLUE, ORANGE, AMBER = "#0072b2", "#d55e00", "#e69f00"
_HEAT = LinearSegmentedColormap.from_list("faults", ["#fdeccb", AMBER, "#9a4a00"])
MARGIN = 0.022  # of the figure's width
_MOST_BARS, _LONGEST_CAUSE, _LONGEST_REASON = 6, 20, 40


def errors_by_month(axes: Axes, report: RunSummary) -> None:
    """Draw the error of the frozen model and of the champion; mark promotions and months without training."""
    months, x = report.months, np.arange(len(report.months))
    frozen = _values([month.frozen_rmse for month in months])
    champion = _values([month.champion_rmse for month in months])
    title = _title(axes, "Error by month", "RMSE in minutes, on flights that no model had seen", x=MARGIN)
    _key(axes, title, [("● promoted", BLUE), ("◆ a fallback answered", AMBER)])
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


def faults_by_month(axes: Axes, report: RunSummary) -> None:
    """Draw the faults served, cause by month; the last row marks the months in which a fallback answered."""
    _title(axes, "Faults by cause and month", "number served by the faulty API", x=MARGIN)
    causes = _causes(report)
    if not causes:
        _empty(axes, "no fault was served")
        return
    grid = np.array([[month.faults.get(cause, 0) for month in report.months] for cause in causes], float)
    most = grid.max()
    for (row, column), count in np.ndenumerate(grid):
        shade = _HEAT(count / most) if count else PALE
        axes.add_patch(_cell(column, row, shade))
        if count:
            colour = "white" if count / most > 0.8 else INK
            axes.text(column, row, f"{count:.0f}", ha="center", va="center_baseline", color=colour)
    _fallback_row(axes, report.months, len(causes))
    _month_axis(axes, report.months)
    axes.set_ylim(len(causes) + 0.5, -0.5)
    names = [_short(cause, _LONGEST_CAUSE) for cause in causes]
    axes.set_yticks(range(len(causes) + 1), [*names, "a fallback answered"])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines["bottom"].set_visible(False)


def quarantined_rows(axes: Axes, report: RunSummary) -> None:
    """Draw the quarantined rows by reason, the most frequent first."""
    read, held = (sum(getattr(month, name) for month in report.months) for name in ("read", "quarantined"))
    _title(axes, "Rows quarantined", f"{held:,} of {read:,} rows, by reason")
    ranked = sorted(report.reasons.items(), key=lambda item: -item[1])
    bars = ranked[:_MOST_BARS]
    if rest := ranked[_MOST_BARS:]:
        bars.append((f"{len(rest)} other reasons", sum(rows for _, rows in rest)))
    _bars(axes, bars, [BLUE] * len(bars), "no row was quarantined")


def outcomes(axes: Axes, report: RunSummary) -> None:
    """Draw how the calls that met a fault ended."""
    bars = [
        ("recovered by retry", report.recovered),
        ("answered by fallback", report.degraded),
        ("failed for good", report.failed),
    ]
    _title(axes, "How it was overcome", "calls that met trouble")
    _bars(axes, bars, [BLUE, AMBER, ORANGE], "no call met trouble")


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
            axes.plot(x, 0.025, "D", markersize=4.2, color=AMBER, markeredgecolor="white", transform=foot)


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
    axes.text(x, height, text, ha=ha, color=colour, fontweight="bold", linespacing=1.05, **where)


def _fallback_row(axes: Axes, months: Sequence[Month], row: int) -> None:
    for column, month in enumerate(months):
        axes.add_patch(_cell(column, row, "white"))
        if month.degraded:
            axes.plot(column, row, marker="D", markersize=5, color=AMBER, markeredgecolor="white")


def _bars(axes: Axes, bars: Sequence[tuple[str, int]], colours: Sequence[str], empty: str) -> None:
    most = max((count for _, count in bars), default=0)
    if most == 0:
        _empty(axes, empty)
        return
    axes.set_axis_off()
    slots = max(len(bars), 4)
    for row, ((name, count), colour) in enumerate(zip(bars, colours, strict=True)):
        axes.barh(row + 0.28, count, height=0.34, color=colour)
        axes.text(0, row - 0.12, _short(name, _LONGEST_REASON), va="center", fontsize=7.2)
        axes.text(count + most * 0.02, row + 0.28, f"{count:,}", va="center", fontsize=7.2, color=MUTED)
    axes.set_xlim(0, most * 1.16)
    axes.set_ylim(slots - 0.4, -0.4)


def _empty(axes: Axes, sentence: str) -> None:
    axes.set_axis_off()
    axes.annotate(sentence, (0, 0.9), xycoords="axes fraction", color=INK)


def _month_axis(axes: Axes, months: Sequence[Month]) -> None:
    names = [month_abbr[int(month.month[5:7])] for month in months]
    axes.set_xticks(range(len(months)), names)
    axes.set_xlim(-0.5, len(months) - 0.5)
    axes.tick_params(length=0)
    axes.spines[["left", "top", "right"]].set_visible(False)


def _title(axes: Axes, name: str, unit: str, *, x: float | None = None) -> Annotation:
    at, system = (0.0 if x is None else x, 1.0), ("axes fraction" if x is None else "figure fraction")
    place: dict[str, Any] = {"xycoords": (system, "axes fraction"), "textcoords": "offset points"}
    axes.annotate(name, at, (0, 21), fontsize=9, fontweight="bold", **place)
    return axes.annotate(unit, at, (0, 9), color=MUTED, **place)


def _key(axes: Axes, after: Annotation, entries: Sequence[tuple[str, str]]) -> None:
    for text, colour in entries:
        after = axes.annotate(
            text, (1, 0), (9, 0), xycoords=after, textcoords="offset points", color=colour, va="bottom"
        )


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _cell(column: int, row: int, colour: str | tuple[float, float, float, float]) -> Rectangle:
    return Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, facecolor=colour, linewidth=0)


def _values(errors: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([nan if error is None else error for error in errors], dtype=np.float64)


def _causes(report: RunSummary) -> list[str]:
    totals: Counter[str] = Counter()
    for month in report.months:
        totals.update(month.faults)
    return [cause for cause, count in totals.most_common() if count]
