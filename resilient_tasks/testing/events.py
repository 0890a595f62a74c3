"""The events of the policies, recorded in a list.

with RecordedEvents.listening() as events:
    fetch()
assert events.names == ["retry.scheduled", "retry.started", "retry.recovered"]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import EVENTS, Event, bus
from resilient_tasks.testing.isolation import away_from_people


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

    def of(self, operation: str) -> RecordedEvents:
        """Return the events of this operation: the function's name, `Class.method` for a method."""
        return RecordedEvents(event for event in self if event.operation == operation)
