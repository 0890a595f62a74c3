"""Draws the table: ours as a ratio to the fastest peer and to handwritten code, one line for each row."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.table import FASTEST, ITSELF, Row, Verdict, verdicts
from bench.timing import HAND

MET, MISSED, GOAL = "#2f7d4f", "#d9694f", "#444444"
SHAPES = {FASTEST: "o", HAND: "s", ITSELF: "D"}
OTHER, OTHERS = "^", "Prefect, tenacity, pebble, loky, or the bare function"
WHOM = {FASTEST: "the fastest peer", HAND: "what is written by hand", ITSELF: "the goal, which is no ratio"}
LEAST = 0.1  # what is smaller is drawn here


def draw(rows: list[Row], path: Path) -> None:
    """Draw ours as a ratio, on a logarithmic axis, and each goal as a bar that it must not cross."""
    mpl.use("Agg")
    judged = [row for row in rows if any(_is_drawn(each) for each in verdicts([row]))]
    figure, panel = plt.subplots(figsize=(10, 1.4 + 0.23 * len(judged)), layout="constrained")
    for at, row in enumerate(judged):
        for verdict in filter(_is_drawn, verdicts([row])):
            _draw(panel, at, verdict)
    panel.axvline(1, color=GOAL, linewidth=0.8, linestyle=":")
    panel.set_xscale("log")
    panel.set_yticks(range(len(judged)), [row.title for row in judged], fontsize=8)
    panel.set_ylim(len(judged) - 0.4, -0.6)
    panel.grid(axis="both", color="#e8e8e8", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("ours as a ratio to the other; left of the bar is better than the goal")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    figure.legend(handles=_legend(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw(panel: Axes, at: int, verdict: Verdict) -> None:
    """Draw one ratio and its goal. A goal in µs is one of 1: the figure as a ratio to it."""
    alone = verdict.goal.against == ITSELF
    ratio, goal = (verdict.by, 1.0) if alone else (verdict.found, verdict.goal.limit)
    color, shape = MET if verdict.met else MISSED, SHAPES.get(verdict.goal.against, OTHER)
    panel.vlines(goal, at - 0.36, at + 0.36, color=GOAL, linewidth=1.6, zorder=2)
    panel.scatter(max(ratio, LEAST), at, s=30, color=color, marker=shape, zorder=3)


def _is_drawn(verdict: Verdict) -> bool:
    return verdict.goal.limit > 0


def _legend() -> list[Line2D]:
    shapes = {**{WHOM[name]: shape for name, shape in SHAPES.items()}, OTHERS: OTHER}
    colors = {"goal met": MET, "goal missed": MISSED}
    return [
        *(_dot(f"to {label}", "#888888", shape) for label, shape in shapes.items()),
        *(_dot(label, color) for label, color in colors.items()),
        Line2D([], [], linestyle="", marker="|", markersize=9, markeredgewidth=1.6, color=GOAL, label="goal"),
    ]


def _dot(label: str, color: str, shape: str = "o") -> Line2D:
    return Line2D([], [], linestyle="", marker=shape, color=color, label=label)
