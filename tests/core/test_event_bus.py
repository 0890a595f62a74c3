"""Events as data, and the bus that carries them."""

import contextlib
import copy
import json
import logging
import pickle
import threading
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import cloudpickle
import pytest

from resilient_tasks.core import events
from resilient_tasks.core.events import (
    EVENTS,
    ApiAway,
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BreakerWouldRefuse,
    BulkheadRejected,
    Bus,
    CallFailed,
    ChaosInjected,
    DataDrifted,
    Event,
    FallbackUsed,
    FlightAlone,
    FlightJoined,
    HedgeStarted,
    HedgeWon,
    InputDegraded,
    LastGoodUnavailable,
    NotifyFailed,
    NotifyKnown,
    NotifySent,
    NotifySuppressed,
    OfLevel,
    RateAdapted,
    RateLimitReached,
    RetryExhausted,
    RetryMultiplied,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    RowsInvalid,
    RowsQuarantined,
    RowsWarned,
    Several,
    SinkResumed,
    SinkSuspended,
    StoreLost,
    StoreRegained,
    TimeoutExceeded,
    counted,
)
from resilient_tasks.core.events.event import named

ABOUT = {"kind": "transient", "error_type": "ConnectError", "message": "refused"}
SENTENCES = [
    (RetryScheduled(operation="f", attempts=5, delay=4.12, **ABOUT), "attempt 1 of 5: ConnectError; waits 4.1 s"),
    (RetryScheduled(operation="f", attempts=None, delay=4.12, **ABOUT), "attempt 1: ConnectError; waits 4.1 s"),
    (RetryStarted(operation="f", attempt=2, attempts=5), "attempt 2 of 5"),
    (
        RetryRecovered(operation="f", attempt=3, attempts=5, errors={"ConnectError": 2}),
        "recovered on attempt 3 of 5 (ConnectError ×2)",
    ),
    (
        RetryRecovered(operation="f", attempt=2, attempts=None, errors={"ConnectError": 1}),
        "recovered on attempt 2 (ConnectError)",
    ),
    (
        RetryExhausted(operation="f", attempt=3, reason="no attempts left", errors={"A": 2, "B": 1}, **ABOUT),
        "gave up after attempt 3: no attempts left (A ×2, B)",
    ),
    (
        TimeoutExceeded(operation="f", policy="timeout", limit=2.0, stopped=True, abandoned=False),
        "timeout of 2 s exceeded; stopped",
    ),
    (
        TimeoutExceeded(
            operation="f", policy="timeout", limit=0.5, stopped=None, abandoned=True, thread="process 7", reason="why"
        ),
        "timeout of 0.5 s exceeded; unknown whether stopped (why), perhaps still running in the process 7",
    ),
    (
        TimeoutExceeded(operation="f", policy="timeout", limit=0.5, stopped=False, abandoned=True),
        "timeout of 0.5 s exceeded; not stopped, still running",
    ),
    (
        TimeoutExceeded(
            operation="f", policy="timeout", limit=0.5, stopped=False, abandoned=True, thread="f-1", reason="held"
        ),
        "timeout of 0.5 s exceeded; not stopped (held), still running in the thread f-1",
    ),
    (FallbackUsed(operation="f", fallback="cached", **ABOUT), "degraded: cached stands in after ConnectError"),
    (
        FallbackUsed(operation="f", fallback="last good result", since=0.0, age=93_600.0, **ABOUT),
        "degraded: last good result of 1970-01-01 00:00 UTC, 1 d 2 h old, stands in after ConnectError",
    ),
    (
        LastGoodUnavailable(operation="f", action="kept", reason="No space left on device"),
        "the last good result was not kept: No space left on device",
    ),
    (
        LastGoodUnavailable(operation="f", action="read", reason="its file is damaged"),
        "the last good result cannot be read: its file is damaged",
    ),
    (
        RowsInvalid(operation="f", action="dropped", rows=12_000, invalid=1_500, reasons={}),
        "1,500 of 12,000 rows invalid: dropped",
    ),
    (
        RowsQuarantined(
            operation="f", action="quarantined", rows=3, invalid=1, reasons={}, path="q/f.parquet", batch="f", schema=""
        ),
        "1 of 3 rows quarantined in q/f.parquet",
    ),
    (
        RowsInvalid(operation="f", action="dropped", rows=3, invalid=1, reasons={"n: gt(0)": 1}, part="train"),
        "train: 1 of 3 rows invalid: dropped (n: gt(0))",
    ),
    (
        RowsWarned(operation="f", rows=12_000, reasons={"*: enough": 0, "n: le(60)": 1_500}),
        "rules that warn, 12,000 rows checked: n: le(60) ×1,500, *: enough",
    ),
    (
        DataDrifted(operation="f", action="stop", rows=9, columns={}, message="distance: PSI 0.31"),
        "drift (stop): distance: PSI 0.31",
    ),
    (
        RetryMultiplied(operation="f", attempts=12, loops=("flow monthly (3 attempts)", "f (4 attempts)")),
        "retries multiply: flow monthly (3 attempts) × f (4 attempts) = up to 12 attempts; keep one of these loops",
    ),
    (
        RetryMultiplied(operation="f", attempts=0, loops=("g (3 attempts)", "f (any number of attempts)")),
        (
            "retries multiply: g (3 attempts) × f (any number of attempts) = any number of attempts;"
            " keep one of these loops"
        ),
    ),
    (
        BreakerOpened(operation="f", breaker="api", reason="3 failures in a row", open_for=30.0),
        "circuit api opened for 30 s: 3 failures in a row",
    ),
    (
        BreakerOpened(operation="f", breaker="api", reason="by hand", open_for=None),
        "circuit api opened until it is closed: by hand",
    ),
    (
        BreakerHalfOpened(operation="f", breaker="api", reason="open for 30 s"),
        "circuit api is half open, probing: open for 30 s",
    ),
    (
        BreakerClosed(operation="f", breaker="api", reason="1 probe succeeded", seconds=90.04),
        "circuit api closed after 90.0 s: 1 probe succeeded",
    ),
    (
        BreakerWouldRefuse(operation="f", breaker="api", state="half_open"),
        "circuit api is half open: would have refused this call (shadow: it refuses nothing)",
    ),
    (
        RateLimitReached(operation="f", limit="api", refused=False, delay=4.12),
        "rate limit api: waits 4.1 s",
    ),
    (
        RateLimitReached(operation="f", limit="api", refused=True, delay=60.0),
        "rate limit api: refused, 60.0 s of waiting would be too long",
    ),
    (
        RateAdapted(operation="f", limit="api", rate_before=2500, rate=1750, per=60, pause=0, reason="HTTP 429"),
        "rate limit api lowered from 2,500 to 1,750 calls in 60 s: HTTP 429",
    ),
    (
        RateAdapted(operation="f", limit="api", rate_before=1, rate=1, per=1, pause=4.12, reason="HTTP 429"),
        "rate limit api stays at its least, 1 call in 1 s: HTTP 429; no call begins for 4.1 s",
    ),
    (
        BulkheadRejected(operation="f", bulkhead="db", limit=4, queued=9, reason="the queue is full"),
        "bulkhead db is full: 4 calls running, 9 waiting; the queue is full",
    ),
    (
        HedgeStarted(operation="f", number=2, after=0.25),
        "no answer for 0.25 s: called once more, as number 2",
    ),
    (
        FlightJoined(operation="f", leader="task run fetch-3af", outcome="ok", waited=1.23),
        "shared the result of task run fetch-3af, after 1.2 s of waiting",
    ),
    (
        FlightJoined(operation="f", leader="call 1a-2b-3", outcome="deadline", waited=5),
        "waited 5.0 s for call 1a-2b-3, until its own deadline came",
    ),
    (
        FlightAlone(operation="f", reason="JSON cannot hold a tuple"),
        "single flight: this call was not shared: JSON cannot hold a tuple",
    ),
    (
        InputDegraded(operation="f", source="fetch", reason="fetch (fallback last_good, 3 h old)", age=10_800.0),
        "computed from degraded input: fetch (fallback last_good, 3 h old)",
    ),
    (HedgeWon(operation="f", number=2, seconds=0.3126), "call number 2 answered first, after 0.313 s"),
    (
        StoreLost(operation="f", store="redis://host:6379/0", message="timed out"),
        "redis://host:6379/0 does not answer (timed out): this process uses its own memory until it does",
    ),
    (
        StoreRegained(operation="f", store="redis://host:6379/0", seconds=12.34),
        "redis://host:6379/0 answers again after 12.3 s: state is shared as before",
    ),
    (
        ApiAway(operation="f", api="http://far:4200/api", back=True, late=6, lost=0, seconds=38.94),
        "the Prefect API at http://far:4200/api was away for 38.9 s: 6 states published late",
    ),
    (
        ApiAway(operation="f", api="http://far:4200/api", back=False, late=1, lost=2, seconds=70.0),
        "the Prefect API at http://far:4200/api has been away for 70.0 s: 1 state published late, 2 states lost",
    ),
    (ChaosInjected(operation="f", fault="fault OSError"), "injected fault OSError"),
    (CallFailed(operation="f", **ABOUT), "failed with ConnectError (transient): refused"),
    (NotifySent(operation="f", channel="slack"), "alert sent to slack"),
    (NotifySent(operation="f", channel="slack", occasion="recovered"), "alert sent to slack (recovered)"),
    (
        NotifySuppressed(operation="f", channel="slack", suppressed=4),
        "counted for the next alert to slack: 4 failures (cool-down)",
    ),
    (
        NotifyKnown(operation="f", channel="slack", suppressed=1, next_in=240.0),
        "this incident is known: the next message to slack is due in 4 min, 1 failure counted so far",
    ),
    (
        NotifyKnown(operation="f", channel="slack", suppressed=2, reason="their maintenance"),
        "this incident is silenced (their maintenance): no alert to slack until that ends, 2 failures counted so far",
    ),
    (
        NotifyFailed(operation="f", channel="slack", error_type="URLError", message="URLError: refused", retry_in=4.0),
        "could not notify slack: URLError: refused (kept, tried again in 4 s)",
    ),
    (
        NotifyFailed(operation="f", channel="slack", error_type="URLError", message="URLError: refused"),
        "could not notify slack: URLError: refused (given up: see resilient-tasks outbox)",
    ),
    (
        SinkSuspended(operation="f", sink="journal", lost=0, reason="it took 2.0 s", retry_in=30.0),
        "sink journal is suspended for 30 s: it took 2.0 s",
    ),
    (
        SinkResumed(operation="f", sink="journal", lost=1, seconds=31.04),
        "sink journal works again after 31.0 s; 1 event lost",
    ),
]
ALL = [event for event, _ in SENTENCES]


@pytest.mark.parametrize(("event", "sentence"), SENTENCES, ids=lambda value: getattr(value, "name", ""))
def test_an_event_says_what_happened(event, sentence):
    assert event.sentence() == sentence


def test_every_event_is_found_by_its_name():
    assert {event.name: type(event) for event in ALL}.items() <= EVENTS.items()
    assert {name.partition(".")[0] for name in EVENTS} >= {"retry", "timeout", "fallback", "rows", "call", "notify"}


def test_no_event_of_the_library_is_left_out_above():
    ours = {name for name, kind in EVENTS.items() if kind.__module__.startswith(f"{events.__name__}.")}
    assert ours == {event.name for event in ALL}


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.name)
def test_an_event_is_a_flat_mapping_that_json_can_hold(event):
    told = event.as_dict()
    read_back = json.loads(json.dumps(told))
    # An event is frozen, so what JSON gives back as a list was a tuple.
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in read_back.items()} == told
    assert told["event.name"] == event.name
    assert told["operation"] == "f"
    assert "run" not in told


def test_fields_have_opentelemetrys_names():
    told = SENTENCES[0][0].as_dict()
    assert (told["error.type"], told["exception.message"], told["retry.delay_s"]) == ("ConnectError", "refused", 4.12)
    assert not told.keys() & {"error_type", "message", "delay"}


def test_the_ids_of_the_hosts_run_are_merged_in(in_run):
    with in_run(flow_run_id="f-1"):
        assert NotifySent(operation="f", channel="slack").as_dict()["flow_run_id"] == "f-1"
        assert events.run_ids() == {"flow_run_id": "f-1"}


def test_a_custom_event_is_registered(monkeypatch):
    monkeypatch.setattr("resilient_tasks.core.events.event.EVENTS", dict(EVENTS))

    class TokenSpent(Event):
        name = "token.spent"

    assert events.event.EVENTS["token.spent"] is TokenSpent


class Spent(Event):  # it has no name, so that the register of events stays as it is
    tokens: int = named("test.tokens")
    models: list = field(default_factory=list)
    price: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class SpentAsBefore(Event):
    tokens: int = named("test.tokens")
    models: list = field(default_factory=list)
    price: float = 0.5


@pytest.mark.parametrize("kind", [Spent, SpentAsBefore])
class TestAnEventOfOnesOwn:
    def test_it_is_a_dataclass_with_or_without_the_decorator(self, kind):
        spent = kind(operation="ask", tokens=7)
        assert [part.name for part in fields(kind)][-3:] == ["tokens", "models", "price"]
        assert repr(spent).startswith(f"{kind.__name__}(operation='ask', attempt=1, call='', time=")
        assert repr(spent).endswith("run={}, tokens=7, models=[], price=0.5)")
        assert replace(spent, price=1.5) == kind(operation="ask", time=spent.time, tokens=7, price=1.5)
        assert pickle.loads(pickle.dumps(spent)) == copy.copy(spent) == spent != replace(spent, tokens=8)

    def test_its_fields_have_the_names_that_it_defines(self, kind):
        told = kind(operation="ask", tokens=7, models=["small"]).as_dict()
        assert (told["test.tokens"], told["models"]) == (7, ["small"])

    def test_it_is_immutable(self, kind):
        spent = kind(operation="ask", tokens=7)
        with pytest.raises(FrozenInstanceError, match="cannot assign to field 'tokens'"):
            spent.tokens = 8
        with pytest.raises(FrozenInstanceError, match="cannot delete field 'tokens'"):
            del spent.tokens

    @pytest.mark.parametrize(
        ("given", "said"),
        [({"tokens": 7}, "operation"), ({"operation": "ask"}, "tokens"), ({"operation": "ask", "token": 7}, "token")],
    )
    def test_it_takes_its_fields_and_no_other(self, kind, given, said):
        with pytest.raises(TypeError, match=said):
            kind(**given)

    def test_two_events_share_no_default(self, kind):
        assert kind(operation="ask", tokens=7).models is not kind(operation="ask", tokens=7).models

    def test_secrets_in_its_texts_are_redacted(self, kind):
        models = kind(operation="ask", tokens=7, models=["postgresql://u:hunter2secret@host/db"]).models
        assert "hunter2secret" not in str(models)


def test_an_event_class_of_a_script_can_be_sent_to_another_process(monkeypatch):
    monkeypatch.setattr(Spent, "__module__", "__main__")  # so it is pickled by its value
    event = Spent(operation="ask", tokens=7)
    crossed = pickle.loads(cloudpickle.dumps(event))
    assert crossed.as_dict() == event.as_dict()


def test_an_event_class_can_be_written_after_one_came_back_from_a_pickle(monkeypatch):
    monkeypatch.setattr("resilient_tasks.core.events.event.EVENTS", {})
    monkeypatch.setattr(Spent, "__module__", "__main__")
    pickle.loads(cloudpickle.dumps(Spent(operation="ask", tokens=7)))

    class Later(Event):
        name = "test.later"

    assert Later(operation="ask").attempt == 1


def test_a_base_without_a_name_is_not_registered(monkeypatch):
    monkeypatch.setattr("resilient_tasks.core.events.event.EVENTS", {})

    class Abstract(Event):
        pass

    assert events.event.EVENTS == {}


class TestBus:
    EVENT = NotifySent(operation="f", channel="slack")

    def test_every_sink_gets_every_event_in_order(self):
        bus, heard = Bus(), []
        bus.subscribe(lambda event: heard.append(("first", event)))
        bus.subscribe(lambda event: heard.append(("second", event)))
        bus.emit(self.EVENT)
        assert heard == [("first", self.EVENT), ("second", self.EVENT)]

    def test_sinks_of_one_call_come_after_those_of_the_bus(self):
        bus, heard = Bus(), []
        bus.subscribe(lambda _: heard.append("bus"))
        bus.emit(self.EVENT, lambda _: heard.append("call"))
        assert heard == ["bus", "call"]

    def test_an_unsubscribed_sink_receives_nothing_more(self):
        bus, heard = Bus(), []
        unsubscribe = bus.subscribe(heard.append)
        unsubscribe()
        unsubscribe()
        bus.emit(self.EVENT)
        assert heard == []

    def test_a_listener_receives_the_events_of_its_block_even_if_that_raises(self):
        bus, heard = Bus(), []
        with contextlib.suppress(KeyError), bus.listening(heard.append):
            bus.emit(self.EVENT)
            raise KeyError
        bus.emit(self.EVENT)
        assert heard == [self.EVENT]

    def test_the_error_of_a_sink_is_logged_and_does_not_reach_the_call(self, caplog):
        bus, heard = Bus(), []

        def broken(event):
            raise ValueError("sink is broken")

        bus.subscribe(broken)
        bus.subscribe(heard.append)
        bus.emit(self.EVENT)
        assert heard == [self.EVENT]
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "broken" in record.getMessage()
        assert "notify.sent" in record.getMessage()
        assert "sink is broken" in str(record.exc_info[1])

    @pytest.mark.parametrize("of", [lambda wants: wants, OfLevel])
    def test_the_error_of_a_sinks_filter_is_logged_and_does_not_reach_the_call(self, of, caplog):
        bus, heard = Bus(), []

        def torn(_):
            raise ValueError("it wants and wants not")

        bus.subscribe(heard.append, of(torn))
        assert bus.wants(NotifySent)  # the event is created, so that the error is logged
        assert bus.wants_any(Several(NotifySent, NotifyKnown))
        bus.subscribe(heard.append)
        bus.emit(self.EVENT)
        assert heard == [self.EVENT]
        (record,) = caplog.records
        assert "it wants and wants not" in str(record.exc_info[1])

    def test_several_events_are_wanted_if_any_sink_wants_one(self):
        bus, several = Bus(), Several(NotifySent, NotifyKnown)
        assert not bus.wants_any(several)
        bus.subscribe(print, OfLevel(lambda level: level > max(NotifySent.level, NotifyKnown.level)))
        bus.subscribe(print, lambda event: event is StoreLost)
        assert not bus.wants_any(several)
        bus.subscribe(print, OfLevel(lambda level: level >= max(NotifySent.level, NotifyKnown.level)))
        assert bus.wants_any(several)

    def test_a_sink_may_unsubscribe_while_it_receives_an_event(self):
        bus, heard = Bus(), []
        unsubscribe = bus.subscribe(lambda _: unsubscribe())
        bus.subscribe(heard.append)
        bus.emit(self.EVENT)
        assert heard == [self.EVENT]

    def test_sinks_run_in_the_thread_that_emits_the_event(self):
        bus, threads = Bus(), []
        bus.subscribe(lambda _: threads.append(threading.current_thread().name))
        thread = threading.Thread(target=bus.emit, args=(self.EVENT,), name="worker")
        thread.start()
        thread.join()
        assert threads == ["worker"]


def test_errors_are_counted_in_words():
    assert counted({"ConnectError": 2, "TimedOut": 1}) == "ConnectError ×2, TimedOut"
