"""A sink that fails or is slow is cut off, counted and reported; the others receive every event."""

import itertools
import logging
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import PolicyError, Retry, resilient
from resilient_tasks.core.events import Bus, NotifySent, RetryStarted, SinkResumed, SinkSuspended
from resilient_tasks.core.events import bus as process_bus
from resilient_tasks.core.events import sinks as rules
from resilient_tasks.observe import logs
from resilient_tasks.observe.report import RunReport
from resilient_tasks.testing import VirtualClock, use_clock

EVENT = NotifySent(operation="f", channel="slack")


@pytest.fixture
def clock():
    with use_clock(virtual := VirtualClock()):
        yield virtual


@pytest.fixture
def bus():
    return Bus()


def own(events):
    """The events about sinks, as (name, sink, lost)."""
    return [(event.name, event.sink, event.lost) for event in events if isinstance(event, rules.SinkEvent)]


class Sink:
    """Fails, or takes some seconds of the virtual clock, while a test sets so."""

    def __init__(self, clock=None, *, fails=False, takes=0.0):
        self.clock, self.fails, self.takes = clock, fails, takes
        self.calls, self.handled = 0, []

    def __call__(self, event):
        self.calls += 1
        if self.takes:
            self.clock.advance(self.takes)
        if self.fails:
            raise ValueError("the disk is full")
        self.handled.append(event)


def emit(bus, times=1, event=EVENT):
    for _ in range(times):
        bus.emit(event)


def test_a_sink_that_fails_several_times_in_a_row_is_cut_off_and_the_others_learn_of_it(bus, clock):
    bad, seen = Sink(fails=True), []
    bus.subscribe(bad, name="bad")
    bus.subscribe(seen.append)
    emit(bus, 20)
    assert bad.calls == rules.FAILURES
    assert own(seen) == [("sink.suspended", "bad", 5)]
    assert len(seen) == 21
    (event,) = [event for event in seen if isinstance(event, SinkSuspended)]
    assert event.sentence() == (
        "sink bad is suspended for 30 s: 5 errors in a row, the last one ValueError, 5 events lost so far"
    )
    assert bus.lost == {"bad": 21}  # the event about itself, too


def test_errors_with_successes_between_them_do_not_cut_it_off(bus, clock):
    sink = Sink()
    bus.subscribe(sink, name="sink")
    for number in range(40):
        sink.fails = number % 5 != 4
        emit(bus)
    assert sink.calls == 40
    assert bus.lost == {"sink": 32}


def test_a_sink_that_is_slow_several_times_in_a_row_is_cut_off(bus, clock):
    slow, seen = Sink(clock, takes=3.2), []
    bus.subscribe(slow, name="slow")
    bus.subscribe(seen.append)
    emit(bus, 10)
    assert slow.calls == rules.SLOW_CALLS
    (event,) = [event for event in seen if isinstance(event, SinkSuspended)]
    assert event.reason == "3 calls in a row took more than 1 s, the last one 3.2 s"
    assert (event.lost, event.retry_in) == (0, 30.0)


def test_a_slow_call_ends_a_row_of_errors(bus, clock):
    sink = Sink(clock)
    bus.subscribe(sink, name="sink")
    for number in range(2 * rules.FAILURES - 1):
        is_slow = number == rules.FAILURES - 1
        sink.fails, sink.takes = not is_slow, 3.2 if is_slow else 0.0
        emit(bus)
    assert sink.calls == 2 * rules.FAILURES - 1
    emit(bus)
    assert sink.calls == 2 * rules.FAILURES
    emit(bus)
    assert sink.calls == 2 * rules.FAILURES


def test_how_long_a_call_may_take_can_be_chosen(bus, clock):
    strict, lax = Sink(clock, takes=0.2), Sink(clock, takes=2.5)
    bus.subscribe(strict, slow=0.1)
    bus.subscribe(lax, slow=10)
    emit(bus, 10)
    assert strict.calls == rules.SLOW_CALLS
    assert lax.calls > 10


def test_the_seconds_of_a_slow_sink_are_not_those_of_the_next_one(bus, clock):
    slow, quick = Sink(clock, takes=3), Sink(clock)
    bus.subscribe(slow)
    bus.subscribe(quick)
    emit(bus, 10)
    assert len([event for event in quick.handled if event is EVENT]) == 10
    assert quick.handled[-1] is EVENT


def test_a_filter_that_is_slow_counts_as_its_sink(bus, clock):
    sink = Sink()
    bus.subscribe(sink, lambda event: clock.advance(2) or event is NotifySent, name="filtered")
    emit(bus, 10)
    assert sink.calls == rules.SLOW_CALLS


def test_it_is_tried_again_after_a_pause_and_resumes(bus, clock):
    sink, seen = Sink(fails=True), []
    bus.subscribe(sink, name="sink")
    bus.subscribe(seen.append)
    emit(bus, 7)
    sink.fails = False
    clock.advance(29)
    emit(bus)
    assert sink.calls == 5
    clock.advance(2)
    emit(bus, 2)
    assert [event for event in sink.handled if event is EVENT] == [EVENT, EVENT]
    assert own(seen) == [("sink.suspended", "sink", 5), ("sink.resumed", "sink", 9)]
    (event,) = [event for event in seen if isinstance(event, SinkResumed)]
    assert event.sentence() == "sink sink works again after 31.0 s; 9 events lost"


def test_each_failed_trial_doubles_the_pause_up_to_ten_minutes(bus, clock):
    sink, seen = Sink(fails=True), []
    bus.subscribe(sink, name="sink")
    bus.subscribe(seen.append)
    emit(bus, 5)
    for _ in range(6):
        clock.advance(601)
        emit(bus)
    pauses = [event.retry_in for event in seen if isinstance(event, SinkSuspended)]
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert sink.calls == 5 + 6


def test_a_trial_that_works_but_is_slow_has_failed(bus, clock):
    sink, seen = Sink(clock, takes=5), []
    bus.subscribe(sink, name="sink")
    bus.subscribe(seen.append)
    emit(bus, 3)
    clock.advance(31)
    emit(bus)
    assert [event.reason for event in seen if isinstance(event, SinkSuspended)][1:] == ["tried again, it took 5.0 s"]
    assert bus.lost == {"sink": 2}  # the events about its suspension; it received the slow ones
    sink.takes = 0
    clock.advance(61)
    emit(bus)
    assert own(seen)[-1][0] == "sink.resumed"


def test_an_interrupted_trial_is_followed_by_another(bus, clock):
    sink = Sink(fails=True)
    bus.subscribe(sink, name="sink")
    emit(bus, 5)
    clock.advance(31)

    def interrupted(_):
        raise KeyboardInterrupt

    bus.sinks[0].sink = interrupted
    with pytest.raises(KeyboardInterrupt):
        emit(bus)
    bus.sinks[0].sink, sink.fails = sink, False
    emit(bus)
    assert len(sink.handled) >= 1
    assert not bus.sinks[0].is_troubled


def test_one_thread_makes_the_trial_and_the_others_do_not_wait_for_it(bus, clock):
    under_way, go_on, calls = threading.Event(), threading.Event(), []
    sink = Sink(fails=True)
    bus.subscribe(sink, name="sink")
    emit(bus, 5)
    clock.advance(31)

    def hangs(event):
        calls.append(event)
        under_way.set()
        assert go_on.wait(60)

    bus.sinks[0].sink = hangs
    thread = threading.Thread(target=emit, args=(bus,))
    thread.start()
    assert under_way.wait(60)
    emit(bus, 10)
    assert len(calls) == 1
    go_on.set()
    thread.join()
    assert bus.lost == {"sink": 5 + 10 + 1}  # one is the event about its suspension


def test_an_essential_sink_is_never_cut_off(bus, clock):
    fails, slow = Sink(fails=True), Sink(clock, takes=60)
    bus.subscribe(fails, name="fails", essential=True)
    with bus.listening(slow):
        emit(bus, 30)
    assert (fails.calls, slow.calls) == (30, 30)
    assert bus.lost == {"fails": 30}


def test_sinks_of_one_call_are_never_cut_off(bus, clock):
    fails, slow = Sink(fails=True), Sink(clock, takes=60)
    for _ in range(30):
        bus.emit(EVENT, fails, slow)
    assert (fails.calls, slow.calls) == (30, 30)


def test_the_log_is_essential():
    logs.install()
    assert [one.essential for one in process_bus.sinks if one.name == "log"] == [True]


def test_ever_fewer_errors_of_an_essential_sink_are_logged(bus, clock, caplog):
    bus.subscribe(Sink(fails=True), name="record", essential=True)
    emit(bus, 100)
    assert [record.getMessage() for record in caplog.records] == [
        "the sink record failed on notify.sent",
        *(f"the sink record failed on notify.sent ({count} errors so far)" for count in (2, 3, 4, 5, 6, 8, 10, 12)),
        *(f"the sink record failed on notify.sent ({count} errors so far)" for count in (16, 20)),
        *(f"the sink record failed on notify.sent ({count} errors so far)" for count in (24, 32, 40, 48, 64, 80, 96)),
    ]


def test_a_sink_may_emit_an_event_which_it_does_not_receive_itself(bus, clock):
    seen = []

    def emits(event):
        if event is EVENT:
            bus.emit(RetryStarted(operation="inside", attempts=3))
        else:
            pytest.fail("it called itself")

    bus.subscribe(seen.append, name="before")
    bus.subscribe(emits, lambda event: event is not SinkSuspended, name="emits")
    bus.subscribe(seen.append, name="after")
    emit(bus)
    assert [event.name for event in seen] == ["notify.sent", "retry.started", "retry.started", "notify.sent"]
    assert bus.lost == {"emits": 1}


def test_sinks_that_answer_each_other_come_to_an_end(bus, clock):
    calls = []

    def answers(name):
        def sink(event):
            calls.append(name)
            bus.emit(event)

        return sink

    for name in "abc":
        bus.subscribe(answers(name), name=name)
    emit(bus)
    assert len(calls) == 15  # each order in which they may be inside each other, once


def test_a_log_handler_that_fails_and_calls_a_resilient_function_comes_to_an_end(monkeypatch, capsys, clock):
    calls = []

    @resilient(retry=Retry(attempts=3, wait=1))
    def ship():
        calls.append(1)
        raise ConnectionError("the log server is down")

    class Shipping(logging.Handler):
        def emit(self, record):
            ship()

    monkeypatch.setattr(logs.LOGGER, "handlers", [Shipping()])
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    monkeypatch.setattr(logs.LOGGER, "level", logging.INFO)
    logs.LOGGER.manager._clear_cache()
    monkeypatch.setattr(process_bus, "sinks", ())
    process_bus.subscribe(logs.log_event, logs.wants, name="log", essential=True)
    process_bus.subscribe((seen := []).append)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            ship()
    assert len(calls) < 500
    assert sum(event.name == "call.failed" for event in seen) == len(calls) // 3
    assert "and so does the log" in capsys.readouterr().err


def test_two_bad_sinks_do_not_report_each_other_without_end(bus, clock):
    """Each takes longer than the other's pause: a trial with an event about the other would be followed by one more."""
    for name in ("one", "other"):
        bus.subscribe(Sink(clock, takes=100), name=name)
    emit(bus, 10)
    seen = []
    bus.subscribe(seen.append)
    emit(bus, 3)
    assert len(seen) < 20


def test_a_sink_whose_name_cannot_be_read_is_named_by_its_class(bus):
    class Odd:
        def __getattr__(self, name):
            raise ValueError("no attribute can be read")

        def __call__(self, event):
            raise ValueError("nor can it be called")

    bus.subscribe(Odd())
    emit(bus)
    assert bus.lost == {"Odd": 1}


def test_a_forked_process_starts_with_a_lock_of_its_own(monkeypatch):
    before = rules._changing
    monkeypatch.setattr(rules, "_changing", before)
    rules._replace_after_fork()
    assert rules._changing is not before


def test_threads_lose_no_event_of_a_healthy_sink_and_count_each_of_a_bad_one(bus):
    seen, handled = [], []
    interval = sys.getswitchinterval()

    def bad(event):
        if len(handled) % 7 < 5:
            handled.append(None)
            raise ValueError("broken")
        handled.append(event)

    bus.subscribe(bad, name="bad")
    bus.subscribe(seen.append)
    threads = [threading.Thread(target=emit, args=(bus, 200)) for _ in range(8)]
    logs.LOGGER.disabled = True
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        logs.LOGGER.disabled = False
    good = [event for event in handled if event is not None]
    assert len([event for event in seen if event is EVENT]) == 1600
    assert len(good) + bus.lost["bad"] == len(seen)


steps = st.lists(
    st.tuples(
        st.sampled_from(["works", "works", "fails", "slow", "fails slowly"]), st.sampled_from([0, 0, 1, 31, 700])
    ),
    min_size=1,
    max_size=60,
)


@given(scripts=st.lists(steps, min_size=1, max_size=3), events=st.integers(1, 80))
def test_whatever_sinks_do_each_event_is_handled_or_counted_and_healthy_sinks_have_all(scripts, events):
    with use_clock(virtual := VirtualClock()):
        bus, healthy, record = Bus(), [], []
        sinks = [Scripted(virtual, script) for script in scripts]
        bus.subscribe(healthy.append, name="first")
        for number, sink in enumerate(sinks):
            bus.subscribe(sink, name=f"sink {number}")
        with bus.listening(record.append):
            logs.LOGGER.disabled = True
            try:
                for number in range(events):
                    virtual.advance(scripts[0][number % len(scripts[0])][1])
                    emit(bus)
            finally:
                logs.LOGGER.disabled = False
    assert len([event for event in healthy if event is EVENT]) == events
    assert sorted(map(id, healthy)) == sorted(map(id, record))
    for number, sink in enumerate(sinks):
        name = f"sink {number}"
        assert len(sink.handled) + bus.lost.get(name, 0) == len(healthy)
        _check_story([event for event in healthy if getattr(event, "sink", "") == name], sink)


class Scripted:
    """Does what its script says, over and over, and keeps when it was called."""

    def __init__(self, clock, script):
        self.clock, self.script = clock, script
        self.times, self.handled = [], []

    def __call__(self, event):
        what, _ = self.script[len(self.times) % len(self.script)]
        self.times.append(self.clock.now())
        if "slow" in what:
            self.clock.advance(2)
        if "fails" in what:
            raise ValueError(what)
        self.handled.append(event)


def _check_story(story, sink):
    """A suspended sink is called once after its pause; `sink.resumed` follows `sink.suspended` only."""
    names = [event.name for event in story]
    assert names[:1] in ([], ["sink.suspended"])
    assert ("sink.resumed", "sink.resumed") not in list(itertools.pairwise(names))
    bad_in_a_row = longest = slow_in_a_row = slowest = 0
    for number in range(len(sink.times)):
        what, _ = sink.script[number % len(sink.script)]
        bad_in_a_row = bad_in_a_row + 1 if "fails" in what else 0
        slow_in_a_row = slow_in_a_row + 1 if "slow" in what else 0
        longest, slowest = max(longest, bad_in_a_row), max(slowest, slow_in_a_row)
    assert bool(names) == (longest >= rules.FAILURES or slowest >= rules.SLOW_CALLS)
    assert len(sink.times) <= len(sink.handled) + sum(
        "fails" in sink.script[number % len(sink.script)][0] for number in range(len(sink.times))
    )


def test_the_report_says_of_each_sink_how_it_is_and_what_it_lost(bus, clock):
    sink, seen = Sink(fails=True), []
    bus.subscribe(sink, name="journal")
    bus.subscribe(Sink(fails=True), name="metrics")
    bus.subscribe(seen.append)
    emit(bus, 5)
    sink.fails = False
    clock.advance(40)
    emit(bus)
    assert RunReport(seen).remarks[1:] == (
        "sink journal works again after 40.0 s; 7 events lost",
        "sink metrics is suspended for 60 s: tried again, it failed with ValueError, 8 events lost so far",
    )


async def _async_sink(event):
    raise AssertionError(event)


class _Unshowable:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((None,), "a sink is a function of an event"),
        ((_Unshowable(),), "a sink is a function of an event"),
        ((print, "retry"), "not 'retry'"),
        ((_async_sink,), "nothing awaits it: write def"),
    ],
)
def test_what_cannot_be_a_sink_is_refused_when_it_is_subscribed(bus, arguments, part):
    with pytest.raises(PolicyError, match=part):
        bus.subscribe(*arguments)
    assert bus.sinks == ()
