"""Draws the timeout table: one panel for each way to enforce it, one square for each call."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from cells import Cell
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap

PANELS = {"Prefect": "Prefect\ntimeout_seconds=1", "auto": "ours\ntimeout=1", "process": 'ours\nenforce="process"'}
ONE_ROW = {"asyncio.sleep": "time.sleep", "time.sleep in async code": "blocking code in async"}
ROWS = {
    "time.sleep": "sleep",
    "a lock": "lock",
    "a subprocess": "subprocess",
    "a socket read": "socket read",
    "a tight loop": "tight loop",
    "one long C call": "one long C call",
    "a body that swallows everything": "swallows everything",
    "blocking code in async": "blocking code in async",
}
SHADES = LinearSegmentedColormap.from_list("late", ["#d7ead9", "#f6e3b4", "#d9694f"])


def draw(cells: Iterable[Cell], path: Path) -> None:
    """Draw `cells` into `path`. A dot marks work that ran on after its limit."""
    mpl.use("Agg")
    cells = list(cells)
    of = {way: [cell for cell in cells if cell.way == way] for way in PANELS}
    widths = [len({cell.place for cell in own}) for own in of.values()]
    figure, panels = plt.subplots(1, 3, figsize=(11, 4.6), sharey=True, width_ratios=widths, layout="constrained")
    for panel, (way, own) in zip(panels, of.items(), strict=True):
        _draw_panel(panel, own, PANELS[way])
    panels[0].set_yticks(range(len(ROWS)), ROWS.values())
    figure.suptitle("A limit of 1 s on 6 s of work: seconds until the call returned (● the work ran on)", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_panel(panel: plt.Axes, cells: list[Cell], title: str) -> None:
    places = list(dict.fromkeys(cell.place for cell in cells))
    seconds = np.full((len(ROWS), len(places)), np.nan)
    for cell in cells:
        row, column = list(ROWS).index(ONE_ROW.get(cell.work, cell.work)), places.index(cell.place)
        seconds[row, column] = cell.seconds
        mark = "\n●" if cell.ran_on else ""
        panel.text(column, row, f"{cell.seconds:.1f}{mark}", ha="center", va="center", fontsize=8, linespacing=0.9)
    panel.imshow(seconds, cmap=SHADES, vmin=1, vmax=6, aspect="auto")
    panel.set_title(title, fontsize=10)
    panel.set_xticks(range(len(places)), [place.replace(" ", "\n") for place in places], fontsize=8)
    panel.set_xticks(np.arange(-0.5, len(places)), minor=True)
    panel.set_yticks(np.arange(-0.5, len(ROWS)), minor=True)
    panel.grid(which="minor", color="white", linewidth=2)
    panel.tick_params(length=0, which="both")
    panel.spines[:].set_visible(False)
