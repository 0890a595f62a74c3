"""The host of this process's calls: an orchestrator that knows their run and may cancel it, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from resilient_tasks.core.call import Work

#: Raises once its run is cancelled.
Check: TypeAlias = Callable[[], None]


class Loop(NamedTuple):
    """Something that retries; `attempts` is 0 if unlimited."""

    name: str
    attempts: int


class Flow(NamedTuple):
    """The flow around this code: its name, empty outside of any, and the tags of its run."""

    name: str = ""
    tags: frozenset[str] = frozenset()


class Results(NamedTuple):
    """A host's storage of results.

    Attributes:
        shelf: returns the storage for an operation's name; None if results are not stored.
        serializer: has `dumps` and `loads`.
        is_data: whether a result is data, not a state or future.
    """

    shelf: Callable[[str], Any] | None
    serializer: Any
    is_data: Callable[[Any], bool]


class Host:
    """What a host knows about the calling code, in its context. This base class stands for no host."""

    def run(self) -> Mapping[str, str]:
        """Return the ids and names of the run (`flow_run_id`, `task_run_id`, ...), and its `url`; empty outside."""
        return {}

    def in_run(self) -> bool:
        """Return whether this code is part of a run: quicker than `run()`, where many calls ask."""
        return bool(self.run())

    def flow(self) -> Flow:
        """Return the flow."""
        return Flow()

    def loops(self) -> tuple[Loop, ...]:
        """Return the host's retry loops around this code, outermost first."""
        return ()

    def watch(self) -> Check | None:
        """Return a function that raises once the run is cancelled by a flag; None if no flag can cancel it.

        Waits call the function periodically, since no exception reaches a waiting thread.
        """
        return None

    def is_of_run(self, work: Work) -> bool:  # noqa: ARG002  # hosts read it
        """Return whether this work is the function of the current run itself, not a call inside it."""
        return False

    def results(self) -> Results | None:
        """Return the run's storage of results; None outside of any."""
        return None


#: No host.
NONE: Host = Host()
#: The host of this process, for worker threads, too.
current: Host = NONE


def install(host: Host) -> bool:
    """Make `host` the current host; return False if there is one already."""
    global current  # noqa: PLW0603  # one host a process
    if current is not NONE:
        return False
    current = host
    return True


@contextmanager
def use_host(host: Host) -> Iterator[None]:
    """Make `host` the current host inside the block."""
    global current  # noqa: PLW0603  # as above
    before, current = current, host
    try:
        yield
    finally:
        current = before
