"""What the policies did, as a list to look into.

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
    """Events in the order in which they happened, in whatever thread."""

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[RecordedEvents]:
        """Record what happens in this process inside the block; alerts reach no person, see `away_from_people`."""
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
            PolicyError: there is no event of that name, so it could never be in the list.
        """
        if name not in EVENTS:
            near = get_close_matches(str(name), EVENTS, n=1, cutoff=0.5)
            instead = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(EVENTS))}"
            raise PolicyError(f"there is no event {name!r}: {instead}")
        return RecordedEvents(event for event in self if event.name == name)

    def of(self, operation: str) -> RecordedEvents:
        """Return the events of this operation: the function's name, `Class.method` for a method."""
        return RecordedEvents(event for event in self if event.operation == operation)
