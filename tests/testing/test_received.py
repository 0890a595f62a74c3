"""Assertions about received messages and counted events: what they accept, and what they say if they fail."""

import pytest

from resilient_tasks import Retry, Slack, resilient
from resilient_tasks.testing import flush_messages


@pytest.fixture
def failing():
    @resilient(retry=Retry(attempts=2, wait=0))
    def fetch():
        raise ConnectionError("down")

    return fetch


def fails_with(check):
    with pytest.raises(AssertionError) as raised:
        check()
    return str(raised.value)


def test_counts_are_numbers(resilient_events, resilient_clock, failing):
    failing.outcome()
    resilient(fallback=lambda: 1)(failing.__wrapped__)()
    counts = [
        resilient_events.retries,
        resilient_events.failures,
        resilient_events.fallbacks,
        resilient_events.recoveries,
    ]
    assert [count() for count in counts] == [1, 1, 1, 0]
    assert resilient_events.retries("fetch") == 1
    assert resilient_events.retries("parse") == 0


def test_a_failed_count_shows_what_happened(resilient_events, resilient_clock, failing):
    failing.outcome()
    shown = repr(resilient_events.recoveries())
    assert shown.startswith("0 (")
    assert "attempt 1 of 2: ConnectionError" in shown
    assert "parse emitted no event; events came from fetch" in repr(resilient_events.retries("parse"))


class TestSlack:
    def send(self, slack, *, then=()):
        answers = [ConnectionError("down"), *then]

        def fetch():
            if isinstance(answer := answers.pop(0), Exception):
                raise answer
            return answer

        channel = Slack(token=slack.token, channel="#alerts", api_url=slack.api_url)
        call = resilient(notify=channel)(fetch)
        for _ in range(len(answers)):
            call.outcome()
            flush_messages()

    def test_the_only_message_is_returned(self, resilient_slack, resilient_clock):
        self.send(resilient_slack)
        assert "fetch failed" in resilient_slack.message().full_text
        assert resilient_slack.message("ConnectionError") == resilient_slack.message()

    def test_without_a_message_the_error_says_so(self, resilient_slack):
        assert fails_with(resilient_slack.message) == "0 messages, not one; nothing was received"

    def test_without_one_of_this_text_the_error_lists_the_others(self, resilient_slack, resilient_clock):
        self.send(resilient_slack)
        error = fails_with(lambda: resilient_slack.message("timeout"))
        assert error.startswith("0 messages containing 'timeout', not one; received: ")
        assert "fetch failed" in error

    def test_an_edit_is_recognised(self, resilient_slack, resilient_clock):
        self.send(resilient_slack, then=["ok"])
        message = resilient_slack.messages[0]
        assert message.was_edited_to("works again")
        assert repr(message.was_edited_to("works again")) == "True"
        assert "its latest version is" in repr(message.was_edited_to("given up"))
        assert "every version contains" in repr(message.was_edited_to("fetch"))

    def test_a_message_that_was_never_edited_says_so(self, resilient_slack, resilient_clock):
        self.send(resilient_slack)
        verdict = resilient_slack.message().was_edited_to("recovered")
        assert not verdict
        assert repr(verdict).startswith("False: the message was never edited")
