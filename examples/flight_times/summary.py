"""The results of a year of the flow: the numbers behind the report and its picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Month:
    """One month: the models' errors, the rows, and the faults.

    Attributes:
        month: "2013-07".
        trained: Whether a model was fitted to this month.
        promoted: Whether that model became the champion.
        frozen_rmse: Error (RMSE) of the model frozen in January, in minutes. It, `champion_rmse` and
            `challenger_rmse` are measured on the same flights, which none of the three models has seen: the
            month's newest days.
        champion_rmse: Error of the champion as it stood when the month arrived; None where there was none.
        challenger_rmse: Error of the month's own model; None where none was trained.
        note: Why the month went as it did, for a reader of the report; may be empty.
        read: Rows of the pages that came, by the index.
        used: Rows with a known air time.
        missing: Rows of flights without an air time, mostly cancelled ones.
        quarantined: Rows that the schema refused.
        degraded: Names of the steps whose fallback answered.
        faults_by_page: For "page 3", "planes" or "index", all that were asked for, the causes of the faults served,
            in the order served; empty where the first answer was good.
        drift: In which columns the month is unlike the one that the champion was trained on; empty where in none.
        absent: Rows of pages that never came, by the index: none of them is among those read.
        withheld: Good rows of pages that the schema refused as a whole.
        verdict: What became of the month's model, and why; empty where none was trained.
    """

    month: str
    trained: bool
    promoted: bool
    frozen_rmse: float | None
    champion_rmse: float | None
    challenger_rmse: float | None
    note: str
    read: int
    used: int
    missing: int
    quarantined: int
    degraded: tuple[str, ...]
    faults_by_page: Mapping[str, tuple[str, ...]]
    drift: str = ""
    absent: int = 0
    withheld: int = 0
    verdict: str = ""

    @property
    def faults(self) -> Counter[str]:
        """Faults served, by cause."""
        return Counter(cause for causes in self.faults_by_page.values() for cause in causes)

    @property
    def balances(self) -> bool:
        """Whether every row that was read is accounted for."""
        return self.read == self.used + self.missing + self.quarantined + self.withheld


@dataclass(frozen=True)
class RunSummary:
    """A year of the flow under one seed.

    Attributes:
        seed: The seed of the faults.
        months: The months in order.
        reasons: Quarantined rows by reason, such as "air_time: not a number".
        recovered: Calls that succeeded after a failed attempt.
        degraded: Calls that a fallback answered.
        failed: Calls that nothing recovered.
        seconds: Wall-clock time of the whole run.
        problems: Sentences on which the three accounts of the run differ, or rows are lost; empty where all is well.
    """

    seed: int
    months: tuple[Month, ...]
    reasons: Mapping[str, int]
    recovered: int
    degraded: int
    failed: int
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def balances(self) -> bool:
        """Whether every row of every month is accounted for, and the accounts agree."""
        return not self.problems and all(month.balances for month in self.months)

    @property
    def faults(self) -> int:
        """Faults served in all months together."""
        return sum(month.faults.total() for month in self.months)
