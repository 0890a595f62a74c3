"""Whether a challenger replaces the champion: only by a margin, and only if a few windy days do not explain it.

Flights of one day share one wind, so their errors come and go together: the unit is the day, not the flight. Both
models are judged on the same days, and both errors of a day are drawn together (a paired bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: The challenger's error has to be smaller by more than this share, with the whole interval.
MARGIN = 0.02
#: Of the two-sided interval: an upper bound that is too low in 5 % of the cases.
LEVEL = 0.9
#: With three days an equally good model would be promoted in 8 % of the cases, with five in 5 %.
FEWEST_DAYS = 5
#: Draws. With 10,000 the bounds move by about 0.002 from seed to seed.
RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """The challenger's error (RMSE) divided by the champion's, on days that neither had seen.

    Attributes:
        ratio: below 1 where the challenger errs less.
        low, high: bounds of the confidence interval of that ratio.
        days: on how many days both were judged.
    """

    ratio: float
    low: float
    high: float
    days: int

    def better(self, margin: float = MARGIN) -> bool:
        """Return whether the upper bound of the interval shows an error smaller by more than `margin`."""
        return self.high < 1 - margin

    def __str__(self) -> str:
        counted = "1 day" if self.days == 1 else f"{self.days} days"
        if not np.isfinite(self.ratio):
            return f"unknown, as an error is 0 or no number on {counted}" if self.days else "unknown on no day"
        if self.days < FEWEST_DAYS:
            return f"{self.ratio - 1:+.0%} on {counted}, and {FEWEST_DAYS} are needed to tell"
        high = f"{self.high - 1:+.0%}" if np.isfinite(self.high) else "any"
        return f"{self.ratio - 1:+.0%} ({self.low - 1:+.0%} to {high} on {counted})"


def compare(
    champion: ArrayLike, challenger: ArrayLike, *, seed: int = 1, level: float = LEVEL, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two models by their squared errors, summed by day, with a bootstrap confidence interval.

    With `A` and `B` the champion's and the challenger's sums of squared errors on `n` days, the ratio of their RMSEs is
    `sqrt(ΣB / ΣA)`, and its logarithm is `t = ½ (ln ΣB - ln ΣA)`. Days are drawn with replacement, each with both of
    its sums. The interval is the bootstrap-t interval of Efron and Tibshirani (An Introduction to the Bootstrap, 1993,
    section 12.5): `t - q(1 - α/2) s` to `t - q(α/2) s`, where `q` are quantiles of `(t* - t) / s*` over the draws, and
    `s` is the linearised standard error `sqrt(n / (n - 1) Σu²)`, `u = ½ (B / ΣB - A / ΣA)`. The percentile interval
    (section 13.3) is too narrow for a week of days: where two models are equally good, its upper bound is below 1 in 8
    to 11 % of the cases instead of 5 %, the bootstrap-t bound in about 6 %.

    Args:
        champion: The champion's sums, one a day.
        challenger: The challenger's sums, on the same days in the same order.
        seed: Of the draws: the same sums and seed give the same interval.
        level: Of the interval, two-sided.
        resamples: How many draws.

    Returns:
        The comparison. With fewer than `FEWEST_DAYS` days, or sums that are not positive numbers, its interval is from
        0 to infinity: nothing is known.

    Raises:
        ValueError: The two have not the same days.
    """
    errors = np.array([np.asarray(each, dtype=np.float64) for each in _alike(champion, challenger)])
    days = errors.shape[1]
    if days < FEWEST_DAYS or not (np.isfinite(errors).all() and (errors.sum(axis=1) > 0).all()):
        total = errors.sum(axis=1)
        known = days > 0 and np.isfinite(total).all() and bool((total > 0).all())
        return Comparison(float(np.sqrt(total[1] / total[0])) if known else np.nan, 0.0, np.inf, days)
    measured, spread = _log_ratio(errors)
    drawn = np.random.default_rng(seed).integers(0, days, (resamples, days))
    ratios, spreads = _log_ratio(errors[:, drawn])
    off = ratios - measured
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw of one day alone has no spread
        scaled = np.where(np.isclose(off, 0, atol=1e-12), 0.0, off / spreads)
    tail = (1 - level) / 2
    # Not the mean of two neighbouring draws: one of them may be endless.
    least, most = np.quantile(scaled, [tail, 1 - tail], method="inverted_cdf")
    with np.errstate(over="ignore"):  # too few days: a bound beyond every number
        low, high = (np.exp(measured - bound * spread) if spread else np.exp(measured) for bound in (most, least))
    return Comparison(float(np.exp(measured)), float(low), float(high), days)


def _alike(champion: ArrayLike, challenger: ArrayLike) -> Sequence[NDArray[np.float64]]:
    both = [np.asarray(each, dtype=np.float64) for each in (champion, challenger)]
    if both[0].ndim != 1 or both[0].shape != both[1].shape:
        counts = " and ".join(str(each.size) for each in both)
        raise ValueError(f"sums of {counts} days: give both models' errors on the same days")
    return both


def _log_ratio(errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the logarithm of the ratio of the RMSEs, and its standard error; days are the last axis."""
    days = errors.shape[-1]
    totals = errors.sum(axis=-1, keepdims=True)
    shares = errors / totals
    influence = (shares[1] - shares[0]) / 2
    logs = np.log(totals[..., 0])
    return (logs[1] - logs[0]) / 2, np.sqrt(days / (days - 1) * (influence**2).sum(axis=-1))
