"""Notify: which alerts are sent, to which channels, and how often."""

import gc
import os
import statistics
import subprocess
import sys
import threading
import time
import weakref
from typing import ClassVar

import cloudpickle
import pytest

from resilient_tasks import CircuitOpen, Console, Failed, Fallback, InvalidData, Pipeline, PolicyError, Retry, resilient
from resilient_tasks.alerts import dispatcher, facts, registry, sender
from resilient_tasks.alerts.dispatcher import deliver
from resilient_tasks.alerts.message import Message
from resilient_tasks.alerts.outbox import Outbox, incident_store, use_incidents
from resilient_tasks.alerts.policy import Notify, Route
from resilient_tasks.core.events import bus
from resilient_tasks.core.host import Flow, Host, use_host
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.single_flight import outcome_codec
from resilient_tasks.redaction.error_copies import copied
from resilient_tasks.state.states import StoreUnavailable
from resilient_tasks.subprocess import serialization
from resilient_tasks.testing import flush_messages


@pytest.fixture(autouse=True)
def clock(resilient_clock, at_once):
    return resilient_clock


def fail(month="07"):
    raise ConnectionError("down")


def through_another_process(error):
    return serialization.loads(serialization.dump_error(error, "fetch"))


def by_a_parcel(error):
    return outcome_codec.decode(outcome_codec.encode(Failed(error), "another", {}, "json", 10**6), "json").outcome.error


def test_a_failed_call_sends_an_alert(drive, recorder):
    channel = recorder()
    drive(fail, notify=channel, retry=Retry(attempts=2, wait=0)).outcome("a secret argument")
    assert flush_messages()
    (message,) = channel.messages
    assert (message.operation, message.status, message.kind) == ("fail", "failed", "transient")
    assert (message.error_type, message.error) == ("ConnectionError", "down")
    assert message.notes == ("fail: gave up after attempt 2 (ConnectionError ×2): no attempts left",)
    assert "does not run" in message.consequence
    assert message.time == pytest.approx(time.time(), abs=5)
    assert "secret argument" not in repr(message)


def test_a_degraded_call_sends_an_alert_too(drive, recorder):
    channel = recorder()
    drive(fail, notify=channel, fallback=Fallback(value=0))()
    assert flush_messages()
    assert [(message.status, message.error_type) for message in channel.messages] == [("degraded", "ConnectionError")]
    assert "stand-in" in channel.messages[0].consequence


def test_a_success_sends_no_alert(drive, flaky, recorder, clock):
    channel = recorder()
    drive(flaky(ConnectionError()), notify=channel, retry=Retry(attempts=2, wait=0))()
    assert flush_messages()
    assert channel.messages == []


def test_every_channel_gets_the_message(drive, recorder, resilient_events):
    channels = [recorder("one"), recorder("two")]
    drive(fail, notify=channels).outcome()
    assert flush_messages()
    assert [len(channel.messages) for channel in channels] == [1, 1]
    assert [event.channel for event in resilient_events.named("notify.sent")] == ["one", "two"]


def test_a_message_has_the_ids_of_its_run(drive, recorder, in_run, resilient_events):
    channel = recorder()
    with in_run(flow_run_id="f-1"):
        drive(fail, notify=channel).outcome()
    assert flush_messages()
    assert channel.messages[0].run == {"flow_run_id": "f-1"}
    assert resilient_events.named("notify.sent")[0].run == {"flow_run_id": "f-1"}


class TestIncidents:
    def test_similar_failures_send_one_message_and_a_digest(self, drive, recorder, resilient_events, clock):
        channel = recorder()
        call = drive(fail, notify=channel)
        for _ in range(4):
            call.outcome()
        assert flush_messages()
        assert channel.received == [("first", 1, 1)]
        assert [event.suppressed for event in resilient_events.named("notify.suppressed")] == [1, 2, 3]
        clock.advance(300)
        assert flush_messages()
        assert channel.received == [("first", 1, 1), ("digest", 3, 4)]
        assert channel.messages[1].thread == {"place": "recorder 1"}
        assert channel.messages[0].incident == channel.messages[1].incident
        assert channel.messages[0].key != channel.messages[1].key

    def test_a_recovery_is_reported_once(self, drive, recorder, flaky, clock):
        channel = recorder()
        call = drive(flaky(ConnectionError(), ConnectionError()), notify=channel)
        for _ in range(5):
            call.outcome()
        assert flush_messages()
        assert channel.received == [("first", 1, 1), ("recovered", 2, 2)]
        assert channel.messages[1].headline() == "flaky works again"

    def test_a_stand_in_does_not_end_an_incident(self, drive, recorder, flaky):
        channel = recorder()
        call = drive(flaky(ConnectionError(), ConnectionError()), notify=channel, fallback=Fallback(value=0))
        assert [call(), call()] == [0, 0]
        assert flush_messages()
        assert channel.received == [("first", 1, 1)]
        assert call() == "done"
        assert flush_messages()
        assert channel.received[1:] == [("recovered", 2, 2)]

    def test_an_incident_ends_only_after_recover_after_successes(self, drive, recorder, flaky, monkeypatch):
        channel = recorder()
        call = drive(flaky(ConnectionError()), notify=Notify(channel, recover_after=3))
        for successes in range(3):
            call.outcome()
            if not successes:
                call.outcome()
            assert flush_messages()
            assert len(channel.messages) == (1 if successes < 2 else 2)

    def test_a_failure_right_after_a_success_can_recover_right_away(self, drive, recorder):
        channel = recorder()
        answers = iter([True, False, True])

        def comes_and_goes():
            if not next(answers):
                raise ConnectionError

        call = drive(comes_and_goes, notify=channel)
        for _ in range(3):
            call.outcome()
            assert flush_messages()
        assert channel.received == [("first", 1, 1), ("recovered", 1, 1)]

    def test_new_failures_are_stored_at_once_and_further_ones_in_a_moment(self, drive, recorder, clock, monkeypatch):
        monkeypatch.setattr(sender.Sender, "_wake", lambda _: None)  # no thread stores anything
        answers = [False] * 5 + [True, False]

        def comes_and_goes():
            if not answers.pop(0):
                raise ConnectionError

        call = drive(comes_and_goes, notify=recorder())

        def told_at_once(after):
            clock.advance(after)
            before = [one.total for one in Outbox(incident_store.states()).incidents("comes_and_goes").all]
            call.outcome()
            return [one.total for one in Outbox(incident_store.states()).incidents("comes_and_goes").all] != before

        assert told_at_once(0)
        assert not told_at_once(200)
        assert not told_at_once(200)  # the window is over, and the storm is not
        assert told_at_once(300)  # after a quiet cool-down
        assert not told_at_once(1)
        assert not told_at_once(1)  # it goes well: the next failure may be the first of another incident
        assert told_at_once(299)

    def test_a_cooldown_of_its_own(self, drive, recorder, clock):
        channel = recorder()
        call = drive(fail, notify=Notify(channel, cooldown=10))
        for _ in range(4):
            call.outcome()
            clock.advance(5)
            assert flush_messages()
        assert channel.received == [("first", 1, 1), ("digest", 1, 2), ("digest", 2, 4)]

    def test_different_failures_are_separate_incidents(self, drive, recorder, flaky):
        channel = recorder()
        call = drive(flaky(ConnectionError(), KeyError(), TimeoutError(), ConnectionError()), notify=channel)
        for _ in range(4):
            call.outcome()
        assert flush_messages()
        assert {message.error_type for message in channel.messages} == {"ConnectionError", "KeyError", "TimeoutError"}
        assert len(channel.messages) == 3

    def test_the_cause_and_the_place_of_an_error_distinguish_incidents(self, drive, recorder):
        def here():
            raise ConnectionError

        def there(caused):
            if not caused:
                raise ConnectionError
            raise ConnectionError from KeyError()

        def either(way):
            here() if way == "here" else there(way == "caused")

        channel = recorder()
        call = drive(either, notify=channel)
        for way in ("here", "there", "caused", "here", "there", "caused"):
            call.outcome(way)
        assert flush_messages()
        assert [message.where.partition(" in ")[2].rpartition(".")[2] for message in channel.messages].count(
            "there"
        ) == 2
        assert len(channel.messages) == 3

    def test_the_place_is_in_user_code_when_an_inner_resilient_function_rejects_its_result(self, drive, recorder):
        @resilient(retry=Retry(attempts=1, on_result=lambda number: number < 0))
        def inside():
            return -1

        def caller():
            return inside()

        channel = recorder()
        drive(caller, notify=channel).outcome()
        assert flush_messages()
        assert [message.where.rpartition(".")[2] for message in channel.messages] == ["caller"]

    def test_secrets_in_names_are_redacted(self, drive, recorder, in_run):
        def load():
            raise type("Failed with password=hunter2-of-the-tests", (Exception,), {})

        load.__name__ = load.__qualname__ = "load password=hunter2-of-the-tests"
        channel = recorder()
        with in_run(flow_run_id="f-1", flow_run="password=hunter2-of-the-tests"):
            drive(load, notify=channel).outcome()
        assert flush_messages()
        (message,) = channel.messages
        assert "hunter2" not in str(message)
        assert "hunter2" not in message.text()
        assert (message.operation, message.run["flow_run_id"]) == ("load password=***", "f-1")

    def test_each_operation_has_its_own_incidents(self, drive, recorder):
        one, two = recorder("one"), recorder("two")

        def other():
            raise ConnectionError

        drive(fail, notify=one).outcome()
        drive(other, notify=[one, two]).outcome()
        assert flush_messages()
        assert {message.operation for message in one.messages} == {"fail", "other"}
        assert len(two.messages) == 1

    def test_the_next_run_of_a_program_ends_the_incident_of_the_last_one(self, drive, recorder, flaky, monkeypatch):
        channel = recorder()
        drive(flaky(ConnectionError()), notify=channel).outcome()
        assert flush_messages()
        monkeypatch.setattr(sender, "_sender", sender.Sender())  # another process knows what the store knows
        drive(flaky(), notify=channel)()
        assert flush_messages()
        assert channel.received == [("first", 1, 1), ("recovered", 1, 1)]
        sender.sender().stop()


class TestAKnownIncident:
    """A run whose failure is only counted says so once in its log; otherwise the missing alert would be a riddle."""

    def test_is_logged_once_by_the_next_run_with_the_time_of_the_next_message(
        self, drive, recorder, resilient_events, monkeypatch, caplog
    ):
        drive(fail, notify=recorder()).outcome()
        assert flush_messages()
        assert "notify.known" not in resilient_events.names
        monkeypatch.setattr(sender, "_sender", sender.Sender())  # another process knows what the store knows
        call = drive(fail, notify=recorder())
        for _ in range(3):
            call.outcome()
        (known,) = resilient_events.named("notify.known")
        assert (known.channel, known.suppressed, known.next_in) == ("recorder", 1, 300)
        assert "the next message to recorder is due in 5 min" in caplog.text
        sender.sender().stop()

    def test_is_logged_by_each_run_of_one_process(self, drive, recorder, resilient_events, in_run):
        call = drive(fail, notify=recorder())
        for run in ("f-1", "f-1", "f-2", "f-2", "f-3"):
            with in_run(flow_run_id=run):
                call.outcome()
        known = resilient_events.named("notify.known")
        assert [event.run["flow_run_id"] for event in known] == ["f-2", "f-3"]
        assert all(event.next_in == 300 for event in known)

    def test_is_logged_with_its_silence(self, drive, recorder, resilient_events):
        Outbox(incident_store.states()).add_silence("fail", 600, "we know")
        call = drive(fail, notify=recorder())
        call.outcome()
        call.outcome()
        assert [event.reason for event in resilient_events.named("notify.known")] == ["we know"]


class TestSilence:
    def test_silenced_failures_are_reported_when_the_silence_ends(self, drive, recorder, clock, resilient_events):
        outbox = Outbox(incident_store.states())
        outbox.add_silence("fa*", 600, "we know")
        channel = recorder()
        call = drive(fail, notify=channel)
        for _ in range(3):
            call.outcome()
        assert flush_messages()
        assert channel.received == []
        assert {event.reason for event in resilient_events.named("notify.suppressed")} == {"silenced: we know"}
        clock.advance(601)
        assert flush_messages()
        assert channel.received == [("first", 3, 3)]

    def test_a_silence_can_be_ended(self):
        outbox = Outbox(incident_store.states())
        outbox.add_silence("a", 600)
        assert [silence.pattern for silence in outbox.silences()] == ["a"]
        assert outbox.end_silence("a")
        assert not outbox.end_silence("a")
        assert outbox.silences() == []


class TestRoutes:
    def test_a_channel_is_alerted_of_failures_that_meet_every_condition(self, drive, recorder):
        pages, mails, stand_ins, throttled = (recorder(name) for name in ("pages", "mails", "stand-ins", "throttled"))
        notify = [
            Route(pages, severity="error"),
            mails,
            Route(stand_ins, policy="fallback", operation="fa*"),
            Route(throttled, kind=["throttled", "timeout"]),
        ]
        drive(fail, notify=notify, fallback=Fallback(value=0))()
        drive(fail, notify=notify).outcome()
        assert flush_messages()
        found = [[message.status for message in each.messages] for each in (pages, mails, stand_ins, throttled)]
        assert found == [["failed"], ["degraded", "failed"], ["degraded"], []]

    def test_a_failure_without_a_matching_route_is_no_incident(self, drive, recorder):
        drive(fail, notify=Route(recorder(), severity="critical")).outcome()
        assert Outbox(incident_store.states()).operations() == []

    def test_a_given_severity_is_used(self, drive, recorder):
        channel = recorder()
        drive(fail, notify=Notify(Route(channel, severity="critical"), severity="critical")).outcome()
        assert flush_messages()
        assert [message.severity for message in channel.messages] == ["critical"]

    @pytest.mark.parametrize("condition", ["flow", "tags"])
    def test_the_flow_and_its_tags(self, drive, recorder, condition):
        class Nightly(Host):
            def flow(self):
                return Flow("nightly", frozenset({"prod", "ml"}))

        yes, no = recorder("yes"), recorder("no")
        wanted = {"flow": ("night*", "day"), "tags": ("prod", "dev")}[condition]
        with use_host(Nightly()):
            drive(fail, notify=[Route(yes, **{condition: wanted[0]}), Route(no, **{condition: wanted[1]})]).outcome()
        assert flush_messages()
        assert [message.flows for message in yes.messages] == [("nightly",)]
        assert no.messages == []

    @pytest.mark.parametrize(
        ("error", "policy"),
        [
            (CircuitOpen("x"), "breaker"),
            (InvalidData("x"), "validate"),
            (TimeoutError(), ""),
        ],
        ids=lambda value: getattr(value, "__class__", type(value)).__name__,
    )
    def test_the_policy_that_ended_the_call_is_found(self, error, policy):
        assert facts.policy_of("failed", error) == policy
        assert facts.policy_of("degraded", error) == "fallback"

    def test_a_users_note_names_no_policy(self):
        error = ConnectionError("down")
        error.add_note("fetch: gave up after attempt 3 (ConnectionError ×3): no attempts left")
        assert facts.policy_of("failed", error) == ""

    @pytest.mark.parametrize("arrived", [lambda error: error, copied, through_another_process, by_a_parcel])
    def test_a_retry_is_found_without_its_note_and_in_another_process(self, drive, monkeypatch, arrived):
        monkeypatch.setattr("resilient_tasks.safely.note", lambda *_: None)
        error = arrived(drive(fail, retry=Retry(attempts=2, wait=0)).outcome().error)
        assert facts.policy_of("failed", error) == "retry"

    def test_an_error_that_was_not_retried_was_not_ended_by_the_retry(self, drive):
        def bug():
            raise KeyError("tailnum")

        assert facts.policy_of("failed", drive(bug, retry=3).outcome().error) == ""

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            ({"severity": "bad"}, "one of warning, error, critical"),
            ({"flow": [1]}, r"Route\(flow=...\) is a name or several"),
        ],
    )
    def test_an_invalid_route_is_refused(self, recorder, given, complaint):
        with pytest.raises(PolicyError, match=complaint):
            Route(recorder(), **given)


class TestACallThatBeganBeforeTheFailure:
    """In a fan-out, calls that were running when another one failed may succeed later: that is no recovery."""

    @pytest.fixture
    def fetch(self, drive, recorder, clock):
        """`fetch(during)` calls something that goes well; meanwhile `during()` is called."""

        def work(during):
            clock.advance(1)
            during()
            clock.advance(1)

        work.__qualname__ = "fetch"
        call = drive(work, notify=(channel := recorder()), **self.more)
        call.channel = channel
        return call

    @pytest.fixture
    def another_fails(self, fetch):
        def bad():
            raise ConnectionError("down")

        bad.__qualname__ = "fetch"
        return resilient(notify=fetch.channel)(bad).outcome

    more: ClassVar = {}

    def test_does_not_end_the_incident(self, fetch, another_fails):
        fetch(another_fails)
        assert flush_messages()
        assert fetch.channel.received == [("first", 1, 1)]
        fetch(lambda: None)
        assert flush_messages()
        assert fetch.channel.received == [("first", 1, 1), ("recovered", 1, 1)]

    def test_does_not_end_one_of_another_process(self, fetch, another_fails, monkeypatch):
        def elsewhere():
            with monkeypatch.context() as there:
                there.setattr(sender, "_sender", other := sender.Sender())
                another_fails()
                assert other.flush(5)
                other.stop()

        fetch(elsewhere)
        assert flush_messages()
        assert fetch.channel.received == [("first", 1, 1)]
        fetch(lambda: None)
        assert flush_messages()
        assert fetch.channel.received == [("first", 1, 1), ("recovered", 1, 1)]

    def test_does_not_count_towards_recover_after(self, fetch, another_fails, clock):
        fetch(another_fails)
        for _ in range(2):
            fetch(lambda: None)
        assert flush_messages()
        assert Outbox(incident_store.states()).incidents("fetch").all[0].successes == 2


class TestACallInsideItsPipelineThatBeganBeforeTheFailure(TestACallThatBeganBeforeTheFailure):
    more: ClassVar = {"timeout": 60}


class TestTheTaskDoesNotWait:
    def test_a_channel_that_hangs_costs_the_call_nothing(self, drive, recorder, gate, own_settings, resilient_events):
        own_settings(notify_deadline=2)
        channel = recorder(gate=gate)
        call = drive(fail, notify=channel)
        call.outcome()
        assert not resilient_events.named("notify.failed"), "it waited until the delivery was given up"
        until = time.monotonic() + 60
        while not resilient_events.named("notify.failed") and time.monotonic() < until:
            flush_messages(0.5)
        event = resilient_events.named("notify.failed")[0]
        assert (event.channel, event.error_type) == ("recorder", "TimeoutError")
        assert "not delivered within" in event.message  # the deadline of the channel, or the flush's
        gate.set()
        assert flush_messages(5)
        assert len({message.key for message in channel.messages}) == 1

    def test_a_channel_that_is_down_for_a_while_gets_the_message_later(self, drive, recorder, resilient_events):
        channel = recorder(errors=[ConnectionError("refused"), TimeoutError("slow")])
        with pytest.raises(ConnectionError, match="down"):
            drive(fail, notify=channel)()
        assert flush_messages(5)
        assert channel.received == [("first", 1, 1)]
        failed = resilient_events.named("notify.failed")
        assert [(event.attempt, event.error_type) for event in failed] == [(1, "ConnectionError"), (2, "TimeoutError")]
        assert all(event.retry_in > 0 for event in failed)
        assert {event.key for event in failed} == {channel.messages[0].key}
        assert Outbox(incident_store.states()).backoff("recorder").failures == 0

    def test_a_delivery_that_is_always_refused_is_dead_and_kept(self, drive, recorder, resilient_events, monkeypatch):
        monkeypatch.setattr(dispatcher, "_MOST_REFUSALS", 3)
        channel = recorder(errors=[RuntimeError("broken")] * 3)
        drive(fail, notify=channel).outcome()
        assert flush_messages(5)
        failed = resilient_events.named("notify.failed")
        assert [event.retry_in > 0 for event in failed] == [True, True, False]
        assert "given up: see resilient-tasks outbox" in failed[-1].sentence()
        (incident,) = Outbox(incident_store.states()).incidents("fail").all
        assert [(each.dead, each.problem) for each in incident.deliveries] == [(True, "RuntimeError: broken")]

    def test_a_clock_that_was_fast_for_a_moment_blocks_no_channel(self, drive, recorder, resilient_clock, monkeypatch):
        channel = recorder()
        call = drive(fail, notify=channel)
        right = Outbox.real_now
        with monkeypatch.context() as fast:
            fast.setattr(Outbox, "real_now", lambda outbox: right(outbox) + 3600)
            call.outcome()
            assert flush_messages(5)
        resilient_clock.advance(301)
        call.outcome()
        assert flush_messages(5)
        assert [each[0] for each in channel.received] == ["first", "digest"]

    def test_the_fallback_gets_the_message_that_a_channel_refuses(self, drive, recorder):
        broken, fallback = recorder("broken", errors=[RuntimeError("no")] * 9), recorder("fallback")
        drive(fail, notify=Notify(broken, fallback=fallback)).outcome()
        flush_messages(0.5)
        assert fallback.received == [("first", 1, 1)]

    def test_the_fallback_gets_the_message_of_an_unreachable_channel(self, drive, recorder):
        away, fallback = recorder("away", errors=[ConnectionError()] * 3), recorder("fallback")
        drive(fail, notify=Notify(away, fallback=fallback)).outcome()
        assert flush_messages(5)
        assert [away.messages[0].key] == [message.key for message in fallback.messages]

    def test_flush_returns_whether_everything_was_sent(self, drive, recorder, gate, own_settings):
        own_settings(notify_deadline=20)
        assert flush_messages(0)
        channel = recorder(gate=gate)
        drive(fail, notify=channel).outcome()
        assert not flush_messages(0.05)
        gate.set()
        assert flush_messages(5)
        assert channel.messages

    def test_a_sink_that_fails_on_a_delivery_does_not_end_the_sender(self, drive, recorder, flaky):
        channel = recorder()

        def broken(event):
            raise ValueError

        with bus.listening(broken):
            call = drive(flaky(ConnectionError()), notify=channel)
            call.outcome()
            call.outcome()
            assert flush_messages()
        assert len(channel.messages) == 2

    def test_arguments_of_a_failed_call_are_released_after_the_alert(self, drive, recorder):
        class Argument:
            pass

        argument = Argument()
        alive = weakref.ref(argument)
        drive(fail, notify=recorder()).outcome(argument)
        del argument
        assert flush_messages()
        gc.collect()
        assert alive() is None

    def test_an_error_in_alerting_does_not_change_what_the_call_raises(self, drive, recorder, resilient_events):
        class Broken(Host):
            def flow(self):
                raise RuntimeError("no flow")

        with use_host(Broken()), pytest.raises(ConnectionError, match="down"):
            drive(fail, notify=recorder())()
        assert [event.message for event in resilient_events.named("notify.failed")] == ["RuntimeError: no flow"]


class Unreachable(MemoryStore):
    """A store that can be away."""

    away = False

    def get(self, key):
        if self.away:
            raise ConnectionError("gone")
        return super().get(key)

    def swap(self, key, old, new, *, ttl=None):
        if self.away:
            raise ConnectionError("gone")
        return super().swap(key, old, new, ttl=ttl)

    def connect(self):
        if self.away:
            raise ConnectionError("gone")


class Forgetful(Unreachable):
    """A store that does what it is asked to, but whose answer is lost now and then."""

    lost = 0

    def swap(self, key, old, new, *, ttl=None):
        done = super().swap(key, old, new, ttl=ttl)
        if self.lost and key.startswith("incidents/"):
            self.lost -= 1
            raise TimeoutError("no answer")
        return done


class TestAStoreThatIsGone:
    @pytest.fixture
    def store(self):
        store = Unreachable()
        with use_incidents(store) as states:
            until = time.monotonic() + 5
            while not states.is_available:
                assert time.monotonic() < until
                time.sleep(0.001)
            yield store

    def test_for_a_moment_delays_only_the_message(self, drive, recorder, store):
        channel = recorder()
        call = drive(fail, notify=channel)
        store.away = True
        call.outcome()
        call.outcome()
        assert not flush_messages(0.05)
        assert channel.messages == []
        store.away = False
        assert flush_messages(10)
        assert channel.received == [("first", 1, 1)]
        assert Outbox(incident_store.states()).incidents("fail").all[0].total == 2

    def test_that_loses_an_answer_counts_each_failure_once(self, drive, recorder, resilient_clock, monkeypatch):
        monkeypatch.setattr(sender.Sender, "_wake", lambda _: None)  # no answer to the thread is lost in their place
        channel, store = recorder(), Forgetful()
        with use_incidents(store) as states:
            call = drive(fail, notify=channel)
            for lost in (2, 1, 0, 2):
                until = time.monotonic() + 5
                while not states.is_available:
                    assert time.monotonic() < until
                store.lost = lost
                call.outcome()
                resilient_clock.advance(301)
            assert flush_messages(5)
            assert sum(message.count for message in channel.messages) == 4
            assert Outbox(states).incidents("fail").all[0].total == 4

    def test_keeps_the_run_and_the_time_of_a_failure_that_waited(self, drive, recorder, store, in_run):
        channel = recorder()
        call = drive(fail, notify=channel)
        store.away = True
        began = time.time()
        with in_run(flow_run_id="f-1"):
            call.outcome()
        failed_at = time.time()
        time.sleep(0.01)
        store.away = False
        assert flush_messages(5)
        (message,) = channel.messages
        assert message.run == {"flow_run_id": "f-1"}
        assert began <= message.time <= failed_at

    def test_that_is_not_open_yet_does_not_delay_a_call(self, drive, recorder, monkeypatch, own_sender):
        opened = threading.Event()
        ready = incident_store.ready
        monkeypatch.setattr(incident_store, "ready", lambda: ready() if opened.is_set() else None)
        monkeypatch.setattr(own_sender, "_ending", True)  # no thread opens it
        channel = recorder()
        call = drive(fail, notify=channel)
        seconds = []
        for _ in range(20):
            began = time.monotonic()
            call.outcome()
            seconds.append(time.monotonic() - began)
        assert statistics.median(seconds) < 0.025
        opened.set()
        assert flush_messages()
        assert [message.count for message in channel.messages] == [20]

    def test_in_the_middle_of_a_round_has_the_next_round_continue(self, drive, recorder, store, monkeypatch):
        monkeypatch.setattr(sender.Sender, "_wake", lambda _: None)  # no thread: the rounds are made by hand
        channel = recorder()
        drive(fail, notify=channel).outcome()
        store.away = True
        ours = dispatcher.Dispatcher(Outbox(incident_store.states()))
        ours.touch("fail")
        ours._scanned = time.monotonic()
        with pytest.raises(StoreUnavailable):
            ours.run(time.monotonic() + 1)
        store.away = False
        until = time.monotonic() + 5
        while not incident_store.states().is_available:
            assert time.monotonic() < until
        ours.run(until)
        assert channel.received == [("first", 1, 1)]

    def test_for_long_does_not_prevent_the_alert(self, drive, recorder, store, monkeypatch):
        monkeypatch.setattr(sender, "_PATIENCE", 0.0)
        channel = recorder()
        call = drive(fail, notify=channel)
        store.away = True
        call.outcome()
        call.outcome()
        flush_messages(1)
        assert channel.received == [("first", 1, 1)]


_PROGRAM = """
from resilient_tasks import resilient
import threading, time
ending = threading.Event()
class Slow:
    name = 'slow'
    def send(self, message, *, within):
        ending.wait(5)
        time.sleep(0.2)
        print('sent', message.headline(), flush=True)
@resilient(notify=Slow())
def f(): raise ConnectionError
f.outcome()
print('end', flush=True)
ending.set()
"""

_DEAD_CHANNEL = """
from resilient_tasks import resilient
class Channel:
    name = 'dead'
    def send(self, message, *, within):
        raise ConnectionError('refused')
@resilient(notify=Channel())
def f(): raise ConnectionError
f.outcome()
"""

_NEXT_RUN = """
from resilient_tasks import resilient
from resilient_tasks.redaction.error_copies import copied
from resilient_tasks.state.states import StoreUnavailable
from resilient_tasks.testing import flush_messages
class Channel:
    name = 'dead'
    def send(self, message, *, within):
        print('sent', message.headline(), flush=True)
@resilient(notify=Channel())
def f(): return 1
f()
flush_messages()
"""


class TestTheEndOfAProcess:
    @pytest.fixture
    def run(self, tmp_path):
        def run(program):
            home = {**os.environ, "RESILIENT_TASKS_HOME": str(tmp_path), "RESILIENT_TASKS_CHANNELS": "true"}
            home.pop("RESILIENT_TASKS_INCIDENTS", None)  # as outside of any test
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=home
            )
            return done.stdout.splitlines()

        return run

    def test_it_sends_what_is_left(self, run):
        assert run(_PROGRAM) == ["end", "sent f failed: ConnectionError"]

    def test_what_it_could_not_send_the_next_run_sends(self, run):
        began = time.monotonic()
        assert run(_DEAD_CHANNEL) == []
        assert time.monotonic() - began < 5, "the end of a process does not wait for a channel that is down"
        time.sleep(1.1)  # the pause of a channel that was down, on the machine's own clock
        assert run(_NEXT_RUN) == ["sent f failed: ConnectionError", "sent f works again"]

    def test_at_the_very_end_a_message_is_sent_without_a_thread(self, drive, recorder, monkeypatch):
        class NoMore(threading.Thread):
            def start(self):
                raise RuntimeError("can't start new thread at interpreter shutdown")

        monkeypatch.setattr(threading, "Thread", NoMore)
        channel = recorder()
        drive(fail, notify=channel).outcome()
        assert flush_messages()
        assert channel.received == [("first", 1, 1)]

    def test_a_channel_that_hangs_there_is_interrupted(self, recorder, monkeypatch):
        class NoMore(threading.Thread):
            def start(self):
                raise RuntimeError("can't start new thread at interpreter shutdown")

        class Hanging:
            name = "hanging"

            def send(self, message, *, within):
                time.sleep(60)

        monkeypatch.setattr(threading, "Thread", NoMore)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            deliver(Hanging(), Message(key="k", incident="i", operation="f"), 0.1)
        assert time.monotonic() - began < 30

    def test_a_forked_child_has_a_sender_of_its_own(self):
        ours = sender.sender()
        sender._replace_after_fork()
        assert sender.sender() is not ours


@pytest.mark.parametrize("channels", ["#ml-alerts", 5, [5], "x"])
def test_an_invalid_channel_is_refused(channels):
    with pytest.raises(PolicyError, match=r"notify takes channels such as Slack\(channel='#ml-alerts'\) or Console"):
        Notify(channels)


def test_a_fenced_call_sends_no_alert(recorder):
    class Fence(Notify):
        async def around(self, call, proceed):
            call.fence()
            return await super().around(call, proceed)

    channel = recorder()
    Pipeline(Fence(channel)).outcome(fail)
    assert flush_messages()
    assert channel.messages == []


def test_an_unpickled_policy_registers_its_channels(monkeypatch, own_sender):
    crossed = cloudpickle.loads(cloudpickle.dumps(resilient(notify=Notify(Console()))(fail)))
    monkeypatch.setattr(registry, "_known", {})
    crossed.outcome()
    assert flush_messages()
    assert list(registry.names()) == ["console"]


class TestBugs:
    def test_a_message_that_cannot_be_built_is_kept_and_reported(self, drive, recorder, resilient_events, monkeypatch):
        def broken(*_):
            raise KeyError("status")

        channel = recorder()
        with monkeypatch.context() as broken_messages:
            broken_messages.setattr(dispatcher, "message_of", broken)
            drive(fail, notify=channel).outcome()
            assert not flush_messages(0.05)
        assert resilient_events.named("notify.failed")[0].message == "KeyError: 'status'"
        assert flush_messages(5)
        assert channel.received == [("first", 1, 1)]

    def test_a_round_that_fails_does_not_end_the_thread(self, drive, recorder, monkeypatch, own_sender, caplog):
        failed = threading.Event()

        def broken(*_):
            failed.set()
            raise RuntimeError("a bug")

        channel = recorder()
        call = drive(fail, notify=channel)
        with monkeypatch.context() as broken_rounds:
            broken_rounds.setattr(dispatcher.Dispatcher, "run", broken)
            call.outcome()
            assert failed.wait(5)
        call.outcome()
        own_sender._wake()
        until = time.monotonic() + 5
        while not channel.messages and time.monotonic() < until:
            time.sleep(0.01)
        assert channel.received == [("first", 1, 1)]
        assert "could not send alerts" in caplog.text
