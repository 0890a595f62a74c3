"""The worst case as a time line to scale, for both drawings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resilient_tasks.core.bounds import Step, StepKind
from resilient_tasks.explanation.subjects import Subject
from resilient_tasks.explanation.wording import duration
from resilient_tasks.explanation.worst_case import WorstCase

#: The share of the line that a step without a limit takes.
_OPEN = 0.3


@dataclass(frozen=True)
class Segment:
    """A step on the line.

    Attributes:
        kind: what happens.
        start: seconds from the beginning.
        length: seconds on the scale of the line.
        seconds: as it is; infinite without a limit.
        beside: seconds after which each further attempt begins beside it; 0 if none does.
        number: of attempts.
    """

    kind: StepKind
    start: float
    length: float
    seconds: float
    beside: float
    number: float

    @property
    def label(self) -> str:
        """Its duration in words."""
        return "no limit" if self.seconds == math.inf else duration(self.seconds)


@dataclass(frozen=True)
class Timeline:
    """The worst case of a call, if no service asks for longer waits.

    Attributes:
        segments: its steps.
        length: of the line, in seconds.
        deadline: of the call; infinite without one.
        is_open: whether a step has no limit, so that what follows is not to scale.
        left_out: how many attempts are not shown.
    """

    segments: tuple[Segment, ...]
    length: float
    deadline: float
    is_open: bool
    left_out: float

    def ticks(self, most: int = 4) -> list[float]:
        """Return round times up to the end of the line."""
        step = _round(self.length / most)
        return [each * step for each in range(int(self.length / step + 1e-9) + 1)]


def timeline(subject: Subject, worst: WorstCase) -> Timeline:
    """Return the time line of a worst case."""
    deadline = min(
        (policy.seconds for policy in subject.of_slot("deadline") if hasattr(policy, "seconds")), default=math.inf
    )
    steps = [step for step in worst.steps if step.kind != "more"]
    finite = sum(step.seconds for step in steps if step.seconds < math.inf)
    whole = max(finite, deadline if deadline < math.inf else 0.0) or 1.0
    segments, at = [], 0.0
    for step in steps:
        length = step.seconds if step.seconds < math.inf else _OPEN * whole
        segments.append(_segment(step, at, length))
        at += length
    left_out = sum(step.number for step in worst.steps if step.kind == "more")
    is_open = any(step.seconds == math.inf for step in steps)
    return Timeline(
        tuple(segments), max(at, deadline if deadline < math.inf else 0.0) or 1.0, deadline, is_open, left_out
    )


def _segment(step: Step, start: float, length: float) -> Segment:
    return Segment(step.kind, start, length, step.seconds, step.beside, step.number)


def _round(seconds: float) -> float:
    """Return the least round number of seconds that is not below `seconds`."""
    for unit in (1, 60, 3600, 86_400):
        for number in (1, 2, 5, 10, 15, 20, 30):
            if seconds <= unit * number and (unit > 1 or seconds > 1):
                return float(unit * number)
    power = 10.0 ** math.floor(math.log10(seconds))
    return next(power * number for number in (1, 2, 5, 10) if seconds <= power * number * (1 + 1e-9))
