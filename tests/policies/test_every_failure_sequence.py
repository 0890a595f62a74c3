"""Every sequence of failures up to a depth, for many sets of policies, beside a plain model of what has to happen."""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle

import pytest
from model_of_a_call import ENDINGS, STAND_IN, Budget, Circuit, Policies, Slots, Window
from scripted_calls import Function, decorated, driven, made_by

from resilient_tasks import Hedge
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store
from resilient_tasks.testing import RecordedEvents, VirtualClock

pytestmark = pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")

#: Seconds between two calls.
PAUSE = 3.0
#: Adds to the depth of all sequences, each time at ten times the cost.
DEEPER = int(os.environ.get("RESILIENT_TASKS_TESTS_DEEPER", "0"))


class Scripts:
    """All sequences of up to `depth` endings, each entry chosen when it is first needed.

    Attributes:
        script: the endings of the present sequence, as far as they were needed.
    """

    def __init__(self, depth):
        self.depth = depth
        self.script = []

    def ending(self, number):
        """Return the ending of an attempt; after `depth` of them all goes well."""
        if number >= self.depth:
            return "ok"
        if number == len(self.script):
            self.script.append(ENDINGS[0])
        return self.script[number]

    def played(self):
        """Return what gives the endings from the first one on."""
        numbers = itertools.count()
        return lambda *_: self.ending(next(numbers))

    def next(self):
        """Go to the next sequence, and return whether there is one."""
        while self.script and self.script[-1] == ENDINGS[-1]:
            self.script.pop()
        if not self.script:
            return False
        self.script[-1] = ENDINGS[ENDINGS.index(self.script[-1]) + 1]
        return True


STACKS = {
    "retry": Policies(attempts=3, wait=2),
    "retry, idempotent": Policies(attempts=4, wait=0, idempotent=True),
    "timeout": Policies(timeout=10),
    "deadline": Policies(deadline=10),
    "retry and timeout": Policies(attempts=4, wait=1, timeout=10),
    "retry and deadline": Policies(attempts=5, wait=2, deadline=12),
    "retry, timeout and deadline": Policies(attempts=5, wait=2, timeout=10, deadline=25),
    "fallback": Policies(fallback=True),
    "retry and fallback": Policies(attempts=2, wait=1, fallback=True),
    "breaker": Policies(circuit=Circuit(2, 5)),
    "retry and breaker": Policies(attempts=3, wait=1, circuit=Circuit(2, 5, probes=2)),
    "breaker in shadow": Policies(attempts=2, wait=1, circuit=Circuit(2, 5), shadow=True),
    "rate limit": Policies(attempts=2, wait=1, rate=Window(2, 20.0)),
    "rate limit and deadline": Policies(attempts=3, wait=1, rate=Window(2, 8.0), deadline=16),
    "rate limit that refuses": Policies(attempts=2, wait=1, rate=Window(2, 8.0, wait=0), fallback=True),
    "rate limit in shadow": Policies(attempts=2, wait=1, rate=Window(2, 20.0, wait=4), shadow=True),
    "bulkhead": Policies(attempts=2, wait=1, timeout=10, slots=Slots(1)),
    "budget": Policies(attempts=3, wait=1, budget=Budget(0.5, 1)),
    "validation": Policies(attempts=2, wait=1, validate=True),
    "all": Policies(
        attempts=3,
        wait=2,
        timeout=10,
        deadline=40,
        fallback=True,
        validate=True,
        circuit=Circuit(3, 5),
        rate=Window(3, 12.0),
        slots=Slots(1),
        budget=Budget(0.5, 2),
    ),
    "all, without a fallback": Policies(
        attempts=4,
        wait=0,
        timeout=20,
        deadline=30,
        validate=True,
        idempotent=True,
        circuit=Circuit(2, 4),
        rate=Window(4, 9.0, wait=5),
        slots=Slots(2),
    ),
}


#: How a function is called: whether it is async, and whether a sink wants the events, without which fewer calls enter
#: the pipeline.
WAYS = pytest.mark.parametrize(
    ("is_async", "is_heard"),
    [(False, True), (False, False), (True, True)],
    ids=["sync", "sync without a sink", "async"],
)


async def compare(policies, scripts, *, calls, is_async, is_heard, **more):
    """Play each script in a number of calls, beside the model."""
    function = Function()
    call = decorated(function, policies, is_async=is_async, **more)
    with RecordedEvents.listening() if is_heard else contextlib.nullcontext([]) as events:
        is_new, unused = True, pickle.dumps(policies)
        while is_new:
            model, clock = pickle.loads(unused), VirtualClock()  # a copy, in a tenth of the time
            function.clock, function.next_ending, endings = clock, scripts.played(), scripts.played()
            with use_clock(clock), use_store(MemoryStore()):
                for _ in range(calls):
                    began = clock.now()
                    expects = model.call(began, endings)
                    made = await made_by(call, clock, function, events, is_async=is_async)
                    keeps_promises(policies, made, began, is_heard=is_heard)
                    expects.events = expects.events if is_heard else []
                    assert made == expects, scripts.script
                    clock.advance(PAUSE)
            is_new = scripts.next()
    assert function.most_running == 1


def keeps_promises(policies, made, began, *, is_heard):
    """Check what holds for every call, whatever the model says."""
    assert len(made.began) <= (policies.attempts or 1)
    if policies.deadline is not None:
        assert all(at < began + policies.deadline for at in made.began)
    if is_heard:
        last = [name for name in made.events if name in ("retry.recovered", "fallback.used", "call.failed")]
        ends = {"ok": ["retry.recovered"][: len(made.began) - 1], STAND_IN: ["fallback.used"], "Interrupt": []}
        assert last == ends.get(made.result, ["call.failed"])


@WAYS
@pytest.mark.parametrize("name", STACKS)
def test_every_sequence_of_failures_ends_as_the_documentation_says(name, is_async, is_heard, caplog):
    caplog.set_level(logging.CRITICAL, "resilient_tasks")  # the log is a sink, too
    policies = STACKS[name]
    shares_state = policies.circuit or policies.rate or policies.slots or policies.budget
    depth, calls = (3 if is_heard and not is_async else 2, 3) if shares_state else (policies.attempts or 1, 1)
    run = asyncio.run if is_async else driven
    run(compare(policies, Scripts(depth + DEEPER), calls=calls + DEEPER, is_async=is_async, is_heard=is_heard))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("name", ["retry, idempotent", "all, without a fallback"])
def test_a_hedge_that_is_never_needed_changes_nothing(name, is_async, caplog):
    caplog.set_level(logging.CRITICAL, "resilient_tasks")
    run = asyncio.run if is_async else driven
    scripts = Scripts(2 + DEEPER)
    run(compare(STACKS[name], scripts, calls=2, is_async=is_async, is_heard=True, hedge=Hedge(after=1000)))
