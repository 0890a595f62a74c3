"""The champion's history as a picture: each month's errors, the interval that decided, and the verdict.

Drawn without pyplot, which keeps state for the whole process: any thread may draw.
"""

from __future__ import annotations

from calendar import month_abbr
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from figure import STYLE, as_element
from figure_panels import BLUE, FAINT, INK, MARGIN, MUTED, ORANGE, PALE
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from promotion import LEVEL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from records import Record

_SIZE, _DPI = (8.0, 3.9), 200
# Shape, filling and colour all show the verdict.
_NAMES = {"promoted": "challenger, promoted", "kept": "not better: kept", "refused": "degraded data: refused"}
_MARKS: dict[str, dict[str, Any]] = {
    "promoted": {"marker": "o", "markersize": 7.5, "color": BLUE, "markeredgecolor": BLUE},
    "kept": {"marker": "o", "markersize": 6, "color": "white", "markeredgecolor": INK, "markeredgewidth": 1.2},
    "refused": {"marker": "X", "markersize": 7.5, "color": ORANGE, "markeredgecolor": "white"},
}


def draw(months: Sequence[Record], path: Path) -> None:
    """Write the picture as a PNG of 1600 x 780 pixels.

    Raises:
        ValueError: There is no month.
    """
    with mpl.rc_context(STYLE):
        _figure(months).savefig(path, format="png", dpi=_DPI, facecolor="white")


def svg(months: Sequence[Record]) -> str:
    """Return the picture as an `<svg>` element, for a page.

    Raises:
        ValueError: There is no month.
    """
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        _figure(months).savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    verdicts = "; ".join(f"{month.month} {month.verdict}" for month in months)
    return as_element(buffer.getvalue().decode(), f"The champion month by month: {verdicts}")


def _figure(months: Sequence[Record]) -> Figure:
    if not months:
        raise ValueError("the registry has no month: there is nothing to draw")
    figure = Figure(figsize=_SIZE)
    axes = figure.add_axes((0.045, 0.085, 0.94, 0.7))
    figure.text(MARGIN, 0.945, "The champion, month by month", fontsize=11, fontweight="bold", va="center")
    unit = f"RMSE in minutes on days that neither model had seen; bars: where the challenger's lies, with {LEVEL:.0%}"
    figure.text(MARGIN, 0.885, f"{unit} confidence", color=MUTED, va="center")
    x = np.arange(len(months))
    frozen, champion = (_values([getattr(month, name) for month in months]) for name in ("frozen", "champion"))
    axes.plot(x, frozen, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 1.6)))
    axes.plot(x, champion, color=BLUE, linewidth=2.0, marker="_", markersize=13, markeredgewidth=2.4)
    top = np.nanmax(np.concatenate([frozen, champion, [5.0], _values([month.challenger for month in months])])) * 1.25
    for at, month in enumerate(months):
        _verdict(axes, at, month, top)
    axes.set_xticks(x, [month_abbr[int(month.month[5:7])] for month in months])
    axes.set_xlim(-0.5, len(months) - 0.5)
    axes.set_ylim(0, top)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["left", "top", "right"]].set_visible(False)
    _legend(axes)
    return figure


def _verdict(axes: Axes, at: int, month: Record, top: float) -> None:
    if month.challenger is None:
        axes.axvspan(at - 0.5, at + 0.5, color=PALE, zorder=0, lw=0)
        axes.text(at, 0.05 * top, "not\ntrained", ha="center", fontsize=6.2, color=MUTED)
        return
    if month.champion and month.low is not None:
        # Without an upper bound the bar goes on to the top of the panel.
        high = top if month.high is None else min(month.champion * month.high, top)
        axes.plot([at, at], [month.champion * month.low, high], color=INK, linewidth=1.1, zorder=2.5)
    axes.plot(at, month.challenger, linestyle="", zorder=3, **_MARKS.get(month.verdict, _MARKS["kept"]))


def _legend(axes: Axes) -> None:
    lines = [
        Line2D([], [], color=BLUE, linewidth=2, label="champion as it stood"),
        Line2D([], [], color=ORANGE, linewidth=1.4, linestyle=(0, (4, 1.6)), label="first champion, frozen"),
    ]
    marks = [Line2D([], [], linestyle="", label=_NAMES[verdict], **style) for verdict, style in _MARKS.items()]
    axes.legend(
        handles=[*lines, *marks],
        ncols=5,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.005),
        frameon=False,
        borderaxespad=0,
        handletextpad=0.5,
        columnspacing=1.8,
        edgecolor=FAINT,
        labelcolor=INK,
    )


def _values(errors: Sequence[float | None]) -> Any:
    return np.array([np.nan if error is None else error for error in errors], dtype=np.float64)
