"""Draws the splitting table: time and peak memory as ratios to the mask, one panel for each library."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from contestants import BY_HAND, BY_HAND_TELLS, DATAFRAMELY, DROPS, MASK, OURS, OURS_TELLS
from matplotlib import pyplot as plt
from splitting import WITHIN, Result, of

COLORS = {
    OURS: "#2f7d4f",
    OURS_TELLS: "#8fc3a3",
    DATAFRAMELY: "#5b7fb5",
    DROPS: "#e3b35f",
    BY_HAND: "#d9694f",
    BY_HAND_TELLS: "#eba999",
}
TICKS = (0.5, 1, 2, 5, 10, 20, 50)


def draw(measured: list[list[Result]], path: Path) -> None:
    """Draw the results, one list for each frame, into `path`."""
    mpl.use("Agg")
    figure, panels = plt.subplots(2, 2, figsize=(11, 6.5), sharey="row", layout="constrained")
    for column, library in zip(panels.T, ("pandas", "polars"), strict=True):
        for panel, ratio in zip(column, (Result.slower, Result.larger), strict=True):
            _draw_panel(panel, measured, library, ratio)
        column[0].set_title(library)
    panels[0][0].set_ylabel("time / mask by hand")
    panels[1][0].set_ylabel("peak memory / mask by hand")
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in COLORS.values()]
    figure.legend(handles, COLORS, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle("Splitting 8 columns by 10 rules into good and bad rows (dotted: the goal)", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_panel(panel: plt.Axes, measured: list[list[Result]], library: str, ratio) -> None:
    names = [name for name in COLORS if of(measured[0], library, name)]
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        ratios = [ratio(of(results, library, name), of(results, library, MASK)) for results in measured]
        at = np.arange(len(measured)) + (number - (len(names) - 1) / 2) * width
        heights = [np.nan if each is None else each for each in ratios]
        for bar in panel.bar(at, heights, width * 0.92, color=COLORS[name]):
            if np.isfinite(bar.get_height()):
                label = f"{bar.get_height():.1f}"
                panel.annotate(
                    label, (bar.get_x() + bar.get_width() / 2, bar.get_height()), ha="center", va="bottom", fontsize=6
                )
    panel.axhline(WITHIN, color="#444", linestyle=":", linewidth=1)
    panel.set_yscale("log")
    panel.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    panel.minorticks_off()
    panel.set_xticks(
        range(len(measured)), [f"{each[0].rows:,}\n{each[0].share:.0%} bad" for each in measured], fontsize=8
    )
    panel.spines[["top", "right"]].set_visible(False)
