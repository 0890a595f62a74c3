"""The picture of a run: how well the models did, what failed, and what became of the rows.

Drawn without pyplot, which keeps state for the whole process: any thread may draw.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import matplotlib as mpl
from figure_panels import (
    FAINT,
    INK,
    MARGIN,
    MUTED,
    errors_by_month,
    faults_by_month,
    outcomes,
    quarantined_rows,
)
from headline import headline, subline
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from summary import RunSummary

# 8 x 5 inches at 200 dots: 1600 x 1000 pixels, twice what a README's column shows.
_SIZE, _DPI = (8.0, 5.0), 200
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # it comes with matplotlib, so the picture is the same everywhere
    "font.size": 7.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.hashsalt": "flight-times",  # the same report gives the same SVG
}


def draw(report: RunSummary, path: Path) -> None:
    """Write the picture of a run as a PNG of 1600 x 1000 pixels.

    Raises:
        ValueError: The report has no month.
    """
    with mpl.rc_context(_STYLE):
        _figure(report).savefig(path, format="png", dpi=_DPI, facecolor="white")


def svg(report: RunSummary) -> str:
    """Return the same picture as an `<svg>` element, to embed in a page; text is drawn as shapes.

    Raises:
        ValueError: The report has no month.
    """
    buffer = BytesIO()
    with mpl.rc_context(_STYLE):
        _figure(report).savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    text = buffer.getvalue().decode()
    label = quoteattr(f"{headline(report)}. {subline(report)}")
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label={label}', 1)


def _figure(report: RunSummary) -> Figure:
    if not report.months:
        raise ValueError("the report has no month: there is nothing to draw")
    figure = Figure(figsize=_SIZE)
    figure.text(MARGIN, 0.95, headline(report), fontsize=13, fontweight="bold", va="center")
    figure.text(MARGIN, 0.9, subline(report), fontsize=8.2, color=MUTED, va="center")
    cost = f"seed {report.seed}, {report.seconds:,.0f} s"
    figure.text(1 - MARGIN, 0.95, cost, color=MUTED, ha="right", va="center")
    errors_by_month(figure.add_axes((0.165, 0.46, 0.495, 0.31)), report)
    faults_by_month(figure.add_axes((0.165, 0.055, 0.495, 0.262)), report)
    quarantined_rows(figure.add_axes((0.715, 0.46, 0.263, 0.31)), report)
    outcomes(figure.add_axes((0.715, 0.055, 0.263, 0.262)), report)
    return figure
