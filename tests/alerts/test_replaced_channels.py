"""What identifies a channel, and which channel gets unsent messages after a change of its configuration."""

from collections import defaultdict

import pytest

from resilient_tasks import Email, Notify, Slack, Webhook
from resilient_tasks.alerts import dispatcher, registry, sender
from resilient_tasks.alerts.outbox import Outbox, incident_store
from resilient_tasks.testing import flush_messages


@pytest.fixture(autouse=True)
def clock(resilient_clock, at_once):
    return resilient_clock


def fail(month="07"):
    raise ConnectionError("down")


class Named:
    """A channel of one family with others, as two webhooks at one host."""

    family = "hook:example.org:"

    def __init__(self, which, *, errors=()):
        self.name = f"{self.family}{which}"
        self.errors, self.messages = list(errors), []

    def send(self, message, *, within):
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append(message)
        return {"place": self.name}

    @property
    def received(self):
        return [(message.occasion, message.count, message.total) for message in self.messages]


class TestAChannelThatWasReplaced:
    """Its URL was rotated, or a recipient added: unsent messages go to its successor."""

    @pytest.fixture(autouse=True)
    def _next_run(self, monkeypatch, own_sender):
        def begin():
            monkeypatch.setattr(registry, "_known", {})
            monkeypatch.setattr(registry, "_by_operation", defaultdict(set))
            sender.sender().stop()
            sender.sender().join(5)  # a delivery that it has leased is not sent by others
            monkeypatch.setattr(sender, "_sender", sender.Sender())

        begin()
        self.next_run = begin
        yield
        sender.sender().stop()

    def test_leaves_unsent_messages_to_its_successor(self, drive, recorder):
        old = Named("old", errors=[RuntimeError("revoked")] * 99)
        drive(fail, notify=old).outcome()
        assert not flush_messages(0.1)
        self.next_run()
        today = Named("new")
        call = drive(fail, notify=today)
        assert flush_messages(5)
        assert today.received == [("first", 1, 1)]
        call.outcome()
        assert today.received == [("first", 1, 1)]

    def test_gets_no_more_messages(self, drive, clock):
        old, today = Named("old"), Named("new")
        drive(fail, notify=old).outcome()
        assert flush_messages(5)
        self.next_run()
        call = drive(fail, notify=today)
        call.outcome()
        clock.advance(301)
        call.outcome()
        assert flush_messages(5)
        assert [each[0] for each in old.received + today.received] == ["first", "digest"]
        assert today.messages[0].thread == {}
        assert Outbox(incident_store.states()).incidents("fail").all[0].channels == [today.name]

    def test_leaves_dead_deliveries_to_its_successor_too(self, drive, monkeypatch):
        monkeypatch.setattr(dispatcher, "_MOST_REFUSALS", 1)
        drive(fail, notify=Named("old", errors=[RuntimeError("revoked")])).outcome()
        flush_messages(5)
        self.next_run()
        today = Named("new")
        drive(fail, notify=today)
        assert flush_messages(5)
        assert today.received == [("first", 1, 1)]

    @pytest.mark.parametrize("beside", ["another channel", "the fallback"])
    def test_leaves_unsent_messages_to_the_new_channel_beside_one_that_stayed(self, drive, beside):
        def notify(channel, stays):
            return [channel, stays] if beside == "another channel" else Notify(channel, fallback=stays)

        old = Named("old", errors=[ConnectionError()] * 99)
        drive(fail, notify=notify(old, Named("stays"))).outcome()
        flush_messages(0.1)
        self.next_run()
        today, stays = Named("new"), Named("stays")
        drive(fail, notify=notify(today, stays))
        assert flush_messages(5)
        assert today.received == [("first", 1, 1)]

    @pytest.mark.parametrize(
        "today",
        [
            lambda call, _: call(fail, notify=[Named("new"), Named("newer")]),  # which of them?
            lambda call, recorder: call(fail, notify=recorder("another sort")),
            lambda call, _: call(lambda: 1, notify=Named("of another function")),
        ],
    )
    def test_keeps_unsent_messages_if_its_successor_is_ambiguous(self, drive, recorder, today):
        drive(fail, notify=Named("old", errors=[RuntimeError("revoked")] * 99)).outcome()
        flush_messages(0.1)
        self.next_run()
        today(drive, recorder)
        flush_messages(0.1)
        (incident,) = Outbox(incident_store.states()).incidents("fail").all
        assert [delivery.channel for delivery in incident.deliveries] == ["hook:example.org:old"]

    @pytest.mark.parametrize(
        ("old", "today"),
        [
            (Webhook("https://alerts.example.org/hooks/one"), Webhook("https://alerts.example.org/hooks/two")),
            (Slack(webhook="https://hooks.slack.com/services/1"), Slack(webhook="https://hooks.slack.com/services/2")),
            (Slack(), Slack(webhook="https://hooks.slack.com/services/2")),
            (Slack(webhook="https://hooks.slack.com/services/1"), Slack(channel="#ml-alerts")),
            (Email("a@b.org", "one.example.org"), Email(["a@b.org", "c@d.org"], "two.example.org")),
        ],
    )
    def test_is_recognised_by_its_family(self, old, today):
        registry.register_for("fail", [today])
        assert registry.successor("fail", old.name) == today.name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            Email("a@b.org", "one.example.org", username="x@b.org", password="one"),
            Email("a@b.org", "two.example.org", username="y@b.org", password="two"),
        ),
        (Webhook("https://a.org", secret="one"), Webhook("https://a.org", secret="two")),
        (Webhook("https://a.org", headers={"X": "1"}), Webhook("https://a.org", headers={"X": "2"})),
    ],
)
def test_a_channel_keeps_its_name_when_its_server_or_secret_changes(one, other):
    assert one.name == other.name
