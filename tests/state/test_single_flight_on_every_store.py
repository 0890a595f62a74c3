"""Single flight across workers: compared with a model on each store, and with real processes that die."""

import os
import signal
import time

import counting
import flying
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sharing import PATIENT
from two_workers import Workers, run
from worker_pool import WorkerPool

from resilient_tasks import DeadlineExceeded, SingleFlight, resilient
from resilient_tasks.core.keys import fingerprints
from resilient_tasks.core.wording import name_of
from resilient_tasks.policies.single_flight import outcome_codec, policy
from resilient_tasks.policies.single_flight.across_workers import KEPT, LEASE, SharedAttempt, renewal
from resilient_tasks.policies.single_flight.machine import SharedFlight
from resilient_tasks.state.states import states

WORKERS = st.integers(0, 1)


class Flying(RuleBasedStateMachine):
    """Attempts start, wait, renew, end or die. The model holds the current attempt, its lease and whether others wait.

    Attributes:
        attempts: those that have not ended, by name.
        current: the current attempt, the end of its lease, and whether another one waits.
        stored: by attempt, when it stored its outcome.
        joined: by waiting attempt, the one that it waits for.
    """

    store = None

    def __init__(self):
        super().__init__()
        self.workers = Workers(self.store)
        self.key = f"flight/{self.workers.name}"
        self.attempts, self.stored, self.joined, self.number = {}, {}, {}, 0
        self.current = None

    def teardown(self):
        self.workers.end()

    @property
    def now(self):
        return self.workers.clock.now()

    def alive(self):
        """Return the current attempt, or None."""
        return self.current if self.current is not None and self.current[1] > self.now else None

    def board(self, attempt, name):
        answer = attempt.join()
        there = self.alive()
        if there is None:
            self.current = [name, self.now + LEASE, False]
            self.attempts[name] = attempt
        elif there[0] != name:
            there[2] = True
            self.joined[name] = (attempt, there[0])
        assert answer == self.current[0]

    @rule(worker=WORKERS)
    def come(self, worker):
        self.number += 1
        name = f"{self.workers.name} {self.number}"
        self.board(SharedAttempt(self.workers.states[worker], self.key, name), name)

    @rule(seconds=st.sampled_from([1, 5, 12, 31]))
    def wait(self, seconds):
        self.workers.clock.advance(seconds)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def renew(self, data):
        name = data.draw(st.sampled_from(sorted(self.attempts)))
        there = self.alive()
        if there is None:
            self.current = [name, self.now + LEASE, True]
        elif there[0] == name:
            there[1] = self.now + LEASE
        assert self.attempts[name].renew() == (self.current[0] == name)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), leaves=st.booleans())
    def end(self, data, leaves):
        name = data.draw(st.sampled_from(sorted(self.attempts)))
        attempt, there = self.attempts.pop(name), self.alive()
        is_mine = there is not None and there[0] == name
        attempt.leave(name.encode if leaves else None)
        if leaves and not (is_mine and not there[2]):
            self.stored[name] = self.now
        if is_mine:
            self.current = None
        assert attempt.renew() is False  # it is over, and does not block another

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def die(self, data):
        self.attempts.pop(data.draw(st.sampled_from(sorted(self.attempts))))

    @precondition(lambda self: self.joined)
    @rule(data=st.data())
    def look(self, data):
        name = data.draw(st.sampled_from(sorted(self.joined)))
        attempt, leader = self.joined.pop(name)
        there = self.alive()
        if there is not None and there[0] == leader:
            self.joined[name] = (attempt, leader)
            return
        found = attempt.outcome_of(leader)
        if leader not in self.stored:
            assert found is None
        elif self.now - self.stored[leader] < KEPT:
            assert found == leader.encode()
        if found is None:
            self.board(attempt, name)

    @invariant()
    def all_workers_see_the_one_attempt_of_the_model(self):
        there = self.alive()
        for known in self.workers.states:
            assert SharedAttempt(known, self.key, "other").current() == ("" if there is None else there[0])
        flight = SharedFlight.decode(self.workers.states[0].get(self.key), self.now, LEASE)
        assert flight.awaited == (there is not None and there[2])


def test_two_workers_share_one_attempt(any_store):
    run(type("OneFlight", (Flying,), {"store": any_store}))


@pytest.mark.parametrize("state", [b"garbage", b"[]", b"{}", b"null", b'{"leader":1,"until":"x","awaited":0}'])
def test_an_unreadable_state_is_replaced(state):
    flight = SharedFlight.decode(state, 0.0)
    assert flight == SharedFlight()
    assert SharedFlight.decode(flight.joined("me", 30.0).encode(), 0.0).leader == "me"


def test_a_clock_that_was_fast_is_not_believed():
    state = SharedFlight("me", until=1e9).encode()
    assert SharedFlight.decode(state, 0.0, LEASE).until == LEASE


class TestOneCallAmongOthers:
    """A call on virtual time; the test plays the other workers."""

    @pytest.fixture
    def workers(self, store_url, monkeypatch):
        workers = Workers(store_url)
        monkeypatch.setattr(policy, "states", lambda: workers.states[0])
        yield workers
        workers.end()

    @staticmethod
    def other(workers, fn, name="the other"):
        digest = fingerprints.of_call(fn, (7,), {}).digest(fingerprints.of_function(fn).digest())
        return SharedAttempt(workers.states[1], f"flight/{name_of(fn)}/{digest}", name)

    def test_it_leads_once_the_lease_of_a_dead_leader_is_over(self, workers, drive):
        fetch = drive.own(one_more)
        assert self.other(workers, fetch).join() == "the other"
        call = resilient(single_flight=SingleFlight(shared=True))(fetch)
        assert drive.run(call, 7) == 8
        assert LEASE <= workers.clock.now() < LEASE + 0.2

    def test_it_takes_the_outcome_that_another_has_stored(self, workers, drive, resilient_events):
        workers.clock.advance(100)
        fetch = drive.own(one_more)
        attempt = self.other(workers, fetch)
        attempt.join()
        call = resilient(single_flight=SingleFlight(shared=True))(fetch)
        data = outcome_codec.encode(outcome_codec.Ok("theirs", 2), "task run fetch-3af", {}, "json", 1000)
        at_sleep(workers, 5, lambda: attempt.leave(lambda: data))
        outcome = drive.run(call.outcome, 7)
        assert (outcome.value, outcome.attempts) == ("theirs", 2)
        (joined,) = resilient_events.named("flight.joined")
        assert joined.leader == "task run fetch-3af"
        assert joined.waited == workers.clock.now() - 100

    def test_it_makes_the_call_if_another_ends_without_an_outcome(self, workers, drive):
        fetch = drive.own(one_more)
        attempt = self.other(workers, fetch)
        attempt.join()
        at_sleep(workers, 5, attempt.leave)
        assert drive.run(resilient(single_flight=SingleFlight(shared=True))(fetch), 7) == 8
        assert workers.clock.now() < 1

    def test_its_deadline_ends_the_waiting_for_another_worker(self, workers, drive):
        fetch = drive.own(one_more)
        self.other(workers, fetch).join()
        call = resilient(single_flight=SingleFlight(shared=True), deadline=3)(fetch)
        assert isinstance(drive.run(call.outcome, 7).error, DeadlineExceeded)
        assert workers.clock.now() == pytest.approx(3)

    def test_an_attempt_that_it_led_does_not_block_later_calls(self, workers, drive):
        fetch = drive.own(one_more)
        call = resilient(single_flight=SingleFlight(shared=True))(fetch)
        assert [drive.run(call, 7), drive.run(call, 7)] == [8, 8]
        assert not renewal._attempts
        assert self.other(workers, fetch).join() == "the other"


def one_more(number):
    return number + 1


def at_sleep(workers, number, act):
    """Call `act` at the sleep with this number on the clock of these workers."""
    sleep, times = workers.clock.sleep, []

    def counted(seconds):
        times.append(seconds)
        sleep(seconds)
        if len(times) == number:
            act()

    workers.clock.sleep = counted


# With real processes.


@pytest.fixture(scope="module")
def pair():
    """Two workers that are not killed."""
    pair = WorkerPool(2)
    yield pair
    pair.end()


@pytest.fixture
def mortals():
    """Two workers that a test may kill."""
    pair = WorkerPool(2)
    yield pair
    for pid in pair.pids:
        os.kill(pid, signal.SIGCONT)
    pair.end()


def made(folder):
    """Return the process of each call that was made."""
    path = folder / "made"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def until(true):
    flying_until = time.monotonic() + flying.PATIENCE
    while not true():
        assert time.monotonic() < flying_until, "the condition was not met"
        time.sleep(0.005)


def is_awaited():
    return any(b'"awaited":true' in (states().get(key) or b"") for key in states().keys("flight/"))


def both(pair, url, share, folder, call):
    """Have one worker lead and the other wait; return both outcomes."""
    share(url, PATIENT)
    pair.all(counting.use_store_at, url, PATIENT)
    pair.submit([0], flying.call_and_report, call[0], folder, call[1])
    until(lambda: made(folder))
    pair.submit([1], flying.call_and_report, call[0], folder, call[1])
    until(is_awaited)
    (folder / "go").touch()
    return pair.results([0, 1])


def test_a_result_of_one_worker_serves_the_other(pair, store_url, share, tmp_path):
    first, second = both(pair, store_url, share, tmp_path, ("json", "rows"))
    assert made(tmp_path) == [pair.pids[0]]
    assert first == ("ok", {"rows": [1, 2.5, None, "é"]}, "", [])
    assert second == ("ok", {"rows": [1, 2.5, None, "é"]}, "", ["flight.joined"])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("json", "builtin"), ("failed", "ConnectionError", "refused")),
        (("json", "odd"), ("failed", "ResilienceError", "flying.OddError: code 7")),
        (("json", "secret"), ("failed", "ValueError", "password=***")),
        (("pickle", "odd"), ("failed", "OddError", "code 7")),
        (("pickle", "owned"), ("ok", [1], "")),
        (("pickle", "tuple"), ("ok", (1, 2), "")),
        (("fallback", "builtin"), ("degraded", "old", "ConnectionError")),
    ],
)
def test_an_outcome_crosses(pair, tmp_path, share, call, expected):
    _, second = both(pair, f"sqlite:///{tmp_path}/states.db", share, tmp_path, call)
    assert second[:3] == expected
    assert second[-1] == ["flight.joined"]
    assert len(made(tmp_path)) == 1


@pytest.mark.parametrize("what", ["large", "tuple", "owned"])
def test_if_the_outcome_cannot_cross_the_other_worker_makes_its_own_call(pair, tmp_path, share, what):
    _, second = both(pair, f"sqlite:///{tmp_path}/states.db", share, tmp_path, ("json", what))
    assert made(tmp_path) == pair.pids
    assert second[0] == "ok"
    assert second[1] == flying.RESULTS[what]() or what == "owned"
    assert second[-1] == ["flight.alone"]


def one_waits_for_the_other(mortals, tmp_path, share):
    """Have the first worker make a call under a lease of 3 s, and the second wait for it."""
    mortals.all(flying.short_lease, 3)
    url = f"sqlite:///{tmp_path}/states.db"
    share(url, PATIENT)
    mortals.all(counting.use_store_at, url, PATIENT)
    mortals.submit([0], flying.call_and_report, "json", tmp_path, "rows")
    until(lambda: made(tmp_path))
    mortals.submit([1], flying.call_and_report, "json", tmp_path, "rows")
    until(is_awaited)


def test_a_killed_leader_is_replaced_by_a_waiting_worker(mortals, tmp_path, share):
    one_waits_for_the_other(mortals, tmp_path, share)
    os.kill(mortals.pids[0], signal.SIGKILL)
    until(lambda: made(tmp_path) == mortals.pids)
    (tmp_path / "go").touch()
    (answer,) = mortals.results([1])
    assert answer[:2] == ("ok", {"rows": [1, 2.5, None, "é"]})


def test_a_stopped_leader_that_comes_back_does_not_affect_its_successor(mortals, tmp_path, share):
    one_waits_for_the_other(mortals, tmp_path, share)
    os.kill(mortals.pids[0], signal.SIGSTOP)
    until(lambda: made(tmp_path) == mortals.pids)
    os.kill(mortals.pids[0], signal.SIGCONT)
    (tmp_path / "go").touch()
    assert [answer[:2] for answer in mortals.results([0, 1])] == [("ok", {"rows": [1, 2.5, None, "é"]})] * 2
    (key,) = states().keys("flight/")
    assert SharedFlight.decode(states().get(key), 0.0) == SharedFlight()


def test_without_its_store_each_worker_makes_its_own_call(pair, tmp_path, share):
    (tmp_path / "no folder").touch()
    pair.all(counting_alone, f"sqlite:///{tmp_path}/no folder/states.db")
    (tmp_path / "go").touch()
    pair.submit([0, 1], flying.call_and_report, "json", tmp_path, "rows")
    answers = pair.results([0, 1])
    assert [answer[:2] for answer in answers] == [("ok", {"rows": [1, 2.5, None, "é"]})] * 2
    assert sorted(made(tmp_path)) == sorted(pair.pids)


def counting_alone(url):
    from resilient_tasks import configure

    configure(store=url, store_timeout=0.05)


def test_nothing_is_unpickled_unless_the_user_asks_for_it():
    assert outcome_codec.encode(outcome_codec.Ok([1]), "a", {}, "pickle", 10**6)
    data = outcome_codec.encode(outcome_codec.Ok([1]), "a", {}, "pickle", 10**6)
    with pytest.raises(outcome_codec.CannotBeSent, match="cannot be read here"):
        outcome_codec.decode(data, "json")


@pytest.mark.parametrize("data", [b"", b"garbage", b"{}", b'{"is":"ok"}\nnull', b"[]", b"\xff\n"])
def test_data_that_is_no_outcome_is_refused(data):
    with pytest.raises(outcome_codec.CannotBeSent, match="cannot be read here"):
        outcome_codec.decode(data, "json")


def test_a_custom_serializer_works():
    import pickle

    data = outcome_codec.encode(outcome_codec.Ok({1, 2}, 3), "task run x", {}, pickle, 10**6)
    sent = outcome_codec.decode(data, pickle)
    assert (sent.outcome.value, sent.outcome.attempts, sent.leader) == ({1, 2}, 3, "task run x")


def test_the_age_of_a_stand_in_crosses_too():
    stand_in = {"fallback": "last good result", "age": 7200.0, "since": 5.5}
    data = outcome_codec.encode(
        outcome_codec.Degraded(1, ConnectionError("down")), "task run x", stand_in, "json", 10**6
    )
    assert outcome_codec.decode(data, "json").stand_in == stand_in
