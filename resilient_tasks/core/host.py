"""The host of this process's calls: an orchestrator that knows their run and may end it, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

#: Raises once the run that it watches is cancelled.
Check: TypeAlias = Callable[[], None]


class Loop(NamedTuple):
    """Something that makes several attempts; 0 where no number limits them."""

    name: str
    attempts: int


class Flow(NamedTuple):
    """The flow that this code is part of: its name, empty outside of any, and the tags of its run."""

    name: str = ""
    tags: frozenset[str] = frozenset()


class Results(NamedTuple):
    """Where a host keeps results, and how.

    Attributes:
        shelf: makes the shelf for an operation's name; None where results are not stored.
        serializer: has `dumps` and `loads`.
        is_data: whether a result is data, and no state or future.
    """

    shelf: Callable[[str], Any] | None
    serializer: Any
    is_data: Callable[[Any], bool]


class Host:
    """What a host answers about the code that asks, in the context in which it runs. This one is none."""

    def run(self) -> Mapping[str, str]:
        """Return the ids and names of the run (`flow_run_id`, `task_run_id`, ...), and its `url`; empty outside."""
        return {}

    def flow(self) -> Flow:
        """Return the flow."""
        return Flow()

    def loops(self) -> tuple[Loop, ...]:
        """Return the loops of attempts that the host makes, outermost first."""
        return ()

    def watch(self) -> Check | None:
        """Return a function that raises once the run is cancelled by a flag; None where no flag can cancel it.

        No exception reaches a thread that waits: the wait calls the function now and then.
        """
        return None

    def results(self) -> Results | None:
        """Return where the run keeps its results; None outside of any."""
        return None


#: No host: nothing there watches a run.
NONE: Host = Host()
#: The host of this process: worker threads ask it, too.
current: Host = NONE


def install(host: Host) -> bool:
    """Have `host` answer from now on; False where another one does already."""
    global current  # noqa: PLW0603  # one host a process
    if current is not NONE:
        return False
    current = host
    return True


@contextmanager
def use_host(host: Host) -> Iterator[None]:
    """Have `host` answer inside the block."""
    global current  # noqa: PLW0603  # as above
    before, current = current, host
    try:
        yield
    finally:
        current = before
