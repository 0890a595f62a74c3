"""Two workers that share a store in one test: each has its own connection, and its own caches."""

import itertools

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from resilient_tasks.core import settings
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore, opened_by
from resilient_tasks.state.states import States
from resilient_tasks.testing import VirtualClock

_numbers = itertools.count()


class Workers:
    """Workers on virtual time that share a store.

    Attributes:
        states: those of each worker.
        name: of a new state.
        clock: their time. It moves in whole seconds, which a window of 20 s counts exactly.
    """

    def __init__(self, store, number=2):
        self.clock = VirtualClock()
        self._context = use_clock(self.clock)
        self._context.__enter__()
        self._before, settings.current = settings.current, settings.Settings(store_staleness=0)
        self.name = f"shared {next(_numbers)}"
        if isinstance(store, MemoryStore):
            self.states = [States(store, "memory", bound=10) for _ in range(number)]
        else:
            self.states = [States(*opened_by(store, 10), bound=10) for _ in range(number)]
        # Two machines agree on the time to about a millisecond; these must agree exactly.
        for states in self.states:
            states._store.now = self.clock.wall

    def end(self):
        for states in self.states:
            states.close()
        settings.current = self._before
        self._context.__exit__(None, None, None)


def run(machine):
    """Run a state machine on its `store`; more often in memory, which is fast."""
    examples = 80 if isinstance(machine.store, MemoryStore) else 15
    how = hypothesis_settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    run_state_machine_as_test(machine, settings=how)
