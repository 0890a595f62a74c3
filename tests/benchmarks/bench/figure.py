"""Draws the table: ours as a ratio to the fastest peer and to what is written by hand, one line for each row."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from bench.table import FASTEST, ITSELF, Row, Verdict, verdicts
from bench.timing import HAND

MET, MISSED, GOAL = "#2f7d4f", "#d9694f", "#444444"
SHAPES = {FASTEST: "o", HAND: "s", ITSELF: "D"}
OTHER = "^"
WHOM = {FASTEST: "to the fastest peer", HAND: "to what is written by hand", ITSELF: "to the goal itself"}


def draw(rows: list[Row], path: Path) -> None:
    """Draw each judged ratio on a logarithmic axis where 1 is the goal."""
    mpl.use("Agg")
    judged = [row for row in rows if any(_is_drawn(each) for each in verdicts([row]))]
    figure, panel = plt.subplots(figsize=(9, 1.2 + 0.24 * len(judged)), layout="constrained")
    for at, row in enumerate(judged):
        for verdict in verdicts([row]):
            if _is_drawn(verdict):
                color = MET if verdict.met else MISSED
                panel.scatter(
                    verdict.by, at, s=34, color=color, marker=SHAPES.get(verdict.goal.against, OTHER), zorder=3
                )
    panel.axvline(1, color=GOAL, linewidth=1.2)
    panel.set_xscale("log")
    panel.set_yticks(range(len(judged)), [row.title for row in judged], fontsize=8)
    panel.invert_yaxis()
    panel.grid(axis="both", color="#e4e4e4", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("how far from the goal: its bound is 1, and less is better")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.margins(y=0.01)
    figure.legend(handles=_legend(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def _is_drawn(verdict: Verdict) -> bool:
    return verdict.goal.limit > 0 and verdict.by > 0


def _legend() -> list[Line2D]:
    shapes = [*((WHOM[name], shape) for name, shape in SHAPES.items()), ("to Prefect, tenacity, pebble, loky", OTHER)]
    colors = [("goal met", MET), ("goal missed", MISSED)]
    return [
        *(
            Line2D([], [], linestyle="", marker=shape, color="#888888", label=f"ratio {label}")
            for label, shape in shapes
        ),
        *(Line2D([], [], linestyle="", marker="o", color=color, label=label) for label, color in colors),
    ]
