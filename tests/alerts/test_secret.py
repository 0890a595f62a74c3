"""Secrets as users keep them, Prefect's own blocks among them."""

import pickle
import warnings
from types import SimpleNamespace

import cloudpickle
import pytest
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from pydantic import SecretStr

from resilient_tasks import Email, PolicyError
from resilient_tasks.alerts.channels.secret import check_secret, revealed
from resilient_tasks.alerts.message import Message
from resilient_tasks.testing import MailServer

URL = "https://hooks.slack.com/services/T000/B000/not-a-real-one"


@pytest.mark.parametrize(
    ("kept", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        (SecretStr("hidden"), "hidden"),
        (Secret(value="in a block"), "in a block"),
        (Secret(value=SecretStr("in a block")), "in a block"),
        (Secret[str](value="typed"), "typed"),
        (SlackWebhook(url=URL), URL),
        (SimpleNamespace(get=lambda: "another library's"), "another library's"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_secret_is_read_from_its_holder(kept, value):
    check_secret("password", kept)
    assert revealed(kept) == value


@pytest.mark.parametrize("text", ["12345", "1e5", "true", '"quoted"', "007", '{"a": 1}'])
def test_a_password_that_looks_like_json_stays_text(text):
    """`Secret.get()` would give 12345, 100000.0, True and so on."""
    assert revealed(Secret(value=text)) == text


@pytest.mark.parametrize("nothing", [None, 7, b"bytes", {}, {"get": 1}, SecretStr, Secret, object()])
def test_an_object_without_a_secret_is_refused_at_once_and_not_shown(nothing):
    for look in (revealed, lambda value: check_secret("Slack(webhook=...)", value)):
        with pytest.raises(PolicyError, match="a secret is text") as caught:
            look(nothing)
        assert "at 0x" not in str(caught.value)
    assert str(caught.value).startswith("Slack(webhook=...): ")


def test_a_block_whose_secret_is_not_text_is_refused_when_it_is_read_without_showing_it():
    block = Secret(value={"username": "johndoe", "password": "geheim"})
    check_secret("password", block)
    with pytest.raises(PolicyError, match="the secret in Secret is text, not dict") as caught:
        revealed(block)
    assert "geheim" not in str(caught.value)


def test_a_block_that_was_not_awaited_raises_one_error():
    async def load():
        """As a block's load() in a flow that is async."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PolicyError, match="write `await`"):
            check_secret("password", load())


def test_an_awaitable_is_no_secret_either():
    class Later:
        def __await__(self):
            raise AssertionError("it is not awaited")

    with pytest.raises(PolicyError, match=r"not been loaded yet \(Later\)"):
        check_secret("password", Later())


def test_a_secret_is_read_only_when_asked_for():
    class Vault:
        def get_secret_value(self):
            raise AssertionError("not yet")

    check_secret("password", Vault())


@pytest.mark.parametrize("crosses", [pickle, cloudpickle])
def test_a_block_in_a_channel_crosses_to_another_process_and_logs_in_there(crosses):
    with MailServer() as server:
        options = server.starttls | {"password": Secret(value=server.password)}
        channel = crosses.loads(crosses.dumps(Email("ops@example.org", **options)))
        assert server.password not in repr(channel)
        channel.send(Message(key="k", incident="i", operation="fetch", error_type="OSError"), within=10)
        assert [mail.user for mail in server.messages] == [server.username]
