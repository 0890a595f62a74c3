"""Promotion rates of challengers with known true errors: the numbers behind the example's interval.

    python tests/benchmarks/promotion_rates.py [--weeks 800] [--page docs/flight-times.md]

Two models are simulated whose errors of a day share that day's wind. `promotion.compare` compares them, and so does
the simpler percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3).
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from setting import machine, table, write_into

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "flight_times"))
from promotion import LEVEL, MARGIN, compare

RESAMPLES = 2000


def two_models(chance: np.random.Generator, days: int, better: float = 1.0) -> NDArray[np.float64]:
    """Return two models' sums of squared errors by day, shape (2, days); the second errs `better` times as much."""
    flights, wind = chance.integers(700, 1100, days), chance.normal(0, 6, days)
    first, second = (flights * (64 + (wind + chance.normal(0, 4, days)) ** 2) for _ in range(2))
    return np.array([first, second * better**2])


def percentile_high(sums: NDArray[np.float64], seed: int) -> float:
    """Return the upper bound of the percentile interval of the ratio of both errors."""
    drawn = np.random.default_rng(seed).integers(0, sums.shape[1], (RESAMPLES, sums.shape[1]))
    totals = sums[:, drawn].sum(axis=-1)
    return float(np.quantile(np.sqrt(totals[1] / totals[0]), (1 + LEVEL) / 2))


def rates(weeks: int, days: int = 7, better: float = 1.0) -> dict[str, NDArray[np.float64]]:
    """Return the upper bounds of both intervals, one for each simulated week."""
    chance = np.random.default_rng(days)
    models = [two_models(chance, days, better) for _ in range(weeks)]
    return {
        "percentile": np.array([percentile_high(sums, at) for at, sums in enumerate(models)]),
        "bootstrap-t": np.array([compare(*sums, seed=at, resamples=RESAMPLES).high for at, sums in enumerate(models)]),
    }


def main() -> None:
    """Print the rates, and write them into the page if one is given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weeks", type=int, default=800)
    parser.add_argument("--page", type=Path)
    chosen = parser.parse_args()
    equal = rates(chosen.weeks)
    share = {name: [np.mean(high < 1), np.mean(high < 1 - MARGIN)] for name, high in equal.items()}
    better = {days: np.mean(rates(chosen.weeks, days, 0.8)["bootstrap-t"] < 1 - MARGIN) for days in (7, 28)}
    rows = [[name, *(f"{one:.1%}" for one in both)] for name, both in share.items()]
    head = [f"interval, at {LEVEL:.0%}", "without a margin", f"with {MARGIN:.0%}"]

    def text(*, markdown: bool) -> str:
        return (
            f"How often an equally good model is promoted, in {chosen.weeks:,} simulated weeks of seven days:\n\n"
            f"{table(head, rows, markdown=markdown)}\n\n"
            f"A better model waits: one with a 20 % smaller error is promoted after {better[7]:.0%} of such weeks,\n"
            f"and after {better[28]:.0%} of periods of four weeks.\n\n"
            f"(`make promotion-rates`, {machine()}, NumPy {version('numpy')})"
        )

    print(text(markdown=False))
    if chosen.page:
        write_into(chosen.page, "promotion-rates", text(markdown=True))


if __name__ == "__main__":
    main()
