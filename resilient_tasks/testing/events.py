"""The events of the policies, recorded in a list.

with RecordedEvents.listening() as events:
    fetch()
assert events.names == ["retry.scheduled", "retry.started", "retry.recovered"]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Self

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import EVENTS, Event, bus
from resilient_tasks.testing.isolation import away_from_people


class Count(int):
    """The number of some events. Its `repr`, which a failed assertion shows, says what happened instead.

    Args:
        counted: the events.
        recorded: all events.
        operation: the operation whose events were counted; None: every operation.
    """

    def __new__(cls, counted: Sequence[Event], recorded: Sequence[Event], operation: str | None) -> Self:
        self = super().__new__(cls, len(counted))
        shown = [event for event in recorded if operation in (None, event.operation)]
        lines = [f"{event.operation}: {event.sentence()}" for event in shown[:_SHOWN]]
        if len(shown) > _SHOWN:
            lines.append(f"and {len(shown) - _SHOWN} more events")
        if not shown:
            others = sorted({event.operation for event in recorded})
            lines = [
                f"{operation or 'nothing'} emitted no event; events came from {', '.join(others) or 'no operation'}"
            ]
        self._shown = "; ".join(lines)
        return self

    _shown: str

    def __repr__(self) -> str:
        return f"{int(self)} ({self._shown})"


_SHOWN = 12


class RecordedEvents(list[Event]):
    """Events of all threads, in the order in which they happened."""

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[RecordedEvents]:
        """Record this process's events inside the block, and keep alerts away from people: see `away_from_people`."""
        recorded = cls()
        with away_from_people(), bus.listening(recorded.append):
            yield recorded

    @property
    def names(self) -> list[str]:
        """The name of each event, such as `retry.scheduled`."""
        return [event.name for event in self]

    def named(self, name: str) -> RecordedEvents:
        """Return the events of this name.

        Raises:
            PolicyError: no event has that name.
        """
        if name not in EVENTS:
            near = get_close_matches(str(name), EVENTS, n=1, cutoff=0.5)
            instead = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(EVENTS))}"
            raise PolicyError(f"there is no event {name!r}: {instead}")
        return RecordedEvents(event for event in self if event.name == name)

    def retries(self, operation: str | None = None) -> Count:
        """Return the number of attempts that followed a failed one; `assert events.retries("fetch") == 2`."""
        return self._count("retry.scheduled", operation)

    def recoveries(self, operation: str | None = None) -> Count:
        """Return the number of calls that succeeded after a failed attempt."""
        return self._count("retry.recovered", operation)

    def fallbacks(self, operation: str | None = None) -> Count:
        """Return the number of calls for which something stood in."""
        return self._count("fallback.used", operation)

    def failures(self, operation: str | None = None) -> Count:
        """Return the number of calls that raised."""
        return self._count("call.failed", operation)

    def _count(self, name: str, operation: str | None) -> Count:
        found = self.named(name) if operation is None else self.named(name).of(operation)
        return Count(found, self, operation)

    def of(self, operation: str) -> RecordedEvents:
        """Return the events of this operation: the function's name, `Class.method` for a method."""
        return RecordedEvents(event for event in self if event.operation == operation)
