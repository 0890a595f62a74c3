"""Notify: who is told, of what, and how often."""

import queue
import subprocess
import sys
import threading
import time

import pytest

from resilient_tasks import Fallback, Pipeline, PolicyError, Retry
from resilient_tasks.core.events import bus
from resilient_tasks.notify.message import Message
from resilient_tasks.notify.policy import Notify
from resilient_tasks.testing import flush_messages


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def fail(month="07"):
    raise ConnectionError("down")


def test_a_call_that_failed_is_told(drive, recorder):
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


def test_a_degraded_call_is_told_too(drive, recorder):
    channel = recorder()
    drive(fail, notify=channel, fallback=Fallback(value=0))()
    assert flush_messages()
    assert [(message.status, message.error_type) for message in channel.messages] == [("degraded", "ConnectionError")]
    assert "stand-in" in channel.messages[0].consequence


def test_a_success_is_told_to_nobody(drive, flaky, recorder, clock):
    channel = recorder()
    drive(flaky(ConnectionError()), notify=channel, retry=Retry(attempts=2, wait=0))()
    assert flush_messages()
    assert channel.messages == []


def test_every_channel_is_told(drive, recorder, resilient_events):
    channels = [recorder("one"), recorder("two")]
    drive(fail, notify=channels).outcome()
    assert flush_messages()
    assert [len(channel.messages) for channel in channels] == [1, 1]
    assert [event.channel for event in resilient_events.named("notify.sent")] == ["one", "two"]


def test_a_message_bears_the_ids_of_its_run(drive, recorder, monkeypatch, resilient_events):
    monkeypatch.setattr("resilient_tasks.core.events.event._identify", lambda: {"flow_run_id": "f-1"})
    channel = recorder()
    drive(fail, notify=channel).outcome()
    assert flush_messages()
    assert channel.messages[0].run == {"flow_run_id": "f-1"}
    assert resilient_events.named("notify.sent")[0].run == {"flow_run_id": "f-1"}


class TestCooldown:
    def test_failures_that_are_alike_make_one_message(self, drive, recorder, resilient_events, own_settings):
        own_settings(notify_cooldown=300.0)
        channel = recorder()
        call = drive(fail, notify=channel)
        for _ in range(4):
            call.outcome()
        assert flush_messages()
        assert len(channel.messages) == 1
        assert [event.suppressed for event in resilient_events.named("notify.suppressed")] == [1, 2, 3]

    def test_after_the_cooldown_they_are_told_again(self, drive, recorder, clock, own_settings):
        own_settings(notify_cooldown=300.0)
        channel = recorder()
        call = drive(fail, notify=channel)
        for _ in range(7):
            call.outcome()
            clock.advance(100)
        assert flush_messages()
        assert len(channel.messages) == 3

    def test_failures_that_differ_are_told_each(self, drive, recorder, flaky):
        channel = recorder()
        failing = flaky(ConnectionError(), KeyError(), TimeoutError(), ConnectionError())
        call = drive(failing, notify=channel)
        for _ in range(4):
            call.outcome()
        assert flush_messages()
        assert [message.error_type for message in channel.messages] == ["ConnectionError", "KeyError", "TimeoutError"]

    def test_each_operation_and_each_channel_has_its_own(self, drive, recorder):
        one, two = recorder("one"), recorder("two")

        def other():
            raise ConnectionError

        drive(fail, notify=one).outcome()
        drive(other, notify=[one, two]).outcome()
        assert flush_messages()
        assert ([message.operation for message in one.messages], len(two.messages)) == (["fail", "other"], 1)


class TestTheTaskDoesNotWait:
    def test_a_channel_that_hangs_costs_the_call_nothing(self, drive, recorder, gate, own_settings, resilient_events):
        own_settings(notify_deadline=0.15)
        began = time.monotonic()
        drive(fail, notify=recorder(gate=gate)).outcome()
        assert time.monotonic() - began < 0.05
        assert flush_messages(5)
        (event,) = resilient_events.named("notify.failed")
        assert (event.channel, event.error_type) == ("recorder", "TimeoutError")
        assert "not delivered within 0.15 s" in event.message

    def test_a_channel_that_raises_is_told_and_not_felt(self, drive, recorder, resilient_events):
        with pytest.raises(ConnectionError, match="down"):
            drive(fail, notify=recorder(error=RuntimeError("broken")))()
        assert flush_messages()
        (event,) = resilient_events.named("notify.failed")
        assert (event.operation, event.error_type, event.message) == ("fail", "RuntimeError", "RuntimeError: broken")

    def test_a_message_whose_time_is_up_before_its_turn_is_given_up(self, recorder, own_sender, resilient_events):
        channel = recorder()
        own_sender._deliver(own_sender._Letter(channel, _message(), until=time.monotonic()))
        assert [event.error_type for event in resilient_events.named("notify.failed")] == ["TimeoutError"]
        assert channel.messages == []

    def test_a_queue_that_is_full_is_told(self, recorder, gate, own_sender, resilient_events):
        own_sender._outgoing.letters = queue.Queue(1)
        channel = recorder(gate=gate)
        for _ in range(4):
            own_sender.post(channel, _message())
        assert any("waiting already" in event.message for event in resilient_events.named("notify.failed"))

    def test_flushing_says_whether_everything_went_out(self, recorder, gate, own_sender):
        assert flush_messages(0)
        channel = recorder(gate=gate)
        own_sender.post(channel, _message())
        assert not flush_messages(0.05)
        gate.set()
        assert flush_messages()
        assert len(channel.messages) == 1

    def test_a_forked_child_has_a_queue_of_its_own(self, recorder, gate, own_sender, monkeypatch):
        own_sender.post(recorder(gate=gate), _message())
        ours = own_sender._here()
        monkeypatch.setattr("os.getpid", lambda: ours.pid + 1)
        theirs = own_sender._here()
        assert theirs is not ours
        assert theirs.letters.unfinished_tasks == 0

    def test_a_sink_that_fails_on_a_delivery_does_not_end_the_sender(self, recorder, own_sender):
        channel = recorder()

        def broken(event):
            raise ValueError

        with bus.listening(broken):
            own_sender.post(channel, _message())
            own_sender.post(channel, _message())
            assert flush_messages()
        assert len(channel.messages) == 2


def _message():
    return Message("f", "failed", "transient", "E", "")


def test_a_process_that_ends_delivers_what_it_still_has():
    program = (
        "from resilient_tasks import resilient\n"
        "import threading, time\n"
        "ending = threading.Event()\n"
        "class Slow:\n"
        "    name = 'slow'\n"
        "    def send(self, message, *, within):\n"
        "        ending.wait(5)\n"
        "        time.sleep(0.2)\n"
        "        print('sent', message.headline(), flush=True)\n"
        "@resilient(notify=Slow())\n"
        "def f(): raise ConnectionError\n"
        "f.outcome()\n"
        "print('end', flush=True)\n"
        "ending.set()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["end", "sent f failed: ConnectionError"]


def test_at_the_very_end_a_message_is_sent_without_a_thread(recorder, own_sender, monkeypatch, resilient_events):
    class NoMore(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread at interpreter shutdown")

    channel = recorder()
    letter = own_sender._Letter(channel, _message(), time.monotonic() + 1)
    monkeypatch.setattr(threading, "Thread", NoMore)
    own_sender._deliver(letter)
    assert len(channel.messages) == 1
    assert resilient_events.names == ["notify.sent"]


@pytest.mark.parametrize("channels", ["#ml-alerts", 5, [5], "x"])
def test_what_is_no_channel_is_refused(channels):
    with pytest.raises(PolicyError, match=r"notify takes channels such as Slack\(channel='#ml-alerts'\) or Console"):
        Notify(channels)


def test_a_fenced_call_tells_nobody(recorder):
    class Fence(Notify):
        async def around(self, call, proceed):
            call.fence()
            return await super().around(call, proceed)

    channel = recorder()
    Pipeline(Fence(channel)).outcome(fail)
    assert flush_messages()
    assert channel.messages == []
