"""Single flight: calls with equal arguments share one attempt, also if calls are cancelled, late or recursive."""

import asyncio
import contextlib
import contextvars
import dataclasses
import enum
import gc
import threading
import traceback
import weakref

import cloudpickle
import pandas as pd
import pytest

from resilient_tasks import (
    Deadline,
    DeadlineExceeded,
    Degraded,
    Failed,
    Fallback,
    LastGood,
    Ok,
    Pipeline,
    Policy,
    PolicyError,
    Retry,
    SingleFlight,
    explain,
    resilient,
)
from resilient_tasks.core.execution.abandoned import abandoned
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.single_flight.in_process import flights
from resilient_tasks.state.states import use_store

PATIENCE = 30


@pytest.fixture(autouse=True)
def store():
    flights.forget()  # left by a failed test
    with use_store(MemoryStore()):
        yield
    assert not flights._under_way
    assert not flights._led
    assert not flights._delayed


def until(condition):
    for _ in range(PATIENCE * 200):
        if condition():
            return
        threading.Event().wait(0.005)
    pytest.fail("the condition was not met")


def waiting():
    """Return the number of waiting calls."""
    return sum(len(flight.waiting) for flight in list(flights._under_way.values()))


class Tower:
    """Calls of one function, each in its own thread (and event loop), that stay inside until released.

    Attributes:
        made: the arguments of each call that was made.
        outcomes: by caller.
    """

    def __init__(self, driver, answer=lambda x: [x], **options):
        self.made, self.outcomes, self._threads, self._answer = [], {}, {}, answer
        self._open, self._driver = threading.Semaphore(0), driver
        options.setdefault("single_flight", True)

        def fetch(x, region="eu"):
            self.made.append((x, region))
            assert self._open.acquire(timeout=PATIENCE)
            return self._answer(x)

        async def afetch(x, region="eu"):
            self.made.append((x, region))
            while not self._open.acquire(blocking=False):  # noqa: ASYNC110  # callers are on several event loops
                await asyncio.sleep(0.001)
            return self._answer(x)

        afetch.__name__ = afetch.__qualname__ = "fetch"
        self.call = resilient(**options)(afetch if driver.is_async else fetch)

    def begin(self, name, *args, call=None, stays=True, **kwargs):
        """Start a caller; unless `stays` is False, return once it is inside or waits."""
        before = len(self.made) + waiting()

        def work():
            self.outcomes[name] = self._driver.run(call or self.call.outcome, *args, **kwargs)

        self._threads[name] = threading.Thread(target=work, daemon=True)
        self._threads[name].start()
        if stays:
            until(lambda: len(self.made) + waiting() > before)

    def let_out(self, number=1):
        self._open.release(number)

    def of(self, name):
        self._threads[name].join(PATIENCE)
        return self.outcomes[name]


@pytest.fixture
def tower(drive):
    return lambda *args, **options: Tower(drive, *args, **options)


def test_calls_with_equal_arguments_share_one_attempt_and_its_result(tower, resilient_events):
    calls = tower()
    calls.begin("first", 7)
    calls.begin("second", x=7)
    calls.begin("third", 7, region="eu")
    calls.begin("another", 8)
    calls.let_out(2)
    outcomes = [calls.of(name) for name in ("first", "second", "third", "another")]
    assert [outcome.value for outcome in outcomes] == [[7], [7], [7], [8]]
    assert outcomes[0].value is outcomes[1].value is outcomes[2].value
    assert sorted(calls.made) == [(7, "eu"), (8, "eu")]
    joined = resilient_events.named("flight.joined")
    assert [event.outcome for event in joined] == ["ok", "ok"]
    assert joined[0].sentence().startswith("shared the result of call ")


def test_nothing_is_kept_after_the_call(tower):
    calls = tower()
    for _ in range(2):
        calls.let_out()
        calls.begin("one", 7)
        calls.of("one")
    assert len(calls.made) == 2


def test_a_failure_is_shared_and_each_caller_gets_its_own_error(tower):
    def fail(x):
        raise ValueError(f"no {x}") from KeyError("cause")

    calls = tower(fail)
    names = [f"caller {number}" for number in range(6)]
    for name in names:
        calls.begin(name, 7)
    calls.let_out()
    errors = [calls.of(name).error for name in names]
    assert len(calls.made) == 1
    assert len({id(error) for error in errors}) == 6
    assert {(type(error), str(error)) for error in errors} == {(ValueError, "no 7")}
    for name in names:
        for _ in range(3):
            with pytest.raises(ValueError, match="no 7"):
                calls.of(name).unwrap()
    lengths = [len(traceback.extract_tb(calls.of(name).traceback)) for name in names]
    assert max(lengths) - min(lengths) <= 1  # the leader's frames, and one of each other's own
    assert all("fail" in [frame.name for frame in traceback.extract_tb(error.__traceback__)] for error in errors)
    assert all(isinstance(error.__cause__, KeyError) for error in errors)
    notes = [getattr(error, "__notes__", []) for error in errors]
    assert sorted(map(len, notes)) == [0, 1, 1, 1, 1, 1]
    errors[0].add_note("mine")
    errors[1].add_note("mine")
    assert sum("mine" in note for error in errors for note in error.__notes__) == 2


def test_an_error_that_cannot_be_copied_is_shared_as_it_is(tower):
    class Refusing(Exception):
        def __init__(self, *, response):
            super().__init__("refused")
            self.response = response

        def __setattr__(self, name, value):
            if name != "response":
                raise AttributeError(name)
            super().__setattr__(name, value)

    response = object()

    def fail(_):
        raise Refusing(response=response)

    calls = tower(fail)
    calls.begin("leader", 7)
    calls.begin("other", 7)
    calls.let_out()
    errors = [calls.of(name).error for name in ("leader", "other")]
    assert [type(error) for error in errors] == [Refusing, Refusing]
    assert all(error.response is response for error in errors)


def test_the_frames_of_the_leaders_caller_continue_while_others_fail():
    async def scenario():
        gate, done = asyncio.Event(), []

        @resilient(single_flight=True)
        async def fetch(x):
            await gate.wait()
            raise ValueError(x)

        @resilient(fallback=lambda name: name)
        async def caller(name):
            try:
                await fetch(7)
            except ValueError:
                if name != "leader":
                    raise
                await asyncio.sleep(0.05)  # the others empty the frames of what failed meanwhile
            done.append(name)
            return name

        tasks = [asyncio.create_task(caller(name)) for name in ("leader", "second", "third")]
        await _turns()
        gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert done == ["leader"]
        assert outcomes[0] == "leader"
        assert [type(each) for each in outcomes[1:]] == [ValueError, ValueError]

    asyncio.run(scenario())


def test_a_stand_in_is_shared_with_its_reason_and_each_call_counts_as_degraded(tower, resilient_events):
    def fail(_):
        raise ConnectionError("down")

    stood_in = []

    def last_good(x, region="eu"):
        stood_in.append(x)
        return "old"

    calls = tower(fail, fallback=last_good)
    for name in ("leader", "other", "third"):
        calls.begin(name, 7)
    calls.let_out()
    outcomes = [calls.of(name) for name in ("leader", "other", "third")]
    assert all(isinstance(outcome, Degraded) and outcome.value == "old" for outcome in outcomes)
    assert len({id(outcome.because) for outcome in outcomes}) == 3
    assert {str(outcome.because) for outcome in outcomes} == {"down"}
    assert stood_in == [7]
    assert len(resilient_events.named("fallback.used")) == 3
    assert {event.fallback for event in resilient_events.named("fallback.used")} == {"last_good"}


def test_each_caller_learns_the_age_of_a_last_good_result(tower, tmp_path, resilient_events):
    answers = [lambda: "good"]

    def answer(x):
        if not answers:
            raise ConnectionError("down")
        return answers.pop()()

    calls = tower(answer, fallback=LastGood(folder=tmp_path))
    calls.begin("first", 7)
    calls.let_out()
    assert calls.of("first").value == "good"
    for name in ("leader", "other", "third"):
        calls.begin(name, 7)
    calls.let_out()
    assert [calls.of(name).value for name in ("leader", "other", "third")] == ["good"] * 3
    events = resilient_events.named("fallback.used")
    assert len(events) == 3
    assert None not in {events[0].age, events[0].since}
    assert len({(event.age, event.since) for event in events}) == 1
    assert all("old, stands in after ConnectionError" in event.sentence() for event in events)


def test_all_callers_get_the_number_of_attempts_of_the_leader(tower):
    failures = [ConnectionError(), ConnectionError()]

    def flaky(x):
        if failures:
            raise failures.pop()
        return x

    calls = tower(flaky, retry=Retry(attempts=3, wait=0))
    calls.begin("leader", 7)
    calls.begin("other", 7)
    calls.let_out(3)
    assert [(each.value, each.attempts) for each in map(calls.of, ("leader", "other"))] == [(7, 3), (7, 3)]


def test_with_copy_each_caller_gets_its_own_object(tower):
    calls = tower(lambda x: {"rows": [x]}, single_flight=SingleFlight(copy=True))
    names = ("leader", "other", "third")
    for name in names:
        calls.begin(name, 7)
    calls.let_out()
    values = [calls.of(name).value for name in names]
    assert values == [{"rows": [7]}] * 3
    assert len({id(value["rows"]) for value in values}) == 3


def test_a_stand_in_is_copied_for_each_and_stays_a_stand_in(tower):
    def fail(x):
        raise ConnectionError("down")

    calls = tower(fail, fallback=Fallback(value={"rows": []}), single_flight=SingleFlight(copy=True))
    names = ("leader", "other")
    for name in names:
        calls.begin(name, 7)
    calls.let_out()
    outcomes = [calls.of(name) for name in names]
    assert [(type(outcome), str(outcome.because)) for outcome in outcomes] == [(Degraded, "down")] * 2
    assert len({id(outcome.value) for outcome in outcomes}) == 2


def test_a_result_that_cannot_be_copied_fails_only_for_waiting_calls(tower):
    calls = tower(lambda _: threading.Lock(), single_flight=SingleFlight(copy=True))
    calls.begin("leader", 7)
    calls.begin("other", 7)
    calls.let_out()
    assert isinstance(calls.of("leader"), Ok)
    assert "SingleFlight(copy=True) cannot copy the lock" in str(calls.of("other").error)


def test_one_failure_causes_one_alert(tower):
    def fail(_):
        raise ConnectionError("down")

    told = []

    class Told(Policy):
        slot = "notify"

        async def around(self, call, proceed):
            outcome = await proceed(call)
            told.append(call.operation)
            return outcome

    calls = tower(fail, policies=[Told()])
    for name in ("leader", "other", "third"):
        calls.begin(name, 7)
    calls.let_out()
    assert all(isinstance(calls.of(name), Failed) for name in ("leader", "other", "third"))
    assert told == ["fetch"]


@pytest.mark.parametrize("number", [1, 5])
def test_a_cancelled_leader_is_replaced_by_a_waiting_call(number):
    made, gates = [], []

    @resilient(single_flight=True)
    async def fetch(x):
        gate = asyncio.Event()
        made.append(x)
        gates.append(gate)
        await gate.wait()
        return x

    async def scenario():
        leader = asyncio.create_task(fetch(7))
        await _turns()
        others = [asyncio.create_task(fetch(7)) for _ in range(number)]
        await _turns()
        assert len(made) == 1
        leader.cancel()
        await _turns()
        assert len(made) == 2
        gates[1].set()
        assert await asyncio.gather(*others) == [7] * number
        assert leader.cancelled()

    asyncio.run(scenario())
    assert len(made) == 2


def test_the_cancellation_of_a_waiting_call_does_not_affect_others():
    gate = None

    @resilient(single_flight=True)
    async def fetch(x):
        await gate.wait()
        return x

    async def scenario():
        nonlocal gate
        gate = asyncio.Event()
        tasks = [asyncio.create_task(fetch(7)) for _ in range(3)]
        await _turns()
        tasks[1].cancel()
        await _turns()
        gate.set()
        assert await tasks[0] == 7
        assert await tasks[2] == 7
        assert tasks[1].cancelled()

    asyncio.run(scenario())


async def _turns():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_leader_that_ends_by_a_base_exception_is_replaced(ending):
    inside, go_on = threading.Event(), threading.Event()
    endings = [ending]

    @resilient(single_flight=True)
    def fetch(x):
        inside.set()
        go_on.wait(PATIENCE)
        if endings:
            raise endings.pop()
        return x

    results = []

    def lead():
        with contextlib.suppress(BaseException):
            fetch(7)

    threads = [threading.Thread(target=lead), threading.Thread(target=lambda: results.append(fetch(7)))]
    threads[0].start()
    inside.wait(PATIENCE)
    threads[1].start()
    until(lambda: waiting() == 1)
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [7]


def test_a_leader_whose_coroutine_is_discarded_is_replaced():
    made = []

    @resilient(single_flight=True)
    async def fetch(x):
        made.append(x)
        if len(made) == 1:
            await asyncio.sleep(PATIENCE)
        return x

    async def scenario():
        leader = fetch(7)
        contextvars.copy_context().run(leader.send, None)
        other = asyncio.create_task(fetch(7))
        await _turns()
        assert waiting() == 1
        leader.close()
        assert await other == 7

    asyncio.run(scenario())
    assert made == [7, 7]


def test_a_leader_abandoned_by_an_outer_limit_is_replaced():
    go_on, made, results = threading.Event(), [], []

    @resilient(single_flight=True)
    def fetch(x):
        made.append(threading.current_thread().name)
        if len(made) == 1:
            go_on.wait(PATIENCE)
        return len(made)

    outer = resilient(timeout=0.2, idempotent=True)(lambda: fetch(7))
    threads = [threading.Thread(target=lambda: results.append(outer.outcome()))]
    threads[0].start()
    until(lambda: made)
    threads.append(threading.Thread(target=lambda: results.append(fetch.outcome(7))))
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE)
    go_on.set()
    assert sorted(type(each).__name__ for each in results) == ["Failed", "Ok"]
    assert [each.value for each in results if isinstance(each, Ok)] == [2]
    until(lambda: not abandoned())


def hurried(calls, deadline):
    """Return a call of the tower, with a deadline around it."""
    if not calls._driver.is_async:
        return resilient(deadline=deadline)(lambda: calls.call(7))

    @resilient(deadline=deadline)
    async def call():
        return await calls.call(7)

    return call


def test_the_deadline_of_a_waiting_call_ends_its_waiting_and_not_the_leader(tower, resilient_events):
    calls = tower()
    calls.begin("leader", 7)
    calls.begin("late", call=hurried(calls, 0.05).outcome, stays=False)
    assert isinstance(calls.of("late").error, DeadlineExceeded)
    assert len(calls.made) == 1
    calls.let_out()
    assert calls.of("leader").value == [7]


def test_its_own_deadline_ends_the_waiting_and_the_fallback_stands_in(drive, resilient_events):
    # The leader runs on, for it does not keep its own deadline.
    calls = Tower(drive, single_flight=True, fallback=lambda x, region="eu": "old", deadline=1000)
    calls.begin("leader", 7)
    flight = next(iter(flights._under_way.values()))
    hurried = calls.call.__resilient__.pipeline.policies[0].within(0.05)
    short = Pipeline(hurried, *calls.call.__resilient__.pipeline.policies[1:])
    calls.begin("late", calls.call.__resilient__.fn, 7, call=short.outcome, stays=False)
    outcome = calls.of("late")
    assert isinstance(outcome, Degraded)
    assert outcome.value == "old"
    assert isinstance(outcome.because, DeadlineExceeded)
    assert len(calls.made) == 1
    assert resilient_events.named("flight.joined")[0].outcome == "deadline"
    assert flight.landed is None
    calls.let_out()
    assert calls.of("leader").value == [7]


def test_a_deadline_around_the_leader_does_not_end_the_others(drive):
    calls = Tower(drive)
    calls.begin("leader", call=hurried(calls, 0.5).outcome)
    calls.begin("other", 7)
    assert isinstance(calls.of("leader").error, DeadlineExceeded)
    until(lambda: len(calls.made) == 2)
    calls.let_out(2)
    assert calls.of("other").value == [7]


def test_a_failure_that_is_not_retried_for_the_leaders_deadline_is_not_shared(drive):
    calls = Tower(drive, answer=lambda x: [x] if len(calls.made) > 1 else 1 / 0, retry=Retry(on=Exception, wait=60))
    calls.begin("leader", call=hurried(calls, 30).outcome)
    calls.begin("other", 7)
    calls.let_out()
    assert isinstance(calls.of("leader").error, ZeroDivisionError)
    until(lambda: len(calls.made) == 2)
    calls.let_out()
    assert calls.of("other").value == [7]


def test_the_pipelines_own_deadline_applies_to_all():
    policy = resilient(single_flight=True, deadline=5)(print).__resilient__.pipeline.policies[0]
    assert policy._within == 5
    assert isinstance(resilient(single_flight=True, deadline=5)(print).__resilient__.pipeline.policies[1], Deadline)


class TestCallsInside:
    def test_a_function_that_calls_itself_with_equal_arguments_does_not_wait_for_itself(self, drive):
        depth = 0
        if drive.is_async:

            @resilient(single_flight=True)
            async def dive(x):
                nonlocal depth
                depth += 1
                return await dive(x) if depth < 3 else depth

        else:

            @resilient(single_flight=True)
            def dive(x):
                nonlocal depth
                depth += 1
                return dive(x) if depth < 3 else depth

        assert drive.run(dive, 7) == 3

    def test_nor_in_a_thread_or_a_task_that_it_has_started(self):
        @resilient(single_flight=True)
        async def dive(x, deep=False):  # noqa: FBT002
            if dive.count == 2:
                return x
            dive.count += 1
            return await asyncio.create_task(dive(x))

        dive.count = 0
        assert asyncio.run(dive(7)) == 7

        @resilient(single_flight=True)
        def plain(x):
            if plain.count == 2:
                return x
            plain.count += 1
            return asyncio.run(_in_thread(plain, x))

        plain.count = 0
        assert plain(7) == 7

    def test_two_calls_do_not_wait_for_each_other(self, drive):
        meet = threading.Barrier(2, timeout=PATIENCE)

        def make(other):
            if drive.is_async:

                async def call(first):
                    if first:
                        meet.wait()
                        return await names[other](False)
                    return other

            else:

                def call(first):
                    if first:
                        meet.wait()
                        return names[other](False)
                    return other

            return resilient(single_flight=SingleFlight(key=lambda: 1))(call)

        names = {}
        names["a"], names["b"] = make("b"), make("a")
        results = []
        threads = [
            threading.Thread(target=lambda name=name: results.append(drive.run(names[name], True))) for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(results) == 2


async def _in_thread(fn, *args):
    return await asyncio.to_thread(fn, *args)


def test_async_calls_on_several_event_loops_share(drive):
    if not drive.is_async:
        pytest.skip("of event loops")
    calls = Tower(drive)  # each of its callers has a loop of its own
    for number in range(5):
        calls.begin(number, 7)
    calls.let_out()
    assert [calls.of(number).value for number in range(5)] == [[7]] * 5
    assert len(calls.made) == 1


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Query:
    where: str
    tags: set = dataclasses.field(default_factory=lambda: {"x", "y"})


EQUAL = [
    (lambda: 7, lambda: 7),
    (lambda: [1, {"a": {2, 3}}], lambda: [1, {"a": {3, 2}}]),
    (lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
    (lambda: float("nan"), lambda: float("nan")),
    (lambda: Color.RED, lambda: Color.RED),
    (lambda: Query("x"), lambda: Query("x")),
    (lambda: pd.DataFrame({"n": [1, 2]}), lambda: pd.DataFrame({"n": [1, 2]})),
    (lambda: pd.Timestamp("2026-01-01"), lambda: pd.Timestamp("2026-01-01")),
    (lambda: int, lambda: int),
    (lambda: "ab" * 3, lambda: "".join(["ab"] * 3)),
]
DIFFERENT = [
    (lambda: 1, lambda: True),
    (lambda: 1, lambda: 1.0),
    (lambda: [1], lambda: (1,)),
    (lambda: "1", lambda: 1),
    (lambda: {1, 2}, lambda: {1, 3}),
    (lambda: Query("x"), lambda: Query("y")),
    (lambda: pd.DataFrame({"n": [1, 2]}), lambda: pd.DataFrame({"n": [1, 3]})),
    (lambda: pd.DataFrame({"n": [1]}), lambda: pd.DataFrame({"n": [1.0]})),
    (object, object),
    (lambda: 0.0, lambda: -0.0),
]


@pytest.mark.parametrize(("one", "other", "calls"), [(*pair, 1) for pair in EQUAL] + [(*pair, 2) for pair in DIFFERENT])
def test_equal_arguments_are_of_the_same_type_and_content(one, other, calls):
    tower = Tower(_Sync())
    kept = [one(), other()]
    tower.begin("one", kept[0])
    tower.begin("other", kept[1])
    tower.let_out(2)
    tower.of("one"), tower.of("other")
    assert len(tower.made) == calls


class _Sync:
    is_async = False

    @staticmethod
    def run(fn, *args, **kwargs):
        return fn(*args, **kwargs)


def test_the_same_object_is_equal_to_itself():
    client = object()
    tower = Tower(_Sync())
    tower.begin("one", client)
    tower.begin("other", client)
    tower.let_out()
    assert tower.of("one").value == tower.of("other").value == [client]
    assert len(tower.made) == 1


def test_methods_of_one_object_share_and_those_of_two_do_not():
    tower = Tower(_Sync())

    class Client:
        fetch = tower.call

    one, other = Client(), Client()
    tower.begin("one", call=one.fetch)
    tower.begin("again", call=one.fetch)
    tower.begin("other", call=other.fetch)
    tower.let_out(2)
    for name in ("one", "again", "other"):
        tower.of(name)
    assert len(tower.made) == 2


def test_arguments_that_cannot_be_compared_are_reported_once_and_each_call_is_made(resilient_events):
    class Odd:
        __hash__ = None

        def __eq__(self, other):
            return True

        def __reduce__(self):
            raise TypeError("not I")

    tower = Tower(_Sync())
    tower.begin("one", Odd())
    tower.begin("other", Odd())
    tower.let_out(2)
    tower.of("one"), tower.of("other")
    assert len(tower.made) == 2
    (told,) = resilient_events.named("flight.alone")
    assert "its arguments cannot be compared with those of another call: 'x', a " in told.reason


def test_a_key_function_decides_which_calls_are_equal(tower):
    calls = tower(single_flight=SingleFlight(key=lambda x: x % 10))
    calls.begin("one", 7)
    calls.begin("other", 17, region="us")
    calls.let_out()
    assert calls.of("one").value is calls.of("other").value
    assert len(calls.made) == 1


def test_a_key_function_that_fails_is_reported(drive):
    call = drive(lambda x: x, single_flight=SingleFlight(key=lambda x: x.missing))
    error = call.outcome(7).error
    assert isinstance(error, PolicyError)
    assert "raised AttributeError: 'int' object has no attribute 'missing'" in str(error)


def test_arguments_that_do_not_fit_are_left_to_the_function(drive):
    call = drive(lambda x: x, single_flight=SingleFlight(key=lambda x: x))
    assert "missing 1 required positional argument: 'x'" in str(call.outcome().error)
    assert "unexpected keyword argument" in str(drive(lambda x: x, single_flight=True).outcome(1, y=2).error)


def test_functions_of_one_name_do_not_share():
    first, second = Tower(_Sync()), Tower(_Sync())
    first.begin("one", 7)
    second.begin("one", 7)
    first.let_out()
    second.let_out()
    first.of("one"), second.of("one")
    assert (len(first.made), len(second.made)) == (1, 1)


def test_a_sync_function_that_returns_an_awaitable_is_refused_with_a_reason():
    async def later():
        pass

    fetch = resilient(single_flight=True)(lambda: later())  # noqa: PLW0108  # nothing shows that it is async
    with pytest.raises(TypeError, match="a sync call cannot await what"):
        fetch()


def test_nothing_keeps_arguments_and_results_alive():
    class Thing:
        pass

    thing, made = Thing(), weakref.WeakSet()

    @resilient(single_flight=True)
    def fetch(x):
        made.add(result := Thing())
        return result

    fetch(thing)
    reference = weakref.ref(thing)
    gc.disable()
    try:
        del thing
        assert reference() is None
        assert not made
    finally:
        gc.enable()


def test_a_forked_child_does_not_wait_for_its_parent():
    tower = Tower(_Sync())
    tower.begin("leader", 7)
    assert flights._under_way
    before = flights._under_way, flights._led, flights._delayed, flights._lock
    flights.forget()  # what os.fork calls in a child
    assert not flights._under_way
    flights._under_way, flights._led, flights._delayed, flights._lock = before
    tower.let_out()
    tower.of("leader")


def test_it_crosses_to_another_process_as_a_value_and_is_explained():
    policy = cloudpickle.loads(cloudpickle.dumps(SingleFlight(shared=True, serializer="pickle")))
    assert isinstance(Pipeline(SingleFlight()).outcome(int, "7"), Ok)
    told = "single flight: calls with equal arguments share one attempt"
    assert f"1. {told}\n" in explain(resilient(single_flight=True, retry=2)(print))
    assert policy.describe() == f"{told}, across workers"
    assert "equal by_url share" in SingleFlight(key=by_url).describe()


def by_url(url):
    return url


def test_false_means_no_single_flight():
    fn = resilient(single_flight=False, retry=2)(print)
    assert [policy.slot for policy in fn.__resilient__.pipeline.policies] == ["retry"]


def test_generators_are_refused():
    def rows():
        yield 1

    with pytest.raises(PolicyError, match="is a generator function: single flight would cover only its creation"):
        resilient(single_flight=True)(rows)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"key": "url"}, "is a function of the call's arguments"),
        ({"copy": 1}, "is True or False"),
        ({"shared": "yes"}, "is True or False"),
        ({"largest": 0}, "whole number of 1 or more"),
        ({"shared": True, "serializer": "yaml"}, "is one of json, pickle"),
        ({"shared": True, "serializer": object()}, "an object with dumps and loads"),
        ({"serializer": "pickle"}, "write shared=True, too"),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        SingleFlight(**given)


def test_a_key_that_cannot_take_the_arguments_is_refused():
    with pytest.raises(PolicyError, match=r"names url, which fetch\(x\) does not have.*write lambda x: by_url\(x\)"):

        @resilient(single_flight=SingleFlight(key=by_url, copy=True))
        def fetch(x): ...
