"""The tasks that train and judge: a challenger each month, and the verdict on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import champions
import pandas as pd
from fetching import ALERTS, named
from model import CATEGORIES, TARGET, Model, after, errors_by_day, newest_day, split_newest, train, with_air_time
from promotion import MARGIN, Comparison, compare
from registry import CHAMPION, Registry, Stored
from schema import Flights

from resilient_tasks import Drift, Kind, Retry, Timeout, resilient_task
from resilient_tasks.validation.drift import DriftReport
from resilient_tasks.validation.profile import profile

#: What the model sees of a flight, and what it predicts: a month in which these have drifted is not trained on.
GATED = [*CATEGORIES, "distance", "hour", TARGET]

Verdict = Literal["promoted", "kept", "refused"]


@dataclass(frozen=True)
class Trained:
    """The result of one month's training.

    Attributes:
        version: the challenger's number in the registry.
        frozen, champion, challenger: errors (RMSE) in minutes, on days that no model has seen; None without that model.
        verdict: "promoted": it is the champion now. "kept": the champion stays. "refused": it is not promoted by
            itself, whatever its error; a person may.
        why: the reason for the verdict.
        comparison: of the challenger with the champion; None where there was no champion, or no day to judge on.
    """

    version: int
    frozen: float | None
    champion: float | None
    challenger: float
    verdict: Verdict
    why: str
    comparison: Comparison | None = None

    @property
    def promoted(self) -> bool:
        """Whether the challenger is the champion now."""
        return self.verdict == "promoted"

    def __str__(self) -> str:
        if self.comparison is None:
            return f"RMSE {self.challenger:.1f} min: {self.verdict}, {self.why}"
        judged = f"champion {self.champion:.1f}, challenger {self.challenger:.1f} min, {self.comparison}"
        return f"{judged}: {self.verdict}{f', {self.why}' if self.verdict == 'refused' else ''}"


def _has_no_verdict(trained: Trained) -> bool:
    return trained.verdict not in get_args(Verdict)


# A process can be killed: a training that hangs in C code or in a file would otherwise go on, and promote late.
@resilient_task(
    retry=Retry(on=(Kind.TRANSIENT, Kind.TIMEOUT), attempts=2, on_result=_has_no_verdict),
    timeout=Timeout(60, enforce="process"),
    notify=ALERTS,
    task_run_name=named("retrain"),
)
def retrain(
    month: int, flights: pd.DataFrame, planes: pd.DataFrame, *, doubts: Sequence[str], key: str, seed: int
) -> Trained:
    """Train a challenger, compare it with the champion on days that neither has seen, and promote the better one.

    Args:
        month: 1 to 12.
        flights: Of that month. The newest seven days are held out of the training.
        planes: The register of aircraft.
        doubts: Why the data is not to be trusted as usual. A challenger with any is registered and never promoted here.
        key: Names this month of this flow run: another attempt registers and promotes nothing twice.
        seed: Of the draws behind the confidence interval.
    """
    registry = Registry.of_this_run()
    version = registry.of_run(key)
    if version is None:
        version = _train_and_register(registry, month, flights, planes, doubts=doubts, key=key, seed=seed)
    trained = _judged(version, registry.tags(version)["judged"])
    if trained.promoted:
        champions.promote(registry, version, trained.why, f"the flow, run {key}")
    return trained


def drift_since_promotion(flights: pd.DataFrame) -> DriftReport | None:
    """Compare a month with the one that the champion was trained on; None if there is no champion."""
    registry = Registry.of_this_run()
    champion = registry.under(CHAMPION)
    if champion is None:
        return None
    return Drift(registry.profile(champion), columns=GATED, on_drift="stop").judge(flights, Flights)


def _train_and_register(
    registry: Registry,
    month: int,
    flights: pd.DataFrame,
    planes: pd.DataFrame,
    *,
    doubts: Sequence[str],
    key: str,
    seed: int,
) -> int:
    older, newest = split_newest(flights)
    challenger = train(older, planes)
    champion, frozen_version = registry.champion(), champions.first(registry)
    frozen = None if frozen_version is None else registry.stored(frozen_version)
    judged = _judge(challenger, champion, newest, planes, doubts=doubts, seed=seed)
    judged["frozen"] = None if frozen is None else errors_by_day(frozen.model, newest, planes).rmse
    tags = {
        "month": f"2013-{month:02}",
        "trained_until": newest_day(older),
        "degraded": "; ".join(doubts) or "no",
        "verdict": judged["verdict"],
        "why": judged["why"],
        "judged": json.dumps(judged),
    }
    return registry.register(key, challenger, profile(flights, Flights), tags)


def _judge(
    challenger: Model,
    champion: Stored | None,
    newest: pd.DataFrame,
    planes: pd.DataFrame,
    *,
    doubts: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    unseen = with_air_time(newest if champion is None else after(newest, champion.trained_until))
    comparison, champion_error = None, None
    errors = errors_by_day(challenger, newest if unseen.empty else unseen, planes)
    if champion is not None and not unseen.empty:
        its = errors_by_day(champion.model, unseen, planes)
        champion_error, comparison = its.rmse, compare(its.squared, errors.squared, seed=seed)
    verdict, why = verdict_on(comparison, doubts, champion)
    values = None if comparison is None else asdict(comparison)
    return {
        "champion": champion_error,
        "challenger": errors.rmse,
        "verdict": verdict,
        "why": why,
        "comparison": values,
    }


def verdict_on(
    comparison: Comparison | None, doubts: Sequence[str], champion: Stored | None = None
) -> tuple[Verdict, str]:
    """Return the verdict on a challenger, and the reason.

    Args:
        comparison: With the champion; None where there is none, or no day that neither model has seen.
        doubts: Why its data is not to be trusted as usual.
        champion: None while there is none.
    """
    if doubts:
        return "refused", f"trained on degraded data: {'; '.join(doubts)}"
    if champion is None:
        return "promoted", "the first champion"
    if comparison is None:
        return "refused", f"no day that neither model has seen: the champion was trained until {champion.trained_until}"
    if comparison.better():
        return "promoted", f"error {comparison}: all of it below {-MARGIN:.0%}"
    return "kept", f"error {comparison}: not all of it below {-MARGIN:.0%}"


def _judged(version: int, text: str) -> Trained:
    judged = json.loads(text)
    values = judged.pop("comparison")
    return Trained(version, comparison=None if values is None else Comparison(**values), **judged)
