"""All shared state relies on one atomic step: with two steps instead, these tests get other numbers."""

import threading

import pytest

from resilient_tasks.core.store import MemoryStore, opened_by
from resilient_tasks.policies.breaker.machine import Admission, Circuit, Refusal, Rules
from resilient_tasks.state.states import States

WORKERS, ROUNDS = 4, 25
RULES = Rules(
    failures=1,
    failure_rate=0.5,
    slow_rate=None,
    min_calls=10,
    window=60,
    last=None,
    open_for=1,
    open_at_most=600,
    probes=2,
)


class InTwoSteps:
    """A store that reads first and writes afterwards, and lets another worker run in between."""

    def __init__(self, store, between):
        self._store, self._between = store, between

    def __getattr__(self, name):
        return getattr(self._store, name)

    def swap(self, key, old, new, *, ttl=None):
        found = self._store.get(key)
        if found != old:
            return False, found
        self._between()
        while not self._store.swap(key, self._store.get(key), new, ttl=ttl)[0]:
            pass
        return True, new


def together(work):
    """Run each worker in a thread, all at once."""
    begin, errors = threading.Barrier(WORKERS, timeout=20), []

    def run(number):
        try:
            begin.wait()
            work(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors


@pytest.fixture(params=["in one step", "in two steps"])
def workers(request, any_store):
    """Workers, each with its own connection to one store, and whether its step is atomic."""
    is_atomic = request.param == "in one step"
    turn = threading.Barrier(2)

    def between():
        """Wait until another worker is between its two steps too; for a limited time, as it may be the last one."""
        try:
            turn.wait(0.05)
        except threading.BrokenBarrierError:
            turn.reset()

    def connected():
        store = any_store if isinstance(any_store, MemoryStore) else opened_by(any_store, 10)[0]
        return States(store if is_atomic else InTwoSteps(store, between), "shared", bound=10)

    states = [connected() for _ in range(WORKERS)]
    states[0].update("k", lambda *_: (b"0", None))
    yield states, is_atomic
    for each in states:
        each.close()


def test_no_addition_is_lost(workers):
    states, is_atomic = workers
    rounds = ROUNDS if is_atomic else 5

    def add(number):
        for _ in range(rounds):
            states[number].update("k", lambda state, _: (b"%d" % (int(state) + 1), None))

    together(add)
    assert (states[0].get("k") == b"%d" % (WORKERS * rounds)) is is_atomic


def test_no_more_probes_than_allowed_are_let_through(workers):
    states, is_atomic = workers
    circuit = Circuit().opened(states[0].now() - 600, 1, "")
    states[0].update("k", lambda *_: (circuit.encode(), None))
    answers = []

    def ask(number):
        def change(state, now):
            after, answer = Circuit.decode(state).admit(RULES, now, f"probe {number}")
            return after.encode(), answer

        answers.append(type(states[number].update("k", change)))

    together(ask)
    if is_atomic:
        assert (answers.count(Admission), answers.count(Refusal)) == (2, WORKERS - 2)
    else:
        assert answers.count(Admission) > 2
