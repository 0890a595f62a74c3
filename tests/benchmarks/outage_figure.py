"""Draws an outage: the requests that reach the API, one panel for each set of policies, all on one scale.

Colours are from the Okabe-Ito set, which colour-blind readers can distinguish.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from outage import MOST_LOAD, OURS, SMOOTHED, Course, between

INK, MUTED, FAINT, PALE = "#1f2933", "#5f6b7a", "#c9d1da", "#eef1f4"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
NORMAL, GOAL = (0, (1, 2)), (0, (5, 2))  # dots and dashes
FROM, UNTIL = 30.0, 330.0  # seconds
# Inches. UNIT is the normal load's height, on all panels.
WIDE, LEFT, RIGHT, HEAD, FOOT, GAP, UNIT = 8.0, 0.36, 0.18, 1.06, 0.4, 0.36, 0.3
STYLE = {
    "font.family": "DejaVu Sans",  # it comes with matplotlib, so the picture is the same everywhere
    "font.size": 7.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.hashsalt": "outage",  # the same courses give the same SVG
}


def draw(courses: dict[str, Course], path: Path) -> None:
    """Draw the courses into `path`."""
    tops = [max(1.6, load(course.arrived, course, 1.0)[1].max() + 0.15) for course in courses.values()]
    high = HEAD + FOOT + sum(tops) * UNIT + GAP * (len(tops) - 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, high))
        y = high - HEAD
        for (name, course), top in zip(courses.items(), tops, strict=True):
            y -= top * UNIT
            box = (LEFT / WIDE, y / high, (WIDE - LEFT - RIGHT) / WIDE, top * UNIT / high)
            _panel(figure.add_axes(box), name, course, top)
            y -= GAP
        figure.axes[-1].tick_params(labelbottom=True)
        figure.axes[-1].set_xlabel("seconds", color=MUTED, labelpad=1)
        _head(figure, next(iter(courses.values())), high)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, facecolor="white")


def load(times: list[float], course: Course, over: float) -> tuple[np.ndarray, np.ndarray]:
    """Return moments and the load in a window of `over` seconds around each, relative to the normal load."""
    moments = np.arange(FROM, UNTIL + 0.1, 0.25)
    counts = [between(times, at - over / 2, at + over / 2) for at in moments]
    return moments, np.array(counts) / (over * course.scenario.normal)


def _panel(axes: Axes, name: str, course: Course, top: float) -> None:
    scenario, colour = course.scenario, _colour(name)
    moments, each_second = load(course.arrived, course, 1.0)
    capacity = [scenario.capacity(at) / scenario.normal for at in moments]
    axes.axvspan(scenario.down, scenario.back, color=PALE, lw=0)
    axes.fill_between(moments, capacity, color=FAINT, alpha=0.7, lw=0)
    axes.axhline(1, color=INK, lw=0.6, ls=NORMAL)
    axes.axhline(MOST_LOAD, color=INK, lw=0.6, ls=GOAL)
    axes.plot(moments, each_second, color=colour, lw=0.5, alpha=0.45)
    axes.plot(*load(course.arrived, course, SMOOTHED), color=colour, lw=1.6)
    axes.plot(*load(course.done, course, SMOOTHED), color=GREEN, lw=1.1)
    if course.recovered is not None:
        axes.plot(scenario.back + course.recovered, -0.12, "^", color=INK, ms=4.5, mew=0, clip_on=False, zorder=5)
    _titles(axes, name, course)
    axes.set_xlim(FROM, UNTIL)
    axes.set_ylim(0, top)
    axes.set_xticks(np.arange(FROM, UNTIL + 1, 30))
    axes.set_yticks(range(int(top) + 1))
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _titles(axes: Axes, name: str, course: Course) -> None:
    scenario, seconds = course.scenario, course.recovered
    wasted = between(course.arrived, scenario.down, scenario.back)
    ends = "not recovered" if seconds is None else f"recovered {seconds:.0f} s after its return"
    figures = f"peak {course.peak:.2f} × normal  ·  {wasted:,} requests while down  ·  {ends}"
    over = {"xycoords": "axes fraction", "xytext": (0, 3), "textcoords": "offset points", "va": "bottom"}
    axes.annotate(name, (0, 1), fontsize=8.5, fontweight="bold", color=_colour(name), **over)
    axes.annotate(figures, (1, 1), color=MUTED, ha="right", **over)


def _head(figure: Figure, course: Course, high: float) -> None:
    scenario = course.scenario
    title = f"What reaches an API that is down for {scenario.back - scenario.down:g} s, and slow to recover"
    figure.text(0.022, 1 - 0.24 / high, title, fontsize=12, fontweight="bold", va="center")
    figure.text(1 - 0.022, 1 - 0.24 / high, f"seed {scenario.seed}", color=MUTED, ha="right", va="center")
    requests = tuple(Line2D([], [], color=colour, lw=1.6) for colour in (ORANGE, BLUE))
    key = {
        f"requests, over {SMOOTHED:g} s (thin: in a second)": requests,
        f"work done, over {SMOOTHED:g} s": Line2D([], [], color=GREEN, lw=1.1),
        "what the API can serve": Patch(color=FAINT, alpha=0.7, lw=0),
        "it is down": Patch(color=PALE, lw=0),
        "normal load": Line2D([], [], color=INK, lw=0.6, ls=NORMAL),
        f"goal: under {MOST_LOAD} × normal": Line2D([], [], color=INK, lw=0.6, ls=GOAL),
        "recovered": Line2D([], [], color=INK, marker="^", ms=4.5, mew=0, lw=0),
    }
    figure.legend(
        key.values(),
        key.keys(),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.3)},
        bbox_to_anchor=(0.012, 1 - 0.38 / high),
        loc="upper left",
        ncols=4,
        frameon=False,
        fontsize=7,
    )


def _colour(name: str) -> str:
    return BLUE if name == OURS else ORANGE
