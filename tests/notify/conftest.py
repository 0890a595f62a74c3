"""A sender of its own for each test, so that no message waits behind another test's."""

import threading

import pytest

from resilient_tasks.notify import sender


@pytest.fixture(autouse=True)
def own_sender(monkeypatch, own_settings):
    own_settings(notify_deadline=2.0)
    monkeypatch.setattr(sender, "_outgoing", sender._Outgoing())
    return sender


class Recorder:
    """A channel that keeps what it is told; with a gate, it waits for it first."""

    def __init__(self, name="recorder", gate=None, error=None):
        self.name, self.gate, self.error = name, gate, error
        self.messages = []

    def send(self, message, *, within):
        if self.gate is not None:
            self.gate.wait(within + 3)
        if self.error is not None:
            raise self.error
        self.messages.append(message)


@pytest.fixture
def recorder():
    return Recorder


@pytest.fixture
def gate():
    """Holds deliveries back until the test, or its end, opens it."""
    gate = threading.Event()
    yield gate
    gate.set()
