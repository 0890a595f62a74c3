"""A row of the table, and its goals."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.timing import AGAIN, BARE, HAND, OURS, control_of

NOT_PEERS = {OURS, AGAIN, HAND, BARE}
FASTEST = "fastest peer"
ITSELF = "the figure itself"


@dataclass(frozen=True)
class Goal:
    """At most `limit` times what a contestant takes, or at most `limit` in the row's own unit.

    Attributes:
        against: a contestant's name, `FASTEST`, or `ITSELF`.
        limit: the ratio, or the figure.
        at_least: the figure has to reach the limit instead.
    """

    against: str
    limit: float
    at_least: bool = False


@dataclass
class Row:
    """What one row of the table shows.

    Attributes:
        name: what is measured.
        place: where: `sync`, `async`, `worker thread`.
        figures: by contestant.
        goals: what ours has to reach.
        unit: of the figures.
        also_ran: contestants that are shown, but are no peers: they do less than the row says.
        remark: what a reader has to know.
    """

    name: str
    place: str
    figures: dict[str, float]
    goals: list[Goal] = field(default_factory=list)
    unit: str = "µs"
    also_ran: list[str] = field(default_factory=list)
    remark: str = ""

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Row":
        return cls(**{**found, "goals": [Goal(**each) for each in found["goals"]]})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def title(self) -> str:
        return f"{self.name}, {self.place}" if self.place else self.name

    @property
    def peers(self) -> dict[str, float]:
        return {name: it for name, it in self.figures.items() if name not in NOT_PEERS and name not in self.also_ran}

    @property
    def fastest(self) -> str | None:
        """Return the name of the fastest peer."""
        return min(self.peers, key=self.peers.__getitem__, default=None)

    @property
    def spread(self) -> float:
        """Return by how much two equal contestants differ, as a ratio of 1 or more; 1 where there are no two."""
        control, again = self.figures.get(control_of(self.figures)), self.figures.get(AGAIN)
        return max(control, again) / min(control, again) if control and again else 1.0

    def ratio(self, against: str) -> float | None:
        name = self.fastest if against == FASTEST else against
        its = self.figures.get(name) if name else None
        return self.figures[OURS] / its if its else None


@dataclass(frozen=True)
class Verdict:
    """The result of one goal of one row."""

    row: Row
    goal: Goal
    found: float

    @property
    def met(self) -> bool:
        """Return whether it is met; equal contestants differ by the spread, so a goal is missed only beyond that."""
        if self.goal.at_least:
            return self.found * self.row.spread >= self.goal.limit
        return self.found <= self.goal.limit * self.row.spread

    @property
    def says(self) -> str:
        bound = "at least" if self.goal.at_least else "at most"
        if self.goal.against == ITSELF:
            unit = f" {self.row.unit}" if self.row.unit else ""
            return f"{self.row.title}: {_number(self.found)}{unit} (goal: {bound} {_number(self.goal.limit)})"
        whom = f"{FASTEST} ({self.row.fastest})" if self.goal.against == FASTEST else self.goal.against
        return f"{self.row.title}: {self.found:.2f} x {whom} (goal: {bound} {self.goal.limit:g})"

    @property
    def by(self) -> float:
        """Return how far off the goal, as a ratio: 1 and less is met."""
        if self.goal.at_least:
            return self.goal.limit / self.found if self.found else float("inf")
        return self.found / self.goal.limit if self.goal.limit else float(self.found > 0) * 2


def verdicts(rows: list[Row]) -> Iterator[Verdict]:
    """Judge every goal that can be judged: one against the fastest peer needs a peer."""
    for row in rows:
        for goal in row.goals:
            found = row.figures[OURS] if goal.against == ITSELF else row.ratio(goal.against)
            if found is not None:
                yield Verdict(row, goal, found)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
