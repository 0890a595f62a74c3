"""Prefect's own notification blocks as channels, sending to a server on loopback; no Prefect server runs."""

import threading
import time

import cloudpickle
import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, MattermostWebhook, PagerDutyWebHook
from prefect.blocks.system import Secret
from pydantic import PrivateAttr, SecretStr

from resilient_tasks import Kind, Notify, PolicyError, Route, classify, resilient
from resilient_tasks.alerts import sender
from resilient_tasks.alerts.channels.block import (
    BlockChannel,
    BlockRefusedError,
    BlockUnavailableError,
    _following_no_redirect,
)
from resilient_tasks.alerts.message import Channel, Message
from resilient_tasks.core.failures import retry_after
from resilient_tasks.testing import deliver_to, flush_messages

MESSAGE = Message(key="k", incident="i", operation="f", error_type="E", error="@everyone <!channel> <@U1> down")


@pytest.fixture(autouse=True)
def own_sender(monkeypatch, own_settings):
    own_settings(notify_deadline=10.0)
    own = sender.Sender()
    monkeypatch.setattr(sender, "_sender", own)
    yield own
    own.stop()


def custom(server, **more):
    server.serve("/hook/sesame-open", "")
    return CustomWebhookNotificationBlock(
        name="ops",
        url=server.url + "/hook/{{secret}}",
        json_data={"title": "{{subject}}", "text": "{{body}}"},
        secrets={"secret": "sesame-open"},
        **more,
    )


def mattermost(server, **more):
    server.serve("/hooks/sesame-open", "")
    return MattermostWebhook(hostname="127.0.0.1", port=server.port, token=SecretStr("sesame-open"), **more)


@pytest.fixture(params=[custom, mattermost], ids=["custom webhook", "mattermost"])
def block(request, resilient_api):
    """A block that sends by httpx, and one that sends by Apprise."""
    return request.param(resilient_api)


def fail():
    raise ConnectionError("down @here")


@pytest.mark.parametrize("given", [lambda b: b, lambda b: [b], Route, Notify, lambda b: Notify(Route(b))])
def test_a_block_gets_a_failure_through_the_outbox(drive, resilient_api, resilient_clock, block, given):
    drive(fail, notify=given(block)).outcome()
    assert flush_messages(20)
    (request,) = resilient_api.requests
    text = request.body.decode()
    assert "fail failed: ConnectionError" in text
    assert "The call raised" in text
    assert "@here" not in text


def test_a_block_is_a_fallback_too(drive, resilient_api, resilient_clock, block):
    class Broken:
        name = "broken"

        def send(self, message, *, within):
            raise RuntimeError

    drive(fail, notify=Notify(Broken(), fallback=block)).outcome()
    flush_messages(1)
    assert len(resilient_api.requests) == 1


def test_the_channel_shows_no_secret(block):
    channel = BlockChannel(block)
    assert isinstance(channel, Channel)
    assert "sesame" not in repr(channel) + channel.name + Notify(block).describe()


class TestAFailure:
    def failure(self, block, within=10):
        with pytest.raises(Exception) as caught:  # the tests check which one
            BlockChannel(block).send(MESSAGE, within=within)
        assert "sesame" not in str(caught.value)
        return caught.value

    def test_of_a_service_that_is_down(self, block, resilient_api):
        resilient_api.down(9)
        assert classify(self.failure(block)) is Kind.TRANSIENT

    def test_of_a_service_that_refuses(self, block, resilient_api):
        from resilient_tasks.testing import Status

        resilient_api.fail(*[Status(403)] * 9)
        error = self.failure(block)
        assert (classify(error), error.status) == (Kind.PERMANENT, 403)

    def test_has_the_reason(self, block, resilient_api):
        resilient_api.down(9)
        assert "503" in str(self.failure(block))

    def test_by_a_redirect_which_is_not_followed(self, block, resilient_api):
        resilient_api.refused(9)
        error = self.failure(block)
        assert (classify(error), error.status // 100) == (Kind.PERMANENT, 3)

    def test_by_a_redirect_of_a_block_that_makes_its_client_when_it_sends(self):
        block = PagerDutyWebHook(integration_key="k" * 32, api_key="a" * 20)
        with _following_no_redirect(block):
            block.block_initialization()
            assert [service.redirects for service in block._apprise_client] == [False]
        block.block_initialization()
        assert [service.redirects for service in block._apprise_client] == [True]

    def test_of_a_rate_limit(self, resilient_api):
        block = custom(resilient_api)
        resilient_api.rate_limited(retry_after=30)
        error = self.failure(block)
        assert (classify(error), retry_after(error)) == (Kind.THROTTLED, 30)

    def test_of_a_service_that_cannot_be_reached(self, block, resilient_api):
        with resilient_api.offline():
            assert classify(self.failure(block)) is Kind.TRANSIENT

    def test_that_a_block_reports_only_by_its_result(self, resilient_api):
        class Quiet(NotificationBlock):
            def notify(self, body, subject=None):
                return False

        with pytest.raises(BlockUnavailableError):
            BlockChannel(Quiet()).send(MESSAGE, within=5)

    def test_leaves_the_block_as_it_was(self, block, resilient_api):
        resilient_api.down(9)
        self.failure(block)
        assert block._raise_on_failure is False


class Own(NotificationBlock):
    """A block as users write it: async, as Prefect's interface has it."""

    seconds: float = 0.0
    _told: list = PrivateAttr(default_factory=list)

    async def notify(self, body, subject=None):
        import asyncio

        await asyncio.sleep(self.seconds)
        self._told.append((subject, body))


def test_a_block_whose_notify_is_async_is_awaited(resilient_clock, drive):
    block = Own()
    with deliver_to(block):
        drive(fail, notify=block).outcome()
        assert flush_messages(20)
    assert block._told[0][0] == "fail failed: ConnectionError"


def test_a_hanging_block_is_abandoned_at_its_deadline():
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        BlockChannel(Own(seconds=30)).send(MESSAGE, within=0.1)
    assert time.monotonic() - began < 10


def test_in_tests_nothing_is_sent_to_a_block_beyond_loopback(resilient_events, monkeypatch):
    from resilient_tasks.alerts import gate

    monkeypatch.setattr(gate, "_let_through", [])
    block = Own()
    resilient(notify=block)(fail).outcome()
    assert flush_messages()
    assert block._told == []
    assert [event.channel for event in resilient_events.named("notify.suppressed")] == [BlockChannel(block).name]


class TestItsName:
    def test_is_its_type_and_the_name_under_which_it_was_saved(self):
        block = Own()
        block._block_document_name = "ops"
        assert BlockChannel(block).name == "block:own/ops"

    def test_is_its_type_and_a_digest_if_it_was_not_saved(self):
        one, same, other = (
            PagerDutyWebHook(integration_key=SecretStr(key), api_key=SecretStr("a")) for key in ("one", "one", "other")
        )
        names = [BlockChannel(block).name for block in (one, same, other)]
        assert names[0] == names[1] != names[2]
        assert all(name.startswith("block:pager-duty-webhook/") for name in names)
        assert all(BlockChannel(block).family == "block:pager-duty-webhook/" for block in (one, other))

    def test_is_that_of_a_custom_webhook(self, resilient_api):
        assert BlockChannel(custom(resilient_api)).name == "block:custom-webhook/ops"


def test_it_can_be_pickled_to_other_processes(block, resilient_api):
    crossed = cloudpickle.loads(cloudpickle.dumps(Notify(block)))
    crossed.channels[0].to.send(MESSAGE, within=10)
    assert len(resilient_api.requests) == 1


def test_each_message_is_sent_by_a_copy_of_the_block(resilient_api):
    block = custom(resilient_api)
    threads = [threading.Thread(target=BlockChannel(block).send, args=(MESSAGE,), kwargs={"within": 10}) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(resilient_api.requests) == 2


@pytest.mark.parametrize("given", [Secret(value="x"), Own, CustomWebhookNotificationBlock])
def test_other_objects_are_refused(given):
    with pytest.raises(PolicyError, match="notify takes channels such as"):
        Notify(given)


def test_a_block_that_was_not_awaited_is_refused():
    async def load():
        return Own()

    with pytest.raises(PolicyError, match="write `await` before the block's load"):
        Notify(load())


def test_an_error_of_a_block_has_a_type_that_can_be_caught():
    assert issubclass(BlockUnavailableError, BlockRefusedError)
