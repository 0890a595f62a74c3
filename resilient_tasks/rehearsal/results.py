"""What came of a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from resilient_tasks.rehearsal.faults import Plan
from resilient_tasks.rehearsal.judge import Judged, Verdict


@dataclass(frozen=True)
class Result:
    """One run under faults.

    Attributes:
        faults: that were injected.
        judged: the verdict.
        seconds: how long it took.
    """

    faults: Plan
    judged: Judged
    seconds: float

    @property
    def cause(self) -> tuple[Verdict, frozenset[tuple[str, str]]]:
        """The verdict, and which families of faults in which tasks led to it."""
        return self.judged.verdict, frozenset((fault.task, fault.family) for fault in self.faults)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {
            "faults": [fault.token for fault in self.faults],
            "verdict": self.judged.verdict.value,
            "why": self.judged.why,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Rehearsal:
    """What came of a rehearsal.

    Attributes:
        name: of the flow.
        seed: of the plans.
        tasks: that the flow calls, in order.
        results: of the planned runs, in order.
        smallest: of each different failure, the smallest faults that cause it.
        ignored: what is not compared, as two runs without faults differ in it.
        clean_seconds: of the run without faults.
        was_stopped: whether it was interrupted before its last run.
        not_injected: which tasks of the flow get no faults; empty if all do.
    """

    name: str
    seed: int
    tasks: tuple[str, ...]
    results: list[Result] = field(default_factory=list)
    smallest: list[Result] = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    clean_seconds: float = 0.0
    was_stopped: bool = False
    not_injected: str = ""

    @property
    def passed(self) -> bool:
        """Whether no run failed silently, hung or acted twice."""
        return not any(result.judged.verdict.is_bad for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {
            "flow": self.name,
            "seed": self.seed,
            "tasks": [*self.tasks],
            "passed": self.passed,
            "ignored": [*self.ignored],
            "clean_seconds": round(self.clean_seconds, 3),
            "stopped": self.was_stopped,
            "not_injected": self.not_injected,
            "smallest": [result.as_dict() for result in self.smallest],
            "runs": [result.as_dict() for result in self.results],
        }
