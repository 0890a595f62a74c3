"""A separate sender for each test, so that no message waits behind another test's."""

import threading

import pytest

from resilient_tasks.alerts import delivery, dispatcher, sender


@pytest.fixture(autouse=True)
def own_sender(monkeypatch, own_settings):
    own_settings(notify_deadline=2.0)
    own = sender.Sender()
    monkeypatch.setattr(sender, "_sender", own)
    yield own
    own.stop()


class Recorder:
    """A channel that records its messages; it waits for the gate and raises the errors first, if any."""

    def __init__(self, name="recorder", gate=None, errors=()):
        self.name, self.gate, self.errors = name, gate, list(errors)
        self.messages = []
        self.asked = 0

    def send(self, message, *, within):
        self.asked += 1
        if self.gate is not None:
            self.gate.wait(within + 3)
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append(message)
        return {"place": f"{self.name} {len(self.messages)}"}

    @property
    def received(self):
        return [(message.occasion, message.count, message.total) for message in self.messages]


@pytest.fixture
def recorder():
    return Recorder


@pytest.fixture
def at_once(monkeypatch):
    """Send messages, and try channels again, without pauses."""
    monkeypatch.setattr(delivery, "GAP", 0.0)
    monkeypatch.setattr(delivery, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(dispatcher, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def gate():
    """Holds deliveries back until the test, or its end, opens it."""
    gate = threading.Event()
    yield gate
    gate.set()
