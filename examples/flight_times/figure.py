"""The picture of a run: the models' errors, the failures, and the rows.

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
    ORANGE,
    errors_by_month,
    faults_by_page,
    outcomes,
    quarantined_rows,
)
from headline import headline, subline
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from pathlib import Path

    from summary import RunSummary

# 8 x 6.4 inches at 200 dots: 1600 x 1280 pixels, about twice what a README's column shows.
_SIZE, _DPI = (8.0, 6.4), 200
_HEAD = 0.115  # of the height: the headline, which a page writes as text
STYLE: dict[Any, Any] = {
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
    """Write the picture of a run as a PNG of 1600 x 1280 pixels.

    Raises:
        ValueError: The report has no month.
    """
    with mpl.rc_context(STYLE):
        figure = _figure(report)
        _headline(figure, report)
        figure.savefig(path, format="png", dpi=_DPI, facecolor="white")


def svg(report: RunSummary) -> str:
    """Return the picture without its headline as an `<svg>` element, for a page; text is drawn as shapes.

    Raises:
        ValueError: The report has no month.
    """
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        wide, high = _SIZE
        below = Bbox.from_bounds(0, 0, wide, high * (1 - _HEAD))
        _figure(report).savefig(buffer, format="svg", facecolor="white", bbox_inches=below, metadata={"Date": None})
    return as_element(buffer.getvalue().decode(), f"{headline(report)}. {subline(report)}")


def as_element(text: str, label: str) -> str:
    """Return an SVG file's element alone, with a label for screen readers."""
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label={quoteattr(label)}', 1)


def _figure(report: RunSummary) -> Figure:
    if not report.months:
        raise ValueError("the report has no month: there is nothing to draw")
    figure = Figure(figsize=_SIZE)
    errors_by_month(figure.add_axes((0.052, 0.572, 0.608, 0.243)), report)
    outcomes(figure.add_axes((0.72, 0.572, 0.258, 0.243)), report)
    faults_by_page(figure.add_axes((0.052, 0.022, 0.608, 0.333)), report)
    quarantined_rows(figure.add_axes((0.72, 0.022, 0.258, 0.415)), report)
    return figure


def _headline(figure: Figure, report: RunSummary) -> None:
    colour = ORANGE if report.problems else INK
    figure.text(MARGIN, 0.955, headline(report), fontsize=13.5, fontweight="bold", va="center", color=colour)
    figure.text(MARGIN, 0.915, subline(report), fontsize=8.2, color=MUTED, va="center")
    cost = f"seed {report.seed}, {report.seconds:,.0f} s"
    figure.text(1 - MARGIN, 0.955, cost, color=MUTED, ha="right", va="center")
