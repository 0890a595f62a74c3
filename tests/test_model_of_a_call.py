"""Calls of functions that share a circuit, a rate, slots, a budget and a last good result, beside a plain model.

Each result, wait, attempt and event is as the model says, whatever happens by hand between calls and during them.
"""

import asyncio
import functools
import itertools
import logging
import os
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from model_of_a_call import ENDINGS, Budget, Circuit, LastGood, Policies, Slots, Window
from scripted_calls import Function, decorated, driven, made_by

from resilient_tasks import Bulkhead, CircuitBreaker, RateLimit, resilient
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store
from resilient_tasks.testing import RecordedEvents, VirtualClock

#: For each step, there are ten times as many examples.
DEEPER = int(os.environ.get("RESILIENT_TASKS_TESTS_DEEPER", "0"))
CODE = {
    "circuit": {"failures": 3, "probes": 2, "open_for": 5.0},
    "rate": {"calls": 3, "per": 10.0},
    "slots": {"limit": 2},
}
CIRCUIT, RATE, SLOTS = CircuitBreaker("api"), RateLimit("api", 1, 1), Bulkhead("api", 1)
SHARED = {"circuit": CIRCUIT, "rate": RATE, "slots": SLOTS}
#: What is done by hand, and in the model.
BY_HAND = {
    CIRCUIT.isolate: lambda circuit, _, events: circuit.change("isolated", events),
    CIRCUIT.close: lambda circuit, _, events: circuit.change("closed", events),
    functools.partial(CIRCUIT.open, 6): lambda circuit, now, events: circuit.open(now, 6.0, events),
}
NUMBERS = st.one_of(
    st.tuples(st.just(which), st.fixed_dictionaries({number: values}))
    for which, number, values in (
        ("circuit", "failures", st.integers(1, 4)),
        ("circuit", "probes", st.integers(1, 3)),
        ("circuit", "open_for", st.integers(1, 20)),
        ("rate", "calls", st.integers(1, 5)),
        ("rate", "per", st.integers(1, 20)),
        ("slots", "limit", st.integers(1, 3)),
    )
)
ALIVE = itertools.count()


#: How an attempt ends, and what is done to the circuit by hand while it runs: mostly nothing.
ATTEMPTS = st.tuples(st.sampled_from([*ENDINGS, "ok", *["refused"] * 4]), st.sampled_from([None] * 30 + [*BY_HAND]))
SCRIPTS = st.lists(ATTEMPTS, max_size=4)
NAMES = st.sampled_from(["all", "all", "measured", "guarded", "guarded", "queued", "retried"])


class Calls(RuleBasedStateMachine):
    """The functions and the model of each, with the same circuit, rate, slots, budget and last result."""

    def __init__(self):
        super().__init__()
        self.clock, self.function, self.around = VirtualClock(), Function(), ExitStack()
        self.function.clock = self.clock
        self.around.enter_context(use_clock(self.clock))
        self.around.enter_context(use_store(MemoryStore()))
        self.events = self.around.enter_context(RecordedEvents.listening())
        logger = logging.getLogger("resilient_tasks")
        self.around.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
        self.loop = asyncio.new_event_loop()
        self.around.callback(self.loop.close)

        self.circuit, self.rate = Circuit(**CODE["circuit"]), Window(**CODE["rate"], wait=6)
        self.slots, self.good = Slots(**CODE["slots"]), LastGood(30.0)
        service = {"circuit": self.circuit, "rate": self.rate, "slots": self.slots}
        retried = {"attempts": 3, "wait": 1, "budget": Budget(0.5, 1)}
        self.models = {
            "all": Policies(
                **service, **retried, timeout=10, deadline=40, validate=True, last_good=self.good, idempotent=True
            ),
            "measured": Policies(**service, **retried, shadow=True),
            "guarded": Policies(circuit=self.circuit, fallback=True, deadline=10),
            "queued": Policies(rate=self.rate, slots=self.slots, attempts=2, wait=4, deadline=20),
            "retried": Policies(**retried, timeout=10, validate=True, last_good=self.good),
        }
        folder = f"memory://calls-{next(ALIVE)}"
        self.calls = {
            (name, is_async): decorated(self.function, policies, is_async=is_async, folder=folder)
            for name, policies in self.models.items()
            for is_async in (False, True)
        }
        self.holding = resilient(bulkhead=Bulkhead("api", CODE["slots"]["limit"]))(driven)

    def teardown(self):
        self.around.close()

    def endings(self, script, by_hand):
        """Return what plays a script; `by_hand(act, made)` does what is done during an attempt."""
        rest = iter(script)

        def next_ending(made=None):
            ending, act = next(rest, ("ok", None))
            if act is not None:
                by_hand(act, made)
            return ending

        return next_ending

    @rule(name=NAMES, script=SCRIPTS, is_async=st.booleans())
    def call(self, name, script, is_async):
        self.compare(name, script, is_async, self.loop.run_until_complete if is_async else driven)

    @rule(name=NAMES, script=SCRIPTS)
    def call_while_another_call_holds_a_slot(self, name, script):
        self.slots.taken = 1
        self.compare(name, script, False, self.holding)
        self.slots.taken = 0

    def compare(self, name, script, is_async, run):
        in_model = self.endings(script, lambda act, made: BY_HAND[act](self.circuit, made.ended, made.events))
        expects = self.models[name].call(self.clock.now(), in_model)
        self.function.next_ending = self.endings(script, lambda act, _: act())
        call = self.calls[name, is_async]
        assert run(made_by(call, self.clock, self.function, self.events, is_async=is_async)) == expects

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 10.0, 50.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(act=st.sampled_from([*BY_HAND, CIRCUIT.close]), which=st.none() | st.sampled_from([*CODE]))
    def change_by_hand(self, act, which):
        """Change the circuit, or let the numbers of the code hold again."""
        if which is None:
            act()
            BY_HAND[act](self.circuit, self.clock.now(), [])
        else:
            SHARED[which].reset_numbers()
            vars(getattr(self, which)).update(CODE[which])

    @rule(change=NUMBERS)
    def change_numbers(self, change):
        which, numbers = change
        SHARED[which].set_numbers(**numbers)
        vars(getattr(self, which)).update(numbers)

    @invariant()
    def the_status_is_that_of_the_model(self):
        assert CIRCUIT.status().state == self.circuit.state
        assert self.function.running == 0
        assert self.function.most_running <= 1


@pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")
def test_calls_that_share_policies_are_as_in_the_model():
    how = settings(max_examples=150 * 10**DEEPER, stateful_step_count=30)
    run_state_machine_as_test(Calls, settings=how)
