"""The fixtures, as somebody who installed the library uses them: in a test suite of their own."""

import re
import socket
from importlib.metadata import entry_points

import pytest


@pytest.fixture
def suite(pytester):
    """Runs a user's test file in a process of its own, with the plugin found by its entry point."""
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\nasyncio_default_fixture_loop_scope = function\n")

    def run(source):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-q", timeout=240)

    return run


def test_the_plugin_is_found_by_its_entry_point():
    (found,) = [entry for entry in entry_points(group="pytest11") if entry.name == "resilient_tasks"]
    assert found.value == "resilient_tasks.pytest_plugin"


def test_the_clock_lets_waits_pass_at_once_and_counters_start_anew(suite):
    suite("""
        import pytest
        from resilient_tasks import Console, Retry, configure, resilient

        @resilient(retry=Retry(attempts=3, wait=3600), notify=Console())
        def fetch():
            raise ConnectionError("down")

        @pytest.mark.parametrize("again", [1, 2])
        def test_waits(resilient_clock, resilient_events, again):
            with pytest.raises(ConnectionError):
                fetch()
            assert resilient_clock.waits == [3600, 3600]
            assert resilient_clock.now() == 7200
            assert "notify.suppressed" not in resilient_events.names

        def test_the_clock_is_put_back():
            from resilient_tasks.core.clock import SystemClock, _clock
            assert isinstance(_clock, SystemClock)
    """).assert_outcomes(passed=3)


def test_events_are_those_of_one_test(suite):
    suite("""
        import pytest
        from resilient_tasks import Retry, resilient

        @pytest.mark.parametrize("again", [1, 2])
        def test_events(resilient_events, resilient_clock, again):
            failures = [ConnectionError()]

            @resilient(retry=Retry(wait=1))
            def fetch():
                if failures:
                    raise failures.pop()

            fetch()
            assert resilient_events.names == ["retry.scheduled", "retry.started", "retry.recovered"]
            assert [event.delay for event in resilient_events.of("fetch").named("retry.scheduled")] == [1]
    """).assert_outcomes(passed=2)


def test_the_api_fails_on_request(suite):
    suite("""
        import json, urllib.request
        from resilient_tasks import Retry, resilient

        def test_api(resilient_api, resilient_clock):
            resilient_api.serve("/flights", '[{"carrier": "UA"}]')
            resilient_api.down()
            resilient_api.rate_limited(retry_after=30)

            @resilient(retry=Retry(attempts=3, wait=1))
            def fetch():
                with urllib.request.urlopen(resilient_api.url + "/flights", timeout=5) as answer:
                    return json.load(answer)

            assert fetch() == [{"carrier": "UA"}]
            assert resilient_clock.waits == [1, 30]
            assert len(resilient_api.requests) == 3
    """).assert_outcomes(passed=1)


def test_slack_keeps_what_it_is_sent(suite):
    suite("""
        import pytest
        from resilient_tasks import Slack, resilient
        from resilient_tasks.testing import flush_messages

        def test_slack(resilient_slack, resilient_clock):
            @resilient(notify=Slack(webhook=resilient_slack.webhook_url))
            def fetch():
                raise ConnectionError("down")

            with pytest.raises(ConnectionError):
                fetch()
            assert flush_messages()
            assert "fetch failed" in resilient_slack.texts()[0]
    """).assert_outcomes(passed=1)


def test_the_mail_server_keeps_what_it_is_sent(suite):
    suite("""
        import pytest
        from resilient_tasks import Email, resilient
        from resilient_tasks.testing import flush_messages

        @pytest.mark.parametrize("way", ["starttls", "tls"])
        def test_mail(resilient_smtp, resilient_clock, way):
            @resilient(notify=Email("ops@example.org", **getattr(resilient_smtp, way)))
            def fetch():
                raise ConnectionError("down")

            with pytest.raises(ConnectionError):
                fetch()
            assert flush_messages()
            (mail,) = resilient_smtp.messages
            assert mail.secure
            assert mail.subject == "fetch failed: ConnectionError"
    """).assert_outcomes(passed=2)


def test_nothing_happens_to_a_test_that_asks_for_nothing(suite):
    suite("""
        import sys

        def test_plain(request):
            assert not [name for name in request.fixturenames if name.startswith("resilient_")]
            assert "resilient_tasks.core.runtime" not in sys.modules
            assert "prefect" not in sys.modules
    """).assert_outcomes(passed=1)


def test_each_fixture_says_what_it_is_for(pytester):
    shown = pytester.runpytest_subprocess("--fixtures", "-q", timeout=60).stdout.str()
    for name in ("clock", "events", "api", "slack", "smtp", "prefect"):
        assert re.search(rf"resilient_{name}\b.*\n +\w+", shown), name


def test_the_prefect_server_runs_flows_and_ends_with_the_session_even_if_that_is_terminated(suite):
    done = suite("""
        import os, signal

        def test_flow(resilient_prefect):
            from prefect import flow
            from prefect.settings import PREFECT_API_URL

            @flow
            def add(a, b):
                return a + b

            assert resilient_prefect == PREFECT_API_URL.value()
            assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
            assert add(1, 2) == 3
            print("server at", resilient_prefect, flush=True)

        def test_terminated(resilient_prefect, capsys):
            with capsys.disabled():
                print("server at", resilient_prefect, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("this session was to end")
    """)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.assert_outcomes(passed=1)
    port = int(re.search(r"server at http://127\.0\.0\.1:(\d+)/api", done.stdout.str())[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
