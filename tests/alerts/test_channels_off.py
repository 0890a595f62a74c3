"""Channels that are off: nothing is sent, and an event reports it."""

import os

import pytest

from resilient_tasks import Console, PolicyError
from resilient_tasks.alerts.outbox import Outbox, incident_store
from resilient_tasks.core import settings
from resilient_tasks.testing import flush_messages


@pytest.fixture(autouse=True)
def clock(resilient_clock, at_once):
    return resilient_clock


def fail(month="07"):
    raise ConnectionError("down")


class TestChannelsThatAreOff:
    @pytest.fixture(autouse=True)
    def _off(self, own_settings, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_CHANNELS", "")
        own_settings(channels=False)

    def test_get_no_messages_and_an_event_reports_it(self, drive, recorder, resilient_events, own_settings):
        channel = recorder()
        call = drive(fail, notify=[channel, Console()])
        call.outcome()
        call.outcome()
        assert flush_messages()
        own_settings(channels=True)
        assert flush_messages()
        assert channel.messages == []
        events = resilient_events.named("notify.suppressed")
        assert [(event.channel, event.reason) for event in events] == 2 * [("recorder, console", "channels are off")]
        assert "channels are off" in events[0].sentence()

    def test_keep_no_incidents(self, drive, recorder, flaky):
        call = drive(flaky(ConnectionError()), notify=recorder())
        call.outcome()
        call.outcome()
        assert Outbox(incident_store.states()).operations() == []

    def test_get_no_unsent_messages_from_before(self, drive, recorder, gate, own_settings):
        own_settings(channels=True)
        channel = recorder(errors=[ConnectionError()])
        drive(fail, notify=channel).outcome()
        flush_messages(0)
        own_settings(channels=False)
        assert flush_messages()
        assert channel.messages == []
        own_settings(channels=True)
        assert flush_messages(5)
        assert channel.received == [("first", 1, 1)]

    def test_are_off_in_child_processes_too(self):
        assert os.environ["RESILIENT_TASKS_CHANNELS"] == "false"
        assert settings._from_environment().channels is False

    def test_need_a_valid_setting(self, own_settings):
        with pytest.raises(PolicyError, match=r"configure\(channels=...\) is True or False, not 'no'"):
            own_settings(channels="no")
